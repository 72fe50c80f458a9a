"""Events as another store recorded them: ids, streams, versions, data and metadata stay, and times beside the server's
own (``times``). Positions are the server's, in the same order.

A stream can only begin with version 0 here. One that was truncated gets as many empty events of the server's kind
(``$forgotten``) in front as are missing, and is truncated before any of them can be read.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar
from uuid import UUID, uuid5

from esdbclient.events import NewEvent
from esdbclient.streams import StreamState

from shared.errors import Conflict, Refused, Unavailable
from shared.store.carrying import Forgotten
from shared.store.checks import check_event
from shared.store.esdb import forget
from shared.store.esdb.connection import Connection
from shared.store.esdb.failures import FAILURES, explained
from shared.store.esdb.reading import Reading
from shared.store.esdb.times import stamped
from shared.store.esdb.wire import WrongVersion
from shared.store.esdb.writing import MAX_IN_FLIGHT, MAX_IN_FLIGHT_BYTES, Writing, check_stream
from shared.store.port import (
    MAX_APPEND_BYTES,
    MAX_APPEND_EVENTS,
    NO_STREAM,
    Append,
    New,
    Recorded,
    StreamNotFound,
    StreamTombstoned,
)

PATIENCE_S = 60.0
"""How long a server may be away, as when another node becomes the leader, before restoring is given up."""
PAUSE_S = 0.5
STAMP_BYTES = 32
"""What the time adds to an event's metadata, at most."""
PADS = 1_000
"""Empty events in one append."""

_EMPTY = "$forgotten"
_PADDING = UUID("6d7dd2d5-3b30-5f0e-9a37-1f2a4f6b8a57")
_DELETED = 2**63 - 1
Answer = TypeVar("Answer")


class Restoring:
    """Through one connection."""

    def __init__(self, connection: Connection, reading: Reading, writing: Writing) -> None:
        self._connection = connection
        self._reading = reading
        self._writing = writing

    def forgotten(self) -> Iterator[Forgotten]:
        """As ``Carrying.forgotten``: from the metadata of streams and from tombstones."""
        tombstoned = {event.stream for event in self._reading.tombstones()}
        before: dict[str, int] = {}
        for event in self._reading.metadata():
            before[event.stream.removeprefix("$$")] = json.loads(event.data or b"{}").get(forget.TRUNCATE_BEFORE, 0)
        for stream in sorted(tombstoned | {name for name, first in before.items() if first and name[:1] != "$"}):
            if stream in tombstoned:
                yield Forgotten(stream, 0, gone=True, forever=True)
            elif before[stream] < _DELETED:
                yield Forgotten(stream, before[stream])
            elif (last := self._reading.last_of_deleted(stream)) is not None:
                yield Forgotten(stream, last + 1, gone=True)

    def begin(self, streams: Sequence[Forgotten]) -> None:
        """As ``Carrying.begin``."""
        for each in streams:
            check_stream(each.stream)
            _patiently(lambda each=each: self._begin(each))  # type: ignore[misc]

    def restore(self, events: Sequence[Recorded]) -> None:
        """As ``Carrying.restore``. What is there already, with the same ids, is passed over."""
        for event in events:
            check_stream(event.stream)
            check_event(event.type, event.data, event.meta)
        for wave in _waves(events):
            _patiently(lambda wave=wave: self._restore(wave))  # type: ignore[misc]

    def _restore(self, wave: Sequence[Sequence[Recorded]]) -> None:
        for run, outcome in zip(wave, self._writing.pipelined([_append(run) for run in wave]), strict=True):
            if isinstance(outcome, Conflict):
                raise self._refused(run[0], outcome) from outcome
            if isinstance(outcome, StreamTombstoned):
                raise _refused(run[0], "the stream was deleted for ever") from outcome
            if isinstance(outcome, Exception):
                raise outcome
            if outcome.version != run[-1].version:
                raise _refused(run[-1], f"the server gave it version {outcome.version}: the stream had been deleted")

    def _refused(self, event: Recorded, conflict: Conflict) -> Refused:
        try:
            instead = self._reading.stream(event.stream, event.version, 1, False)
        except (StreamNotFound, StreamTombstoned):
            instead = []
        if not instead:
            return _refused(event, f"the stream is at version {conflict.actual or 'unknown'}")
        return _refused(event, f"{instead[0].type} {instead[0].id} is there instead")

    def _begin(self, begins: Forgotten) -> None:
        client = self._connection.client()
        try:
            if begins.forever:
                forget.delete(self._connection, begins.stream, True)
                return
            if not begins.gone:
                forget.truncate_unseen(client, begins.stream, begins.first)
            self._pad(begins.stream, begins.first)
            if begins.gone:
                forget.delete(self._connection, begins.stream, False)
        except FAILURES as failure:
            raise explained(failure, f"begin {begins.stream}") from failure

    def _pad(self, stream: str, until: int) -> None:
        """Let the stream have the versions below ``until``, whatever they hold."""
        client = self._connection.client()
        start = 0
        while start < until:
            stop = min(start + PADS, until)
            pads = [NewEvent(_EMPTY, b"{}", b"", "application/json", _pad_id(stream, n)) for n in range(start, stop)]
            expected = start - 1 if start else StreamState.NO_STREAM
            try:
                client.append_to_stream(stream, current_version=expected, events=pads, timeout=client.deadline_s)
            except WrongVersion as wrong:
                stop = wrong.actual + 1
                if stop < start:
                    raise Refused("does_not_fit", f"stream {stream} was changed by somebody else") from wrong
            start = stop


def _pad_id(stream: str, version: int) -> UUID:
    return uuid5(_PADDING, f"{stream}/{version}")


def _append(run: Sequence[Recorded]) -> Append:
    news = [New(event.id, event.type, event.data, _meta(event)) for event in run]
    return Append(run[0].stream, run[0].version - 1 if run[0].version else NO_STREAM, news)


def _meta(event: Recorded) -> bytes:
    try:
        return stamped(event.meta, event[5])
    except ValueError as error:
        raise _refused(event, str(error)) from None


def _refused(event: Recorded, reason: str) -> Refused:
    return Refused("does_not_fit", f"stream {event.stream}, version {event.version} ({event.type}): {reason}")


def _waves(events: Sequence[Recorded]) -> Iterator[list[list[Recorded]]]:
    """Runs of one stream's events, each an append; so many that one call takes them, in order."""
    wave: list[list[Recorded]] = []
    wave_bytes = run_bytes = 0
    for event in events:
        size_bytes = len(event.data) + len(event.meta) + 2 * len(event.type) + STAMP_BYTES
        last = wave[-1][-1] if wave else None
        is_next = last is not None and (last.stream, last.version + 1) == (event.stream, event.version)
        if is_next and len(wave[-1]) < MAX_APPEND_EVENTS and run_bytes + size_bytes <= MAX_APPEND_BYTES:
            wave[-1].append(event)
            run_bytes += size_bytes
        else:
            if len(wave) == MAX_IN_FLIGHT or wave_bytes + size_bytes > MAX_IN_FLIGHT_BYTES:
                yield wave
                wave, wave_bytes = [], 0
            wave.append([event])
            run_bytes = size_bytes
        wave_bytes += size_bytes
    if wave:
        yield wave


def _patiently(call: Callable[[], Answer]) -> Answer:
    """Repeat it while the server is away: all of it may be repeated."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return call()
        except Unavailable:
            if time.monotonic() > deadline:
                raise
            time.sleep(PAUSE_S)
