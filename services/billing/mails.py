"""Which mail an event of a subscription asks for. Pure."""

from __future__ import annotations

from typing import Literal

from services.billing.standing import Event, Subscription
from services.billing.subscriptions import AUTHENTICATION
from shared.events import billing as b

Template = Literal[
    "trial_started",
    "trial_ending",
    "renewal_upcoming",
    "payment_receipt",
    "invoice_settled",
    "payment_failed",
    "payment_action_required",
    "account_locked",
    "subscription_cancelled",
    "cancellation_withdrawn",
    "subscription_ended",
    "subscription_reactivated",
    "plan_switched",
    "card_replaced",
    "card_expiring",
]
_ALWAYS: dict[type, Template] = {
    b.SubscriptionStarted: "trial_started",
    b.TrialEndingSoon: "trial_ending",
    b.RenewalUpcoming: "renewal_upcoming",
    b.AccountLocked: "account_locked",
    b.SubscriptionCancelled: "subscription_cancelled",
    b.CancellationWithdrawn: "cancellation_withdrawn",
    b.SubscriptionEnded: "subscription_ended",
    b.SubscriptionReactivated: "subscription_reactivated",
    b.PlanSwitched: "plan_switched",
    b.CardReplaced: "card_replaced",
    b.CardExpiringSoon: "card_expiring",
}
TOLD: tuple[type, ...] = (*_ALWAYS, b.PaymentSucceeded, b.InvoiceSettledWithoutCharge, b.PaymentFailed)
"""The events that somebody may be told of."""


def mail_of(before: Subscription, event: Event) -> Template | None:
    """The template; ``before``: how the subscription stood. What a re-activation came to is shown on the page, and
    mailed when it worked."""
    is_reactivation = before.invoice is not None and before.invoice.is_reactivation
    match event:
        case b.PaymentSucceeded():
            return None if is_reactivation else "payment_receipt"
        case b.InvoiceSettledWithoutCharge():
            return None if is_reactivation else "invoice_settled"
        case b.PaymentFailed(code=code):
            if is_reactivation:
                return None
            return "payment_action_required" if code == AUTHENTICATION else "payment_failed"
        case _:
            return _ALWAYS.get(type(event))
