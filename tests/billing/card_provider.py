"""The provider in memory with customers and cards, too; it may be down."""

from __future__ import annotations

from dataclasses import dataclass, field

from services.billing.provider import CardRefused, CardSetup, Payment, ProviderUnavailable
from shared.events.billing import Card
from tests.billing.played_provider import PlayedProvider
from tests.billing.timelines import card


@dataclass
class CardProvider(PlayedProvider):
    """``setups``: the customer of each, and the card that a member gave with it; ``kept``: the cards that it has."""

    customers: dict[str, str] = field(default_factory=dict)
    setups: dict[str, tuple[str, Card | None]] = field(default_factory=dict)
    kept: set[str] = field(default_factory=set)
    is_down: bool = False

    def ensure_customer(self, org_id: str) -> str:
        self._must_be_up()
        return self.customers.setdefault(org_id, f"cus_{org_id}")

    def forget_customer(self, customer_ref: str) -> None:
        self._must_be_up()
        self.customers = {org_id: ref for org_id, ref in self.customers.items() if ref != customer_ref}

    def begin_card_setup(self, customer_ref: str, key: str) -> CardSetup:
        self._must_be_up()
        setup_id = f"seti_{key}"
        self.setups.setdefault(setup_id, (customer_ref, None))
        return CardSetup(setup_id, f"{setup_id}_secret")

    def gives_card(self, setup_id: str, kind: str = "ok") -> None:
        """What a member does in the provider's own form."""
        customer_ref, _ = self.setups[setup_id]
        self.setups[setup_id] = (customer_ref, card(kind, len(self.setups)))

    def finish_card_setup(self, customer_ref: str, setup_id: str) -> Card:
        self._must_be_up()
        of, saved = self.setups.get(setup_id, ("", None))
        if of != customer_ref or saved is None:
            raise CardRefused("card_required")
        self.kept.add(saved.ref)
        return saved

    def forget_card(self, card_ref: str) -> None:
        self._must_be_up()
        self.kept.discard(card_ref)

    def prepare(self, payment: Payment) -> str:
        self._must_be_up()
        return super().prepare(payment)

    def client_secret(self, provider_ref: str) -> str:
        self._must_be_up()
        return f"{provider_ref}_secret"

    def _must_be_up(self) -> None:
        if self.is_down:
            raise ProviderUnavailable("unreachable")
