"""One transaction that is being written: checks every append against its stream, and writes all at the end.

The rules are in the port. An append that is refused leaves no trace, so the others of the transaction need no
savepoints: rows reach the file only after every check of their append has passed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import msgspec

from shared.errors import Conflict
from shared.store.port import ANY, Append, Appended, Expected, New, Position, Recorded, StreamTombstoned
from shared.store.sqlite.schema import ALIVE, HEAD, TOMBSTONED

RECENT = 64
"""How many last events an append with ``ANY`` is compared with, at least."""
MAX_REMEMBERED = 256
"""Most events of a stream that are remembered for that."""
MAX_KNOWN_STREAMS = 2_000

_START = f"SELECT ({HEAD}), (SELECT at FROM events ORDER BY pos DESC LIMIT 1)"  # noqa: S608 - constants only
_FIND = "SELECT id, version, first, state FROM streams WHERE name = ?"
_FIND_MANY = (
    "SELECT s.name, s.id, s.version, s.first, s.state FROM json_each(?) j CROSS JOIN streams s ON s.name = j.value"
)
_IDS_BEHIND = "SELECT event_id, pos FROM events WHERE stream_id = ? AND version > ? ORDER BY version LIMIT ?"
_LAST_IDS = (
    "SELECT event_id, version, pos FROM events WHERE stream_id = ? AND version >= ? ORDER BY version DESC LIMIT ?"
)
_ADD_EVENT = (
    "INSERT INTO events(pos, stream_id, version, type_id, event_id, at, data, meta) VALUES(?, ?, ?, ?, ?, ?, ?, ?)"
)
_ADD_STREAM = "INSERT INTO streams(version, first, state, id, name) VALUES(?, ?, ?, ?, ?)"
_CHANGE_STREAM = "UPDATE streams SET version = ?, first = ?, state = ? WHERE id = ?"

EventRow = tuple[int, int, int, int, bytes, int, bytes, bytes]


@dataclass(slots=True)
class Stream:
    """A row of ``streams`` as this transaction will leave it."""

    id: int
    name: str
    version: int = -1
    first: int = 0
    state: int = ALIVE
    is_new: bool = False
    is_changed: bool = False
    recent: dict[bytes, Appended] | None = field(default=None)

    @property
    def is_empty(self) -> bool:
        """No events are left, or there never were any."""
        return self.first > self.version

    def remember(self, events: Sequence[New], appended: Appended) -> None:
        """Keep the ids of the last events for the next append with ``ANY``."""
        if self.recent is None or len(self.recent) > MAX_REMEMBERED:
            self.recent = None
            return
        back = len(events) - 1
        for index, event in enumerate(events):
            number = index - back
            self.recent[event.id.bytes] = Appended(appended.version + number, Position(appended.position + number))


@dataclass(slots=True)
class Known:
    """What the file holds, as far as the writer has seen: true until somebody else writes or a transaction fails."""

    head: int
    at_us: int
    streams: dict[str, Stream] = field(default_factory=dict)
    types: dict[str, int] = field(default_factory=dict)
    last_stream_id: int | None = None

    @classmethod
    def read(cls, db: sqlite3.Connection) -> Known:
        """From the file, inside the transaction."""
        head, at_us = db.execute(_START).fetchone()
        return cls(head or 0, at_us or 0)


class Batch:
    """Opens with BEGIN IMMEDIATE done; the caller commits after ``flush``, and forgets ``known`` if that fails."""

    def __init__(self, db: sqlite3.Connection, known: Known, now_us: int) -> None:
        self.db = db
        self.known = known
        self.is_changed = False
        known.at_us = max(now_us, known.at_us)
        if len(known.streams) > MAX_KNOWN_STREAMS:
            known.streams = {}
        self._changed: list[Stream] = []
        self._new_streams: list[tuple[int, int, int, int, str]] = []
        self._rows: list[EventRow] = []

    def append(self, name: str, expected: int | Expected, events: Sequence[New]) -> Appended | Exception:
        """What ``EventStore.append`` returns or raises; the arguments are checked already."""
        stream = self.stream(name)
        if stream.state == TOMBSTONED:
            return StreamTombstoned(name)
        if expected is ANY:
            return self._append_any(stream, events)
        base = _base(stream, expected)
        if base == stream.version:
            return self._add(stream, events)
        repeated = self._repeated(stream, events, base) if base < stream.version else None
        return repeated or _conflict(stream, expected)

    def append_many(self, appends: Sequence[Append]) -> list[Appended | Exception]:
        """The same for each."""
        self.streams(append.stream for append in appends)
        return [self.append(append.stream, append.expected, append.events) for append in appends]

    def streams(self, names: Iterable[str]) -> dict[str, Stream]:
        """All that are known in this transaction, among them these, which are looked up together."""
        known = self.known.streams
        missing = {name for name in names if name not in known}
        if missing:
            known.update((name, Stream(0, name, is_new=True)) for name in missing)
            for name, *row in self.db.execute(_FIND_MANY, (msgspec.json.encode([*missing]).decode(),)):
                known[name] = Stream(row[0], name, row[1], row[2], row[3])
        return known

    def stream(self, name: str) -> Stream:
        """The stream as it stands in this transaction; a new one is only written once it is changed."""
        found = self.known.streams.get(name)
        if found is None:
            row = self.db.execute(_FIND, (name,)).fetchone()
            found = Stream(0, name, is_new=True) if row is None else Stream(row[0], name, row[1], row[2], row[3])
            self.known.streams[name] = found
        return found

    def change(self, stream: Stream) -> None:
        """Write this stream's row with the rest."""
        self.is_changed = True
        if not stream.is_changed:
            stream.is_changed = True
            self._changed.append(stream)
            if stream.id == 0:
                stream.id = self._new_stream_id()

    def put(self, stream: Stream, event: Recorded) -> None:
        """An event with its own position, version and time, which fit behind what there is. Where versions are missing
        before it, those below are forgotten."""
        self.change(stream)
        if event.version > stream.version + 1:
            stream.first = event.version
        stream.version, stream.recent, self.known.head = event.version, None, event.position
        id_, kind, _, version, position, at_us, data, meta = event
        type_id = self.known.types.get(kind) or self._type_id(kind)
        self._rows.append((position, stream.id, version, type_id, id_, at_us, data, meta))

    def flush(self) -> None:
        """Write what has gathered."""
        for stream in self._changed:
            values = (stream.version, stream.first, stream.state, stream.id)
            if stream.is_new:
                self._new_streams.append((*values, stream.name))
            else:
                self.db.execute(_CHANGE_STREAM, values)
            stream.is_new = stream.is_changed = False
        self._changed = []
        if self._new_streams:
            self.db.executemany(_ADD_STREAM, self._new_streams)
            self._new_streams = []
        if self._rows:
            self.db.executemany(_ADD_EVENT, self._rows)
            self._rows = []

    def _add(self, stream: Stream, events: Sequence[New]) -> Appended:
        self.change(stream)
        known, stream_id, version = self.known, stream.id, stream.version
        at_us, position, types, rows = known.at_us, known.head, known.types, self._rows
        for event in events:
            version += 1
            position += 1
            type_id = types.get(event.type) or self._type_id(event.type)
            rows.append((position, stream_id, version, type_id, event.id.bytes, at_us, event.data, event.meta))
        stream.version, known.head = version, position
        appended = Appended(version, Position(position))
        if stream.recent is not None:
            stream.remember(events, appended)
        return appended

    def _append_any(self, stream: Stream, events: Sequence[New]) -> Appended | Exception:
        recent = self._recent(stream, len(events))
        known = [recent.get(event.id.bytes) for event in events]
        if known[0] is None:
            return self._add(stream, events)
        if None in known:
            return _conflict(stream, ANY)
        return known[-1] or _conflict(stream, ANY)

    def _recent(self, stream: Stream, count: int) -> dict[bytes, Appended]:
        if stream.recent is None or count > RECENT:
            self.flush()
            rows = self.db.execute(_LAST_IDS, (stream.id, stream.first, max(RECENT, count))).fetchall()
            stream.recent = {id_: Appended(version, position) for id_, version, position in rows}
        return stream.recent

    def _repeated(self, stream: Stream, events: Sequence[New], base: int) -> Appended | None:
        """The answer of the first time, if the stream holds exactly these events behind this version."""
        self.flush()
        rows = self.db.execute(_IDS_BEHIND, (stream.id, base, len(events))).fetchall()
        if [row[0] for row in rows] != [event.id.bytes for event in events]:
            return None
        return Appended(base + len(rows), rows[-1][1])

    def _type_id(self, name: str) -> int:
        row = self.db.execute("SELECT id FROM types WHERE name = ?", (name,)).fetchone()
        if row is None:
            row = self.db.execute("INSERT INTO types(name) VALUES(?) RETURNING id", (name,)).fetchone()
        self.known.types[name] = number = int(row[0])
        return number

    def _new_stream_id(self) -> int:
        if self.known.last_stream_id is None:
            self.known.last_stream_id = int(self.db.execute("SELECT coalesce(max(id), 0) FROM streams").fetchone()[0])
        self.known.last_stream_id += 1
        return self.known.last_stream_id


def _base(stream: Stream, expected: int | Expected) -> int:
    """The version that must be the last one."""
    if isinstance(expected, int):
        return expected
    return stream.version if stream.is_empty else stream.first - 1


def _conflict(stream: Stream, expected: int | Expected) -> Conflict:
    text = expected.value if isinstance(expected, Expected) else str(expected)
    return Conflict(stream.name, text, str(stream.version))
