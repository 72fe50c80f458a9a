"""A finished archive: verified first, then read as often as is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from shared.errors import Refused
from shared.store.archive.lines import MAX_LINE_BYTES, BadLine, Behind, End, Header, Note, is_note, to_event
from shared.store.archive.scanning import Damaged, Scan
from shared.store.carrying import Forgotten
from shared.store.port import Recorded

TELL_EVERY = 1_000

Told = Callable[[int, int], None]
"""Hears how many bytes have been read, and how many events were in them."""


@dataclass(slots=True)
class Contents:
    """What a verified archive holds. ``last`` and ``begins`` are the last and the first version of each stream, of
    those that are not forgotten; ``begins`` has only those that are not 0."""

    header: Header
    end: End
    size_bytes: int
    last: dict[str, int] = field(default_factory=dict)
    begins: dict[str, int] = field(default_factory=dict)
    forgotten: dict[str, Forgotten] = field(default_factory=dict)

    def is_forgotten(self, event: Recorded) -> bool:
        """Whether its stream did not show it any more when the archive was finished."""
        known = self.forgotten.get(event.stream)
        return known is not None and (known.forever or event.version < known.first)


@dataclass(slots=True)
class _Jump:
    """The last version of a stream whose predecessor is missing, and its line."""

    version: int
    line: int


class Archive:
    """The file at ``path``. Whatever is wrong with it is ``Refused`` with its line."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise Refused("bad_archive", f"there is no file {path}")

    def verify(self, told: Told) -> Contents:
        """Read it once: every checksum, every line, the order of positions and of the versions of each stream."""
        try:
            return self._verified(told)
        except Damaged as damage:
            raise Refused("bad_archive", f"{self.path}, {damage}; nothing was imported") from None

    def events(self, told: Told) -> Iterator[Recorded]:
        """The events, in order; of a file that was verified before."""
        size_bytes = events = 0
        with self.path.open("rb") as source:
            while line := source.readline(MAX_LINE_BYTES):
                size_bytes += len(line)
                if is_note(line):
                    continue
                events += 1
                try:
                    event = to_event(line)
                except BadLine as error:
                    reason = f"{self.path} was changed while it was read: event {events} ({error})"
                    raise Refused("bad_archive", reason) from None
                yield event
                if events % TELL_EVERY == 0:
                    told(size_bytes, events)
        told(size_bytes, events)

    def _verified(self, told: Told) -> Contents:
        order = _Order()
        forgotten: dict[str, Forgotten] = {}
        with closing(self.path.open("rb")) as source:
            scan = Scan(source)
            for number, line, note in scan:
                if note is None:
                    order.add(number, _event(number, line))
                    if scan.events % TELL_EVERY == 0:
                        told(scan.size_bytes, scan.events)
                else:
                    _remember(note, forgotten)
            told(scan.size_bytes, scan.events)
        if scan.good is None or scan.end is None:
            raise Damaged(1, "the file is empty")
        contents = Contents(scan.good.header, scan.end, scan.size_bytes, forgotten=forgotten)
        order.conclude(contents)
        return contents


class _Order:
    """Whether events can have come from a store in this order."""

    def __init__(self) -> None:
        self._position = 0
        self._last: dict[str, int] = {}
        self._begins: dict[str, _Jump] = {}
        self._jumps: dict[str, _Jump] = {}

    def add(self, number: int, event: Recorded) -> None:
        if event.position <= self._position:
            raise Damaged(number, f"position {event.position} is not behind {self._position}, the one before")
        self._position = event.position
        last = self._last.get(event.stream)
        if last is not None and event.version <= last:
            raise Damaged(number, f"stream {event.stream}, version {event.version} comes behind version {last}")
        if last is None and event.version > 0:
            self._begins[event.stream] = _Jump(event.version, number)
        elif last is not None and event.version != last + 1:
            self._jumps[event.stream] = _Jump(event.version, number)
        self._last[event.stream] = event.version

    def conclude(self, contents: Contents) -> None:
        """Versions may only be missing where they were forgotten, or before the archive's first position."""
        contents.last = self._last
        if contents.header.types:
            return
        for stream, jump in self._jumps.items():
            if jump.version > _first(contents, stream):
                raise Damaged(jump.line, f"stream {stream}: version {jump.version - 1} is missing")
        for stream, jump in self._begins.items():
            if jump.version > _first(contents, stream):
                if contents.header.since is None:
                    raise Damaged(jump.line, f"stream {stream} begins with version {jump.version}")
                contents.begins[stream] = jump.version
        for stream, known in contents.forgotten.items():
            if known.first > 0 and stream not in contents.begins:
                contents.begins[stream] = known.first


def _first(contents: Contents, stream: str) -> int:
    known = contents.forgotten.get(stream)
    if known is None:
        return 0
    return 2**63 if known.forever else known.first


def _event(number: int, line: bytes) -> Recorded:
    try:
        return to_event(line)
    except BadLine as error:
        raise Damaged(number, f"this is no event ({error})") from None


def _remember(note: Note, forgotten: dict[str, Forgotten]) -> None:
    if isinstance(note, Behind):
        forgotten[note.stream] = Forgotten(note.stream, note.first, note.gone, note.forever)
