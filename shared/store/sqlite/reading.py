"""Queries: one stream, all streams, a stretch of all streams through a filter."""

from __future__ import annotations

from functools import lru_cache

from shared.errors import Misuse, NotFound
from shared.store.port import Only, Page, Position, Recorded, StreamNotFound, StreamTombstoned
from shared.store.sqlite.names import COLUMNS, COLUMNS_OF_STREAM, Names
from shared.store.sqlite.packed import MAX_PACKED, packed, unpacked
from shared.store.sqlite.pool import Pool
from shared.store.sqlite.schema import ALIVE, HEAD, TOMBSTONED

MAX_SCAN = 50_000
"""Most positions that one filtered page looks at."""
MAX_SPARSE_SCAN = 10_000
"""Most events that it looks at where positions are far apart, as in the copy of a cluster."""
SAMPLE = 1_000
"""How many first events say whether positions are far apart."""
ATTEMPTS = 3
"""How often a stream is read that changes between looking at its events and at its state."""

_FORWARDS, _BACKWARDS = (
    f"SELECT {COLUMNS_OF_STREAM} FROM streams s CROSS JOIN events e ON e.stream_id = s.id AND {stretch} "  # noqa: S608 - constants
    f"WHERE s.name = ? AND s.state = {ALIVE} ORDER BY e.version {order} LIMIT ?"
    for stretch, order in (
        ("e.version >= max(?, s.first)", "ASC"),
        ("e.version <= ? AND e.version >= s.first", "DESC"),
    )
)
_STATE = "SELECT version, first, state FROM streams WHERE name = ?"
_ALL = f"SELECT {COLUMNS} FROM events e WHERE e.pos > ? ORDER BY e.pos LIMIT ?"  # noqa: S608 - constants
_NTH = "SELECT pos FROM events WHERE pos > ? ORDER BY pos LIMIT 1 OFFSET ?"
_AT = (
    f"SELECT {COLUMNS} FROM events e JOIN streams s ON s.id = e.stream_id "  # noqa: S608 - constants
    f"WHERE e.pos = ? AND e.version >= s.first AND s.state = {ALIVE}"
)
_BEYOND_ALL = 2**63 - 1


class Reading:
    """Reads through the pool; every answer is a consistent view of what was committed when it was asked for."""

    def __init__(self, pool: Pool, *, alone: bool) -> None:
        self._pool = pool
        self._names = Names(pool)
        self._sparse: bool | None = None
        self._fetch = self._plain if alone else self._unpacked

    def head(self) -> int:
        """The last position given out, 0 for none."""
        rows = self._pool.rows(HEAD)
        return rows[0][0] if rows else 0

    def stream(self, stream: str, first: int, limit: int | None, backwards: bool) -> list[Recorded]:
        """As ``EventStore.read``."""
        if backwards:
            sql, start = _BACKWARDS, _BEYOND_ALL if first == -1 else first
        else:
            sql, start = _FORWARDS, first
        if not 0 <= start <= _BEYOND_ALL or (limit is not None and limit < 1):
            raise Misuse(f"cannot read {limit} events from version {first} of {stream}")
        for _ in range(ATTEMPTS):
            rows = self._pool.rows(sql, (start, stream, -1 if limit is None else limit))
            if rows or self._is_beyond(stream, start, backwards):
                return self._names.events_of(stream, rows)
        return []

    def page(self, after: int, limit: int, only: Only) -> Page:
        """As ``EventStore.read_all``. The head is read first: all up to it is visible to what is read then."""
        if limit < 1 or not 0 <= after <= _BEYOND_ALL:
            raise Misuse(f"cannot read {limit} events behind position {after}")
        head = self.head()
        if only.types or only.prefixes:
            return self._filtered(after, limit, only, head)
        events = self._page(_ALL, after, (), limit)
        last = events[-1].position if events else 0
        looked = last if len(events) == limit else max(head, after, last)
        return Page(events, Position(looked) if looked else None, looked >= head)

    def at(self, position: int) -> Recorded:
        """As ``EventStore.at``; what is forgotten is not there, though it may still be in the file."""
        rows = self._pool.rows(_AT, (position,)) if 0 < position <= _BEYOND_ALL else []
        if not rows:
            raise NotFound(f"there is no event at position {position}: it was forgotten, or never was")
        return self._names.events_of_any(rows)[0]

    def _filtered(self, after: int, limit: int, only: Only, head: int) -> Page:
        until = self._until(after, head)
        types = tuple(self._names.type_ids(only.types)) if only.types else None
        values = (until, *only.prefixes)
        nothing = types == () or until <= after
        events = [] if nothing else self._page(_filter(types, len(only.prefixes)), after, values, limit)
        looked = events[-1].position if len(events) == limit else max(until, after)
        return Page(events, Position(looked) if looked else None, looked >= head)

    def _until(self, after: int, head: int) -> int:
        until = after + MAX_SCAN
        if until < head and self._is_sparse():
            nth = self._pool.rows(_NTH, (after, MAX_SPARSE_SCAN - 1))
            until = max(until, nth[0][0]) if nth else head
        return min(until, head)

    def _is_sparse(self) -> bool:
        if self._sparse is None:
            nth = self._pool.rows(_NTH, (0, SAMPLE - 1))
            if not nth:
                return True  # so few that looking at all of them is nothing
            self._sparse = nth[0][0] > 10 * SAMPLE
        return self._sparse

    def _page(self, sql: str, after: int, values: tuple[object, ...], limit: int) -> list[Recorded]:
        events: list[Recorded] = []
        while len(events) < limit:
            most = min(limit - len(events), MAX_PACKED)
            more = self._fetch(sql, (after, *values, most))
            events += more
            if len(more) < most:
                break
            after = more[-1].position
        return events

    def _plain(self, sql: str, arguments: tuple[object, ...]) -> list[Recorded]:
        return self._names.events_of_any(self._pool.rows(sql, arguments))

    def _unpacked(self, sql: str, arguments: tuple[object, ...]) -> list[Recorded]:
        columns = unpacked(self._pool.rows(_packed(sql), arguments)[0])
        return self._plain(sql, arguments) if columns is None else self._names.events(columns)

    def _is_beyond(self, stream: str, start: int, backwards: bool) -> bool:
        """Whether nothing can be read from there; if something can, it came after the reading."""
        rows = self._pool.rows(_STATE, (stream,))
        version, first, state = rows[0] if rows else (-1, 0, ALIVE)
        if state == TOMBSTONED:
            raise StreamTombstoned(stream)
        if first > version:
            raise StreamNotFound(stream)
        return bool(start < first if backwards else start > version)


_packed = lru_cache(256)(packed)


@lru_cache(256)
def _filter(types: tuple[int, ...] | None, prefixes: int) -> str:
    source, conditions = "events e", ["e.pos > ?", "e.pos <= ?"]
    if types is not None:
        conditions.append(f"e.type_id IN ({', '.join(map(str, types))})")
    if prefixes:
        source = "events e CROSS JOIN streams s ON s.id = e.stream_id"
        starts = " OR ".join(f"substr(s.name, 1, length(?{n})) = ?{n}" for n in range(3, 3 + prefixes))
        conditions.append(f"({starts})")
    return f"SELECT {COLUMNS} FROM {source} WHERE {' AND '.join(conditions)} ORDER BY e.pos LIMIT ?"  # noqa: S608 - numbers only
