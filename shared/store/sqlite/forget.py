"""Forgetting events: they are out of sight at once, and leave the file some thousand a transaction, so that writers
wait for none of it. What a crash leaves behind goes with the next events of that stream that are forgotten."""

from __future__ import annotations

from shared.store.port import StreamTombstoned
from shared.store.sqlite.batch import Batch, Stream
from shared.store.sqlite.schema import TOMBSTONED

MAX_ROWS = 5_000
"""Most events that leave the file in one transaction."""

_SWEEP = "DELETE FROM events WHERE pos IN (SELECT pos FROM events WHERE stream_id = ? AND version < ? LIMIT ?)"


def truncate(batch: Batch, name: str, before: int) -> bool | Exception:
    """Forget the events below ``before``; whether some are still in the file."""
    stream = batch.stream(name)
    if stream.state == TOMBSTONED:
        return StreamTombstoned(name)
    return _forget(batch, stream, before)


def delete(batch: Batch, name: str, forever: bool) -> bool | Exception:
    """Forget all events, for ever or not; whether some are still in the file."""
    stream = batch.stream(name)
    if stream.state == TOMBSTONED and not forever:
        return StreamTombstoned(name)
    if stream.state != TOMBSTONED and forever:
        stream.state = TOMBSTONED
        batch.change(stream)
    return _forget(batch, stream, stream.version + 1)


def sweep(batch: Batch, name: str) -> bool:
    """Remove forgotten events from the file; whether some are still there."""
    return _forget(batch, batch.stream(name), 0)


def _forget(batch: Batch, stream: Stream, before: int) -> bool:
    first = max(stream.first, min(before, stream.version + 1))
    if first > stream.first:
        stream.first, stream.recent = first, None
        batch.change(stream)
    batch.flush()  # what this transaction has appended may be among it
    removed = batch.db.execute(_SWEEP, (stream.id, first, MAX_ROWS)).rowcount
    batch.is_changed = batch.is_changed or removed > 0
    return removed == MAX_ROWS
