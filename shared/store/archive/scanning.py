"""An archive from its first byte on: line by line, with every checksum compared as it comes by."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from shared.store.archive.lines import (
    FORMAT,
    MAX_LINE_BYTES,
    BadLine,
    Checkpoint,
    End,
    Header,
    Note,
    is_note,
    to_event,
    to_note,
)


class Damaged(Exception):
    """It is not as it was written, or not to its end. ``line`` is the first that shows it."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(line, reason)
        self.line = line
        self.reason = reason

    def __str__(self) -> str:
        return f"line {self.line}: {self.reason}"


@dataclass(slots=True)
class Place:
    """A point between two lines that is known to be good: the header's end, or a checkpoint's. ``last`` is the line of
    the last event before it, empty for none."""

    header: Header
    size_bytes: int
    lines: int
    events: int
    position: int | None
    last: bytes
    sha256: hashlib._Hash = field(repr=False)


class Scan:
    """Iterates over ``(number of the line, line, note)``, where ``note`` is None for an event, which is not decoded.

    Raises ``Damaged`` for whatever does not fit, an archive that is not finished among it. ``good`` is the last place
    up to which all is well, None before the header; ``end`` the last line once it has come.
    """

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self.good: Place | None = None
        self.end: End | None = None
        self.size_bytes = 0
        self.events = 0
        self._sha256 = hashlib.sha256()
        self._last = b""

    def __iter__(self) -> Iterator[tuple[int, bytes, Note | None]]:
        number = 0
        while line := self._source.readline(MAX_LINE_BYTES):
            number += 1
            if not line.endswith(b"\n"):
                raise Damaged(number, "it is longer than any line" if len(line) == MAX_LINE_BYTES else "it is cut off")
            if self.end is not None:
                raise Damaged(number, "there is something behind the last line")
            note = self._note(number, line)
            if note is None:
                self._last = line
            self._sha256.update(line)
            self.size_bytes += len(line)
            if note is None:
                self.events += 1
            else:
                self._mark(note, number)
            yield number, line, note
        if self.end is None:
            raise Damaged(number + 1, "the file ends here and is not finished")

    def _note(self, number: int, line: bytes) -> Note | None:
        if not is_note(line):
            if number == 1:
                raise Damaged(1, "this is no archive of events")
            return None
        try:
            note = to_note(line)
        except BadLine as error:
            raise Damaged(number, f"this is no line of an archive ({error})") from None
        self._check(number, note)
        return note

    def _check(self, number: int, note: Note) -> None:
        if isinstance(note, Header) != (number == 1):
            raise Damaged(number, "the header is the first line, and no other")
        if isinstance(note, Header) and note.format != FORMAT:
            raise Damaged(number, f"this is format {note.format}, and this release reads format {FORMAT}")
        if isinstance(note, Checkpoint | End):
            since = self.good.lines if self.good else 0
            if note.sha256 != self._sha256.hexdigest():
                raise Damaged(number, f"the checksum is another: lines {since + 1} to {number} were changed or lost")
            if note.events != self.events:
                raise Damaged(number, f"it says {note.events} events, and {self.events} are before it")
            if note.position != (reached := self._position(number)):
                raise Damaged(number, f"it says position {note.position}, and {reached} is that of the last event")

    def _position(self, number: int) -> int | None:
        if not self._last:
            return None
        try:
            return to_event(self._last).position
        except BadLine as error:
            raise Damaged(number, f"the last event before it is none ({error})") from None

    def _mark(self, note: Note, number: int) -> None:
        if isinstance(note, End):
            self.end = note
        elif isinstance(note, Header):
            self.good = Place(note, self.size_bytes, number, 0, None, b"", self._sha256.copy())
        elif isinstance(note, Checkpoint) and self.good is not None:
            reached = self.size_bytes, number, note.events, note.position, self._last
            self.good = Place(self.good.header, *reached, self._sha256.copy())
