"""What is looked for at Stripe without a payment of ours in hand: whose a thing is, what succeeded, what went back."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

from services.billing.provider import ProviderUnavailable, Returned, Seen
from services.billing.stripe_asking import asking
from services.billing.stripe_cards import id_of, to_card
from shared.events.billing import Card

if TYPE_CHECKING:
    from services.billing.stripe_provider import Dialect

log = logging.getLogger(__name__)

PAGE = 100
MOST_LISTED = 20_000
"""Payments, refunds or disputes that are looked at in a list."""
_ORG_ID = re.compile(r"[0-9a-f]{24}")


class StripeLooking:
    """A part of ``StripeProvider``."""

    _api: Any
    _dialect: Dialect

    def org_of(self, provider_ref: str) -> str | None:
        """The organization on a payment; None for one that is not ours, or not there."""
        intent = self._found("payment", self._api.payment_intents.retrieve, provider_ref)
        return None if intent is None else _org_of(intent)

    def card_of(self, card_ref: str) -> tuple[str, Card] | None:
        """A card as it is now, with the organization that its customer is."""
        method = self._found("card", self._api.payment_methods.retrieve, card_ref)
        customer_ref = None if method is None else id_of(method.customer)
        if customer_ref is None:
            return None
        customer = self._found("customer", self._api.customers.retrieve, customer_ref)
        org_id = None if customer is None else _org_of(customer)
        return None if org_id is None else (org_id, to_card(method))

    def payments_since(self, since: datetime) -> list[Seen]:
        """What succeeded. Raises ``ProviderUnavailable``."""
        with asking("payments"):
            return [
                Seen(intent.id, org_id, intent.amount)
                for intent in self._listed(self._api.payment_intents, since)
                if intent.status == "succeeded" and (org_id := _org_of(intent)) is not None
            ]

    def returns_since(self, since: datetime) -> list[Returned]:
        """What went back, or is to. Raises ``ProviderUnavailable``."""
        with asking("refunds"):
            found = [("refund", one) for one in self._listed(self._api.refunds, since) if one.status == "succeeded"]
        if self._dialect.disputes:
            with asking("disputes"):
                found += [("dispute", one) for one in self._listed(self._api.disputes, since)]
        return [returned for kind, one in found if (returned := self._returned(kind, one)) is not None]

    def _returned(self, kind: Any, one: Any) -> Returned | None:
        provider_ref = id_of(getattr(one, "payment_intent", None))
        org_id = None if provider_ref is None else self.org_of(provider_ref)
        if provider_ref is None or org_id is None:
            return None
        return Returned(kind, provider_ref, one.id, org_id, one.amount)

    def _listed(self, service: Any, since: datetime) -> Iterator[Any]:
        """All since then, page after page."""
        first = int(since.timestamp())
        wanted: dict[str, Any] = {"limit": PAGE}
        if self._dialect.filters:
            wanted["created"] = {"gte": first}
        listed = list(islice(service.list(wanted).auto_paging_iter(), MOST_LISTED))
        if len(listed) == MOST_LISTED:
            log.error("only %d things that the payment provider lists were looked at", MOST_LISTED)
        return (one for one in listed if one.created >= first)

    def _found(self, what: str, retrieve: Any, name: str) -> Any:
        try:
            with asking(what):
                return retrieve(name)
        except ProviderUnavailable as problem:
            if problem.missing:
                return None
            raise


def _org_of(thing: Any) -> str | None:
    written = getattr(thing, "metadata", None)
    org_id = None if written is None else getattr(written, "org_id", None)
    return org_id if isinstance(org_id, str) and _ORG_ID.fullmatch(org_id) else None
