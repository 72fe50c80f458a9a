"""Which devices an index finds for a part of an expression: what a list is looked for among, if there are few of them.

A seek gives at least the devices of which its part is true; the whole expression is asked of each afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from services.devices.fleet import FLEET, groups_scope
from services.devices.list_ranges import range_of
from services.devices.query_sql import Conditions
from services.devices.query_terms import EVERYTHING, FIELDS, AnyOf, Expression, Not, Term, conjuncts
from shared.bus.providers import WorkerViews
from shared.projections.sql import FALSE, Sql, all_of, between, equal, one_of, select

MAX_SEEKS = 8
"""Parts of one expression whose devices are counted, up to a bound each."""


@dataclass(frozen=True, slots=True)
class Seek:
    """Of a ``part``. ``sources`` are what is behind FROM to find ``device_id``, all of them together, and end with
    conditions that all have to be true. ``by_id``: the index has them in the order of their IDs. ``within``: the
    entries of an index that are all looked at to find them; None: no others than theirs. ``conditions``: those of the
    only source, if it is of the devices themselves."""

    sources: tuple[Sql, ...]
    by_id: bool = False
    within: Sql | None = None
    conditions: Sql | None = None
    part: Expression = EVERYTHING

    @property
    def source(self) -> Sql:
        """A query for all of them; who is in several is in it several times."""
        found, *others = (select("device_id", source) for source in self.sources)
        for other in others:
            found = found + " UNION ALL " + other
        return found


class Seeks:
    """Of one product."""

    def __init__(self, views: WorkerViews, conditions: Conditions, product_id: int) -> None:
        self._fleet = views.table(FLEET).name
        self._members = views.members(FLEET).name
        self._conditions = conditions
        self._product_id = product_id

    def of(self, expression: Expression) -> list[Seek]:
        """Those of the parts that all have to be true."""
        found = ((part, self._seek(part)) for part in conjuncts(expression))
        return [replace(seek, part=part) for part, seek in found if seek is not None][:MAX_SEEKS]

    def everything(self) -> Seek:
        """All devices of the product."""
        return self._by(by_id=True)

    def _seek(self, part: Expression) -> Seek | None:
        match part:
            case Term(_, "=", ()):
                return self._by(FALSE)
            case Term():
                return self._term(part)
            case Not(Term("locked", "=", (None,))):
                return self._by(self._says("locked_version"))
            case AnyOf(parts):
                return self._any(parts)
            case _:
                return None

    def _any(self, parts: Sequence[Expression]) -> Seek | None:
        found = [self._seek(part) for part in parts]
        seeks = [seek for seek in found if seek is not None]
        if not seeks or len(seeks) < len(found):
            return None
        return Seek(tuple(source for seek in seeks for source in seek.sources))

    def _term(self, term: Term) -> Seek | None:
        field = FIELDS[term.field]
        if None in term.values or (len(term.values) > 1 and term.operator != "="):
            return None
        if term.operator == "contains":
            return self._containing(term, field.column)
        match field.kind:
            case "flag":
                return self._flag(term.field, term.values == (True,))
            case "group" if term.operator == "=":
                return self._group(term.values)
            case "owner":
                owned = one_of(field.column, term.values)
                its_own = equal("product_id + 0", self._product_id)  # so that no index of it is taken
                conditions = all_of([owned, its_own])
                return Seek((f"{self._fleet} WHERE " + owned,), by_id=len(term.values) == 1, conditions=conditions)
            case "id" | "number" | "moment":
                return self._range(term, field.column)
            case "text" if term.field == "name":
                return self._range(term, field.column)
            case _:
                return None

    def _containing(self, term: Term, column: str) -> Seek | None:
        if term.field not in ("name", "id"):
            return None
        every = (self._says(column),) if term.field == "name" else ()
        found = self._by(*every, self._conditions.containing(column, str(term.values[0])))
        return replace(found, within=self._by(*every).sources[0])

    def _flag(self, name: str, value: bool) -> Seek | None:
        if not value or name == "forced":
            return None
        column, says = FIELDS[name].column, FIELDS[name].says
        phase = (equal(column, says),) if says == name else ()
        return self._by(self._says(column), *phase, by_id=True)

    def _group(self, names: Sequence[Any]) -> Seek:
        its_own = all_of([equal("scope", groups_scope(self._product_id)), one_of("item", names)])
        return Seek((f"{self._members} WHERE " + its_own,), by_id=len(names) == 1)

    def _range(self, term: Term, column: str) -> Seek | None:
        """Of the field of an index: between two values."""
        if term.field not in ("id", "version", "locked", "name", "last_heard", "connected"):
            return None
        is_something = (self._says(column),) if term.field in ("name", "locked", "last_heard") else ()
        values = (one_of(column, term.values),) if term.operator == "=" and len(term.values) > 1 else ()
        exact = term.operator == "=" and len(term.values) == 1
        by_id = term.field == "id" or (exact and term.field != "last_heard")
        known = range_of(term, column)
        return self._by(*is_something, *values, *between(column, known.lower, known.upper), by_id=by_id)

    def _says(self, column: str) -> Sql:
        return Sql(self._conditions.says(column))

    def _by(self, *conditions: Sql, by_id: bool = False) -> Seek:
        wanted = all_of([equal("product_id", self._product_id), *conditions])
        return Seek((f"{self._fleet} WHERE " + wanted,), by_id, conditions=wanted)
