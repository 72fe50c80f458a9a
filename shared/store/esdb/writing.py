"""Appends: one in a call, or many pipelined in one."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from uuid import UUID, uuid4

from esdbclient.events import NewEvent
from esdbclient.exceptions import ServiceUnavailable
from esdbclient.protos.Grpc import streams_pb2
from esdbclient.streams import StreamState

from shared.errors import Misuse, Unavailable, Unknown
from shared.store.checks import append_bytes
from shared.store.esdb.client import Answers, Streams
from shared.store.esdb.connection import Connection
from shared.store.esdb.failures import FAILURES, explained_append
from shared.store.esdb.reading import Reading
from shared.store.esdb.wire import NO_POSITION, Written, WrongVersion
from shared.store.port import (
    ANY,
    NO_STREAM,
    Append,
    Appended,
    AppendTooLarge,
    Expected,
    New,
    Position,
    StreamNotFound,
    StreamTombstoned,
)

MAX_IN_FLIGHT = 256
"""Most appends in one call."""
MAX_IN_FLIGHT_BYTES = 4 * 1_048_576
VISIBLE_S = 2.0
"""How long an append that brings a deleted stream back waits until the stream can be read."""
LOOK_AGAIN_S = 0.02

_STATES = {ANY: StreamState.ANY, NO_STREAM: StreamState.NO_STREAM}

Outcome = Appended | Exception


class Writing:
    """Through one connection."""

    def __init__(self, connection: Connection, reading: Reading) -> None:
        self._connection = connection
        self._reading = reading

    def append(self, stream: str, expected: int | Expected, events: Sequence[New]) -> Appended:
        """As ``EventStore.append``."""
        check(stream, expected, events)
        client = self._connection.client()
        try:
            written = client.append_to_stream(
                stream, current_version=_state(expected), events=_new_events(events), timeout=client.deadline_s
            )
            if not isinstance(written, Written):
                raise Misuse(f"the client gave {written!r} for an append")
        except FAILURES as failure:
            return self._repeated(failure, stream, expected, events)
        return self._appended(written, stream, expected, events)

    def append_many(self, appends: Sequence[Append]) -> list[Outcome]:
        """As ``EventStore.append_many``; those to one stream follow one another."""
        outcomes: list[Outcome] = [Misuse("not appended")] * len(appends)
        for wave in _waves(appends, outcomes):
            for index, outcome in zip(wave, self.pipelined([appends[index] for index in wave]), strict=True):
                outcomes[index] = outcome
        return outcomes

    def pipelined(self, wave: Sequence[Append]) -> Iterator[Outcome]:
        """The outcomes of appends that are sent in one call and done in their order; all are checked already."""
        client = self._connection.client()
        keys = [uuid4() for _ in wave]
        wanted = {key: _request(key, append, client.deadline_s) for key, append in zip(keys, wave, strict=True)}
        answers: Answers = {}
        lost: Exception = ServiceUnavailable("no answer")
        try:
            client.pipeline(wanted, answers, client.deadline_s)
        except FAILURES as failure:
            lost = failure
        for key, append in zip(keys, wave, strict=True):
            yield self._outcome(answers.get(key, lost), append)

    def _outcome(self, answer: Written | Exception, append: Append) -> Outcome:
        stream, expected, events = append.stream, append.expected, append.events
        try:
            if isinstance(answer, Written):
                return self._appended(answer, stream, expected, events)
            return self._repeated(answer, stream, expected, events)
        except Exception as failure:  # noqa: BLE001 - handed to the caller as the outcome
            return failure

    def _appended(self, written: Written, stream: str, expected: int | Expected, events: Sequence[New]) -> Appended:
        if expected is NO_STREAM and written.revision >= len(events):
            self._await_visible(stream)
        position = self._head(stream) if written == NO_POSITION else int(written)
        return Appended(written.revision, Position(position))

    def _head(self, stream: str) -> int:
        """A position that is not before that of events which were appended once and forgotten since."""
        try:
            return self._reading.head()
        except Unavailable as failure:
            raise Unknown(f"append to {stream}: it had happened before; {failure}") from failure

    def _repeated(self, failure: Exception, stream: str, expected: int | Expected, events: Sequence[New]) -> Appended:
        """The answer of the first time, if these events began a stream that had been deleted before: the server
        compares a repetition with the deleted ones. Raises what the failure means otherwise."""
        if isinstance(failure, WrongVersion) and expected is NO_STREAM and failure.actual >= len(events):
            try:
                stored = self._reading.stream(stream, 0, len(events), False)
            except StreamNotFound:
                stored = []
            if stored and stored[0].version > 0 and [event.id for event in stored] == [event.id for event in events]:
                return Appended(stored[-1].version, stored[-1].position)
        raise explained_append(failure, stream, expected) from failure

    def _await_visible(self, stream: str) -> None:
        """A deleted stream that comes back may be "not found" for a moment after the append was acknowledged."""
        deadline = time.monotonic() + VISIBLE_S
        while time.monotonic() < deadline:
            try:
                self._reading.stream(stream, -1, 1, True)
            except StreamNotFound:
                time.sleep(LOOK_AGAIN_S)
            except (Unavailable, StreamTombstoned):
                return  # whoever reads next is told; the append is acknowledged
            else:
                return


def check(stream: str, expected: int | Expected, events: Sequence[New]) -> int:
    """The size that counts for the limit. Raises ``Misuse`` and ``AppendTooLarge``."""
    check_stream(stream)
    return append_bytes(stream, expected, events)


def check_stream(stream: str) -> None:
    """Raises ``Misuse`` for the server's own streams."""
    if stream.startswith("$"):
        raise Misuse(f"stream {stream} belongs to the server")


def _waves(appends: Sequence[Append], outcomes: list[Outcome]) -> Iterator[list[int]]:
    """Indices of appends that may be in flight together; the outcomes of those that are refused are filled in."""
    wave: list[int] = []
    streams: set[str] = set()
    total_bytes = 0
    for index, append in enumerate(appends):
        try:
            size_bytes = check(append.stream, append.expected, append.events)
        except (Misuse, AppendTooLarge) as refusal:
            outcomes[index] = refusal
            continue
        is_full = len(wave) == MAX_IN_FLIGHT or total_bytes + size_bytes > MAX_IN_FLIGHT_BYTES
        if wave and (is_full or append.stream in streams):
            yield wave
            wave, streams, total_bytes = [], set(), 0
        wave.append(index)
        streams.add(append.stream)
        total_bytes += size_bytes
    if wave:
        yield wave


def _request(key: UUID, append: Append, deadline_s: float) -> streams_pb2.BatchAppendReq:
    return Streams._construct_batch_append_req(
        stream_name=append.stream,
        current_version=_state(append.expected),
        events=_new_events(append.events),
        correlation_id=key,
        timeout=deadline_s,
    )


def _state(expected: int | Expected) -> int | StreamState:
    return _STATES[expected] if isinstance(expected, Expected) else expected


def _new_events(events: Sequence[New]) -> list[NewEvent]:
    """A list always: the client may send them a second time."""
    return [NewEvent(event.type, event.data, event.meta, "application/json", event.id) for event in events]
