"""Commands on the subscription of one organization, and its timers. Stream ``subscription-<org id>``. Pure: the clock
is an argument. Rules BIL-1 to BIL-7, CAL-4, CAL-5, MON-3 to MON-5, PLN-1, GW-1 to GW-4, GW-8.

Every command first runs the timers that are due at its time, in the order of their due times, each as of then; so it
does not matter when or how often somebody looks at the clock. While the fate of an attempt is not known, and while an
invoice is open, the next boundary waits, and is then issued as of its due time.
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial

from services.billing.commands import (
    AddSeat,
    Advance,
    Authenticate,
    Cancel,
    Command,
    Reactivate,
    Record,
    RecordDeclined,
    RecordPaid,
    RecordPostponed,
    RecordPrepared,
    RegisterCustomer,
    RemoveSeat,
    ReplaceCard,
    StartSubscription,
    StartTrial,
    SwitchPlan,
    Wish,
)
from services.billing.cycle import in_seconds
from services.billing.invoicing import NO_CARD, Run, period_ahead
from services.billing.operating import Operation, RecordRefunded, RecordRefundFailed, operate
from services.billing.oversight import HoldCharges, Oversight, oversee
from services.billing.policy import Policy
from services.billing.records import record
from services.billing.standing import Event, Subscription, evolve
from services.billing.timers import advance, due_at, expiry
from services.billing.wishes import AUTHENTICATION, lines_of, wish
from shared.aggregates import Aggregate
from shared.errors import Refused
from shared.events.billing import (
    SubscriptionStarted,
    TrialStarted,
)

__all__ = [
    "AUTHENTICATION",
    "NO_CARD",
    "AddSeat",
    "Advance",
    "Authenticate",
    "Cancel",
    "Command",
    "Policy",
    "Reactivate",
    "Record",
    "RecordDeclined",
    "RecordPaid",
    "RecordPostponed",
    "RecordPrepared",
    "RegisterCustomer",
    "RemoveSeat",
    "ReplaceCard",
    "StartSubscription",
    "StartTrial",
    "SwitchPlan",
    "Wish",
    "decide",
    "due_at",
    "expiry",
    "lines_of",
    "period_ahead",
    "stream_of",
    "subscriptions",
]
"""Whoever uses the aggregate finds here what belongs to it."""


def decide(policy: Policy, state: Subscription, command: Command) -> list[Event]:
    """What the command means now, with the timers that were due before it; an empty list if nothing is. Raises
    ``Refused``: ``already_started``, ``card_required``, ``last_member``, ``inactive``, ``not_cancelled``,
    ``charge_in_progress``, ``unknown_plan``, ``nothing_to_authenticate``."""
    run = Run(policy, state)
    match command:
        case StartTrial() | StartSubscription():
            _start(run, command)
        case RecordPrepared() | RecordPostponed() | RecordPaid() | RecordDeclined():
            record(run, command)
        case HoldCharges():
            _oversee(run, command)
        case RecordRefunded() | RecordRefundFailed():
            _operate(run, command)
        case _:
            if state.standing == "none":
                raise Refused("inactive", "there is no such subscription")
            advance(run, in_seconds(command.at))
            if isinstance(command, Oversight):
                _oversee(run, command)
            elif isinstance(command, Operation):
                _operate(run, command)
            else:
                wish(run, command)
    return run.events


def _oversee(run: Run, command: Oversight) -> None:
    for event in oversee(run.state, command):
        run.tell(event)


def _operate(run: Run, command: Operation) -> None:
    for event in operate(run.state, command):
        run.tell(event)


def subscriptions(policy: Policy) -> Aggregate[Subscription, Command]:
    """The aggregate under a policy."""
    return Aggregate(Subscription(), partial(decide, policy), evolve)


def stream_of(org_id: str) -> str:
    """The stream of this organization's subscription."""
    return f"subscription-{org_id}"


def _start(run: Run, command: StartTrial | StartSubscription) -> None:
    trial_ends_at = in_seconds(command.at) + timedelta(days=run.policy.trial_days)  # CAL-1
    if isinstance(command, StartTrial):
        if run.state.standing == "none":
            run.tell(TrialStarted(command.org_id, command.plan, trial_ends_at))
        return
    if run.state.standing != "none":
        raise Refused("already_started", "the organization has a subscription already")
    at = in_seconds(command.at)
    who = (command.member_id, trial_ends_at, command.customer_ref, command.card)
    run.tell(SubscriptionStarted(command.org_id, at, command.plan, *who))
