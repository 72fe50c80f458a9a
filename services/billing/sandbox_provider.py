"""The sandbox as a provider: ``localstripe``, a process of its own, which keeps what it has in its memory alone.

After it was started anew it knows none of our customers and cards. Then they are made again, with the test card that
ends in the same four digits, under other names, which this process remembers; a payment that it has forgotten moved no
money that anybody could still miss, so it counts as cancelled, and is asked for again by the usual schedule.
"""

from __future__ import annotations

import logging
from dataclasses import replace

from services.billing.provider import Open, Outcome, Payment, ProviderUnavailable
from services.billing.stripe_provider import SANDBOX, StripeProvider
from shared.events.billing import Card

log = logging.getLogger(__name__)

TEST_CARDS = {"4242": "4242424242424242", "0341": "4000000000000341", "3155": "4000002500003155"}
"""By their last four digits: works; is declined whenever it is charged; asks for the bank's check."""


class SandboxProvider(StripeProvider):
    """Implements ``Provider``; ``url``: where the sandbox is."""

    def __init__(self, key: str, webhook_secrets: tuple[str, ...] = (), *, url: str) -> None:
        super().__init__(key, webhook_secrets, url=url, dialect=SANDBOX)
        self._customers: dict[str, str] = {}
        self._cards: dict[str, str] = {}

    def begin_card_setup(self, customer_ref: str, key: str):  # type: ignore[no-untyped-def]
        """As of any provider."""
        return super().begin_card_setup(self._customers.get(customer_ref, customer_ref), key)
