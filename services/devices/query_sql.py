"""Expressions over devices as SQL conditions on view ``fleet``. They are true exactly where ``query_terms.holds`` is,
never NULL, and name columns in any table or subquery that has them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from services.devices.fleet import groups_scope
from services.devices.query_terms import ANYWHERE, FIELDS, AllOf, AnyOf, Expression, Field, Not, Term, terms

Condition = sa.ColumnElement[bool]
_GROUP_CHARS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_")


@dataclass(frozen=True, slots=True)
class Conditions:
    """Of one product: ``members`` are those of its groups."""

    members: sa.Table
    product_id: int

    def of(self, columns: Any, expression: Expression) -> Condition:
        """Where the expression is true."""
        match expression:
            case Term():
                return self._term(columns, expression)
            case Not(part):
                return sa.not_(self.of(columns, part))
            case AllOf(parts):
                return sa.and_(sa.true(), *(self.of(columns, part) for part in parts))
            case AnyOf(parts):
                return sa.or_(sa.false(), *(self.of(columns, part) for part in parts))

    def _term(self, columns: Any, term: Term) -> Condition:
        field = FIELDS[term.field]
        if field.kind == "anywhere":
            return sa.or_(*(self._term(columns, Term(name, term.operator, term.values)) for name in ANYWHERE))
        if field.kind == "flag":
            column = columns[field.column]
            return sa.or_(sa.false(), *(_flag(field, column, bool(value)) for value in term.values))
        if _is_membership(term):
            return self._in_group(columns, term)
        column = columns[field.column]
        if field.kind == "group":
            return sa.or_(sa.false(), *(_group(column, term.operator, value) for value in term.values))
        return _plain(field, column, term)

    def _in_group(self, columns: Any, term: Term) -> Condition:
        """By its place among the members, which are in memory more likely than the device is."""
        members = self.members.c
        found = sa.select(sa.literal(1)).where(
            members.scope == groups_scope(self.product_id),
            sa.or_(sa.false(), *(members.item == value for value in term.values)),
            members.device_id == columns.device_id,
        )
        return found.exists()


def _is_membership(term: Term) -> bool:
    return term.field == "group" and term.operator == "=" and None not in term.values


def columns_of(expression: Expression) -> set[str]:
    """The columns that its condition names."""
    names: set[str] = set()
    for term in terms(expression):
        field = FIELDS[term.field]
        if field.kind == "anywhere":
            names |= {FIELDS[name].column for name in ANYWHERE}
        else:
            names.add("device_id" if _is_membership(term) else field.column)
    return names


def _flag(field: Field, column: Any, value: bool) -> Condition:
    is_it: Condition = column.is_(True) if field.says is True else column.is_not_distinct_from(field.says)
    return is_it if value else sa.not_(is_it)


def _group(column: Any, operator: str, value: Any) -> Condition:
    """The column is a JSON list of names that need no escapes: see ``changes.group_names``."""
    text: sa.ColumnElement[str] = sa.type_coerce(column, sa.Text)
    if value is None:
        return text == "[]"
    if not _GROUP_CHARS.issuperset(value):
        return sa.false()
    opening, closing = {"=": ('"', '"'), "starts_with": ('"', ""), "contains": ("", "")}[operator]
    return text.contains(f"{opening}{value}{closing}", autoescape=True)


def _plain(field: Field, column: Any, term: Term) -> Condition:
    wanted = [value for value in term.values if value is not None]
    is_nothing = column.is_(None) if field.nothing is None else column == field.nothing
    found: list[Condition] = [is_nothing] if len(wanted) < len(term.values) else []
    if wanted:
        text = column if field.kind in ("id", "owner") or term.field == "name" else sa.func.lower(column)
        compared = text if field.kind in ("text", "id", "owner") else column
        found.append(sa.and_(sa.not_(is_nothing), _compared(compared, term.operator, wanted)))
    return sa.or_(sa.false(), *found)


def _compared(column: Any, operator: str, wanted: Iterable[Any]) -> Condition:
    match operator:
        case "=":
            return sa.or_(*(column == value for value in wanted))
        case "contains":
            return sa.or_(*(column.contains(value, autoescape=True) for value in wanted))
        case "starts_with":
            return sa.or_(*(column.startswith(value, autoescape=True) for value in wanted))
        case _:
            compare = {"<": column.__lt__, "<=": column.__le__, ">": column.__gt__, ">=": column.__ge__}[operator]
            return sa.or_(*(compare(value) for value in wanted))
