"""Which devices an index finds for a part of an expression: what a list is looked for among, if there are few of them.

A seek gives at least the devices of which its part is true; the whole expression is asked of each afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from services.devices.fleet import FLEET, NEVER, NOTHING, groups_scope
from services.devices.query_sql import Condition
from services.devices.query_terms import EVERYTHING, FIELDS, AnyOf, Expression, Not, Term, conjuncts
from shared.bus.providers import WorkerViews
from shared.projections.tables import says

MAX_SEEKS = 8
"""Parts of one expression whose devices are counted, up to a bound each."""
LAST = "\U0010ffff"
"""Behind every character that a text may go on with."""


@dataclass(frozen=True, slots=True)
class Seek:
    """Of a ``part``. ``sources`` select ``device_id``, all of them together. ``conditions`` are those of the index on
    view ``fleet``, if there is one such, and ``column`` what they are about. ``by_id``: the index has them in the order
    of their IDs. ``within``: the entries of an index that are all looked at to find them; None: no others than theirs.
    """

    sources: tuple[sa.Select[Any], ...]
    column: str
    conditions: tuple[Condition, ...] = ()
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
        return self._by("device_id", (), by_id=True)

    def _seek(self, part: Expression) -> Seek | None:
        match part:
            case Term(name, "=", ()):
                return self._by(FIELDS[name].column or "device_id", (sa.false(),))
            case Term():
                return self._term(part)
            case Not(Term("locked", "=", (None,))):
                return self._by("locked_version", (says(self._fleet.c.locked_version),))
            case AnyOf(parts):
                return self._any(parts)
            case _:
                return None

    def _any(self, parts: Sequence[Expression]) -> Seek | None:
        found = [self._seek(part) for part in parts]
        seeks = [seek for seek in found if seek is not None]
        if not seeks or len(seeks) < len(found):
            return None
        return Seek(tuple(source for seek in seeks for source in seek.sources), "")

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
                return Seek((owned,), field.column, by_id=len(term.values) == 1)
            case "id" | "number" | "moment":
                return self._range(term, column)
            case "text" if term.field == "name":
                return self._range(term, column)
            case _:
                return None

    def _containing(self, term: Term, column: Any) -> Seek | None:
        if term.field not in ("name", "id"):
            return None
        every = (says(column),) if term.field == "name" else ()
        found = self._by(column.name, (*every, column.contains(term.values[0], autoescape=True)))
        return replace(found, conditions=every, within=self._by(column.name, every).sources[0])

    def _flag(self, name: str, value: bool) -> Seek | None:
        columns = self._fleet.c
        if not value or name == "forced":
            return None
        column = columns[FIELDS[name].column]
        phase = (column == name,) if FIELDS[name].says == name else ()
        return self._by(column.name, (says(column), *phase), by_id=True)

    def _group(self, names: Sequence[Any]) -> Seek:
        members = self._members
        found = sa.select(members.c.device_id).where(
            members.c.scope == groups_scope(self._product_id), members.c.item.in_(names)
        )
        return Seek((found,), "groups", by_id=len(names) == 1)

    def _range(self, term: Term, column: Any) -> Seek | None:
        field = FIELDS[term.field]
        is_something = says(column) if term.field in ("name", "locked", "last_heard") else sa.true()
        value = term.values[0]
        compared: tuple[Condition, ...]
        match term.operator:
            case "=":
                compared = (column.in_(term.values) if len(term.values) > 1 else column == value,)
            case "starts_with":
                compared = (column >= value, column < f"{value}{LAST}")
            case "<" | "<=":
                least = (
                    column > NEVER if field.nothing == NEVER else column > NOTHING if field.nothing == NOTHING else None
                )
                compared = (
                    *(() if least is None else (least,)),
                    column < value if term.operator == "<" else column <= value,
                )
            case _:
                compared = (column > value if term.operator == ">" else column >= value,)
        if field.kind == "number" and term.field not in ("version", "locked"):
            return None
        exact = term.operator == "=" and len(term.values) == 1
        by_id = field.kind == "id" or (exact and field.kind in ("number", "text"))
        return self._by(column.name, (is_something, *compared), by_id=by_id)

    def _by(self, column: str, conditions: tuple[Condition, ...], *, by_id: bool = False) -> Seek:
        columns = self._fleet.c
        source = sa.select(columns.device_id).where(columns.product_id == self._product_id, *conditions)
        return Seek((source,), column, conditions, by_id)
