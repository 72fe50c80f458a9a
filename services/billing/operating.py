"""What an operator does to a subscription: has a charge tried again, voids an invoice, gives money back, grants a
credit; and what became of a refund. Pure.

None of it makes or loses a cent that a line does not show: an invoice that is void is asked of nobody, with its period
and the lines that were made in it (MON-5), a credit is a line, and a refund goes beside the invoices, whose totals and
payments stay what they were.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import assert_never

from services.billing.cycle import in_seconds
from services.billing.standing import Event, Invoice, Subscription
from shared.errors import Refused
from shared.events.billing import (
    ChargeRefunded,
    ChargeRequested,
    ChargeResumed,
    ChargesReleased,
    CreditGranted,
    InvoiceVoided,
    Line,
    PeriodWaived,
    RefundFailed,
    RefundRequested,
)

MOST_CREDIT_CENTS = 10_000_000
"""Of one credit; a mistyped one is not given."""


@dataclass(frozen=True, slots=True)
class RetryCharge:
    """Have the open invoice charged now: what is held, what could not be tried, or what failed."""

    at: datetime


@dataclass(frozen=True, slots=True)
class VoidInvoice:
    """Nobody shall pay the open invoice, whose number this is; the subscription goes on."""

    number: int
    at: datetime


@dataclass(frozen=True, slots=True)
class RequestRefund:
    """Give back this much of a paid invoice; None: all that is left of it."""

    number: int
    amount_cents: int | None
    at: datetime


@dataclass(frozen=True, slots=True)
class GrantCredit:
    """Take so much off the next payment."""

    amount_cents: int
    at: datetime


@dataclass(frozen=True, slots=True)
class RecordRefunded:
    """The provider gave it back, and calls that so."""

    refund: int
    refund_ref: str
    at: datetime


@dataclass(frozen=True, slots=True)
class RecordRefundFailed:
    """The provider refuses to."""

    refund: int
    at: datetime


RefundRecord = RecordRefunded | RecordRefundFailed
Operation = RetryCharge | VoidInvoice | RequestRefund | GrantCredit | RefundRecord


def operate(state: Subscription, command: Operation) -> Iterator[Event]:
    """What the command means now; nothing, if it is true already. Raises ``Refused``: ``nothing_to_charge``,
    ``card_required``, ``card_refused``, ``not_open``, ``charge_in_progress``, ``not_paid``, ``bad_amount``."""
    at = in_seconds(command.at) if state.at is None else max(state.at, in_seconds(command.at))
    match command:
        case RetryCharge():
            yield from _retried(state, at)
        case VoidInvoice(number):
            yield from _voided(state, number, at)
        case RequestRefund(number, amount_cents):
            yield _refunding(state, number, amount_cents, at)
        case GrantCredit(amount_cents):
            yield _credited(state, amount_cents, at)
        case RecordRefunded(number, refund_ref):
            for refund in state.refunds:
                if refund.refund == number and refund_ref not in state.noted:
                    yield ChargeRefunded(state.org_id, at, refund.provider_ref, refund_ref, refund.amount_cents)
        case RecordRefundFailed(number):
            if any(refund.refund == number for refund in state.refunds):
                yield RefundFailed(state.org_id, at, number)
        case _:
            assert_never(command)


def _retried(state: Subscription, at: datetime) -> Iterator[Event]:
    charge, invoice = state.charge, state.invoice
    if invoice is None:
        raise Refused("nothing_to_charge", "no invoice is open")
    if state.held:
        yield ChargesReleased(state.org_id, at)
    elif charge is None:
        yield _requested(state, invoice, at)
    elif charge.try_at > at:
        yield ChargeResumed(state.org_id, at, invoice.number, charge.attempt)


def _requested(state: Subscription, invoice: Invoice, at: datetime) -> ChargeRequested:
    if state.card is None:
        raise Refused("card_required", "there is no card to charge; a member must save one")
    if state.refused is not None and state.refused[0] == state.card.ref:  # GW-3
        raise Refused("card_refused", "the card was refused for good; a member must replace it")
    attempt = (invoice.number, invoice.attempts + 1, invoice.total_cents)
    return ChargeRequested(state.org_id, at, *attempt, "operator", present=False, card=None)  # not counted


def _voided(state: Subscription, number: int, at: datetime) -> Iterator[Event]:
    """While no payment is prepared, none can move money afterwards: to execute one, the charger must have it
    recorded."""
    if state.invoice is None or state.invoice.number != number:
        what = "no invoice is" if state.invoice is None else f"invoice {state.invoice.number} is"
        raise Refused("not_open", f"invoice {number} is not open; {what}")
    if state.charge is not None and state.charge.provider_ref is not None:
        raise Refused("charge_in_progress", "a payment of it is under way; try again when its outcome is known")
    if not state.invoice.is_reactivation:
        yield PeriodWaived(state.org_id, at, number)
    yield voided(state, at)


def voided(state: Subscription, at: datetime) -> InvoiceVoided:
    """The open invoice is void: lines of earlier periods are pending again, and so are credits; those that were made
    inside its period are dropped (MON-5)."""
    invoice = state.invoice
    assert invoice is not None
    returned = [line for line in invoice.lines if line.kind != "period"]
    granted = [line for line in state.pending if line.kind == "credit"]
    return InvoiceVoided(state.org_id, at, invoice.number, returned + granted, list(invoice.fresh))


def _refunding(state: Subscription, number: int, amount_cents: int | None, at: datetime) -> RefundRequested:
    paid = state.paid.get(number)
    if paid is None:
        raise Refused("not_paid", f"invoice {number} is not paid, so nothing of it can be given back")
    left = paid.amount_cents - paid.returned_cents
    cents = left if amount_cents is None else amount_cents
    if not 0 < cents <= left:
        raise Refused("bad_amount", f"of invoice {number}, {left} cents can still be given back")
    return RefundRequested(state.org_id, at, state.refunded + 1, number, paid.provider_ref, cents)


def _credited(state: Subscription, amount_cents: int, at: datetime) -> CreditGranted:
    if not 0 < amount_cents <= MOST_CREDIT_CENTS:
        raise Refused("bad_amount", f"a credit is from 1 to {MOST_CREDIT_CENTS} cents")
    return CreditGranted(state.org_id, at, Line("credit", -amount_cents, state.plan, state.seats, at, at))
