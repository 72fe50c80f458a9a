"""The next thing to do about a refund that an operator asked for, done: what is to be recorded of it. As ``charging``
does for charges: whatever dies in between, the next start goes on from what was recorded, and money goes back once.

The provider knows a refund by its key, so the same asked again is the same refund. Keys are forgotten after a day; so
later what the provider has given back is looked at first.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from services.billing.operating import RecordRefunded, RecordRefundFailed, RefundRecord
from services.billing.provider import CardRefused, Provider, ProviderUnavailable
from services.billing.standing import Refund, Subscription

KEY_LIFE = timedelta(hours=20)
"""Shorter than any provider keeps a key."""


def settle_refund(state: Subscription, provider: Provider, now: datetime) -> RefundRecord | None:
    """What to record now; None if there is nothing to be done, or the provider cannot be asked: ask again later."""
    if not state.refunds:
        return None
    refund = state.refunds[0]
    try:
        return RecordRefunded(refund.refund, _given_back(state, refund, provider, now), now)
    except ProviderUnavailable as problem:
        return RecordRefundFailed(refund.refund, now) if problem.cause == "misconfigured" else None
    except CardRefused:
        return RecordRefundFailed(refund.refund, now)


def key(org_id: str, refund: int) -> str:
    """What the provider knows a refund by."""
    return f"{org_id}:{refund}"


def _given_back(state: Subscription, refund: Refund, provider: Provider, now: datetime) -> str:
    if now - refund.at >= KEY_LIFE:
        wanted = ("refund", refund.provider_ref, refund.amount_cents)
        for one in provider.returns_since(refund.at):
            if (one.kind, one.provider_ref, one.amount_cents) == wanted and one.return_ref not in state.noted:
                return one.return_ref
    return provider.refund(refund.provider_ref, refund.amount_cents, key(state.org_id, refund.refund))
