"""What a member wishes, once the timers that were due before it have run. Pure. Rules BIL-2, BIL-4, BIL-5, CAL-5,
PLN-1.
"""

from __future__ import annotations

from datetime import datetime
from typing import assert_never

from services.billing.commands import (
    AddSeat,
    Advance,
    Authenticate,
    Cancel,
    Reactivate,
    RegisterCustomer,
    RemoveSeat,
    ReplaceCard,
    SwitchPlan,
    Wish,
)
from services.billing.cycle import in_seconds
from services.billing.invoicing import Run, come_back, issue, not_before, period_ahead, request, void
from services.billing.money import MONTHS, Configuration, proration
from services.billing.standing import Subscription
from shared.errors import Refused
from shared.events.billing import (
    CancellationWithdrawn,
    Card,
    CardReplaced,
    CustomerRegistered,
    Line,
    PlanSwitched,
    SeatAdded,
    SeatRemoved,
    SubscriptionCancelled,
    SubscriptionEnded,
)
from shared.events.orgs import Plan

AUTHENTICATION = "authentication_required"


def wish(run: Run, command: Wish) -> None:
    """Do what the member wishes, or raise ``Refused``."""
    at = not_before(run.state, in_seconds(command.at))
    match command:
        case Advance():
            pass
        case AddSeat(member_id) | RemoveSeat(member_id):
            _change_seats(run, member_id, in_seconds(command.at), joins=isinstance(command, AddSeat))
        case SwitchPlan(plan):
            _switch(run, plan, at)
        case RegisterCustomer(customer_ref):
            if run.state.customer_ref is None:
                run.tell(CustomerRegistered(run.state.org_id, at, customer_ref))
        case ReplaceCard(card):
            _replace_card(run, card, at)
        case Cancel():
            _cancel(run, at)
        case Reactivate(_, card):
            _reactivate(run, at, card)
        case Authenticate():
            _must_be_known(run.state)
            if run.state.invoice is None or run.state.invoice.code != AUTHENTICATION:
                raise Refused("nothing_to_authenticate", "no payment waits for the bank's confirmation")
            request(run, "customer", at, present=True)
        case _:
            assert_never(command)


def _replace_card(run: Run, card: Card, at: datetime) -> None:
    if card == run.state.card:
        return
    _must_be_known(run.state)
    run.tell(CardReplaced(run.state.org_id, at, card))
    if run.state.invoice is not None:
        request(run, "customer", at)


def _must_be_known(state: Subscription) -> None:
    if state.charge is not None:
        raise Refused("charge_in_progress", "a payment is under way; try again when its outcome is known")


def _change_seats(run: Run, member_id: str, at: datetime, *, joins: bool) -> None:
    state = run.state
    if (member_id in state.members) == joins:
        return
    if not joins and len(state.members) == 1:
        raise Refused("last_member", "an organization has one member at least")
    members = state.members | {member_id} if joins else state.members - {member_id}
    after = Configuration(state.plan, max(1, len(members)))
    if state.period is not None:  # CAL-5
        at = max(at, state.period.starts_at)
    event = SeatAdded if joins else SeatRemoved
    run.tell(event(state.org_id, at, member_id, after.seats, lines_of(state, at, after)))


def lines_of(state: Subscription, at: datetime, after: Configuration) -> list[Line]:
    """What a change comes to in the running period; nothing in a trial, while it is inactive, and where nobody pays."""
    if state.period is None or state.waived or at >= state.period.ends_at:
        return []
    return proration(state.period, at, state.configuration, after)


def _switch(run: Run, plan: str, at: datetime) -> None:
    state = run.state
    if plan not in MONTHS:
        raise Refused("unknown_plan", f"there is no plan {plan[:32]!r}; there are {' and '.join(MONTHS)}")
    if state.standing == "inactive":
        raise Refused("inactive", "the subscription is inactive; re-activate it first")
    known: Plan = "monthly" if plan == "monthly" else "yearly"
    if known != state.plan:
        lines = lines_of(state, at, Configuration(known, state.seats))
        run.tell(PlanSwitched(state.org_id, at, known, state.plan, lines))


def _cancel(run: Run, at: datetime) -> None:
    state = run.state
    if state.standing == "inactive":
        raise Refused("inactive", "the subscription is inactive already")
    _must_be_known(state)
    if state.invoice is not None:
        void(run, at)
        run.tell(SubscriptionEnded(state.org_id, at, "cancelled"))
    elif state.cancel_at is None and state.boundary is not None:
        run.tell(SubscriptionCancelled(state.org_id, at, state.boundary))


def _reactivate(run: Run, at: datetime, card: Card | None) -> None:
    state = run.state
    _must_be_known(state)
    if state.cancel_at is not None:
        run.tell(CancellationWithdrawn(state.org_id, at))
        return
    if state.standing != "inactive":
        raise Refused("not_cancelled", "the subscription is neither cancelled nor inactive")
    if card is None:
        raise Refused("card_required", "re-activating takes a card")
    issue(run, "reactivation", period_ahead(run.policy, state, at))
    if run.state.invoice is None:
        come_back(run, at, card)
    else:
        request(run, "customer", at, card=card)
