"""What is asked of roll-outs. Reads views only."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import sqlalchemy as sa

from services.firmware.rollouts.control import NO_SUCH_ROLLOUT
from services.firmware.rollouts.rollout_object import device_object, rollout_object
from services.firmware.rollouts.rollout_views import DEVICES_VIEW, IN_TURN, OUTCOMES, ROLLOUTS_VIEW
from shared.bus.providers import WorkerViews
from shared.errors import NotFound, Refused
from shared.ids import device_id

MOST_ROLLOUTS = 100
"""The newest that a list shows."""
MOST_DEVICES = 1_000
"""On a page."""
STATES = ("asked", IN_TURN, *OUTCOMES)


def list_rollouts(views: WorkerViews, product_id: int) -> dict[str, Any]:
    """``rollouts``: the newest 100 of a product, the newest first."""
    rollouts, counts = views.table(ROLLOUTS_VIEW), views.counts(DEVICES_VIEW)
    query = sa.select(rollouts).where(rollouts.c.product_id == product_id)
    newest = query.order_by(rollouts.c.planned_at.desc(), rollouts.c.rollout_id).limit(MOST_ROLLOUTS)
    states: defaultdict[str, dict[str, int]] = defaultdict(dict)
    with views.read() as connection:
        rows = [dict(row) for row in connection.execute(newest).mappings()]
        ids = [row["rollout_id"] for row in rows]
        for rollout_id, state, count in connection.execute(sa.select(counts).where(counts.c.scope.in_(ids))):
            states[rollout_id][state] = count
    return {"rollouts": [rollout_object(row, states[row["rollout_id"]]) for row in rows]}


def get_rollout(views: WorkerViews, product_id: int, rollout_id: str) -> dict[str, Any]:
    """``rollout``. Raises ``NotFound``."""
    rollouts = views.table(ROLLOUTS_VIEW)
    query = sa.select(rollouts).where(rollouts.c.rollout_id == rollout_id, rollouts.c.product_id == product_id)
    with views.read() as connection:
        row = connection.execute(query).mappings().one_or_none()
    if row is None:
        raise NotFound(NO_SUCH_ROLLOUT)
    return {"rollout": rollout_object(dict(row), states_of(views, rollout_id))}


def states_of(views: WorkerViews, rollout_id: str) -> dict[str, int]:
    """How many devices of a roll-out are in each state."""
    counts = views.counts(DEVICES_VIEW)
    counted = sa.select(counts.c.item, counts.c.n).where(counts.c.scope == rollout_id)
    with views.read() as connection:
        return {row.item: row.n for row in connection.execute(counted)}


def list_devices(
    views: WorkerViews, product_id: int, rollout_id: str, state: str | None, after: str | None, limit: int
) -> dict[str, Any]:
    """``devices`` that asked for a turn, in order of their ids behind ``after``, and ``next``, the last of them if
    there may be more. Raises ``NotFound`` and ``Refused`` ``invalid_request``."""
    if state is not None and state not in STATES:
        raise Refused("invalid_request", f"state: Must be one of {', '.join(STATES)}.")
    if after is not None and device_id(after) is None:
        raise Refused("invalid_request", "after: Must be the id of a device.")
    get_rollout(views, product_id, rollout_id)
    devices = views.table(DEVICES_VIEW)
    most = max(1, min(limit, MOST_DEVICES))
    query = sa.select(devices).where(devices.c.rollout_id == rollout_id, devices.c.device_id > (after or ""))
    if state is not None:
        query = query.where(devices.c.state == state)
    with views.read() as connection:
        rows = [dict(row) for row in connection.execute(query.order_by(devices.c.device_id).limit(most)).mappings()]
    return {
        "devices": [device_object(row) for row in rows],
        "next": rows[-1]["device_id"] if len(rows) == most else None,
    }


def is_of_another(views: WorkerViews, product_id: int, rollout_id: str) -> bool:
    """Whether another product has a roll-out of this id."""
    rollouts = views.table(ROLLOUTS_VIEW)
    query = sa.select(sa.true()).where(rollouts.c.rollout_id == rollout_id, rollouts.c.product_id != product_id)
    with views.read() as connection:
        return connection.execute(query).first() is not None
