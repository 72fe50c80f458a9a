"""The sandbox as a provider: ``localstripe``, a process of its own, which keeps what it has in its memory alone.

After it was started anew it knows none of our customers and cards. Then they are made again, with the test card that
ends in the same four digits, under other names, which this process remembers; a payment that it has forgotten moved no
money that anybody could miss, so it counts as cancelled, and is asked for again by the usual schedule.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import replace
from typing import Any

import stripe

from services.billing.provider import CardSetup, Open, Outcome, Payment, ProviderUnavailable
from services.billing.stripe_asking import asking
from services.billing.stripe_provider import SANDBOX, StripeProvider
from shared.events.billing import Card

log = logging.getLogger(__name__)

TEST_CARDS = {"4242": "4242424242424242", "0341": "4000000000000341", "3155": "4000002500003155"}
"""By their last four digits: works; is declined whenever it is charged; asks for the bank's check."""
EXPIRY = {"exp_month": "12", "exp_year": "2099", "cvc": "123"}


class SandboxProvider(StripeProvider):
    """Implements ``Provider``; ``url``: where the sandbox is; ``like``: as of ``StripeProvider``."""

    def __init__(self, key: str, webhook_secrets: tuple[str, ...] = (), *, url: str, **like: Any) -> None:
        super().__init__(key, webhook_secrets, url=url, dialect=SANDBOX, **like)
        self._customers: dict[str, str] = {}
        self._cards: dict[str, str] = {}

    def begin_card_setup(self, customer_ref: str, key: str) -> CardSetup:
        """A set-up for a browser; for a customer that it has forgotten, who is made again."""
        if not self._knows_customer(customer_ref):
            self._customers[customer_ref] = self._made_customer({})
        return super().begin_card_setup(self._customer(customer_ref), key)

    def finish_card_setup(self, customer_ref: str, setup_id: str) -> Card:
        """As of any provider."""
        return super().finish_card_setup(self._customer(customer_ref), setup_id)

    def prepare(self, payment: Payment) -> str:
        """As of any provider; with customer and card made again if it has forgotten them."""
        try:
            return super().prepare(self._known(payment))
        except ProviderUnavailable as problem:
            if not problem.missing or payment.last4 not in TEST_CARDS or self._knows_customer(payment.customer_ref):
                raise
        log.warning("the sandbox has forgotten the card of organization %s; it is made again", payment.org_id)
        self._make_again(payment)
        return super().prepare(self._known(payment))

    def client_secret(self, provider_ref: str) -> str:
        """As of any provider; confirmed first, which the script of its page cannot do."""
        with asking("payment"), suppress(stripe.CardError):
            if self._api.payment_intents.retrieve(provider_ref).status == "requires_confirmation":
                self._api.payment_intents.confirm(provider_ref)
        return super().client_secret(provider_ref)

    def inspect(self, provider_ref: str) -> Outcome:
        """As of any provider; what it has forgotten is cancelled."""
        return self._unless_forgotten(super().inspect, provider_ref)

    def abandon(self, provider_ref: str) -> Outcome:
        """The same."""
        return self._unless_forgotten(super().abandon, provider_ref)

    def _unless_forgotten(self, ask: Any, provider_ref: str) -> Outcome:
        try:
            outcome: Outcome = ask(provider_ref)
        except ProviderUnavailable as problem:
            if not problem.missing:
                raise
            return Open("canceled")
        return outcome

    def _customer(self, customer_ref: str) -> str:
        return self._customers.get(customer_ref, customer_ref)

    def _known(self, payment: Payment) -> Payment:
        card_ref = self._cards.get(payment.card_ref, payment.card_ref)
        return replace(payment, customer_ref=self._customer(payment.customer_ref), card_ref=card_ref)

    def _knows_customer(self, customer_ref: str) -> bool:
        return self._found("customer", self._api.customers.retrieve, self._customer(customer_ref)) is not None

    def _make_again(self, payment: Payment) -> None:
        customer = self._made_customer({"org_id": payment.org_id})
        number = TEST_CARDS[payment.last4]
        with asking("card"):
            card = self._api.payment_methods.create({"type": "card", "card": {"number": number, **EXPIRY}})
            self._api.payment_methods.attach(card.id, {"customer": customer})
        self._customers[payment.customer_ref], self._cards[payment.card_ref] = customer, card.id

    def _made_customer(self, metadata: dict[str, str]) -> str:
        with asking("customer"):
            return str(self._api.customers.create({"metadata": metadata}).id)
