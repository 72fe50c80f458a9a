"""A file of device IDs, one a line, read from whatever chunks it arrives in. Does no I/O.

Behind an ID may stand the device's public key, the DER of its SubjectPublicKeyInfo in base64, separated by a comma, a
semicolon, tabs or spaces. UTF-8 text; a byte order mark, CRLF, blanks around an ID, blank lines and any case are
forgiven (DEV-1). Lines count from 1 over all lines. A line longer than ``MAX_LINE_BYTES`` is malformed, and is passed
over without being kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from shared.ids import DeviceId, device_id

MAX_LINE_BYTES = 600
"""An ID and a key of 2,048 bits fit in it, so that even for a key twice too long the reason is told."""
MAX_TEXT = 64
"""Characters of a malformed line that are kept."""

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
NOT_AN_ID = "a device ID has 24 hex digits"
TOO_LONG = f"the line has more than {MAX_LINE_BYTES} bytes"

_ID_AND_MORE = re.compile(r"([0-9A-Fa-f]{24})(?:[ \t]*[,;][ \t]*|[ \t]+)(.*)")


@dataclass(frozen=True, slots=True)
class Malformed:
    """A line that begins with no device ID: its beginning, trimmed, with what cannot be printed replaced."""

    text: str
    reason: str = NOT_AN_ID


@dataclass(frozen=True, slots=True)
class Keyed:
    """A device ID and what stands behind it, which should be its public key."""

    device_id: DeviceId
    key: str


Content = DeviceId | Keyed | Malformed | None
"""None for a blank line."""


class Line(msgspec.Struct, frozen=True, gc=False):
    """One line; ``end`` is the offset in bytes behind its line break."""

    number: int
    content: Content
    end: int


def content_of(raw: bytes) -> Content:
    """What one line, without its line feed, says."""
    text = raw.decode(errors="replace").strip()
    if len(raw) > MAX_LINE_BYTES:
        return Malformed(_printable(text), TOO_LONG)
    if not text:
        return None
    found = device_id(text)
    return _with_more(text) if found is None else found


def _with_more(text: str) -> Content:
    parts = _ID_AND_MORE.fullmatch(text)
    found = None if parts is None else device_id(parts[1])
    if parts is None or found is None:
        return Malformed(_printable(text))
    return Keyed(found, parts[2]) if parts[2] else found


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[:MAX_TEXT])


class IdReader:
    """Turns the bytes of a file into its lines; may begin in the middle, behind a line that was dealt with before."""

    def __init__(self, lines_done: int = 0, offset: int = 0) -> None:
        self._number = lines_done
        self._offset = offset
        self._kept = bytearray()
        self._line_bytes = 0

    @property
    def kept_bytes(self) -> int:
        """How much of an unfinished line is kept, at most one byte more than ``MAX_LINE_BYTES``."""
        return len(self._kept)

    def feed(self, chunk: bytes) -> Iterator[Line]:
        """The lines that end in this chunk; it must be iterated to its end before the next is fed."""
        start = 0
        while (newline := chunk.find(b"\n", start)) >= 0:
            if self._line_bytes or newline - start > MAX_LINE_BYTES:
                self._keep(chunk, start, newline)
                self._line_bytes += 1
                yield self._kept_line()
            else:
                yield self._line(chunk[start:newline], newline + 1 - start)
            start = newline + 1
        self._keep(chunk, start, len(chunk))

    def finish(self) -> Iterator[Line]:
        """The last line, if no line break followed it."""
        if self._line_bytes:
            yield self._kept_line()

    def _keep(self, chunk: bytes, start: int, end: int) -> None:
        room = MAX_LINE_BYTES + 1 - len(self._kept)
        self._kept += chunk[start : min(end, start + room)]
        self._line_bytes += end - start

    def _kept_line(self) -> Line:
        kept, size_bytes = bytes(self._kept), self._line_bytes
        self._kept.clear()
        self._line_bytes = 0
        return self._line(kept, size_bytes)

    def _line(self, raw: bytes, size_bytes: int) -> Line:
        if self._offset == 0 and len(raw) <= MAX_LINE_BYTES:
            raw = raw.removeprefix(BYTE_ORDER_MARK)
        self._offset += size_bytes
        self._number += 1
        return Line(self._number, content_of(raw), self._offset)
