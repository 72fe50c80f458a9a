"""Rows and counters of a view in bulk: loaded by key, folded elsewhere, written once.

The statements are compiled by SQLAlchemy once and run by the driver's ``executemany``; values do not pass through
SQLAlchemy one by one, which would cost more than the rest of a replay.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime
from itertools import chain
from operator import itemgetter
from typing import Any

import msgspec
import sqlalchemy as sa

from shared.projections.database import Database
from shared.projections.folding import Changes
from shared.projections.tables import ViewTables, json_text, micros, moment
from shared.projections.view import Counter, Key, Row

_CHUNKS = (128, 16, 1)
"""Keys a SELECT: few sizes, so that few statements are compiled and prepared."""

_LOAD: dict[type, Callable[[Any], Any]] = {
    bool: bool,
    datetime: moment,
    list: msgspec.json.decode,
    dict: msgspec.json.decode,
}
_DUMP: dict[type, Callable[[Any], Any]] = {datetime: micros, list: json_text, dict: json_text}


class Rows:
    """Loads and writes one view's rows, as dicts of Python values, and its counters; keeps no data."""

    def __init__(self, database: Database, tables: ViewTables) -> None:
        view, names = tables.view, tuple(tables.view.columns)
        kinds = list(enumerate(view.columns.values()))
        self._names = names
        self._key_of = _tuple_getter([names.index(name) for name in view.key])
        self._values_of = _tuple_getter(names)
        self._load = [(names[index], _LOAD[kind]) for index, kind in kinds if kind in _LOAD]
        self._dump = [(index, _DUMP[kind]) for index, kind in kinds if kind in _DUMP]

        def compiled(statement: sa.Select[Any] | sa.Insert | sa.Delete) -> str:
            return str(statement.compile(dialect=database.dialect))

        self._selects = {size: compiled(_select(tables, size)) for size in _CHUNKS}
        self._upsert = compiled(_upsert(database, tables))
        self._delete = compiled(_delete(tables.rows, view.key))
        self._count = compiled(_count(database, tables.counts))
        self._uncount = compiled(_delete(tables.counts, ("scope", "item")).where(tables.counts.c.n == sa.text("0")))

    def load(self, connection: sa.Connection, keys: Collection[Key]) -> dict[Key, Row]:
        """The rows of these keys, as far as they exist."""
        found: dict[Key, Row] = {}
        names, convert, key_of = self._names, self._load, self._key_of
        for values in self._fetch(connection, list(keys)):
            row = dict(zip(names, values, strict=False))
            for name, load in convert:
                value = row[name]
                if value is not None:
                    row[name] = load(value)
            found[key_of(values)] = row
        return found

    def _fetch(self, connection: sa.Connection, keys: list[Key]) -> Iterable[Any]:
        start = 0
        for size in _CHUNKS:
            while start + size <= len(keys):
                arguments = tuple(chain.from_iterable(keys[start : start + size]))
                yield from connection.exec_driver_sql(self._selects[size], arguments).fetchall()
                start += size

    def write(self, connection: sa.Connection, changes: Changes) -> None:
        """Write all changes of a page."""
        if changes.written:
            connection.exec_driver_sql(self._upsert, self._arguments(changes.written))
        if changes.gone:
            connection.exec_driver_sql(self._delete, changes.gone)
        if changes.counted:
            self._add(connection, changes.counted)

    def _arguments(self, written: Mapping[Key, Row]) -> list[tuple[Any, ...]]:
        values_of, convert = self._values_of, self._dump
        if not convert:
            return [values_of(row) for row in written.values()]
        arguments = []
        for row in written.values():
            values = list(values_of(row))
            for index, dump in convert:
                value = values[index]
                if value is not None:
                    values[index] = dump(value)
            arguments.append(tuple(values))
        return arguments

    def _add(self, connection: sa.Connection, counted: Mapping[Counter, int]) -> None:
        connection.exec_driver_sql(self._count, [(*counter, number) for counter, number in counted.items()])
        fewer = [counter for counter, number in counted.items() if number < 0]
        if fewer:
            connection.exec_driver_sql(self._uncount, fewer)


def _tuple_getter(items: Any) -> Callable[[Any], tuple[Any, ...]]:
    """Like ``itemgetter``, but always a tuple."""
    if len(items) == 1:
        only = items[0]
        return lambda source: (source[only],)
    return itemgetter(*items)


def _select(tables: ViewTables, size: int) -> sa.Select[Any]:
    rows, key = tables.rows, tables.view.key
    columns = [sa.column(name, rows.c[name].type) for name in key]
    # A join with a list of keys takes SQLite two thirds of the time of the same list behind IN.
    stand_in = tuple(tables.view.columns[name]() for name in key)
    wanted = sa.values(*columns, name="wanted").data([stand_in] * size).cte("wanted")
    return sa.select(rows).join_from(wanted, rows, sa.and_(*(rows.c[name] == wanted.c[name] for name in key)))


def _upsert(database: Database, tables: ViewTables) -> sa.Insert:
    insert = database.insert(tables.rows)
    rest = {name: insert.excluded[name] for name in tables.view.columns if name not in tables.view.key}
    if not rest:
        return insert.on_conflict_do_nothing(index_elements=tables.view.key)
    return insert.on_conflict_do_update(index_elements=tables.view.key, set_=rest)


def _delete(table: sa.Table, key: Iterable[str]) -> sa.Delete:
    return sa.delete(table).where(
        *(table.c[name] == sa.bindparam(f"key_{name}", type_=table.c[name].type) for name in key)
    )


def _count(database: Database, counts: sa.Table) -> sa.Insert:
    insert = database.insert(counts)
    return insert.on_conflict_do_update(index_elements=("scope", "item"), set_={"n": counts.c.n + insert.excluded.n})
