"""Which devices an index finds for a part of an expression: what a list is looked for among, if there are few of them.

A seek gives at least the devices of which its part is true; the whole expression is asked of each afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from services.devices.fleet import FLEET, groups_scope
from services.devices.list_ranges import Range, range_of
from services.devices.query_sql import Condition
from services.devices.query_terms import EVERYTHING, FIELDS, AnyOf, Expression, Not, Term, conjuncts
from shared.bus.providers import WorkerViews
from shared.projections.tables import says

MAX_SEEKS = 8
"""Parts of one expression whose devices are counted, up to a bound each."""


@dataclass(frozen=True, slots=True)
class Seek:
    """Of a ``part``. ``sources`` select ``device_id``, all of them together. ``by_id``: the index has them in the order
    of their IDs. ``within``: the entries of an index that are all looked at to find them; None: no others than theirs.
    """

    sources: tuple[sa.Select[Any], ...]
    by_id: bool = False
    within: sa.Select[Any] | None = None
    part: Expression = EVERYTHING

    @property
    def source(self) -> sa.Select[Any] | sa.CompoundSelect[Any]:
        """All of them as one."""
        return self.sources[0] if len(self.sources) == 1 else sa.union_all(*self.sources)


class Seeks:
    """Of one product."""

    def __init__(self, views: WorkerViews, product_id: int) -> None:
        self._fleet = views.table(FLEET)
        self._members = views.members(FLEET)
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
                return self._by(sa.false())
            case Term():
                return self._term(part)
            case Not(Term("locked", "=", (None,))):
                return self._by(says(self._fleet.c.locked_version))
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
        field, columns = FIELDS[term.field], self._fleet.c
        if None in term.values or (len(term.values) > 1 and term.operator != "="):
            return None
        column = columns[field.column] if field.column else None
        if term.operator == "contains":
            return self._containing(term, column)
        match field.kind:
            case "flag":
                return self._flag(term.field, term.values == (True,))
            case "group" if term.operator == "=":
                return self._group(term.values)
            case "owner":
                owned = sa.select(columns.device_id).where(column.in_(term.values))  # type: ignore[union-attr]
                return Seek((owned,), by_id=len(term.values) == 1)
            case "id" | "number" | "moment":
                return self._range(term, column)
            case "text" if term.field == "name":
                return self._range(term, column)
            case _:
                return None

    def _containing(self, term: Term, column: Any) -> Seek | None:
        if term.field not in ("name", "id"):
            return None
        every = says(column) if term.field == "name" else sa.true()
        found = self._by(every, column.contains(term.values[0], autoescape=True))
        return replace(found, within=self._by(every).sources[0])

    def _flag(self, name: str, value: bool) -> Seek | None:
        columns = self._fleet.c
        if not value or name == "forced":
            return None
        column = columns[FIELDS[name].column]
        phase = (column == name,) if FIELDS[name].says == name else ()
        return self._by(says(column), *phase, by_id=True)

    def _group(self, names: Sequence[Any]) -> Seek:
        members = self._members
        found = sa.select(members.c.device_id).where(
            members.c.scope == groups_scope(self._product_id), members.c.item.in_(names)
        )
        return Seek((found,), by_id=len(names) == 1)

    def _range(self, term: Term, column: Any) -> Seek | None:
        """Of the field of an index: between two values."""
        if term.field not in ("id", "version", "locked", "name", "last_heard", "connected"):
            return None
        is_something = says(column) if term.field in ("name", "locked", "last_heard") else sa.true()
        one_of = column.in_(term.values) if term.operator == "=" and len(term.values) > 1 else sa.true()
        exact = term.operator == "=" and len(term.values) == 1
        by_id = term.field == "id" or (exact and term.field != "last_heard")
        return self._by(is_something, one_of, *inside(column, range_of(term, column.name)), by_id=by_id)

    def _by(self, *conditions: Condition, by_id: bool = False) -> Seek:
        columns = self._fleet.c
        return Seek((sa.select(columns.device_id).where(columns.product_id == self._product_id, *conditions),), by_id)


def inside(column: Any, found: Range) -> list[Condition]:
    """That a column is in a range."""
    lower = [] if found.lower is None else [column >= found.lower]
    upper = [] if found.upper is None else [column <= found.upper]
    return [*lower, *upper]
