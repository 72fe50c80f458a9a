"""How many devices an expression is true of, as far as the counters of view ``fleet`` know. Pure but for one query."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

import sqlalchemy as sa

from services.devices.fleet import FLEET, NOTHING, devices_scope, groups_scope, states_scope
from services.devices.query_sql import columns_of
from services.devices.query_terms import EVERYTHING, Expression, Term, conjuncts, holds, terms
from shared.bus.providers import WorkerViews
from shared.projections.sql import all_of, any_of, equal, execute, one_of, select


@dataclass(frozen=True, slots=True)
class Counters:
    """What is counted of a product, by scope without the product and by item."""

    total: int
    devices: Mapping[str, int]
    states: Mapping[str, int]
    groups: Mapping[str, int] = field(default_factory=dict)

    def exactly(self, expression: Expression) -> int | None:
        """How many devices it is true of; None if the counters do not tell."""
        if expression == EVERYTHING:
            return self.total
        match expression:
            case Term("group", "=", (str(name),)):
                return self.groups.get(name, 0)
        columns = columns_of(expression)
        if len(columns) != 1:
            return None
        (column,) = columns
        values = self._values(column, expression)
        if values is None:
            return None
        return sum(number for value, number in values if holds(expression, {column: value}))

    def at_most(self, expression: Expression) -> int:
        """No more than so many, by the rarest of the parts that all have to be true."""
        known = (self.exactly(part) for part in conjuncts(expression))
        return min((number for number in known if number is not None), default=self.total)

    def likely(self, expression: Expression) -> float:
        """About how many, as if the parts had nothing to do with each other; those that are not counted are left
        out."""
        known = [self.exactly(part) for part in conjuncts(expression)]
        return self.total * prod(number / self.total for number in known if number is not None) if self.total else 0

    def _values(self, column: str, expression: Expression) -> list[tuple[Any, int]] | None:
        """The values of a column and how many devices have each."""
        match column:
            case "online" | "quarantined" | "development":
                return self._flag(self.devices.get(column, 0))
            case "denied":
                return self._flag(self.states.get(column, 0))
            case "update_phase":
                return self._with_rest([(name, self.states.get(name, 0)) for name in ("failing", "updating")], None)
            case "locked_version" if all(term.values == (None,) for term in terms(expression)):
                return self._with_rest([(0, self.states.get("locked", 0))], None)
            case "shown_version":
                counted = ((item.rpartition(" "), number) for item, number in self.states.items())
                shown = [(int(version), number) for (kind, _, version), number in counted if kind == "version"]
                return self._with_rest(shown, NOTHING)
            case _:
                return None

    def _flag(self, number: int) -> list[tuple[Any, int]]:
        return [(True, number), (False, self.total - number)]

    def _with_rest(self, values: list[tuple[Any, int]], rest: Any) -> list[tuple[Any, int]]:
        return [*values, (rest, self.total - sum(number for _, number in values))]


def counters(views: WorkerViews, connection: sa.Connection, product_id: int, expression: Expression) -> Counters:
    """The counters that say something about an expression."""
    devices, states, groups = devices_scope(product_id), states_scope(product_id), groups_scope(product_id)
    wanted = [one_of("scope", (devices, states))]
    names = sorted(_groups(expression))
    if names:
        wanted.append(all_of([equal("scope", groups), one_of("item", names)]))
    query = select("scope, item, n", views.counts(FLEET).name, any_of(wanted))
    found: dict[str, dict[str, int]] = {devices: {}, states: {}, groups: {}}
    for scope, item, number in execute(connection, query).all():
        found[scope][item] = number
    return Counters(found[devices].get("total", 0), found[devices], found[states], found[groups])


def _groups(expression: Expression) -> Iterable[str]:
    found = (term for term in terms(expression) if term.field == "group" and term.operator == "=")
    return {value for term in found for value in term.values if isinstance(value, str)}
