"""What happens to a subscription by itself, and when. Pure. Rules BIL-1, BIL-3, CAL-4."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Literal

from services.billing.cycle import boundary
from services.billing.invoicing import Run, issue, not_before, period_ahead, request
from services.billing.money import MONTHS, price
from services.billing.standing import Subscription
from shared.events.billing import (
    Card,
    CardExpiringSoon,
    RenewalUpcoming,
    SubscriptionEnded,
    TrialEndingSoon,
)

TRIAL_REMINDER = timedelta(days=7)


RENEWAL_REMINDER = timedelta(days=14)


CARD_REMINDER = timedelta(days=30)


Timer = tuple[datetime, Callable[[Run, datetime], None]]


def advance(run: Run, now: datetime) -> None:
    """Run the timers that are due, in the order of their due times."""
    while run.policy.is_billed and (timer := _next_timer(run.state)) is not None and timer[0] <= now:
        due_at, act = timer
        act(run, due_at)


def due_at(state: Subscription) -> datetime | None:
    """When somebody must look at it next: a timer, an attempt that is to be made, a refund that was asked for; None if
    time changes nothing."""
    timer = _next_timer(state)
    moments = [] if timer is None else [timer[0]]
    if state.charge is not None and not state.held:
        moments.append(state.charge.try_at)
    moments += [refund.at for refund in state.refunds]
    return min(moments, default=None)


def _next_timer(state: Subscription) -> Timer | None:
    """The earliest that has something to do; of two at the same instant, the first in this list."""
    timers: list[Timer] = [*_reminders(state)]
    if state.charge is None:
        if state.invoice is not None:
            if state.invoice.retry_at is not None:
                timers.append((state.invoice.retry_at, _retry))
        elif state.boundary is not None:
            timers.append((state.boundary, _pass_boundary))
    return min(timers, key=lambda timer: timer[0], default=None)


def _reminders(state: Subscription) -> Iterable[Timer]:
    """They are made once, and not before the subscription has got to where they are about."""
    ends_at = state.boundary
    if ends_at is None or state.cancel_at is not None or state.invoice is not None:
        return
    if state.period is None:
        if "trial" not in state.reminded:
            yield ends_at - TRIAL_REMINDER, _remind_of_trial
    elif state.period.months == MONTHS["yearly"] and f"renewal {ends_at.isoformat()}" not in state.reminded:
        yield ends_at - RENEWAL_REMINDER, _remind_of_renewal
    if state.card is not None and f"card {state.card.ref}" not in state.reminded:
        yield expiry(state.card) - CARD_REMINDER, _remind_of_card


def expiry(card: Card) -> datetime:
    """The first instant at which the card is good no more."""
    return boundary(datetime(card.exp_year, card.exp_month, 1, tzinfo=UTC), 1)


def _remind_of_trial(run: Run, due_at: datetime) -> None:
    state = run.state
    assert state.trial_ends_at is not None
    run.tell(TrialEndingSoon(state.org_id, not_before(state, due_at), state.trial_ends_at, _ahead(run)))


def _remind_of_renewal(run: Run, due_at: datetime) -> None:
    state = run.state
    assert state.period is not None
    run.tell(RenewalUpcoming(state.org_id, not_before(state, due_at), state.period.ends_at, _ahead(run)))


def _remind_of_card(run: Run, due_at: datetime) -> None:
    state = run.state
    assert state.card is not None
    run.tell(CardExpiringSoon(state.org_id, not_before(state, due_at), state.card.ref, expiry(state.card)))


def _ahead(run: Run) -> int:
    """What the next invoice comes to, as things are."""
    state = run.state
    return state.seats * price(run.policy.prices, state.plan) + state.pending_cents


def _pass_boundary(run: Run, due_at: datetime) -> None:
    state = run.state
    if state.cancel_at is not None:
        run.tell(SubscriptionEnded(state.org_id, due_at, "cancelled"))
        return
    reason: Literal["trial_end", "renewal"] = "trial_end" if state.period is None else "renewal"
    issue(run, reason, period_ahead(run.policy, state, due_at))
    if run.state.invoice is not None:
        request(run, "schedule", due_at)


def _retry(run: Run, due_at: datetime) -> None:
    request(run, "schedule", not_before(run.state, due_at))
