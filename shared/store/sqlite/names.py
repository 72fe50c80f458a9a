"""Rows as events: types and streams are numbers in the file, and their names are remembered here."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
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
        wanted = set(names)
        if not wanted <= set(self._types.values()):
            self._learn_types()
        return [number for number, name in self._types.items() if name in wanted]

    def events(self, columns: Columns) -> list[Recorded]:
        """Events of any stream."""
        if not columns:
            return []
        try:
            return self._named(columns)
        except KeyError:
            self._learn_types()
            self._learn_streams(set(columns[2]))
            return self._named(columns)

    def _named(self, columns: Columns) -> list[Recorded]:
        ids, types, streams, *rest = columns
        rows = zip(
            ids, map(self._types.__getitem__, types), map(self._streams.__getitem__, streams), *rest, strict=True
        )
        return [_new(Recorded, row) for row in rows]

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
        self._types = dict(self._pool.rows("SELECT id, name FROM types"))
        return self._types

    def _learn_streams(self, numbers: set[int]) -> None:
        known = self._streams if len(self._streams) < MAX_STREAMS else {}
        missing = [number for number in numbers if number not in known]
        known.update(self._pool.rows(_STREAMS, (json.dumps(missing),)))
        self._streams = known
