"""What Stripe says of a card, as billing keeps it."""

from __future__ import annotations

from typing import Any

from shared.events.billing import Card


def id_of(reference: Any) -> str | None:
    """Of an object, or of its name."""
    return reference if reference is None or isinstance(reference, str) else str(reference.id)


def to_card(method: Any) -> Card:
    """A payment method that is a card."""
    card = method.card
    return Card(
        method.id,
        str(card.brand or "card")[:32],
        card.last4,
        card.exp_month,
        card.exp_year,
        str(getattr(card, "fingerprint", None) or "")[:64],
    )
