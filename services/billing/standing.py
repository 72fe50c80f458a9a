"""How the subscription of one organization stands, folded from stream ``subscription-<org id>``. Pure.

There is one open invoice at most, and one attempt at it in flight at most (GW-1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal, assert_never

from services.billing.money import MONTHS, Configuration, Period
from shared.events.billing import (
    AccountLocked,
    CancellationWithdrawn,
    Card,
    CardExpiringSoon,
    CardReplaced,
    ChargedBy,
    ChargeDisputed,
    ChargePostponed,
    ChargePrepared,
    ChargeRefunded,
    ChargeRequested,
    ChargeResumed,
    ChargesHeld,
    ChargesReleased,
    CreditGranted,
    CustomerRegistered,
    InvoiceIssued,
    InvoiceSettledWithoutCharge,
    InvoiceVoided,
    Line,
    PaymentFailed,
    PaymentSucceeded,
    PeriodWaived,
    PlanSwitched,
    RefundFailed,
    RefundRequested,
    RenewalUpcoming,
    SeatAdded,
    SeatRemoved,
    StrayPaymentFound,
    SubscriptionCancelled,
    SubscriptionEnded,
    SubscriptionReactivated,
    SubscriptionStarted,
    TrialEndingSoon,
    TrialStarted,
)
from shared.events.orgs import Plan

Standing = Literal["none", "trialing", "active", "past_due", "inactive"]
Event = (
    TrialStarted
    | SubscriptionStarted
    | CustomerRegistered
    | CardReplaced
    | SeatAdded
    | SeatRemoved
    | PlanSwitched
    | InvoiceIssued
    | InvoiceSettledWithoutCharge
    | ChargeRequested
    | ChargePrepared
    | ChargePostponed
    | PaymentSucceeded
    | PaymentFailed
    | InvoiceVoided
    | AccountLocked
    | SubscriptionCancelled
    | CancellationWithdrawn
    | SubscriptionEnded
    | SubscriptionReactivated
    | TrialEndingSoon
    | RenewalUpcoming
    | CardExpiringSoon
    | ChargesHeld
    | ChargesReleased
    | ChargeRefunded
    | ChargeDisputed
    | StrayPaymentFound
    | ChargeResumed
    | PeriodWaived
    | CreditGranted
    | RefundRequested
    | RefundFailed
)


@dataclass(frozen=True, slots=True)
class Charge:
    """An attempt whose fate is not known yet. ``try_at``: when the charger is to try it, as logical time; ``tries``:
    how often it could not, since ``postponed_at``, the last time for this ``cause``; ``present``: the member is there
    to confirm it with the bank."""

    attempt: int
    by: ChargedBy
    card: Card | None
    try_at: datetime
    present: bool = False
    tries: int = 0
    provider_ref: str | None = None
    postponed_at: datetime | None = None
    cause: str = ""


@dataclass(frozen=True, slots=True)
class Invoice:
    """The open one. ``failures``: attempts that count (BIL-3a); ``code``: why the last one failed; ``fresh``: the lines
    that became pending since it was issued; ``refs``: the provider's names of all payments for it."""

    number: int
    is_reactivation: bool
    lines: tuple[Line, ...]
    total_cents: int
    attempts: int = 0
    failures: int = 0
    code: str = ""
    retry_at: datetime | None = None
    fresh: tuple[Line, ...] = ()
    refs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Paid:
    """What a paid invoice brought. ``returned_cents``: what has gone back of it, or is to."""

    provider_ref: str
    amount_cents: int
    returned_cents: int = 0


@dataclass(frozen=True, slots=True)
class Refund:
    """Money that is to go back, and whose fate is not known yet. ``refund``: which one of the organization's."""

    refund: int
    number: int
    provider_ref: str
    amount_cents: int
    at: datetime


@dataclass(frozen=True, slots=True)
class Subscription:
    """``months``: from the anchor to the end of the running period; ``refused``: the card that must not be presented
    again (GW-3), with the bank's codes; ``reminded``: what has been reminded of; ``held``: charges wait for an
    operator, who let go those that were due by ``cleared_at`` (CAL-6); ``noted``: refunds, disputes and strays that are
    known; ``waived``: nobody pays for the running period; ``paid``: by the number of the invoice; ``refunds``: those
    under way, of ``refunded`` so far; ``at``: the latest logical time."""

    org_id: str = ""
    standing: Standing = "none"
    reason: Literal["payment_failed", "cancelled"] | None = None
    plan: Plan = "monthly"
    members: frozenset[str] = frozenset()
    trial_ends_at: datetime | None = None
    anchor: datetime | None = None
    months: int = 0
    period: Period | None = None
    cancel_at: datetime | None = None
    customer_ref: str | None = None
    card: Card | None = None
    refused: tuple[str, str, str] | None = None
    pending: tuple[Line, ...] = ()
    invoice: Invoice | None = None
    charge: Charge | None = None
    number: int = 0
    reminded: frozenset[str] = frozenset()
    held: bool = False
    cleared_at: datetime | None = None
    noted: frozenset[str] = frozenset()
    waived: bool = False
    paid: Mapping[int, Paid] = field(default_factory=dict)
    refunds: tuple[Refund, ...] = ()
    refunded: int = 0
    at: datetime | None = None

    @property
    def seats(self) -> int:
        """Members who are paid for; an organization always has one (ORG-5)."""
        return max(1, len(self.members))

    @property
    def configuration(self) -> Configuration:
        """As it is now."""
        return Configuration(self.plan, self.seats)

    @property
    def boundary(self) -> datetime | None:
        """The end of the trial or of the running period."""
        if self.standing == "inactive":
            return None
        return self.trial_ends_at if self.period is None else self.period.ends_at

    @property
    def pending_cents(self) -> int:
        """What waits for the next payment."""
        return sum(line.cents for line in self.pending)

    @property
    def next_payment_at(self) -> datetime | None:
        """The next attempt, or the next boundary; None if nothing will be charged by itself."""
        if self.charge is not None:
            return self.charge.try_at
        if self.invoice is not None:
            return self.invoice.retry_at
        return None if self.cancel_at is not None else self.boundary

    @property
    def is_open(self) -> bool:
        """Whether the dashboard is (BIL-7)."""
        return self.standing in ("trialing", "active", "past_due")


def evolve(state: Subscription, event: Event) -> Subscription:
    """What the event makes true."""
    if isinstance(event, TrialStarted):
        return replace(state, org_id=event.org_id, standing="trialing", plan=event.plan, trial_ends_at=event.ends_at)
    if state.at is None or event.at > state.at:  # most events come with others of the same instant
        state = replace(state, at=event.at)
    match event:
        case SubscriptionStarted():
            return replace(
                state,
                org_id=event.org_id,
                standing="trialing",
                plan=event.plan,
                members=frozenset({event.member_id}),
                trial_ends_at=event.trial_ends_at,
                customer_ref=event.customer_ref,
                card=event.card,
            )
        case CustomerRegistered(_, _, customer_ref):
            return replace(state, customer_ref=customer_ref)
        case CardReplaced(_, _, card):
            return replace(state, card=card, refused=None)
        case SeatAdded() | SeatRemoved() | PlanSwitched():
            return _configured(state, event)
        case ChargeRequested() | ChargePrepared() | ChargePostponed() | PaymentFailed():
            return _charged(state, event)
        case InvoiceIssued() | InvoiceSettledWithoutCharge() | InvoiceVoided() | PaymentSucceeded():
            return _invoiced(state, event)
        case TrialEndingSoon():
            return replace(state, reminded=state.reminded | {"trial"})
        case RenewalUpcoming(_, _, renews_at, _):
            return replace(state, reminded=state.reminded | {f"renewal {renews_at.isoformat()}"})
        case CardExpiringSoon(_, _, card_ref, _):
            return replace(state, reminded=state.reminded | {f"card {card_ref}"})
        case ChargesHeld() | ChargesReleased() | ChargeRefunded() | ChargeDisputed() | StrayPaymentFound():
            return _overseen(state, event)
        case ChargeResumed() | PeriodWaived() | CreditGranted() | RefundRequested() | RefundFailed():
            return _operated(state, event)
        case _:
            return _lasts(state, event)


def _overseen(
    state: Subscription,
    event: ChargesHeld | ChargesReleased | ChargeRefunded | ChargeDisputed | StrayPaymentFound,
) -> Subscription:
    match event:
        case ChargesHeld():
            return replace(state, held=True)
        case ChargesReleased():
            charge = state.charge and replace(state.charge, try_at=max(state.charge.try_at, event.at))
            return replace(state, held=False, cleared_at=event.at, charge=charge)
        case ChargeRefunded():
            return _returned(replace(state, noted=state.noted | {event.refund_ref}), event)
        case ChargeDisputed(_, _, _, ref, _) | StrayPaymentFound(_, _, ref, _):
            return replace(state, noted=state.noted | {ref})
        case _:
            assert_never(event)


def _returned(state: Subscription, event: ChargeRefunded) -> Subscription:
    """The refund under way that it is; or one that was made at the provider, of a payment of ours or another."""
    for refund in state.refunds:
        if (refund.provider_ref, refund.amount_cents) == (event.provider_ref, event.amount_cents):
            return replace(state, refunds=tuple(one for one in state.refunds if one != refund))
    paid = next((number for number, one in state.paid.items() if one.provider_ref == event.provider_ref), None)
    return state if paid is None else _giving_back(state, paid, event.amount_cents)


def _giving_back(state: Subscription, number: int, cents: int) -> Subscription:
    paid = state.paid[number]
    return replace(state, paid={**state.paid, number: replace(paid, returned_cents=paid.returned_cents + cents)})


def _operated(
    state: Subscription, event: ChargeResumed | PeriodWaived | CreditGranted | RefundRequested | RefundFailed
) -> Subscription:
    match event:
        case ChargeResumed():
            assert state.charge is not None
            return replace(state, charge=replace(state.charge, try_at=event.at))
        case PeriodWaived():
            return replace(state, waived=True)
        case CreditGranted(_, _, line):
            return replace(state, pending=(*state.pending, line))
        case RefundRequested():
            refund = Refund(event.refund, event.number, event.provider_ref, event.amount_cents, event.at)
            state = replace(state, refunds=(*state.refunds, refund), refunded=event.refund)
            return _giving_back(state, event.number, event.amount_cents)
        case RefundFailed():
            refund = next(one for one in state.refunds if one.refund == event.refund)
            state = replace(state, refunds=tuple(one for one in state.refunds if one != refund))
            return _giving_back(state, refund.number, -refund.amount_cents)
        case _:
            assert_never(event)


def _configured(state: Subscription, event: SeatAdded | SeatRemoved | PlanSwitched) -> Subscription:
    invoice = state.invoice
    if invoice is not None:
        invoice = replace(invoice, fresh=with_lines(invoice.fresh, event.lines))
    state = replace(state, pending=with_lines(state.pending, event.lines), invoice=invoice)
    match event:
        case SeatAdded(_, _, member_id):
            return replace(state, members=state.members | {member_id})
        case SeatRemoved(_, _, member_id):
            return replace(state, members=state.members - {member_id})
        case PlanSwitched(_, _, plan):
            return replace(state, plan=plan)
        case _:
            assert_never(event)


def with_lines(pending: tuple[Line, ...], lines: Sequence[Line]) -> tuple[Line, ...]:
    """Changes at the same instant are one: what the one asks for the rest of the period, the next one gives back."""
    if not pending or not lines:
        return (*pending, *lines)
    last, first = pending[-1], lines[0]
    asked = (last.kind, last.cents, last.plan, last.seats, last.starts_at, last.ends_at)
    given = ("remaining", -first.cents, first.plan, first.seats, first.starts_at, first.ends_at)
    return (*pending[:-1], *lines[1:]) if first.kind == "unused" and asked == given else (*pending, *lines)


def _charged(
    state: Subscription, event: ChargeRequested | ChargePrepared | ChargePostponed | PaymentFailed
) -> Subscription:
    charge, invoice = state.charge, state.invoice
    match event:
        case ChargeRequested():
            assert invoice is not None
            charge = Charge(event.attempt, event.by, event.card, event.at, event.present)
            return replace(state, charge=charge, invoice=replace(invoice, attempts=event.attempt))
        case ChargePrepared():
            assert charge is not None
            assert invoice is not None
            refs = (*invoice.refs, event.provider_ref)
            charge = replace(charge, provider_ref=event.provider_ref)
            return replace(state, charge=charge, invoice=replace(invoice, refs=refs))
        case ChargePostponed():
            assert charge is not None
            since = charge.postponed_at or event.at
            charge = replace(charge, tries=charge.tries + 1, try_at=event.next_try_at, postponed_at=since)
            return replace(state, charge=replace(charge, cause=event.cause))
        case PaymentFailed():
            assert invoice is not None
            failures = invoice.failures + event.counted
            invoice = replace(invoice, failures=failures, code=event.code, retry_at=event.retry_at)
            standing = state.standing if invoice.is_reactivation else "past_due"
            presented = state.charge.card if state.charge is not None and state.charge.card else state.card
            refused = state.refused
            if event.final and presented is not None:
                refused = (presented.ref, event.code, event.decline_code)
            return replace(state, charge=None, invoice=invoice, standing=standing, refused=refused)
        case _:
            assert_never(event)


def _invoiced(
    state: Subscription, event: InvoiceIssued | InvoiceSettledWithoutCharge | InvoiceVoided | PaymentSucceeded
) -> Subscription:
    match event:
        case InvoiceIssued():
            months = MONTHS[event.plan]
            is_first = event.reason != "renewal"
            return replace(
                state,
                number=event.number,
                anchor=event.starts_at if is_first else state.anchor,
                months=months if is_first else state.months + months,
                period=Period(event.starts_at, event.ends_at, months, event.prices),
                pending=(),
                waived=False,
                invoice=Invoice(event.number, event.reason == "reactivation", tuple(event.lines), event.total_cents),
            )
        case InvoiceSettledWithoutCharge(_, _, _, carried_cents):
            return replace(_paid(state), pending=_carried(state, carried_cents))
        case PaymentSucceeded():
            paid = {**state.paid, event.number: Paid(event.provider_ref, event.amount_cents)}
            return replace(_paid(state), paid=paid)
        case InvoiceVoided():
            state = replace(state, invoice=None, charge=None, pending=tuple(event.returned))
            return replace(state, standing="active") if state.waived else replace(state, period=None)
        case _:
            assert_never(event)


def _paid(state: Subscription) -> Subscription:
    is_back = state.invoice is not None and state.invoice.is_reactivation
    standing = state.standing if is_back else "active"  # what follows says that it is back
    return replace(state, standing=standing, invoice=None, charge=None)


def _carried(state: Subscription, cents: int) -> tuple[Line, ...]:
    period = state.period
    assert period is not None
    if not cents:
        return state.pending
    carried = Line("carried", cents, state.plan, state.seats, period.starts_at, period.ends_at)
    return (carried, *state.pending)


def _lasts(
    state: Subscription,
    event: AccountLocked | SubscriptionCancelled | CancellationWithdrawn | SubscriptionEnded | SubscriptionReactivated,
) -> Subscription:
    match event:
        case AccountLocked():
            return replace(state, standing="inactive", reason="payment_failed", period=None, cancel_at=None)
        case SubscriptionCancelled(_, _, ends_at):
            return replace(state, cancel_at=ends_at)
        case CancellationWithdrawn():
            return replace(state, cancel_at=None)
        case SubscriptionEnded():
            return replace(state, standing="inactive", reason="cancelled", period=None, cancel_at=None)
        case SubscriptionReactivated(_, _, _, _, _, card):
            is_other = state.card is None or card.ref != state.card.ref
            return replace(
                state, standing="active", reason=None, card=card, refused=None if is_other else state.refused
            )
        case _:
            assert_never(event)
