"""From a store into an archive. What a header asks for is always written with the same bytes, as long as nothing is
forgotten meanwhile: so an export that was interrupted can be gone on with."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from shared.errors import NotFound, Refused
from shared.store.archive.lines import (
    CHECKPOINT_EVENTS,
    Checkpoint,
    End,
    Header,
    event_line,
    forgotten_line,
    note_line,
    to_event,
)
from shared.store.archive.scanning import Damaged, Place, Scan
from shared.store.carrying import Carrying
from shared.store.port import EventStore, Only, Position, Recorded
from shared.store.walking import walk

Told = Callable[[int, int | None], None]
"""Hears how many events are written, and the position of the last."""


def export(store: Carrying, header: Header, out: BinaryIO, *, place: Place | None = None, told: Told) -> End:
    """Write the whole archive, or what is missing behind ``place``, where ``out`` stands."""
    writer = _Writer(out, header, place)
    for event in stretch(store, header, writer.position):
        writer.add(event)
        if not writer.pending:
            told(writer.events, writer.position)
    for forgotten in store.forgotten():
        if forgotten.stream.startswith(header.streams or ""):
            writer.write(forgotten_line(forgotten))
    return writer.finish()


def stretch(store: EventStore, header: Header, after: int | None = None) -> Iterator[Recorded]:
    """The events that the header asks for, behind ``after``."""
    if header.until is None:
        return
    if after is None and header.since is not None:
        yield from _at(store, Position(header.since), header.only)
        after = header.since
    begin = None if after is None else Position(after)
    yield from walk(store, header.only, after=begin, until=Position(header.until))


def begun(source: BinaryIO, path: Path) -> Place | None:
    """How far a file that an interrupted export left is good; None if not even the header is. Raises ``Refused`` if it
    is finished or something else."""
    scan = Scan(source)
    try:
        for _ in scan:
            """Only looked at."""
    except Damaged as damage:
        if scan.good is None and damage.line == 1 and scan.size_bytes == 0 and not _is_of_export(source):
            raise Refused("bad_archive", f"{path}, {damage}; nothing was written to it") from None
        return scan.good
    raise Refused("export_finished", f"{path} is finished already, with {scan.events} events: name another file")


def _is_of_export(source: BinaryIO) -> bool:
    """Whether it is empty, or a part of a header."""
    source.seek(0)
    start = source.read(len(_START))
    return _START.startswith(start) and (len(start) < len(_START) or b"\n" not in source.read(4_096))


_START = b'{"type":"$archive","format":'


class _Writer:
    def __init__(self, out: BinaryIO, header: Header, place: Place | None) -> None:
        self._out = out
        self._sha256 = hashlib.sha256() if place is None else place.sha256.copy()
        self.events = 0 if place is None else place.events
        self.position = None if place is None else place.position
        self.pending: list[bytes] = []
        if place is None:
            self.write(note_line(header))

    def add(self, event: Recorded) -> None:
        self.pending.append(event_line(event))
        self.events += 1
        self.position = event.position
        if self.events % CHECKPOINT_EVENTS == 0:
            self._flush()
            self.write(note_line(Checkpoint(self.events, event.position, self._sha256.hexdigest())))

    def write(self, line: bytes) -> None:
        self._flush()
        self._put(line)

    def finish(self) -> End:
        self._flush()
        end = End(self.events, self.position, self._sha256.hexdigest())
        self._put(note_line(end))
        return end

    def _flush(self) -> None:
        if self.pending:
            lines = b"".join(self.pending)
            self.pending = []
            self._put(lines)

    def _put(self, content: bytes) -> None:
        self._sha256.update(content)
        self._out.write(content)
        self._out.flush()


def _at(store: EventStore, position: Position, only: Only) -> Iterator[Recorded]:
    try:
        event = store.at(position)
    except NotFound:
        return
    if (not only.types or event.type in only.types) and event.stream.startswith(only.prefixes or ""):
        yield event


def check_same(store: EventStore, place: Place) -> None:
    """Raises ``Refused`` if what is before ``place`` came from another store."""
    head = store.head()
    until = place.header.until
    if until is not None and (head is None or head < until):
        reason = f"the archive goes up to position {until}, and the store to {head}: it was begun from another store"
        raise Refused("other_store", reason)
    last = to_event(place.last) if place.last else None
    if last is not None and list(_at(store, last.position, Only())) not in ([], [last]):
        reason = f"another event is at position {last.position}: the archive was begun from another store"
        raise Refused("other_store", reason)
