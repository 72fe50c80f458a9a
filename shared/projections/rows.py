"""Rows and counters of a view in bulk: loaded by key, folded elsewhere, written once.

The statements are compiled by SQLAlchemy once; values do not pass through it one by one, which would cost more than
the rest of a replay. A statement carries many rows: each run of one lets other threads have the interpreter, and beside
a busy one it takes up to a switch interval (5 ms) to get it back. A thousand rows by ``executemany`` then take a
second, by two statements 10 ms, although ``executemany`` itself would be a little cheaper.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import datetime
from functools import partial
from itertools import chain
from operator import itemgetter
from typing import Any

import msgspec
import sqlalchemy as sa

from shared.projections.alike import AlikeRows, Dumps, runs
from shared.projections.database import Database
from shared.projections.folding import Changes
from shared.projections.recordset import Recordset
from shared.projections.sql import Sql, execute, select
from shared.projections.tables import ViewTables, json_text, micros, moment, once
from shared.projections.view import Key, Row

_SIZES = (500, 100, 25, 5, 1)
"""Rows a statement: few sizes, so that few statements are compiled and prepared; one is that of a page of a list."""
MAX_PARAMETERS = 30_000
"""Most values in a statement; SQLite takes 32 766, PostgreSQL 65 535."""
NOTHING = Sql("")
MAX_ALTERNATIVES = 64
"""Most keys in a DELETE, where each is an expression."""

_LOAD: dict[type, Callable[[Any], Any]] = {
    bool: bool,
    datetime: moment,
    list: msgspec.json.decode,
    dict: msgspec.json.decode,
}
_DUMP: dict[type, Callable[[Any], Any]] = {datetime: micros, list: json_text, dict: json_text}
_DUMP_SQLITE: dict[type, Callable[[Any], Any]] = {bool: int}
"""The driver would look for an adapter of each bool, which takes longer than to write it."""


class Rows:
    """Loads and writes one view's rows, as dicts of Python values, and its counters; keeps no data."""

    def __init__(self, database: Database, tables: ViewTables) -> None:
        view, names = tables.view, tuple(tables.view.columns)
        kinds = list(enumerate(view.columns.values()))
        self._names = names
        self._key_of = _tuple_getter([names.index(name) for name in view.key])
        self._values_of = _tuple_getter(names)
        self._load = [(names[index], _LOAD[kind]) for index, kind in kinds if kind in _LOAD]
        dumps = _DUMP | _DUMP_SQLITE if database.is_sqlite else _DUMP
        self._dump = [(index, dumps[kind]) for index, kind in kinds if kind in dumps]
        dump_of = {names[index]: dump for index, dump in self._dump}
        # SQLite would write floats with 15 digits, and takes 127 arguments at most.
        self._is_packed = database.is_sqlite and len(names) <= 100 and float not in view.columns.values()
        self._bulks = once(
            tables.rows, database.dialect, "bulks", lambda: _Bulks(database, tables, dump_of, packed=self._is_packed)
        )

    def load(self, connection: sa.Connection, keys: Collection[Key]) -> dict[Key, Row]:
        """The rows of these keys, as far as they exist."""
        found: dict[Key, Row] = {}
        key_of = self._key_of
        for result in self._bulks.select.run(connection, _flat(sorted(keys))):
            for values in msgspec.json.decode(result.scalar_one()) if self._is_packed else result.fetchall():
                found[key_of(values)] = self._row(values)
        return found

    def chosen(
        self, connection: sa.Connection, keys: Sql, *, before: Sql = NOTHING, also: Sequence[str] = ()
    ) -> tuple[list[Row], tuple[Any, ...]]:
        """In one statement the rows of ``keys``, a table of keys or a query for them, in no order; and what ``also``
        selects, expressions of which each has one value. ``before`` is a WITH, which may name the keys."""
        of_keys, selected = self._bulks.of_keys
        joined = keys + of_keys
        if self._is_packed:
            query = select(", ".join((*also, "packed")), select(f"{selected} AS packed", joined).named("found"))
            *others, packed = execute(connection, before + query).one()
            return [self._row(found) for found in msgspec.json.decode(packed)], tuple(others)
        if also:
            joined = "(SELECT 1) AS once LEFT JOIN (" + joined + ") ON true"
        rows = execute(connection, before + select(", ".join((*also, selected)), joined)).all()
        width = len(also)
        some = [row[width:] for row in rows if self._key_of(row[width:])[0] is not None]
        return [self._row(row) for row in some], tuple(rows[0][:width]) if also else ()

    def of(self, connection: sa.Connection, source: Sql) -> list[Row]:
        """The rows of ``source``, all that is behind FROM and has the columns of the view; in no order."""
        columns = self._bulks.columns
        if self._is_packed:
            packed = select(f"json_group_array(json_array({columns}))", select(columns, source).named("found"))
            return [self._row(one) for one in msgspec.json.decode(execute(connection, packed).scalar_one())]
        return [self._row(one) for one in execute(connection, select(columns, source)).all()]

    def _row(self, values: Sequence[Any]) -> Row:
        """Of values as the database keeps them."""
        row = dict(zip(self._names, values, strict=True))
        for name, load in self._load:
            value = row[name]
            if value is not None:
                row[name] = load(value)
        return row

    def write(self, connection: sa.Connection, changes: Changes) -> None:
        """Write all changes of a transaction."""
        # Neighbours one after the other: with random keys, finding their places takes half of an import's time.
        self._upsert(connection, [changes.written[key] for key in sorted(changes.written)])
        self._bulks.delete.run_all(connection, _flat(changes.gone))
        self._bulks.count.run_all(
            connection, [part for counted in changes.counted.items() for part in (*counted[0], counted[1])]
        )
        self._bulks.uncount.run_all(
            connection, _flat(counter for counter, number in changes.counted.items() if number < 0)
        )
        if self._bulks.join is not None and self._bulks.leave is not None:
            self._bulks.join.run_all(connection, _flat(sorted(changes.joined)))
            self._bulks.leave.run_all(connection, _flat(changes.left))

    def _upsert(self, connection: sa.Connection, written: Sequence[Row]) -> None:
        alike, others = self._bulks.alike, written
        if alike is not None:
            unlike = [run for run in runs(written) if not alike.write(connection, run)]
            others = [row for run in unlike for row in run]
        self._bulks.upsert.run_all(connection, self._values(others))

    def _values(self, rows: Iterable[Row]) -> list[Any]:
        """Row after row as the database keeps them; converted column by column, which takes a third of the time."""
        values, width = _flat(map(self._values_of, rows)), len(self._names)
        for index, dump in self._dump:
            values[index::width] = [None if value is None else dump(value) for value in values[index::width]]
        return values


class _Bulks:
    """The statements for one view's tables."""

    def __init__(self, database: Database, tables: ViewTables, dump_of: Dumps, *, packed: bool) -> None:
        key, dialect = tables.view.key, database.dialect

        def compiled(statement: sa.Select[Any] | sa.Insert | sa.Delete) -> str:
            return str(statement.compile(dialect=dialect))

        zero = tables.counts.c.n == sa.literal_column("0")
        count = compiled(_count(database, tables.counts))
        self.columns = ", ".join(tables.view.columns)
        self.of_keys = _of_keys(tables, dialect, packed=packed)
        self.select = _Bulk(len(key), lambda size: compiled(_select(tables, size, packed=packed)))
        insert, width = _upsert(database, tables), len(tables.view.columns)
        self.upsert: _Bulk | Recordset
        as_values = database.is_sqlite or float in tables.view.columns.values()  # JSON has not all that a float has
        self.upsert = (
            _Bulk(width, partial(_repeated, compiled(insert))) if as_values else Recordset(insert, tables, dialect)
        )
        self.alike = AlikeRows(insert, tables, dialect, dump_of) if database.is_sqlite or not as_values else None
        self.delete = _Bulk(len(key), lambda size: compiled(_delete(tables.rows, key, size)), MAX_ALTERNATIVES)
        self.count = _Bulk(3, partial(_repeated, count))
        self.uncount = _Bulk(
            2, lambda size: compiled(_delete(tables.counts, ("scope", "item"), size).where(zero)), MAX_ALTERNATIVES
        )
        self.join = self.leave = None
        if tables.members is not None:
            members, width = tables.members, 2 + len(key)
            join = compiled(database.insert(members).on_conflict_do_nothing())
            self.join = _Bulk(width, partial(_repeated, join))
            self.leave = _Bulk(
                width,
                lambda size: compiled(_delete(members, ("scope", "item", *key), size)),
                MAX_ALTERNATIVES,
            )


class _Bulk:
    """A statement for any number of rows of ``width`` values, run for as many at a time as it can carry."""

    def __init__(self, width: int, compiled: Callable[[int], str], most: int = _SIZES[0]) -> None:
        self._width = width
        self._sizes = [size for size in _SIZES if size == 1 or (size * width <= MAX_PARAMETERS and size <= most)]
        self._compiled = compiled
        self._statements: dict[int, str] = {}

    def run(self, connection: sa.Connection, values: list[Any]) -> Iterator[sa.CursorResult[Any]]:
        """Run it for all rows, given value after value; one result after the other."""
        start = 0
        for size in self._sizes:
            step = size * self._width
            while start + step <= len(values):
                statement = self._statements.get(size)
                if statement is None:
                    statement = self._statements[size] = self._compiled(size)
                yield connection.exec_driver_sql(statement, tuple(values[start : start + step]))
                start += step

    def run_all(self, connection: sa.Connection, values: list[Any]) -> None:
        """Run it for all rows."""
        for result in self.run(connection, values):
            result.close()


def _flat(rows: Iterable[Sequence[Any]]) -> list[Any]:
    return list(chain.from_iterable(rows))


def _repeated(insert: str, size: int) -> str:
    """An INSERT of one row as one of many."""
    head, group, tail = _VALUES.split(insert, maxsplit=1)
    return f"{head}VALUES {', '.join([group] * size)}{tail}"


_VALUES = re.compile(r"VALUES (\([^)]*\))")


def _tuple_getter(items: Any) -> Callable[[Any], tuple[Any, ...]]:
    """Like ``itemgetter``, but always a tuple."""
    if len(items) == 1:
        only = items[0]
        return lambda source: (source[only],)
    return itemgetter(*items)


def _select(tables: ViewTables, size: int, *, packed: bool) -> sa.Select[Any]:
    """``packed``: all rows as one JSON text, because each step to a further row lets other threads have the
    interpreter."""
    rows, key = tables.rows, tables.view.key
    columns = [sa.column(name, rows.c[name].type) for name in key]
    # A join with a list of keys takes SQLite two thirds of the time of the same list behind IN.
    stand_in = tuple(tables.view.columns[name]() for name in key)
    wanted = sa.values(*columns, name="wanted").data([stand_in] * size).cte("wanted")
    chosen = [sa.func.json_group_array(sa.func.json_array(*rows.c))] if packed else rows.c
    return sa.select(*chosen).join_from(wanted, rows, sa.and_(*(rows.c[name] == wanted.c[name] for name in key)))


def _of_keys(tables: ViewTables, dialect: sa.Dialect, *, packed: bool) -> tuple[str, str]:
    """How the rows are joined with ``wanted``, which has keys, and what is selected of them."""
    name = dialect.identifier_preparer.format_table(tables.rows)
    # SQLite takes the tables of a CROSS JOIN in their order
    join = "CROSS JOIN" if dialect.name == "sqlite" else "JOIN"
    equal = " AND ".join(f"{name}.{column} = wanted.{column}" for column in tables.view.key)
    columns = ", ".join(f"{name}.{column}" for column in tables.view.columns)
    return f" {join} {name} ON {equal}", f"json_group_array(json_array({columns}))" if packed else columns


def _upsert(database: Database, tables: ViewTables) -> sa.Insert:
    insert = database.insert(tables.rows)
    rest = {name: insert.excluded[name] for name in tables.view.columns if name not in tables.view.key}
    if not rest:
        return insert.on_conflict_do_nothing(index_elements=tables.view.key)
    return insert.on_conflict_do_update(index_elements=tables.view.key, set_=rest)


def _delete(table: sa.Table, key: Sequence[str], size: int) -> sa.Delete:
    def parameter(name: str, number: int) -> sa.BindParameter[Any]:
        return sa.bindparam(f"{name}_{number}", type_=table.c[name].type)

    return sa.delete(table).where(
        sa.or_(*(sa.and_(*(table.c[name] == parameter(name, number) for name in key)) for number in range(size)))
    )


def _count(database: Database, counts: sa.Table) -> sa.Insert:
    insert = database.insert(counts)
    return insert.on_conflict_do_update(index_elements=("scope", "item"), set_={"n": counts.c.n + insert.excluded.n})
