"""An invoice is issued, an attempt to charge it is asked for, and fails or is paid. Pure. Rules BIL-3, MON-3 to MON-5,
GW-3.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from services.billing.commands import RecordDeclined
from services.billing.cycle import boundary, in_seconds
from services.billing.money import MONTHS, price
from services.billing.operating import voided
from services.billing.policy import Policy
from services.billing.standing import Event, Subscription, evolve
from shared.events.billing import (
    AccountLocked,
    Card,
    ChargedBy,
    ChargeRequested,
    InvoiceIssued,
    InvoiceSettledWithoutCharge,
    Line,
    PaymentFailed,
    SubscriptionReactivated,
)

NO_CARD = "no_card"
"""The code of an attempt for which there is no card at all."""


@dataclass(slots=True)
class Run:
    """The state while a command is decided, and what has happened so far."""

    policy: Policy
    state: Subscription
    events: list[Event] = field(default_factory=list)

    def tell(self, event: Event) -> None:
        self.state = evolve(self.state, event)
        self.events.append(event)


def not_before(state: Subscription, due_at: datetime) -> datetime:
    """As of then, but not before what has happened already."""
    return due_at if state.at is None else max(due_at, state.at)


def period_ahead(policy: Policy, state: Subscription, starts_at: datetime) -> Line:
    """What the next period costs, as things are: the one that follows the running one, or the first (CAL-2)."""
    anchor, months = starts_at, MONTHS[state.plan]
    if state.period is not None and state.anchor is not None:
        anchor, months = state.anchor, months + state.months
    cents = state.seats * price(policy.prices, state.plan)
    return Line("period", cents, state.plan, state.seats, starts_at, boundary(anchor, months))


def issue(run: Run, reason: Literal["trial_end", "renewal", "reactivation"], ahead: Line) -> None:
    """The invoice of the period that begins now; it is settled at once if there is nothing to charge (MON-3, MON-4)."""
    state, at = run.state, ahead.starts_at
    lines = [ahead, *state.pending]
    total = sum(line.cents for line in lines)
    number = state.number + 1
    what = (ahead.plan, ahead.seats, run.policy.prices, lines, total)
    run.tell(InvoiceIssued(state.org_id, at, number, reason, at, ahead.ends_at, *what))
    if total < run.policy.minimum_charge_cents:
        run.tell(InvoiceSettledWithoutCharge(state.org_id, at, number, total))


def request(run: Run, by: ChargedBy, at: datetime, *, present: bool = False, card: Card | None = None) -> None:
    """Ask for an attempt. A card that was refused for good is not presented again (GW-3)."""
    state = run.state
    invoice = state.invoice
    assert invoice is not None
    attempt = invoice.attempts + 1
    run.tell(ChargeRequested(state.org_id, at, invoice.number, attempt, invoice.total_cents, by, present, card))
    charged = card or state.card
    if charged is None:
        fail(run, RecordDeclined(invoice.number, attempt, None, NO_CARD, at), submitted=False)
    elif by == "schedule" and state.refused is not None and state.refused[0] == charged.ref:
        _, code, decline_code = state.refused
        declined = RecordDeclined(invoice.number, attempt, None, code, at, decline_code, final=True)
        fail(run, declined, submitted=False)


def fail(run: Run, command: RecordDeclined, *, submitted: bool) -> None:
    """The attempt in flight failed; the third that is scheduled locks (BIL-3a)."""
    state, policy = run.state, run.policy
    charge, invoice = state.charge, state.invoice
    assert charge is not None
    assert invoice is not None
    at = not_before(state, in_seconds(command.at))
    counted = charge.by == "schedule"
    is_last = counted and invoice.failures + 1 >= policy.failed_attempts_before_lock
    retry_at = None if is_last else at + timedelta(days=policy.retry_every_days) if counted else invoice.retry_at
    codes = (command.code, command.decline_code, command.final)
    attempt = (invoice.number, charge.attempt, command.provider_ref)
    run.tell(PaymentFailed(state.org_id, at, *attempt, *codes, counted, submitted, retry_at))
    if invoice.is_reactivation:
        void(run, at)
    elif is_last:
        void(run, at)
        run.tell(AccountLocked(state.org_id, at, invoice.number))


def void(run: Run, at: datetime) -> None:
    """Nobody is asked for the open invoice any more."""
    run.tell(voided(run.state, at))


def come_back(run: Run, at: datetime, card: Card | None) -> None:
    """A re-activation is paid, or there was nothing to pay."""
    state = run.state
    card = card or state.card
    assert state.period is not None
    assert card is not None
    anchor = state.period.starts_at
    run.tell(SubscriptionReactivated(state.org_id, at, anchor, state.plan, state.seats, card))
