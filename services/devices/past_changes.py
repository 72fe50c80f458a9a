"""What changed in a product's fleet between two moments (EVT-3): counters at both, and the devices that differ.

Devices are walked in the order of their ids, side by side, a bounded number for each answer; the cursor is the last id
that was looked at, so an answer may have few devices, or none, and still a cursor.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from services.devices import fleet_queries
from services.devices.fleet import FLEET
from services.devices.past_difference import COLUMNS, difference
from services.devices.products import PRODUCTS
from shared.bus.past_answers import building, stamp
from shared.bus.providers import WorkerViews
from shared.errors import Refused, Unavailable
from shared.ids import device_id
from shared.projections.past import Building, Past
from shared.projections.past_moments import Moment, check_order
from shared.projections.past_moments import parse as parse_moment
from shared.projections.positions import stored
from shared.projections.view import Row

MAX_PER_PAGE = 100
MAX_WALKED = 5_000
"""Most devices that are looked at for one answer."""
STRETCH = 500
"""Devices that are read at a time, of each moment."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A checked query; ``until`` None: now; ``after``: the cursor of the answer before."""

    product_id: int
    since: Moment
    until: Moment | None
    after: str
    per_page: int


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two moments: its views, and what it is of."""

    views: WorkerViews
    as_of: dict[str, Any]


def parse(product_id: int, since: object, until: object, after: object, per_page: object) -> Asked:
    """A query as it was asked; raises ``Refused("invalid_request")`` for what makes no sense."""
    first = parse_moment(since, "from")
    second = None if until is None else parse_moment(until, "to")
    if second is not None:
        check_order(first, second)
    if not isinstance(per_page, int) or isinstance(per_page, bool) or not 1 <= per_page <= MAX_PER_PAGE:
        raise Refused("invalid_request", f"per_page: must be 1 to {MAX_PER_PAGE}.")
    last = "" if after is None else device_id(after) if isinstance(after, str) else None
    if last is None:
        raise Refused("invalid_request", "after: is no cursor; take meta.next of the answer before.")
    return Asked(product_id, first, second, last, per_page)


def answer(past: Past, views: WorkerViews, asked: Asked) -> dict[str, Any]:
    """A page of changes, or ``{"building": …}`` while a copy is not ready. Raises ``Refused`` and ``Unavailable``."""
    sides = [_side(past, views, asked.since, "from"), _side(past, views, asked.until, "to")]
    missing = [side for side in sides if isinstance(side, Building)]
    if missing:
        return building(*missing)
    before, after = (side for side in sides if isinstance(side, Side))
    return compare(before, after, asked)


def _side(past: Past, views: WorkerViews, moment: Moment | None, name: str) -> Side | Building:
    if moment is None:
        return Side(views, present(views))
    found = past.find(moment, name=name)
    return found if isinstance(found, Building) else Side(views.at(past.open(found)), stamp(found))


def present(views: WorkerViews) -> dict[str, Any]:
    """How far the views of the present are."""
    with views.read() as connection:
        found = [stored(connection, f"view/{view.name}") for view in (FLEET, PRODUCTS)]
    positions = [checkpoint.position for checkpoint in found if checkpoint and checkpoint.position is not None]
    return {"position": max(positions, default=None), "at": None}


def compare(before: Side, after: Side, asked: Asked) -> dict[str, Any]:
    """Both sides of a comparison that are ready. Raises ``Refused("invalid_request")`` when they are the wrong way
    round, and ``Unavailable`` while the present is not as far as the past that was asked for."""
    if (before.as_of["position"] or 0) > (after.as_of["position"] or 0):
        if asked.until is None:
            raise Unavailable(f"the views of the present have not reached {asked.since} yet")
        raise Refused("invalid_request", f"from: {asked.since} is later than to, {asked.until}.")
    is_same = asked.until is not None and before.as_of == after.as_of
    changes, cursor = ([], None) if is_same else _page(before.views, after.views, asked)
    return {
        "from": _figures(before, asked.product_id),
        "to": _figures(after, asked.product_id),
        "changes": changes,
        "meta": {"per_page": asked.per_page, "next": cursor},
    }


def _page(before: WorkerViews, after: WorkerViews, asked: Asked) -> tuple[list[dict[str, Any]], str | None]:
    found: list[dict[str, Any]] = []
    with closing(_walk(before, after, asked.product_id, asked.after)) as pairs:
        for walked, (one_id, then, now) in enumerate(pairs, start=1):
            changed = difference(one_id, then, now)
            if changed is not None:
                found.append(changed)
            if len(found) == asked.per_page or walked == MAX_WALKED:
                return found, one_id
    return found, None


def _figures(side: Side, product_id: int) -> dict[str, Any]:
    return {"as_of": side.as_of, **fleet_queries.statistics(side.views, product_id)}


def _walk(
    before: WorkerViews, after: WorkerViews, product_id: int, last: str
) -> Generator[tuple[str, Row | None, Row | None], None, None]:
    """Members at either moment behind an id, in order; each with its row then and then."""
    with ExitStack() as stack:
        sides = [(views, stack.enter_context(views.read())) for views in (before, after)]
        while True:
            pages = [_rows(views, connection, product_id, last) for views, connection in sides]
            full = [max(page) for page in pages if len(page) == STRETCH]
            end = min(full, default=None)
            one, other = pages
            for found in sorted(one.keys() | other.keys()):
                if end is not None and found > end:
                    break
                yield found, one.get(found), other.get(found)
            if end is None:
                return
            last = end


def _rows(views: WorkerViews, connection: sa.Connection, product_id: int, last: str) -> dict[str, Row]:
    fleet = views.table(FLEET)
    query = sa.select(*(fleet.c[name] for name in COLUMNS))
    query = query.where(fleet.c.product_id == product_id, fleet.c.device_id > last)
    rows = connection.execute(query.order_by(fleet.c.device_id).limit(STRETCH)).mappings()
    return {row["device_id"]: dict(row) for row in rows}
