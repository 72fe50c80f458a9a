"""What the client's generated messages mean to us: answers of appends, recorded events, filters."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from uuid import UUID

from esdbclient.exceptions import WrongCurrentVersion
from esdbclient.protos.Grpc import shared_pb2, streams_pb2
from esdbclient.streams import StreamsService

from shared.store.esdb import times
from shared.store.port import Only, Position, Recorded

END = 2**63
"""Positions from here on are none: some servers send 2^64 - 1 for "nowhere"."""
SYSTEM = r"\$[\s\S]*"
"""Types of the server's own events."""

_64_BITS = 2**64 - 1
_new: Callable[..., Recorded] = tuple.__new__


class Written(int):
    """The commit position of an append's last event, and its ``revision``; ``NO_POSITION`` if the server kept none."""

    revision: int

    @classmethod
    def at(cls, position: int, revision: int) -> Written:
        """Both at once."""
        written = cls(position)
        written.revision = revision
        return written


NO_POSITION = -1


class WrongVersion(WrongCurrentVersion):
    """The stream's last version is ``actual``, -1 if it has none; the client's own error has it in its text only."""

    def __init__(self, actual: int) -> None:
        super().__init__(f"the last version is {actual}")
        self.actual = actual


def written(response: streams_pb2.BatchAppendResp, stream: str, expected: Any) -> Written:
    """The answer to an append. Raises ``WrongVersion`` and else what the client raises."""
    if response.HasField("success"):
        success = response.success
        position = success.position.commit_position if success.HasField("position") else END
        return Written.at(position if position < END else NO_POSITION, success.current_revision)
    details = response.error.details
    if details.Is(shared_pb2.WrongExpectedVersion.DESCRIPTOR):
        wrong = shared_pb2.WrongExpectedVersion()
        details.Unpack(wrong)
        known = wrong.HasField("current_stream_revision")
        raise WrongVersion(wrong.current_stream_revision if known else -1)
    return Written.at(StreamsService._convert_batch_append_resp(response, stream, expected), 0)


def correlation(response: streams_pb2.BatchAppendResp) -> UUID:
    """Which request this answers; servers write it in either form."""
    sent = response.correlation_id
    if sent.HasField("structured"):
        high, low = sent.structured.most_significant_bits, sent.structured.least_significant_bits
        return UUID(int=(high & _64_BITS) << 64 | low & _64_BITS)
    return UUID(sent.string)


def recorded(event: streams_pb2.ReadResp.ReadEvent.RecordedEvent) -> Recorded:
    """An event as the port gives it; the server's time is in 100 ns, unless the event has an original one."""
    about = event.metadata
    at_us, meta = times.read(event.custom_metadata, int(about["created"]) // 10)
    return _new(
        Recorded,
        (
            bytes.fromhex(event.id.string.replace("-", "")),
            about["type"],
            event.stream_identifier.stream_name.decode(),
            event.stream_revision,
            Position(event.commit_position),
            at_us,
            event.data,
            meta,
        ),
    )


def filter_of(only: Only) -> dict[str, Any]:
    """The arguments that let the server filter as far as it can: by type or by stream, never both.

    One grouped pattern: the client joins several ones without grouping them, so that all but the ends match parts.
    """
    if only.types:
        return {"filter_include": ["(" + "|".join(map(re.escape, sorted(only.types))) + ")"]}
    if only.prefixes:
        starts = "|".join(map(re.escape, only.prefixes))
        return {"filter_include": [f"({starts})[\\s\\S]*"], "filter_by_stream_name": True}
    return {"filter_exclude": [SYSTEM]}


def fits(event: Recorded, only: Only) -> bool:
    """Whether the event passes the filter and is no event of the server itself."""
    if event.type.startswith("$") or event.stream.startswith("$"):
        return False
    if only.types and event.type not in only.types:
        return False
    return not only.prefixes or event.stream.startswith(only.prefixes)
