"""The next thing to do about an attempt that is in flight, done: what is to be recorded of it (GW-1 to GW-4).

Each call of ``next_record`` asks for one thing and answers with one command; the caller records it and asks
again. So whatever dies in between, the next start goes on from what was recorded:

=====================================  ===============================================================================
recorded                               then
=====================================  ===============================================================================
requested                              earlier payments of the invoice are looked at: one that succeeded after all is
                                       what pays it, and is all; any other is cancelled. Then it is prepared
prepared                               it is looked at, and executed if no money was asked for yet; where the member is
                                       there to confirm it with the bank, their browser does that, within an hour
=====================================  ===============================================================================
"""

from __future__ import annotations

from datetime import datetime, timedelta

from services.billing.provider import (
    CardRefused,
    Declined,
    Open,
    Outcome,
    Payment,
    Provider,
    ProviderUnavailable,
    RequiresAction,
    Succeeded,
)
from services.billing.standing import Charge, Invoice, Subscription
from services.billing.subscriptions import (
    AUTHENTICATION,
    Record,
    RecordDeclined,
    RecordPaid,
    RecordPostponed,
    RecordPrepared,
)

PRESENT = timedelta(hours=1)
"""So long a member may take to confirm a payment with the bank."""


def next_record(state: Subscription, provider: Provider, now: datetime) -> Record | None:
    """What to record now; None if there is nothing to be done, or nothing is known yet: ask again later."""
    charge, invoice = state.charge, state.invoice
    if charge is None or invoice is None or state.held or charge.try_at > now:
        return None
    card = charge.card or state.card
    if card is None or state.customer_ref is None:  # such an attempt fails when it is requested
        return None
    whose = (state.customer_ref, card.ref, card.last4)
    payment = Payment(state.org_id, invoice.number, charge.attempt, invoice.total_cents, *whose)
    try:
        return _go_on(charge, invoice, payment, provider, now)
    except ProviderUnavailable as problem:
        return RecordPostponed(invoice.number, charge.attempt, problem.cause, max(now, charge.try_at))
    except CardRefused as refused:  # before any money was asked for
        return RecordDeclined(invoice.number, charge.attempt, charge.provider_ref, refused.code, charge.try_at)


def _go_on(charge: Charge, invoice: Invoice, payment: Payment, provider: Provider, now: datetime) -> Record | None:
    at = charge.try_at
    if charge.provider_ref is not None:
        ref = charge.provider_ref
        outcome = provider.inspect(ref)
        if charge.present:
            waits = outcome == Open("not_submitted") or isinstance(outcome, RequiresAction)
            if waits and now < at + PRESENT:
                return None
            outcome = provider.abandon(ref) if waits else outcome
        elif outcome == Open("not_submitted"):
            outcome = provider.execute(ref, payment)
        return _record(outcome, payment, ref, at)
    for ref in invoice.refs:
        outcome = provider.inspect(ref)
        if not isinstance(outcome, Succeeded) and outcome != Open("canceled"):
            if outcome == Open("pending"):
                return None
            outcome = provider.abandon(ref)
        if isinstance(outcome, Succeeded):
            return _record(outcome, payment, ref, at)
        if outcome in (Open("pending"), Open("unknown")):
            return None
    return RecordPrepared(payment.number, payment.attempt, provider.prepare(payment), at)


def _record(outcome: Outcome, payment: Payment, ref: str, at: datetime) -> Record | None:
    number, attempt = payment.number, payment.attempt
    match outcome:
        case Succeeded():
            return RecordPaid(number, attempt, ref, at)
        case Declined(code, decline_code, final):
            return RecordDeclined(number, attempt, ref, code, at, decline_code, final)
        case RequiresAction():
            return RecordDeclined(number, attempt, ref, AUTHENTICATION, at)
        case Open("canceled"):
            return RecordDeclined(number, attempt, ref, "canceled", at)
        case _:
            return None
