"""Expressions over devices as SQL conditions on view ``fleet``. They are true exactly where ``query_terms.holds`` is,
never NULL, and name columns in any table or subquery that has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from services.devices.fleet import FLEET, groups_scope
from services.devices.query_terms import ANYWHERE, FIELDS, AllOf, AnyOf, Expression, Field, Not, Term, terms
from shared.bus.providers import WorkerViews
from shared.projections.sql import FALSE, Sql, all_of, any_of, equal, not_, one_of, plain, select
from shared.projections.tables import once
from shared.projections.tables import says as column_says

_GROUP_CHARS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_")


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
        scope = equal("m.scope", groups_scope(self._product_id))
        its_own = Sql(f"m.device_id = {table}.device_id")
        return "EXISTS (" + select("1", f"{self._members} AS m", scope, one_of("m.item", term.values), its_own) + ")"

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
        nothing = Sql(f"{column} IS NULL") if field.nothing is None else equal(column, field.nothing)
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
