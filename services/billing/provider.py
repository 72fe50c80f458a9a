"""What billing wants of whoever keeps cards and moves money. Pure; the adapter for Stripe is ``stripe_provider``.

Charging takes two steps, so that no crash, lost answer or repetition charges twice: ``prepare`` makes a payment that
moves no money, and is recorded; ``execute`` moves it. What became of it is asked by its name, also days later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from shared.events.billing import Card

Cause = Literal["unreachable", "throttled", "misconfigured"]


class ProviderUnavailable(Exception):
    """Nothing is known to have happened, for no fault of the card (GW-2). ``missing``: it knows nothing of what it was
    asked about."""

    def __init__(self, cause: Cause, detail: str = "", *, missing: bool = False) -> None:
        super().__init__(f"the payment provider is {cause}{f': {detail}' if detail else ''}")
        self.cause = cause
        self.missing = missing


class CardRefused(Exception):
    """A set-up did not end with a card of this customer that can be charged: ``code`` is the bank's, or
    ``card_required``."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The money has moved."""

    amount_cents: int


@dataclass(frozen=True, slots=True)
class Declined:
    """``final``: the card must not be presented again (GW-3)."""

    code: str
    decline_code: str = ""
    final: bool = False


@dataclass(frozen=True, slots=True)
class RequiresAction:
    """The bank wants the member to confirm it, with this secret."""

    client_secret: str


@dataclass(frozen=True, slots=True)
class Open:
    """``pending``: the bank has not said; ``unknown``: the answer was lost (GW-4); ``not_submitted``: no money has been
    asked for yet; ``canceled``: it never will be."""

    how: Literal["pending", "unknown", "not_submitted", "canceled"]


Outcome = Succeeded | Declined | RequiresAction | Open


@dataclass(frozen=True, slots=True)
class CardSetup:
    """What a browser needs to give a card to the provider."""

    setup_id: str
    client_secret: str


@dataclass(frozen=True, slots=True)
class Payment:
    """A payment to be made. ``key`` names it for the provider: the same key is the same payment. ``last4``: of the
    card's number."""

    org_id: str
    number: int
    attempt: int
    amount_cents: int
    customer_ref: str
    card_ref: str
    last4: str = ""

    @property
    def key(self) -> str:
        """Unique over all payments of the installation."""
        return f"inv:{self.org_id}:{self.number}:{self.attempt}"


@dataclass(frozen=True, slots=True)
class Hint:
    """A provider's message: look at this object again (GW-5)."""

    hint_id: str
    kind: str
    provider_ref: str


@dataclass(frozen=True, slots=True)
class Seen:
    """A payment that succeeded, as the provider lists it. ``org_id``: what we wrote on it."""

    provider_ref: str
    org_id: str
    amount_cents: int


@dataclass(frozen=True, slots=True)
class Returned:
    """Money of a payment that went back, or that a cardholder wants back."""

    kind: Literal["refund", "dispute"]
    provider_ref: str
    return_ref: str
    org_id: str
    amount_cents: int


class Provider(Protocol):
    """Blocking calls, bounded in time; safe from any thread. Raises ``ProviderUnavailable`` from all but ``execute``,
    whose fate is then ``unknown``."""

    def ensure_customer(self, org_id: str) -> str:
        """The customer of this organization, made once. The provider learns the organization's id and nothing of any
        person, so that nothing of a person need be forgotten there (EVT-5)."""
        ...

    def forget_customer(self, customer_ref: str) -> None:
        """Have it and its cards exist no more; nothing if that is so."""
        ...

    def begin_card_setup(self, customer_ref: str, key: str) -> CardSetup: ...

    def finish_card_setup(self, customer_ref: str, setup_id: str) -> Card:
        """The card, kept for this customer. Raises ``CardRefused``."""
        ...

    def forget_card(self, card_ref: str) -> None:
        """Have it belong to nobody; nothing if that is so."""
        ...

    def prepare(self, payment: Payment) -> str:
        """The provider's name for the payment. No money moves."""
        ...

    def execute(self, provider_ref: str, payment: Payment) -> Outcome:
        """Move the money, with nobody there to confirm it."""
        ...

    def inspect(self, provider_ref: str) -> Outcome: ...

    def client_secret(self, provider_ref: str) -> str:
        """What a browser confirms this payment with."""
        ...

    def abandon(self, provider_ref: str) -> Outcome:
        """Cancel it, if that can be done; what became of it."""
        ...

    def refund(self, provider_ref: str, amount_cents: int, key: str) -> str:
        """Give back this much of it; the provider's name for that. The same key is the same refund."""
        ...

    def org_of(self, provider_ref: str) -> str | None:
        """The organization that a payment was made for, as we wrote on it."""
        ...

    def card_of(self, card_ref: str) -> tuple[str, Card] | None:
        """A card as it is now, and the organization whose customer has it; None if nobody of ours has."""
        ...

    def payments_since(self, since: datetime) -> Sequence[Seen]:
        """Those made since then that succeeded, and that have an organization written on them."""
        ...

    def returns_since(self, since: datetime) -> Sequence[Returned]:
        """Refunds and disputes since then, of such payments."""
        ...

    def parse_webhook(self, body: bytes, signature: str) -> Hint:
        """Raises ``Refused("bad_signature")``."""
        ...
