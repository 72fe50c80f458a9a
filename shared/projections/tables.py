"""The tables of views: which column type keeps which Python type, and the tables that control them.

``<view>`` has a row a key, ``<view>_counts`` the counters, ``<view>_members`` the members of sets; ``checkpoints`` has
the position of every view and relay, ``projection_parked`` the events that a view could not fold. While a view is
rebuilt, its new tables (and its rows in the control tables) carry the suffix ``__new``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa

from shared.errors import Misuse
from shared.projections.view import Index, View
from shared.times import micros as micros
from shared.times import moment as moment

SHADOW = "__new"
GENERATION = 2**32
"""Epochs of one generation of a view's tables: a rebuild begins the next one, each repair inside it adds 1."""
MAX_ERROR_CHARS = 2_000
"""Longest error text that is kept of a parked event."""

_Made = TypeVar("_Made")
_encode = msgspec.json.Encoder(order="deterministic").encode
_decode = msgspec.json.decode


def json_text(value: Any) -> str:
    """JSON with sorted keys, so that equal values are equal text."""
    return _encode(value).decode()


class Micros(sa.types.TypeDecorator[datetime]):
    """An aware datetime as integer microseconds since 1970."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> int | None:
        return None if value is None else micros(value)

    def process_result_value(self, value: int | None, dialect: sa.Dialect) -> datetime | None:
        return None if value is None else moment(value)


class JsonText(sa.types.TypeDecorator[Any]):
    """A list or dict of JSON values as JSON text."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> str | None:
        return None if value is None else json_text(value)

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> Any:
        return None if value is None else _decode(value)


def _text() -> sa.types.TypeEngine[str]:
    """Text ordered by its bytes on every database, so that lists and digests do not depend on a locale."""
    return sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def column_type(kind: type) -> sa.types.TypeEngine[Any]:
    """How a column of this Python type is kept. Raises ``Misuse`` for a type that no view may have."""
    if kind is str:
        return _text()
    if kind is datetime:
        return Micros()
    if kind in (list, dict):
        return JsonText()
    plain: dict[type, type[sa.types.TypeEngine[Any]]] = {int: sa.BigInteger, float: sa.Double, bool: sa.Boolean}
    if kind not in plain:
        raise Misuse(f"{kind!r} is no type of a view's column")
    return plain[kind]()


@dataclass(frozen=True, slots=True)
class ViewTables:
    """The tables of one view, present or being rebuilt; ``name`` is also its name in the control tables."""

    view: View
    name: str
    rows: sa.Table
    counts: sa.Table
    members: sa.Table | None = None
    """``scope``, ``item`` and the key of each row that is in this set; None for a view without sets."""

    @property
    def all(self) -> tuple[sa.Table, ...]:
        """Everything that is the view's."""
        return (self.rows, self.counts) if self.members is None else (self.rows, self.counts, self.members)

    @property
    def checkpoint(self) -> str:
        """Its name among the checkpoints."""
        return f"view/{self.name}"


def view_tables(view: View, suffix: str = "") -> ViewTables:
    """The tables of a view, without its indexes (see ``indexes``)."""
    missing = [name for name in view.key if view.columns.get(name) not in (str, int)]
    if missing or not view.key:
        raise Misuse(f"view {view.name}: key columns must be str or int: {missing}")
    name = view.name + suffix
    rows, counts, members = _tables(name, tuple(view.columns.items()), tuple(view.key), bool(view.sets))
    return ViewTables(view, name, rows, counts, members if view.sets else None)


@lru_cache(maxsize=256)
def _tables(
    name: str, columns: tuple[tuple[str, type], ...], key: tuple[str, ...], _has_sets: bool
) -> tuple[sa.Table, sa.Table, sa.Table]:
    """Rows, counters and members. The same tables for the same definition, so that what is compiled for them is, too
    (see ``once``): a service starts in half of the time, each time. What is compiled differs by ``_has_sets``."""
    metadata = sa.MetaData()
    described = [sa.Column(column, column_type(kind), nullable=column not in key) for column, kind in columns]
    rows = sa.Table(name, metadata, *described, sa.PrimaryKeyConstraint(*key), sqlite_with_rowid=False)
    counts = sa.Table(
        f"{name}_counts",
        metadata,
        sa.Column("scope", _text(), nullable=False),
        sa.Column("item", _text(), nullable=False),
        sa.Column("n", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("scope", "item"),
        sqlite_with_rowid=False,
    )
    members = sa.Table(
        f"{name}_members",
        metadata,
        sa.Column("scope", _text(), nullable=False),
        sa.Column("item", _text(), nullable=False),
        *(sa.Column(column, column_type(kind), nullable=False) for column, kind in columns if column in key),
        sa.PrimaryKeyConstraint("scope", "item", *key),
        sqlite_with_rowid=False,
    )
    return rows, counts, members


def once(table: sa.Table, dialect: sa.Dialect, name: str, make: Callable[[], _Made]) -> _Made:
    """What ``make`` makes of a table for a kind of database, made once and kept for as long as the table is."""
    key = (dialect.name, name)
    if key not in table.info:
        table.info[key] = make()
    made: _Made = table.info[key]
    return made


def statement(
    table: sa.Table, dialect: sa.Dialect, name: str, make: Callable[[], sa.schema.ExecutableDDLElement | sa.Update]
) -> str:
    """Compiled SQL, as ``once``."""
    return once(table, dialect, name, lambda: str(make().compile(dialect=dialect)))


def indexes(tables: ViewTables, epoch: int) -> list[sa.Index]:
    """The view's indexes; their names carry the epoch, because a table that is swapped in keeps the names it had."""
    view = tables.view
    wanted = [index if isinstance(index, Index) else Index(index) for index in view.indexes]
    return [_index(tables, f"ix_{view.name}_{number}_{epoch}", index) for number, index in enumerate(wanted)]


def _index(tables: ViewTables, name: str, index: Index) -> sa.Index:
    """Without the rows whose first column is NULL: no query looks for them, and many rows begin like that."""
    indexed = [tables.rows.c[column] for column in index.columns]
    known = [] if index.columns[0] in tables.view.key else [indexed[0].is_not(None)]
    said = [says(tables.rows.c[index.only])] if index.only is not None else []
    where = sa.and_(*known, *said) if known or said else None
    return sa.Index(name, *indexed, _table=tables.rows, sqlite_where=where, postgresql_where=where)


def says(column: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    """That a column says something, in the very words of an index with ``only``: databases take the index for a query
    that has them."""
    if isinstance(column.type, sa.Boolean):
        return column.is_(sa.true())
    return column != sa.literal_column("''") if isinstance(column.type, sa.Text) else column.is_not(None)


control = sa.MetaData()

checkpoints = sa.Table(
    "checkpoints",
    control,
    sa.Column("name", _text(), primary_key=True),
    sa.Column("position", sa.BigInteger),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("epoch", sa.BigInteger, nullable=False),
)
"""``epoch`` grows whenever rows change without the position: the tables were replaced, or a parked event was folded.
That puts off whoever still writes to the old tables, or remembers the old rows."""

parked = sa.Table(
    "projection_parked",
    control,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("view", _text(), nullable=False, index=True),
    sa.Column("position", sa.BigInteger, nullable=False),
    sa.Column("event_id", _text(), nullable=False),
    sa.Column("type", _text(), nullable=False),
    sa.Column("stream", _text(), nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("error", _text(), nullable=False),
    sa.Column("at", Micros, nullable=False),
    sqlite_autoincrement=True,
)
