"""Calls about the card of an organization, which goes from the browser to the provider and never to us (BIL-6)."""

# Nameko's decorators have no types.
# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nameko.events import event_handler
from nameko.rpc import rpc

from services.billing.edge import Edge, asking, well_formed
from services.billing.provider import CardRefused, ProviderUnavailable
from services.billing.subscriptions import Authenticate, RegisterCustomer, ReplaceCard, stream_of, subscriptions
from services.billing.summary_object import browser_object
from shared.bus.messages import to_recorded
from shared.bus.reactions import reaction
from shared.errors import FlotillaError, Refused
from shared.streams import Streams


class CardCalls(Edge):
    """Every call refuses with ``payments_off`` where nobody is billed, and with ``provider_unavailable``."""

    @rpc(expected_exceptions=FlotillaError)
    def begin_card_setup(self, org_id: str) -> dict[str, Any]:
        """``{"card_setup": {setup_id, client_secret, publishable_key, script_url, api_url}}`` (contract 13.2)."""
        provider, state = self._provider(), self._loaded(org_id).state
        with asking():
            customer_ref = state.customer_ref or self._register(org_id)
            setup = provider.begin_card_setup(customer_ref, str(self.streams.context.command_id))
        return {"card_setup": self._setup(setup)}

    def _register(self, org_id: str) -> str:
        """A customer for an organization that began without one."""
        made = self._provider().ensure_customer(org_id)
        state = self._wish(org_id, RegisterCustomer(made, self.billing_clock.now()), "customer").state
        return state.customer_ref or made

    @rpc(expected_exceptions=FlotillaError)
    def finish_card_setup(self, org_id: str, setup_id: str) -> dict[str, Any]:
        """``{"summary": {…}, "position"}``: the card that this set-up ended with is charged from now on, at once if an
        invoice is open. Refuses with ``card_required``, ``charge_in_progress``."""
        provider, state = self._provider(), self._loaded(org_id).state
        with asking():
            if state.customer_ref is None:
                raise CardRefused("card_required")
            card = provider.finish_card_setup(state.customer_ref, well_formed(setup_id))
        if self._wish(org_id, ReplaceCard(card, self.billing_clock.now())).state.charge is not None:
            self._settled(org_id)
        return self._answer(org_id)

    @rpc(expected_exceptions=FlotillaError)
    def begin_authentication(self, org_id: str) -> dict[str, Any]:
        """``{client_secret, publishable_key, script_url, api_url, "position"}``: an attempt that the member confirms
        with the bank now; the same one again while it waits for that. Refuses with ``nothing_to_authenticate``,
        ``charge_in_progress``."""
        provider, state = self._provider(), self._loaded(org_id).state
        if state.charge is None or not state.charge.present:
            self._wish(org_id, Authenticate(self.billing_clock.now()))
        state = self._settled(org_id)
        charge = state.charge
        if charge is None or not charge.present:
            raise Refused("nothing_to_authenticate", "The payment waits for the bank no more; look at it again.")
        with asking():
            if charge.provider_ref is None:
                raise ProviderUnavailable("unreachable")
            secret = provider.client_secret(charge.provider_ref)
        return {**browser_object(secret, self.payments.browser), "position": self._answer(org_id)["position"]}

    @reaction("cards")
    @event_handler("billing", "CardReplaced")
    def forget_replaced_card(self, message: Mapping[str, Any]) -> None:
        """Have the provider forget the card that is charged no more."""
        self._forget_card_before(message)

    @reaction("cards")
    @event_handler("billing", "SubscriptionReactivated")
    def forget_former_card(self, message: Mapping[str, Any]) -> None:
        """The same where another one came with a re-activation."""
        self._forget_card_before(message)

    def _forget_card_before(self, message: Mapping[str, Any]) -> None:
        event, version = self.streams.event(message), to_recorded(message).version
        streams = Streams(self.streams.store, self.streams.contracts)
        before = streams.load(subscriptions(self.policy), stream_of(event.org_id), version).state.card
        if before is not None and before.ref != event.card.ref and self.payments.provider is not None:
            self.payments.provider.forget_card(before.ref)
