"""Statements as text with their values, for what is asked of views in another form each time.

Making such a statement of SQLAlchemy's expressions, or looking it up among those that it has made before, takes longer
than a database needs to answer it from an index. Texts are of our own words and names alone; whatever somebody gave is
a value. Both kinds of database take them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from shared.times import micros


@dataclass(frozen=True, slots=True)
class Sql:
    """A part of a statement, and the value of each ``?`` in it in their order, as the database keeps it."""

    text: str
    values: tuple[Any, ...] = ()

    def __add__(self, other: Sql | str) -> Sql:
        if isinstance(other, str):
            return Sql(self.text + other, self.values)
        return Sql(self.text + other.text, self.values + other.values)

    def __radd__(self, other: str) -> Sql:
        return Sql(other + self.text, self.values)

    def named(self, name: str) -> Sql:
        """As a table of this name, behind FROM."""
        return "(" + self + f") AS {name}"


TRUE, FALSE = Sql("1 = 1"), Sql("0 = 1")


def select(columns: Sql | str, source: Sql | str, *where: Sql, end: str = "") -> Sql:
    """SELECT these columns of a source where all of this is true; ``end`` are orders and bounds."""
    found = Sql("SELECT ") + columns + " FROM " + source  # noqa: S608 - whoever calls it gives names of ours
    if where:
        found = found + " WHERE " + all_of(where)
    return found + end


def all_of(parts: Sequence[Sql]) -> Sql:
    """True where all of these are."""
    return _joined(" AND ", parts) if parts else TRUE


def any_of(parts: Sequence[Sql]) -> Sql:
    """True where one of these is."""
    return _joined(" OR ", parts) if parts else FALSE


def not_(part: Sql) -> Sql:
    """True where this is not."""
    return "NOT (" + part + ")"


def equal(column: str, value: Any) -> Sql:
    """That a column has this value."""
    return Sql(f"{column} = ?", (plain(value),))


def one_of(column: str, values: Sequence[Any]) -> Sql:
    """That a column has one of these values."""
    if len(values) == 1:
        return equal(column, values[0])
    return Sql(f"{column} IN ({', '.join('?' * len(values))})", tuple(map(plain, values)))


def between(column: str, lower: Any, upper: Any) -> list[Sql]:
    """That a column is between these, which are among them; None: no end."""
    from_lower = [] if lower is None else [Sql(f"{column} >= ?", (plain(lower),))]
    return from_lower if upper is None else [*from_lower, Sql(f"{column} <= ?", (plain(upper),))]


def plain(value: Any) -> Any:
    """As the database keeps it."""
    return micros(value) if isinstance(value, datetime) else value


def execute(connection: sa.Connection, sql: Sql) -> sa.CursorResult[Any]:
    """What a whole statement gives, values as the database keeps them."""
    text = sql.text if connection.dialect.name == "sqlite" else sql.text.replace("?", "%s")
    return connection.exec_driver_sql(text, sql.values)


def _joined(word: str, parts: Sequence[Sql]) -> Sql:
    if len(parts) == 1:
        return parts[0]
    text = word.join([part.text for part in parts])
    return Sql(f"({text})", tuple(value for part in parts for value in part.values))
