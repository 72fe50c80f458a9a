"""What a list of devices can be asked for: fields, expressions over them, and what they mean for a row of the view
``fleet`` (DEV-6). Pure.

Every expression is true or false, also where a device has nothing: a comparison with what is not there is false, so
``not (version < 7)`` has the devices of which no version is known, and ``version >= 7`` has not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from services.devices.fleet import NEVER, NOTHING
from shared.projections.view import Row

Kind = Literal["flag", "number", "text", "id", "group", "owner", "moment", "anywhere"]
Operator = Literal["=", "<", "<=", ">", ">=", "contains", "starts_with"]
Value = bool | int | str | datetime | None
"""None: there is nothing."""


@dataclass(frozen=True, slots=True)
class Field:
    """A word of the query language. ``nothing`` is what the column holds where there is nothing; a flag is true where
    the column holds ``says``."""

    kind: Kind
    column: str
    about: str
    nothing: Value = None
    says: bool | str = True


FIELDS: Mapping[str, Field] = {
    "online": Field("flag", "online", "connected now"),
    "version": Field("number", "shown_version", "firmware version that runs", NOTHING),
    "group": Field("group", "groups", "a group that it is in"),
    "owner": Field("owner", "owner_id", "whose it is: an address or an ID"),
    "id": Field("id", "device_id", "device ID"),
    "name": Field("text", "name_key", "name, in any case", ""),
    "notes": Field("text", "notes", "notes, in any case of a to z", ""),
    "text": Field("anywhere", "", "ID, name and notes together"),
    "development": Field("flag", "development", "marked as development"),
    "quarantined": Field("flag", "quarantined", "in quarantine"),
    "denied": Field("flag", "denied", "denied to the product"),
    "forced": Field("flag", "forced", "imported with force"),
    "locked": Field("number", "locked_version", "version that it is locked to"),
    "failing": Field("flag", "update_phase", "left alone after its updates failed", says="failing"),
    "updating": Field("flag", "update_phase", "in the middle of an update", says="updating"),
    "update": Field("text", "update_state", "state of its last update"),
    "product": Field("number", "reported_product", "product ID that it reports"),
    "last_heard": Field("moment", "last_heard_at", "when something was heard of it last"),
    "connected": Field("moment", "connected_at", "when it connected last", NEVER),
    "address": Field("text", "last_address", "address of its last connection"),
    "protocol": Field("text", "protocol", "what it spoke last, as mqtt/3.1.1"),
}
ANYWHERE = ("id", "name", "notes")
"""Where ``text`` looks."""


@dataclass(frozen=True, slots=True)
class Term:
    """One comparison; ``=`` with several values is any of them, with none of them never true."""

    field: str
    operator: Operator
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Not:
    part: Expression


@dataclass(frozen=True, slots=True)
class AllOf:
    parts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    parts: tuple[Expression, ...]


Expression = Term | Not | AllOf | AnyOf
EVERYTHING = AllOf(())


def conjuncts(expression: Expression) -> Iterator[Expression]:
    """The parts that all have to be true."""
    if isinstance(expression, AllOf):
        for part in expression.parts:
            yield from conjuncts(part)
    else:
        yield expression


def terms(expression: Expression) -> Iterator[Term]:
    """All comparisons in it."""
    match expression:
        case Term():
            yield expression
        case Not(part):
            yield from terms(part)
        case AllOf(parts) | AnyOf(parts):
            for part in parts:
                yield from terms(part)


def changed(expression: Expression, change: Callable[[Term], Expression]) -> Expression:
    """The expression with other comparisons."""
    match expression:
        case Term():
            return change(expression)
        case Not(part):
            return Not(changed(part, change))
        case AllOf(parts):
            return AllOf(tuple(changed(part, change) for part in parts))
        case AnyOf(parts):
            return AnyOf(tuple(changed(part, change) for part in parts))


def folded(name: str, value: str) -> str:
    """Text as this field is compared by it: names in any case, other text in any case of a to z."""
    return value.casefold() if name == "name" else value.translate(_LOWER)


_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


def holds(expression: Expression, row: Row) -> bool:
    """Whether it is true of a device."""
    match expression:
        case Term():
            return _term(expression, row)
        case Not(part):
            return not holds(part, row)
        case AllOf(parts):
            return all(holds(part, row) for part in parts)
        case AnyOf(parts):
            return any(holds(part, row) for part in parts)


def _term(term: Term, row: Row) -> bool:
    field = FIELDS[term.field]
    if field.kind == "anywhere":
        return any(_term(Term(name, term.operator, term.values), row) for name in ANYWHERE)
    found = row[field.column]
    if field.kind == "flag":
        return (found == field.says) in term.values
    if field.kind == "group":
        return any(_compared(term, group) for group in found) or (None in term.values and not found)
    return _compared(term, None if found == field.nothing else found)


def _compared(term: Term, found: Any) -> bool:
    if found is None:
        return term.operator == "=" and None in term.values
    if isinstance(found, str) and term.field != "owner":
        found = folded(term.field, found)
    wanted: list[Any] = [value for value in term.values if value is not None]
    match term.operator:
        case "=":
            return found in wanted
        case "contains":
            return any(value in found for value in wanted)
        case "starts_with":
            return any(found.startswith(value) for value in wanted)
        case "<":
            return any(found < value for value in wanted)
        case "<=":
            return any(found <= value for value in wanted)
        case ">":
            return any(found > value for value in wanted)
        case ">=":
            return any(found >= value for value in wanted)
