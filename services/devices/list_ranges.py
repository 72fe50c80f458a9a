"""Between which values of its order a list can have anything: where a walk begins, and where it may end. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from services.devices.fleet import NEVER, NOTHING
from services.devices.query_terms import FIELDS, Expression, Term, conjuncts

LAST = "\U0010ffff"
"""Behind every character that a text may go on with."""
SKEW = timedelta(days=1)
"""So far the clocks of a gateway, which says when a device connected, and of the store may be from each other."""
LATEST = datetime(9000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Range:
    """Both ends belong to it; None: no end. There is one condition for each, because of several a database takes any
    one for its index, and looks at all that the others keep out."""

    lower: Any = None
    upper: Any = None


def range_of(expression: Expression, column: str) -> Range:
    """The values of a column among which all are for which the expression can be true."""
    found = [one for part in conjuncts(expression) if isinstance(part, Term) for one in _ranges(part, column)]
    lowers = [one.lower for one in found if one.lower is not None]
    uppers = [one.upper for one in found if one.upper is not None]
    return Range(max(lowers, default=None), min(uppers, default=None))


def _ranges(term: Term, column: str) -> Iterator[Range]:
    field, values = FIELDS[term.field], term.values
    if not values or None in values:
        return
    if term.field == "last_heard" and column == "connected_at":
        yield from _connected(term)
    if field.column != column or term.operator == "contains":
        return
    least, most = min(values), max(values)  # type: ignore[type-var]  # of one field they are of one type
    if field.nothing == NOTHING:
        yield Range(lower=NOTHING + 1)
    if field.nothing == NEVER:
        yield Range(lower=NEVER + timedelta.resolution)
    match term.operator:
        case "=":
            yield Range(least, most)
        case "starts_with":
            yield Range(least, f"{most}{LAST}")
        case "<" | "<=":
            yield Range(upper=most)
        case _:
            yield Range(lower=least)


def _connected(term: Term) -> Iterator[Range]:
    """A device of which nothing was heard since a moment has not connected since either."""
    for value in term.values:
        if term.operator in ("<", "<=") and isinstance(value, datetime) and value < LATEST:
            yield Range(upper=value + SKEW)
