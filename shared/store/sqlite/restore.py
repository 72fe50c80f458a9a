"""Events as another store recorded them: written with their own positions, versions and times."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from shared.errors import Refused
from shared.store.carrying import Forgotten
from shared.store.checks import check_event, check_stream
from shared.store.port import Recorded
from shared.store.sqlite.batch import Batch, Stream
from shared.store.sqlite.pool import Pool
from shared.store.sqlite.schema import ALIVE, TOMBSTONED

MAX_STREAMS = 1_000
"""Most streams that begin in one transaction."""

_FORGOTTEN = (
    "SELECT name, first, first > version, state FROM streams "  # noqa: S608 - constants only
    f"WHERE (first > 0 OR state <> {ALIVE}) AND name > ? ORDER BY name LIMIT {MAX_STREAMS}"
)


def check(events: Sequence[Recorded]) -> int:
    """The size that counts for a transaction. Raises ``Misuse`` for what no store can hold."""
    for event in events:
        check_stream(event.stream)
    return sum(check_event(event.type, event.data, event.meta) for event in events)


def forgotten(pool: Pool) -> Iterator[Forgotten]:
    """As ``Carrying.forgotten``."""
    name = ""
    while rows := pool.rows(_FORGOTTEN, (name,)):
        for name, first, gone, state in rows:
            yield Forgotten(name, first, bool(gone), state == TOMBSTONED)


def begin(batch: Batch, streams: Sequence[Forgotten]) -> Refused | list[str]:
    """As ``Carrying.begin``; the names of streams that held events, of which some may be forgotten now."""
    found = batch.streams(each.stream for each in streams)
    for each in streams:
        stream = found[each.stream]
        if stream.first > each.first or (stream.state == TOMBSTONED and not each.forever):
            return _unlike(stream, each)
    held = [each.stream for each in streams if not found[each.stream].is_new]
    for each in streams:
        _begin(batch, found[each.stream], each)
    return held


def restore(batch: Batch, events: Sequence[Recorded]) -> Refused | None:
    """As ``Carrying.restore``. Versions that are left out were forgotten where the events come from."""
    streams = batch.streams(event.stream for event in events)
    refusal = _first_that_does_not_fit(batch.known.head, streams, events)
    if refusal is None:
        for event in events:
            batch.put(streams[event.stream], event)
    return refusal


def _begin(batch: Batch, stream: Stream, begins: Forgotten) -> None:
    state = TOMBSTONED if begins.forever else stream.state
    if (stream.first, stream.state) != (begins.first, state) or stream.version < begins.first - 1:
        stream.version = max(stream.version, begins.first - 1)
        stream.first, stream.state, stream.recent = begins.first, state, None
        batch.change(stream)


def _first_that_does_not_fit(head: int, streams: dict[str, Stream], events: Sequence[Recorded]) -> Refused | None:
    last: dict[str, int] = {}
    for event in events:
        stream = streams[event.stream]
        if event.position <= head:
            return _refused(event, f"its position {event.position} is not behind {head}, the store's last")
        if stream.state == TOMBSTONED:
            return _refused(event, "the stream was deleted for ever")
        if event.version <= last.get(event.stream, stream.version):
            return _refused(event, f"the stream is at version {last.get(event.stream, stream.version)} already")
        head = event.position
        last[event.stream] = event.version
    return None


def _refused(event: Recorded, reason: str) -> Refused:
    return Refused("does_not_fit", f"stream {event.stream}, version {event.version} ({event.type}): {reason}")


def _unlike(stream: Stream, begins: Forgotten) -> Refused:
    here = "is deleted for ever" if stream.state == TOMBSTONED else f"begins with version {stream.first}"
    return Refused("does_not_fit", f"stream {stream.name} {here}, and should begin with version {begins.first}")
