"""Which messages of Stripe are listened to (GW-5). Pure."""

from __future__ import annotations

WANTED = frozenset(
    {
        "payment_intent.succeeded",
        "payment_intent.payment_failed",
        "payment_intent.processing",
        "payment_intent.canceled",
        "setup_intent.succeeded",
        "payment_method.automatically_updated",
        "payment_method.detached",
        "charge.refunded",
        "charge.dispute.created",
    }
)
