"""How a subscription stands now, and what a change of plan or seats would come to. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from services.billing.cycle import in_seconds
from services.billing.money import Configuration
from services.billing.standing import Subscription, evolve, with_lines
from services.billing.subscriptions import Advance, Policy, SwitchPlan, decide, lines_of
from shared.errors import Refused
from shared.events.billing import Line, PlanSwitched

MOST_SEATS = 10_000


def preview(
    policy: Policy, state: Subscription, plan: str | None, seats: int | None, now: datetime
) -> tuple[Subscription, Sequence[Line]]:
    """The subscription as it would be, and the lines that would be made; None: that stays. Raises ``Refused``:
    ``unknown_plan``, ``inactive``, ``invalid_request``."""
    switched: Sequence[Line] = ()
    state = as_of(policy, state, now)
    if plan is not None:
        state, switched = _after(policy, state, SwitchPlan(str(plan), now))
    if seats is None:
        return state, switched
    if isinstance(seats, bool) or not isinstance(seats, int) or not 1 <= seats <= MOST_SEATS:
        raise Refused("invalid_request", f"seats must be 1 to {MOST_SEATS}.")
    seated = lines_of(state, in_seconds(now), Configuration(state.plan, seats))
    members = frozenset(map(str, range(seats)))
    ahead = replace(state, members=members, pending=with_lines(state.pending, seated))
    return ahead, with_lines(tuple(switched), seated)


def as_of(policy: Policy, state: Subscription, now: datetime) -> Subscription:
    """The subscription with what is due by now, whether or not somebody has looked at the clock (CAL-4)."""
    return _after(policy, state, Advance(now))[0]


def _after(policy: Policy, state: Subscription, command: Advance | SwitchPlan) -> tuple[Subscription, Sequence[Line]]:
    lines: Sequence[Line] = ()
    for event in decide(policy, state, command):
        state = evolve(state, event)
        lines = event.lines if isinstance(event, PlanSwitched) else lines
    return state, lines
