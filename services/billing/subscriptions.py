"""Commands on the subscription of one organization, and its timers. Stream ``subscription-<org id>``. Pure: the clock
is an argument. Rules BIL-1 to BIL-7, CAL-4, CAL-5, MON-3 to MON-5, PLN-1, GW-1 to GW-4, GW-8.

Every command first runs the timers that are due at its time, in the order of their due times, each as of then; so it
does not matter when or how often somebody looks at the clock. While the fate of an attempt is not known, and while an
invoice is open, the next boundary waits, and is then issued as of its due time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Literal, assert_never

from services.billing.cycle import boundary, in_seconds
from services.billing.money import MONTHS, STANDARD, Configuration, price, proration
from services.billing.operating import Operation, RecordRefunded, RecordRefundFailed, operate, voided
from services.billing.oversight import HoldCharges, Oversight, oversee
from services.billing.standing import Event, Subscription, evolve
from shared.aggregates import Aggregate
from shared.errors import Refused
from shared.events.billing import (
    AccountLocked,
    CancellationWithdrawn,
    Card,
    CardExpiringSoon,
    CardReplaced,
    ChargedBy,
    ChargePostponed,
    ChargePrepared,
    ChargeRequested,
    CustomerRegistered,
    InvoiceIssued,
    InvoiceSettledWithoutCharge,
    Line,
    PaymentFailed,
    PaymentSucceeded,
    PlanSwitched,
    Prices,
    RenewalUpcoming,
    SeatAdded,
    SeatRemoved,
    SubscriptionCancelled,
    SubscriptionEnded,
    SubscriptionReactivated,
    SubscriptionStarted,
    TrialEndingSoon,
    TrialStarted,
)
from shared.events.orgs import Plan

NO_CARD = "no_card"
"""The code of an attempt for which there is no card at all."""
AUTHENTICATION = "authentication_required"
TRIAL_REMINDER = timedelta(days=7)
RENEWAL_REMINDER = timedelta(days=14)
CARD_REMINDER = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Policy:
    """What an installation may have otherwise. ``is_billed``: False where nobody pays, so that time changes nothing;
    ``provider_retry_minutes``: pauses after an attempt that could not be made, the last one for ever (GW-2);
    ``hold_after_missed_periods``: with real money, charges that are overdue by more wait for an operator (CAL-6)."""

    is_billed: bool = True
    trial_days: int = 30
    retry_every_days: int = 3
    failed_attempts_before_lock: int = 3
    minimum_charge_cents: int = 50
    provider_retry_minutes: tuple[int, ...] = (1, 5, 15, 60)
    hold_after_missed_periods: int = 1
    prices: Prices = STANDARD


@dataclass(frozen=True, slots=True)
class StartTrial:
    """The organization was created, without a card."""

    org_id: str
    plan: Plan
    at: datetime


@dataclass(frozen=True, slots=True)
class StartSubscription:
    """The organization was created by this member, with a card that is saved."""

    org_id: str
    plan: Plan
    member_id: str
    customer_ref: str
    card: Card
    at: datetime


@dataclass(frozen=True, slots=True)
class RegisterCustomer:
    """The provider keeps cards for it under this name, which began without one."""

    customer_ref: str
    at: datetime


@dataclass(frozen=True, slots=True)
class ReplaceCard:
    """Charge this card from now on."""

    card: Card
    at: datetime


@dataclass(frozen=True, slots=True)
class AddSeat:
    """Somebody accepted an invitation."""

    member_id: str
    at: datetime


@dataclass(frozen=True, slots=True)
class RemoveSeat:
    """A member left, or was removed."""

    member_id: str
    at: datetime


@dataclass(frozen=True, slots=True)
class SwitchPlan:
    """Let the next period be of this plan."""

    plan: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Cancel:
    """Let it end with what is paid."""

    at: datetime


@dataclass(frozen=True, slots=True)
class Reactivate:
    """Take a cancellation back; or, when it is inactive, begin anew with this card."""

    at: datetime
    card: Card | None = None


@dataclass(frozen=True, slots=True)
class Authenticate:
    """Try once more, with the member there to confirm it with the bank."""

    at: datetime


@dataclass(frozen=True, slots=True)
class Advance:
    """It is this late."""

    at: datetime


@dataclass(frozen=True, slots=True)
class RecordPrepared:
    """The provider knows of the attempt."""

    number: int
    attempt: int
    provider_ref: str
    at: datetime


@dataclass(frozen=True, slots=True)
class RecordPostponed:
    """The attempt could not be made."""

    number: int
    attempt: int
    cause: Literal["unreachable", "throttled", "misconfigured"]
    at: datetime


@dataclass(frozen=True, slots=True)
class RecordPaid:
    """The attempt succeeded."""

    number: int
    attempt: int
    provider_ref: str
    at: datetime


@dataclass(frozen=True, slots=True)
class RecordDeclined:
    """The card was refused; ``final``: for good."""

    number: int
    attempt: int
    provider_ref: str | None
    code: str
    at: datetime
    decline_code: str = ""
    final: bool = False


Record = RecordPrepared | RecordPostponed | RecordPaid | RecordDeclined
Wish = RegisterCustomer | ReplaceCard | AddSeat | RemoveSeat | SwitchPlan | Cancel | Reactivate | Authenticate | Advance
Command = StartTrial | StartSubscription | Wish | Record | Oversight | Operation


@dataclass(slots=True)
class _Run:
    """The state while a command is decided, and what has happened so far."""

    policy: Policy
    state: Subscription
    events: list[Event] = field(default_factory=list)

    def tell(self, event: Event) -> None:
        self.state = evolve(self.state, event)
        self.events.append(event)


def decide(policy: Policy, state: Subscription, command: Command) -> list[Event]:
    """What the command means now, with the timers that were due before it; an empty list if nothing is. Raises
    ``Refused``: ``already_started``, ``card_required``, ``last_member``, ``inactive``, ``not_cancelled``,
    ``charge_in_progress``, ``unknown_plan``, ``nothing_to_authenticate``."""
    run = _Run(policy, state)
    match command:
        case StartTrial() | StartSubscription():
            _start(run, command)
        case RecordPrepared() | RecordPostponed() | RecordPaid() | RecordDeclined():
            _record(run, command)
        case HoldCharges():
            _oversee(run, command)
        case RecordRefunded() | RecordRefundFailed():
            _operate(run, command)
        case _:
            if state.standing == "none":
                raise Refused("inactive", "there is no such subscription")
            _advance(run, in_seconds(command.at))
            if isinstance(command, Oversight):
                _oversee(run, command)
            elif isinstance(command, Operation):
                _operate(run, command)
            else:
                _wish(run, command)
    return run.events


def _oversee(run: _Run, command: Oversight) -> None:
    for event in oversee(run.state, command):
        run.tell(event)


def _operate(run: _Run, command: Operation) -> None:
    for event in operate(run.state, command):
        run.tell(event)


def subscriptions(policy: Policy) -> Aggregate[Subscription, Command]:
    """The aggregate under a policy."""
    return Aggregate(Subscription(), partial(decide, policy), evolve)


def stream_of(org_id: str) -> str:
    """The stream of this organization's subscription."""
    return f"subscription-{org_id}"


def _start(run: _Run, command: StartTrial | StartSubscription) -> None:
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


def _advance(run: _Run, now: datetime) -> None:
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


Timer = tuple[datetime, Callable[[_Run, datetime], None]]


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


def _remind_of_trial(run: _Run, due_at: datetime) -> None:
    state = run.state
    assert state.trial_ends_at is not None
    run.tell(TrialEndingSoon(state.org_id, _not_before(state, due_at), state.trial_ends_at, _ahead(run)))


def _remind_of_renewal(run: _Run, due_at: datetime) -> None:
    state = run.state
    assert state.period is not None
    run.tell(RenewalUpcoming(state.org_id, _not_before(state, due_at), state.period.ends_at, _ahead(run)))


def _remind_of_card(run: _Run, due_at: datetime) -> None:
    state = run.state
    assert state.card is not None
    run.tell(CardExpiringSoon(state.org_id, _not_before(state, due_at), state.card.ref, expiry(state.card)))


def _not_before(state: Subscription, due_at: datetime) -> datetime:
    return due_at if state.at is None else max(due_at, state.at)


def _ahead(run: _Run) -> int:
    """What the next invoice comes to, as things are."""
    state = run.state
    return state.seats * price(run.policy.prices, state.plan) + state.pending_cents


def _pass_boundary(run: _Run, due_at: datetime) -> None:
    state = run.state
    if state.cancel_at is not None:
        run.tell(SubscriptionEnded(state.org_id, due_at, "cancelled"))
        return
    reason: Literal["trial_end", "renewal"] = "trial_end" if state.period is None else "renewal"
    _issue(run, reason, period_ahead(run.policy, state, due_at))
    if run.state.invoice is not None:
        _request(run, "schedule", due_at)


def period_ahead(policy: Policy, state: Subscription, starts_at: datetime) -> Line:
    """What the next period costs, as things are: the one that follows the running one, or the first (CAL-2)."""
    anchor, months = starts_at, MONTHS[state.plan]
    if state.period is not None and state.anchor is not None:
        anchor, months = state.anchor, months + state.months
    cents = state.seats * price(policy.prices, state.plan)
    return Line("period", cents, state.plan, state.seats, starts_at, boundary(anchor, months))


def _issue(run: _Run, reason: Literal["trial_end", "renewal", "reactivation"], ahead: Line) -> None:
    """The invoice of the period that begins now; it is settled at once if there is nothing to charge (MON-3, MON-4)."""
    state, at = run.state, ahead.starts_at
    lines = [ahead, *state.pending]
    total = sum(line.cents for line in lines)
    number = state.number + 1
    what = (ahead.plan, ahead.seats, run.policy.prices, lines, total)
    run.tell(InvoiceIssued(state.org_id, at, number, reason, at, ahead.ends_at, *what))
    if total < run.policy.minimum_charge_cents:
        run.tell(InvoiceSettledWithoutCharge(state.org_id, at, number, total))


def _retry(run: _Run, due_at: datetime) -> None:
    _request(run, "schedule", _not_before(run.state, due_at))


def _request(run: _Run, by: ChargedBy, at: datetime, *, present: bool = False, card: Card | None = None) -> None:
    """Ask for an attempt. A card that was refused for good is not presented again (GW-3)."""
    state = run.state
    invoice = state.invoice
    assert invoice is not None
    attempt = invoice.attempts + 1
    run.tell(ChargeRequested(state.org_id, at, invoice.number, attempt, invoice.total_cents, by, present, card))
    charged = card or state.card
    if charged is None:
        _fail(run, RecordDeclined(invoice.number, attempt, None, NO_CARD, at), submitted=False)
    elif by == "schedule" and state.refused is not None and state.refused[0] == charged.ref:
        _, code, decline_code = state.refused
        declined = RecordDeclined(invoice.number, attempt, None, code, at, decline_code, final=True)
        _fail(run, declined, submitted=False)


def _record(run: _Run, command: Record) -> None:
    """What became of the attempt in flight; nothing for one whose fate is known."""
    state = run.state
    charge, invoice = state.charge, state.invoice
    if charge is None or invoice is None or (command.number, command.attempt) != (invoice.number, charge.attempt):
        return
    at = _not_before(state, in_seconds(command.at))
    match command:
        case RecordPrepared(number, attempt, provider_ref):
            if charge.provider_ref is None:  # the first that was recorded is the one that is executed
                run.tell(ChargePrepared(state.org_id, at, number, attempt, provider_ref))
        case RecordPostponed(number, attempt, cause):
            pauses = run.policy.provider_retry_minutes
            pause = timedelta(minutes=pauses[min(charge.tries, len(pauses) - 1)])
            run.tell(ChargePostponed(state.org_id, at, number, attempt, cause, at + pause))
        case RecordPaid(number, attempt, provider_ref):
            run.tell(PaymentSucceeded(state.org_id, at, number, attempt, provider_ref, invoice.total_cents))
            if invoice.is_reactivation:
                _come_back(run, at, charge.card)
        case RecordDeclined():
            _fail(run, command, submitted=True)
        case _:
            assert_never(command)


def _come_back(run: _Run, at: datetime, card: Card | None) -> None:
    state = run.state
    card = card or state.card
    assert state.period is not None
    assert card is not None
    anchor = state.period.starts_at
    run.tell(SubscriptionReactivated(state.org_id, at, anchor, state.plan, state.seats, card))


def _fail(run: _Run, command: RecordDeclined, *, submitted: bool) -> None:
    state, policy = run.state, run.policy
    charge, invoice = state.charge, state.invoice
    assert charge is not None
    assert invoice is not None
    at = _not_before(state, in_seconds(command.at))
    counted = charge.by == "schedule"
    is_last = counted and invoice.failures + 1 >= policy.failed_attempts_before_lock
    retry_at = None if is_last else at + timedelta(days=policy.retry_every_days) if counted else invoice.retry_at
    codes = (command.code, command.decline_code, command.final)
    attempt = (invoice.number, charge.attempt, command.provider_ref)
    run.tell(PaymentFailed(state.org_id, at, *attempt, *codes, counted, submitted, retry_at))
    if invoice.is_reactivation:
        _void(run, at)
    elif is_last:
        _void(run, at)
        run.tell(AccountLocked(state.org_id, at, invoice.number))


def _void(run: _Run, at: datetime) -> None:
    run.tell(voided(run.state, at))


def _wish(run: _Run, command: Wish) -> None:
    at = _not_before(run.state, in_seconds(command.at))
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
            _request(run, "customer", at, present=True)
        case _:
            assert_never(command)


def _replace_card(run: _Run, card: Card, at: datetime) -> None:
    if card == run.state.card:
        return
    _must_be_known(run.state)
    run.tell(CardReplaced(run.state.org_id, at, card))
    if run.state.invoice is not None:
        _request(run, "customer", at)


def _must_be_known(state: Subscription) -> None:
    if state.charge is not None:
        raise Refused("charge_in_progress", "a payment is under way; try again when its outcome is known")


def _change_seats(run: _Run, member_id: str, at: datetime, *, joins: bool) -> None:
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


def _switch(run: _Run, plan: str, at: datetime) -> None:
    state = run.state
    if plan not in MONTHS:
        raise Refused("unknown_plan", f"there is no plan {plan[:32]!r}; there are {' and '.join(MONTHS)}")
    if state.standing == "inactive":
        raise Refused("inactive", "the subscription is inactive; re-activate it first")
    known: Plan = "monthly" if plan == "monthly" else "yearly"
    if known != state.plan:
        lines = lines_of(state, at, Configuration(known, state.seats))
        run.tell(PlanSwitched(state.org_id, at, known, state.plan, lines))


def _cancel(run: _Run, at: datetime) -> None:
    state = run.state
    if state.standing == "inactive":
        raise Refused("inactive", "the subscription is inactive already")
    _must_be_known(state)
    if state.invoice is not None:
        _void(run, at)
        run.tell(SubscriptionEnded(state.org_id, at, "cancelled"))
    elif state.cancel_at is None and state.boundary is not None:
        run.tell(SubscriptionCancelled(state.org_id, at, state.boundary))


def _reactivate(run: _Run, at: datetime, card: Card | None) -> None:
    state = run.state
    _must_be_known(state)
    if state.cancel_at is not None:
        run.tell(CancellationWithdrawn(state.org_id, at))
        return
    if state.standing != "inactive":
        raise Refused("not_cancelled", "the subscription is neither cancelled nor inactive")
    if card is None:
        raise Refused("card_required", "re-activating takes a card")
    _issue(run, "reactivation", period_ahead(run.policy, state, at))
    if run.state.invoice is None:
        _come_back(run, at, card)
    else:
        _request(run, "customer", at, card=card)
