"""The lines of an archive: one JSON object each, UTF-8, ended by a newline.

::

    {"type":"$archive","format":1,"created":…,"types":[],"streams":[],"from":null,"to":4711}     the first line
    {"id":…,"type":…,"stream":…,"version":0,"position":1,"at":…,"data":{…},"meta":{…}}             an event
    {"type":"$checkpoint","events":1000,"position":1000,"sha256":…}                              after every 1,000
    {"type":"$forgotten","stream":…,"first":7,"gone":false,"forever":false}                      behind all events
    {"type":"$end","events":4711,"position":4711,"sha256":…}                                     the last line

No event has a type that begins with ``$``. ``sha256`` is that of all bytes of the file before its line. ``data`` and
``meta`` are the very bytes that the store holds; where those are not one line of JSON, ``data64`` and ``meta64`` have
them in base64 instead.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from shared.store.carrying import Forgotten
from shared.store.port import Only, Position, Recorded

FORMAT = 1
CHECKPOINT_EVENTS = 1_000
"""How many events lie between two checkpoints: what an interrupted export may have to write again."""
MAX_LINE_BYTES = 8 * 1_048_576
"""Longest line; the largest event takes less than half of it."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_NOTE = b'{"type":"$'


class BadLine(ValueError):
    """This is no line of an archive."""


class Header(msgspec.Struct, frozen=True, tag="$archive", tag_field="type", kw_only=True):
    """What the archive holds: events that pass the filter, from a position (or the first) to a position, both of them
    included. ``until`` is None where the store was empty."""

    format: int = FORMAT
    created: datetime
    types: tuple[str, ...] = ()
    streams: tuple[str, ...] = ()
    since: int | None = msgspec.field(default=None, name="from")
    until: int | None = msgspec.field(default=None, name="to")

    @property
    def only(self) -> Only:
        """The filter."""
        return Only(frozenset(self.types), self.streams)


class Checkpoint(msgspec.Struct, frozen=True, tag="$checkpoint", tag_field="type"):
    """So many events are before this line, the last of them at ``position``."""

    events: int
    position: int
    sha256: str


class Behind(msgspec.Struct, frozen=True, tag="$forgotten", tag_field="type"):
    """See ``Forgotten``."""

    stream: str
    first: int
    gone: bool
    forever: bool


class End(msgspec.Struct, frozen=True, tag="$end", tag_field="type"):
    """All events are before this line, and nothing is behind it. ``position`` is that of the last event."""

    events: int
    position: int | None
    sha256: str


_NOTHING = msgspec.Raw()


class _Event(msgspec.Struct, omit_defaults=True):
    id: UUID
    type: str
    stream: str
    version: int
    position: int
    at: datetime
    data: msgspec.Raw = _NOTHING
    meta: msgspec.Raw = _NOTHING
    data64: bytes | None = None
    meta64: bytes | None = None


Note = Header | Checkpoint | Behind | End

_encode = msgspec.json.Encoder().encode
_note = msgspec.json.Decoder(Note).decode
_event = msgspec.json.Decoder(_Event).decode
_raw = msgspec.json.Decoder(msgspec.Raw).decode
_new: Any = tuple.__new__


def note_line(note: Note) -> bytes:
    """A line that is no event."""
    return _encode(note) + b"\n"


def forgotten_line(forgotten: Forgotten) -> bytes:
    """The line for what was forgotten of a stream."""
    return note_line(Behind(forgotten.stream, forgotten.first, forgotten.gone, forgotten.forever))


def event_line(event: Recorded) -> bytes:
    """The line of an event."""
    line = _Event(event.id, event.type, event.stream, event.version, event.position, event.at)
    if _is_one_line(event.data):
        line.data = msgspec.Raw(event.data)
    else:
        line.data64 = event.data
    if _is_one_line(event.meta):
        line.meta = msgspec.Raw(event.meta)
    else:
        line.meta64 = event.meta
    return _encode(line) + b"\n"


def is_note(line: bytes) -> bool:
    """Whether it is no event; of any bytes."""
    return line.startswith(_NOTE)


def to_note(line: bytes) -> Note:
    """The line as what it says. Raises ``BadLine``."""
    try:
        note: Note = _note(line)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadLine(str(error)) from None
    return note


def to_event(line: bytes) -> Recorded:
    """The event of a line. Raises ``BadLine``."""
    try:
        event = _event(line)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadLine(str(error)) from None
    data = bytes(event.data) or event.data64
    meta = bytes(event.meta) or event.meta64
    if data is None or meta is None:
        raise BadLine("an event without data or without meta")
    if event.at.tzinfo is None or event.version < 0 or event.position < 1:
        raise BadLine("an event with a version, position or time that no store gives")
    at_us = (event.at - _EPOCH) // _MICROSECOND
    recorded: Recorded = _new(
        Recorded,
        (event.id.bytes, event.type, event.stream, event.version, Position(event.position), at_us, data, meta),
    )
    return recorded


def _is_one_line(text: bytes) -> bool:
    """Whether it is JSON that can stand in a line as it is."""
    if b"\n" in text or b"\r" in text:
        return False
    try:
        text.isascii() or text.decode()
        return bytes(_raw(text)) == text
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return False
