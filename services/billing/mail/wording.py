"""What a letter about a subscription says: its template and what is filled in, from the event and the subscription as
it stood before it. Everything is told as it was then, however late the letter is written. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from services.billing.mails import Template, mail_of
from services.billing.money import price
from services.billing.standing import Event, Invoice, Subscription, evolve
from services.billing.subscriptions import Policy
from services.billing.summary_object import described
from shared.events import billing as b
from shared.times import day

MOST_LINES = 40
"""Lines of an invoice that stand in a letter; the rest is summed up."""
PAGE, CARD_PAGE, CONFIRMATION = "billing", "billing/card", "billing#confirm"
"""Of the organization: where its subscription is seen, where its card is replaced, and where a payment is confirmed
with the bank."""
FOR_ALL: frozenset[Template] = frozenset(
    {"payment_failed", "payment_action_required", "account_locked", "subscription_ended"}
)
"""What every member is told; the rest goes to whoever manages billing."""
WHY = {
    "authentication_required": "the bank wants it to be confirmed",
    "canceled": "it was not confirmed with the bank in time",
    "expired_card": "the card has expired",
    "insufficient_funds": "the account behind the card does not have as much",
    "lost_card": "the bank has blocked the card",
    "no_card": "there is no card",
    "stolen_card": "the bank has blocked the card",
}


@dataclass(frozen=True, slots=True)
class Told:
    """``fields``: what the template needs beside the organization and the link; ``page``: where the link leads."""

    template: Template
    fields: Mapping[str, Any]
    button: str = "Open the billing page"
    page: str = PAGE

    @property
    def for_all(self) -> bool:
        """Whether every member is told."""
        return self.template in FOR_ALL


def told(policy: Policy, before: Subscription, event: Event) -> Told | None:
    """None if nobody is told of this event."""
    template = mail_of(before, event)
    if template is None:
        return None
    after = evolve(before, event)
    match event:
        case b.SubscriptionStarted() | b.TrialEndingSoon() | b.RenewalUpcoming() | b.CardExpiringSoon():
            return _ahead(policy, before, after, event, template)
        case b.PaymentSucceeded() | b.InvoiceSettledWithoutCharge():
            return Told(template, _invoiced(before, event))
        case b.PaymentFailed():
            return _failed(policy, before, event, template)
        case b.AccountLocked(_, _, number):
            return Told(template, {"number": number, "most": policy.failed_attempts_before_lock}, "Re-activate")
        case b.CardReplaced():
            open_ = after.invoice.number if after.invoice is not None else None
            return Told(template, {**_next(policy, after), "card": _card(after), "open": open_})
        case b.SubscriptionReactivated():
            return Told(template, _back(policy, before, after, event))
        case b.PlanSwitched():
            return Told(template, _switched(policy, after, event))
        case _:
            return _lasting(policy, after, event, template)


def _switched(policy: Policy, after: Subscription, event: b.PlanSwitched) -> dict[str, Any]:
    return {
        "plan": event.plan,
        "was": event.was,
        "from_day": day(after.boundary or event.at),
        "trial": after.period is None,
        "amount": _amount(policy, after),
        "what": _what(after),
    }


def _lasting(policy: Policy, after: Subscription, event: Event, template: Template) -> Told:
    match event:
        case b.SubscriptionCancelled(_, _, ends_at):
            return Told(template, {"ends": day(ends_at)}, "Take it back")
        case b.SubscriptionEnded(_, at, _):
            return Told(template, {"ended": day(at)}, "Re-activate")
        case _:
            return Told(template, _next(policy, after))


def _ahead(policy: Policy, before: Subscription, after: Subscription, event: Event, template: Template) -> Told:
    what = {"what": _what(after), "card": _card(after)}
    match event:
        case b.TrialEndingSoon(_, _, ends_at, cents):
            return Told(template, {**what, "ends": day(ends_at), "amount": dollars(cents)})
        case b.RenewalUpcoming(_, _, renews_at, cents):
            fields = {"renews": day(renews_at), "amount": dollars(cents), "pending": _lines(before.pending)}
            return Told(template, {**what, **fields})
        case b.CardExpiringSoon(_, _, _, expires_at):
            fields = {"until": day(expires_at - timedelta(days=1)), **_next(policy, after)}
            return Told(template, {**what, **fields}, "Replace the card", CARD_PAGE)
        case _:
            assert after.trial_ends_at is not None
            return Told(template, {**what, "ends": day(after.trial_ends_at), "amount": _amount(policy, after)})


def _invoiced(before: Subscription, event: b.PaymentSucceeded | b.InvoiceSettledWithoutCharge) -> dict[str, Any]:
    invoice, period = before.invoice, before.period
    assert invoice is not None
    assert period is not None
    fields = {
        "number": invoice.number,
        "starts": day(period.starts_at),
        "ends": day(period.ends_at),
        "lines": _lines(invoice.lines),
    }
    if isinstance(event, b.PaymentSucceeded):
        return {**fields, "amount": dollars(event.amount_cents), "card": _card(before), "paid": day(event.at)}
    carried = dollars(event.carried_cents) if event.carried_cents else ""
    return {**fields, "total": dollars(invoice.total_cents), "carried": carried}


def _failed(policy: Policy, before: Subscription, event: b.PaymentFailed, template: Template) -> Told:
    invoice = before.invoice
    assert invoice is not None
    most = policy.failed_attempts_before_lock
    fields = {
        "number": invoice.number,
        "amount": dollars(invoice.total_cents),
        "card": _card(before),
        "why": _why(event),
        "attempt": invoice.failures + 1 if event.counted else None,
        "most": most,
        "left": most - invoice.failures - 1 if event.counted else None,
        "next": "" if event.retry_at is None else day(event.retry_at),
    }
    if template == "payment_action_required":
        return Told(template, fields, "Confirm with the bank", CONFIRMATION)
    return Told(template, fields, "Replace the card", CARD_PAGE)


def _why(event: b.PaymentFailed) -> str:
    for code in (event.decline_code, event.code):
        if code in WHY:
            return WHY[code]
    return f"the bank declined it ({event.decline_code or event.code})"


def _back(
    policy: Policy, before: Subscription, after: Subscription, event: b.SubscriptionReactivated
) -> dict[str, Any]:
    period = after.period
    assert period is not None
    paid = before.paid.get(before.number)
    return {
        **_next(policy, after),
        "starts": day(event.anchor),
        "ends": day(period.ends_at),
        "what": _what(after),
        "paid": "" if paid is None else dollars(paid.amount_cents),
        "card": _card(after),
        "number": before.number,
    }


def _next(policy: Policy, state: Subscription) -> dict[str, str]:
    at = state.next_payment_at
    return {"next": "" if at is None else day(at), "amount": _amount(policy, state)}


def _amount(policy: Policy, state: Subscription) -> str:
    """Of the next payment, as things are."""
    return dollars(due_cents(policy, state.invoice, state))


def due_cents(policy: Policy, invoice: Invoice | None, state: Subscription) -> int:
    """What is asked for next: the open invoice, or the period ahead and all that is pending."""
    if invoice is not None:
        return invoice.total_cents
    return state.seats * price(policy.prices, state.plan) + state.pending_cents


def _what(state: Subscription) -> str:
    return f"{state.seats} {'member' if state.seats == 1 else 'members'}, {state.plan}"


def _card(state: Subscription) -> str:
    """The one that is charged."""
    card = state.charge.card if state.charge is not None and state.charge.card is not None else state.card
    return "" if card is None else f"{card.brand.replace('_', ' ').capitalize()} card ending in {card.last4}"


def _lines(lines: Sequence[b.Line]) -> list[str]:
    shown = [f"{described(line)}: {dollars(line.cents)}" for line in lines[:MOST_LINES]]
    rest = lines[MOST_LINES:]
    if not rest:
        return shown
    return [*shown, f"{len(rest)} more lines: {dollars(sum(line.cents for line in rest))}"]


def dollars(cents: int) -> str:
    """An amount for people."""
    sign = "-" if cents < 0 else ""
    return f"{sign}{abs(cents) // 100:,}.{abs(cents) % 100:02d} USD"
