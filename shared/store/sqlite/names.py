"""Rows as events: types and streams are numbers in the file, and their names are remembered here."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from shared.store.port import Recorded
from shared.store.sqlite.packed import Columns
from shared.store.sqlite.pool import Pool

MAX_STREAMS = 100_000
"""Most stream names that are remembered."""

COLUMNS = "e.event_id, e.type_id, e.stream_id, e.version, e.pos, e.at, e.data, e.meta"
COLUMNS_OF_STREAM = "e.event_id, e.type_id, e.version, e.pos, e.at, e.data, e.meta"
_STREAMS = "SELECT id, name FROM streams WHERE id IN (SELECT value FROM json_each(?))"

_new: Callable[..., Recorded] = tuple.__new__


class Names:
    """Names never change and are never removed, so what was read once stays true."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._types: dict[int, str] = {}
        self._streams: dict[int, str] = {}

    def type_ids(self, names: Iterable[str]) -> list[int]:
        """Numbers of those types that were ever appended."""
        wanted, types = set(names), self._types
        if not wanted <= set(types.values()):
            types = self._learn_types()
        return [number for number, name in types.items() if name in wanted]

    def events(self, columns: Columns) -> list[Recorded]:
        """Events of any stream."""
        if not columns:
            return []
        try:
            return _named(columns, self._types, self._streams)
        except KeyError:
            # What was learned here, and not what is remembered: another thread may have read before the newest name
            # was there, and remember that later.
            return _named(columns, self._learn_types(), self._learn_streams(set(columns[2])))

    def events_of_any(self, rows: list[Any]) -> list[Recorded]:
        """Rows of ``COLUMNS``, of any stream."""
        types, streams = self._types, self._streams
        try:
            return [_new(Recorded, (i, types[t], streams[s], v, p, a, d, m)) for i, t, s, v, p, a, d, m in rows]
        except KeyError:
            return self.events(list(zip(*rows, strict=True)))

    def events_of(self, stream: str, rows: list[Any]) -> list[Recorded]:
        """Rows of ``COLUMNS_OF_STREAM``, all of this stream."""
        types = self._types
        try:
            return [_new(Recorded, (i, types[t], stream, v, p, a, d, m)) for i, t, v, p, a, d, m in rows]
        except KeyError:
            types = self._learn_types()
            return [_new(Recorded, (i, types[t], stream, v, p, a, d, m)) for i, t, v, p, a, d, m in rows]

    def _learn_types(self) -> dict[int, str]:
        self._types = types = dict(self._pool.rows("SELECT id, name FROM types"))
        return types

    def _learn_streams(self, numbers: set[int]) -> dict[int, str]:
        known = self._streams if len(self._streams) < MAX_STREAMS else {}
        missing = [number for number in numbers if number not in known]
        known.update(self._pool.rows(_STREAMS, (json.dumps(missing),)))
        self._streams = known
        return known


def _named(columns: Columns, types: Mapping[int, str], streams: Mapping[int, str]) -> list[Recorded]:
    ids, type_ids, stream_ids, *rest = columns
    rows = zip(ids, map(types.__getitem__, type_ids), map(streams.__getitem__, stream_ids), *rest, strict=True)
    return [_new(Recorded, row) for row in rows]
