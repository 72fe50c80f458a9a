"""Expressions over devices as SQL conditions on view ``fleet``. They are true exactly where ``query_terms.holds`` is,
never NULL, and name columns in any table or subquery that has them.

They are text with values beside it: a list is asked for with other values each time (ages are), and making that of
SQLAlchemy's expressions, or looking it up among those made before, would take longer than the database does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from services.devices.fleet import FLEET, groups_scope
from services.devices.query_terms import ANYWHERE, FIELDS, AllOf, AnyOf, Expression, Field, Not, Term, terms
from shared.bus.providers import WorkerViews
from shared.projections.tables import micros, once
from shared.projections.tables import says as column_says

_GROUP_CHARS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_")


@dataclass(frozen=True, slots=True)
class Sql:
    """A part of a statement, and the values of each ``?`` in it in their order. Nothing that somebody asked for is in
    the text itself."""

    text: str
    values: tuple[Any, ...] = ()

    def __add__(self, other: Sql | str) -> Sql:
        if isinstance(other, str):
            return Sql(self.text + other, self.values)
        return Sql(self.text + other.text, self.values + other.values)

    def __radd__(self, other: str) -> Sql:
        return Sql(other + self.text, self.values)


TRUE, FALSE = Sql("1 = 1"), Sql("0 = 1")


def all_of(parts: Sequence[Sql]) -> Sql:
    """True where all of these are."""
    return _joined(" AND ", parts) if parts else TRUE


def any_of(parts: Sequence[Sql]) -> Sql:
    """True where one of these is."""
    return _joined(" OR ", parts) if parts else FALSE


def not_(part: Sql) -> Sql:
    """True where this is not."""
    return "NOT (" + part + ")"


def one_of(column: str, values: Sequence[Any]) -> Sql:
    """That a column has one of these values."""
    if len(values) == 1:
        return Sql(f"{column} = ?", (plain(values[0]),))
    return Sql(f"{column} IN ({', '.join('?' * len(values))})", tuple(map(plain, values)))


def plain(value: Any) -> Any:
    """As the database keeps it."""
    return micros(value) if isinstance(value, datetime) else value


def _joined(word: str, parts: Sequence[Sql]) -> Sql:
    if len(parts) == 1:
        return parts[0]
    text = word.join([part.text for part in parts])
    return Sql(f"({text})", tuple(value for part in parts for value in part.values))


def run(connection: sa.Connection, sql: Sql) -> Sequence[Any]:
    """Its rows, values in them as the database keeps them."""
    return connection.exec_driver_sql(driven(connection, sql.text), sql.values).all()


def driven(connection: sa.Connection, text: str) -> str:
    """The text as the driver wants it."""
    return text if connection.dialect.name == "sqlite" else text.replace("?", "%s")


class Conditions:
    """Of one product, in the words of one kind of database."""

    def __init__(self, views: WorkerViews, connection: sa.Connection, product_id: int) -> None:
        self._dialect = connection.dialect
        self._is_sqlite = self._dialect.name == "sqlite"
        self._fleet = views.table(FLEET)
        self._members = views.members(FLEET).name
        self._product_id = product_id

    def says(self, column: str) -> str:
        """That a column of the fleet says something, in the very words of its index."""

        def made() -> str:
            return str(column_says(sa.column(column, self._fleet.c[column].type)).compile(dialect=self._dialect))

        return once(self._fleet, self._dialect, f"says {column}", made)

    def of(self, table: str, expression: Expression, *, by_members: bool = False) -> Sql:
        """Where the expression is true of this table. ``by_members``: whose group is asked for is looked up among its
        members, which are in memory more likely than the device is."""
        match expression:
            case Term():
                if by_members and is_membership(expression):
                    return self._in_group(table, expression)
                return self._term(table, expression)
            case Not(part):
                return not_(self.of(table, part, by_members=by_members))
            case AllOf(parts):
                return all_of([self.of(table, part, by_members=by_members) for part in parts])
            case AnyOf(parts):
                return any_of([self.of(table, part, by_members=by_members) for part in parts])

    def _term(self, table: str, term: Term) -> Sql:
        field = FIELDS[term.field]
        if field.kind == "anywhere":
            return any_of([self._term(table, Term(name, term.operator, term.values)) for name in ANYWHERE])
        column = f"{table}.{field.column}"
        if field.kind == "flag":
            return any_of([self._flag(field, column, value=bool(value)) for value in term.values])
        if field.kind == "group":
            return any_of([self._group(column, term.operator, value) for value in term.values])
        return self._plain(field, column, term)

    def _in_group(self, table: str, term: Term) -> Sql:
        if not term.values:
            return FALSE
        found = Sql(f"EXISTS (SELECT 1 FROM {self._members} AS m WHERE m.scope = ? AND ", (self._scope,))
        return found + one_of("m.item", term.values) + f" AND m.device_id = {table}.device_id)"

    @property
    def _scope(self) -> str:
        return groups_scope(self._product_id)

    def _flag(self, field: Field, column: str, *, value: bool) -> Sql:
        if field.says is True:
            is_it = Sql(f"{column} IS {'1' if self._is_sqlite else 'true'}")
        else:
            is_it = Sql(f"{column} {'IS' if self._is_sqlite else 'IS NOT DISTINCT FROM'} ?", (field.says,))
        return is_it if value else not_(is_it)

    def _group(self, column: str, operator: str, value: Any) -> Sql:
        """The column is a JSON list of names that need no escapes: see ``changes.group_names``."""
        if value is None:
            return Sql(f"{column} = '[]'")
        if not _GROUP_CHARS.issuperset(value):
            return FALSE
        opening, closing = {"=": ('"', '"'), "starts_with": ('"', ""), "contains": ("", "")}[operator]
        return self.containing(column, f"{opening}{value}{closing}")

    def containing(self, column: str, part: str) -> Sql:
        """That a text has this in it."""
        return Sql(f"{'instr' if self._is_sqlite else 'strpos'}({column}, ?) > 0", (part,))

    def _plain(self, field: Field, column: str, term: Term) -> Sql:
        wanted = [value for value in term.values if value is not None]
        nothing = Sql(f"{column} IS NULL") if field.nothing is None else one_of(column, (field.nothing,))
        found = [nothing] if len(wanted) < len(term.values) else []
        if wanted:
            is_folded = field.kind != "text" or term.field == "name"
            compared = self._compared(column if is_folded else f"lower({column})", term.operator, wanted)
            found.append(all_of([not_(nothing), compared]))
        return any_of(found)

    def _compared(self, column: str, operator: str, wanted: Sequence[Any]) -> Sql:
        match operator:
            case "=":
                return one_of(column, wanted)
            case "contains":
                return any_of([self.containing(column, value) for value in wanted])
            case "starts_with":
                return any_of([Sql(f"substr({column}, 1, {len(value)}) = ?", (value,)) for value in wanted])
            case _:
                return any_of([Sql(f"{column} {operator} ?", (plain(value),)) for value in wanted])


def is_membership(term: Term) -> bool:
    """Whether the members of groups tell."""
    return term.field == "group" and term.operator == "=" and None not in term.values


def columns_of(expression: Expression, *, by_members: bool = False) -> set[str]:
    """The columns that its condition names."""
    names: set[str] = set()
    for term in terms(expression):
        field = FIELDS[term.field]
        if field.kind == "anywhere":
            names |= {FIELDS[name].column for name in ANYWHERE}
        else:
            names.add("device_id" if by_members and is_membership(term) else field.column)
    return names


def inside(column: str, lower: Any, upper: Any) -> Iterable[Sql]:
    """That a column is between these, which are among them; None: no end."""
    if lower is not None:
        yield Sql(f"{column} >= ?", (plain(lower),))
    if upper is not None:
        yield Sql(f"{column} <= ?", (plain(upper),))
