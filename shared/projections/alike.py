"""Many rows that are alike in most columns, as those of an import are: what they share is given once.

To hand SQLite a value, and to copy it into a row, costs more than to find the row's place: an import's rows of 36
columns then take a sixth of the time. PostgreSQL is spared as much JSON. Which columns differ depends on the rows, so
each choice is a statement of its own; only runs of many rows are worth that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from itertools import chain, repeat
from operator import is_
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from shared.projections.tables import ViewTables
from shared.projections.view import Row

RUNS = (500, 100)
"""Rows a statement; what is left over is written otherwise."""
MOST_DIFFERENT = 8
"""Rows that differ in more columns are written otherwise."""
MOST_STATEMENTS = 64
"""Most statements that are kept."""

_EQUAL_MEANS_SAME = frozenset({str, int, bool, datetime})
"""Types of which equal values are kept alike. Not so ``0.0`` and ``-0.0``, nor ``[1]`` and ``[True]``."""

Dumps = dict[str, Callable[[Any], Any]]


def runs(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """The rows in stretches of ``RUNS``, and a shorter one at the end."""
    start = 0
    for size in RUNS:
        while start + size <= len(rows):
            yield rows[start : start + size]
            start += size
    if start < len(rows):
        yield rows[start:]


class AlikeRows:
    """Writes rows of one view that are alike."""

    def __init__(self, insert: sa.Insert, tables: ViewTables, dialect: sa.Dialect, dumps: Dumps) -> None:
        """``insert``: how one row is written, without its values. ``dumps``: by column, how the database keeps it."""
        self._insert = insert
        self._tables = tables
        self._dialect = dialect
        self._dumps = dumps
        self._kinds = tables.view.columns
        self._key = frozenset(tables.view.key)
        self._is_json = dialect.name == "postgresql"
        self._statements: dict[tuple[tuple[str, ...], int], str] = {}

    def write(self, connection: sa.Connection, rows: Sequence[Row]) -> bool:
        """Write one of ``runs``, unless it is short or its rows are not alike: whether it did."""
        different = self._different(rows) if len(rows) in RUNS else None
        if different is None:
            return False
        columns = [[self._dumped(name, row[name]) for row in rows] for name in different]
        shared = {name: self._dumped(name, rows[0][name]) for name in self._kinds if name not in different}
        if self._is_json:
            given = [dict(zip(different, values, strict=True)) for values in zip(*columns, strict=True)]
            values: Sequence[Any] = [msgspec.json.encode(each).decode() for each in (given, shared)]
        else:
            values = [*chain.from_iterable(zip(*columns, strict=True)), *shared.values()]
        connection.exec_driver_sql(self._statement(different, len(rows)), tuple(values)).close()
        return True

    def _different(self, rows: Sequence[Row]) -> tuple[str, ...] | None:
        """The columns in which the rows are not all the same; None if those are too many."""
        different: list[str] = []
        for name, kind in self._kinds.items():
            if name in self._key or not _is_one(kind, [row[name] for row in rows]):
                different.append(name)
                if len(different) > MOST_DIFFERENT:
                    return None
        return tuple(different) if len(different) < len(self._kinds) else None

    def _dumped(self, name: str, value: Any) -> Any:
        dump = self._dumps.get(name)
        return value if dump is None or value is None else dump(value)

    def _statement(self, different: tuple[str, ...], size: int) -> str:
        which = (different, 0 if self._is_json else size)
        found = self._statements.get(which)
        if found is None:
            if len(self._statements) == MOST_STATEMENTS:
                self._statements.clear()
            made = self._from_json(different) if self._is_json else self._from_values(different, size)
            found = self._statements[which] = str(made.compile(dialect=self._dialect))
        return found

    def _from_values(self, different: tuple[str, ...], size: int) -> sa.Insert:
        """With the rows' values one after the other, and then the shared ones."""
        columns: list[sa.ColumnClause[Any]] = [sa.column(name) for name in different]
        given = sa.values(*columns, name="given").data([("",) * len(different)] * size).cte("given")
        chosen = [given.c[name] if name in different else sa.bindparam(f"shared_{name}") for name in self._kinds]
        # SQLite would take the ON of the conflict for that of a join, were it not for a WHERE.
        return self._insert.from_select([*self._kinds], sa.select(*chosen).select_from(given).where(sa.true()))

    def _from_json(self, different: tuple[str, ...]) -> sa.Insert:
        """With the rows as a list of objects, and then an object of what they share."""
        given = self._record("given", sa.func.json_to_recordset, different)
        rest = tuple(name for name in self._kinds if name not in different)
        shared = self._record("shared", sa.func.json_to_record, rest)
        chosen = [given.c[name] if name in different else shared.c[name] for name in self._kinds]
        return self._insert.from_select([*self._kinds], sa.select(*chosen).select_from(given, shared))

    def _record(self, name: str, function: Callable[..., Any], columns: tuple[str, ...]) -> Any:
        text = sa.cast(sa.bindparam(name, type_=sa.Text()), postgresql.JSON())
        typed = [sa.column(each, self._tables.rows.c[each].type) for each in columns]
        return function(text).table_valued(*typed).render_derived(name, with_types=True)


def _is_one(kind: type, values: Sequence[Any]) -> bool:
    first = values[0]
    if kind in _EQUAL_MEANS_SAME:
        return values.count(first) == len(values)
    return kind is not float and all(map(is_, values, repeat(first)))
