"""Calls about organizations that are about to be created, whose card comes first (ORG-1), and the end of those that are
not."""

# Nameko's decorators have no types.
# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from nameko.events import event_handler
from nameko.rpc import rpc

from services.billing import queries
from services.billing.drafts import (
    DRAFTS,
    LIFE,
    BeginDraft,
    Draft,
    SaveDraftCard,
    must_be_open,
    stream_of,
)
from services.billing.edge import Edge, asking, is_record_id, well_formed
from shared.bus.reactions import reaction
from shared.errors import FlotillaError, NotFound, Refused
from shared.ids import record_id
from shared.store.port import Position
from shared.streams import Loaded
from shared.times import iso

log = logging.getLogger(__name__)


class DraftCalls(Edge):
    """Calls about drafts."""

    @rpc(expected_exceptions=FlotillaError)
    def begin_draft(self, account_id: str) -> dict[str, Any]:
        """``{"draft_id", "card_setup": {…}, "expires_at", "position"}``; the same draft again, with another set-up, to
        whoever has one that is good for half of its life still. Refuses with ``payments_off``,
        ``already_in_organization``, ``provider_unavailable``."""
        provider, now = self._provider(), self.billing_clock.now()
        if not is_record_id(account_id):
            raise NotFound("User not found.")
        if queries.organization_of(self.views, account_id) is not None:
            raise Refused("already_in_organization", "This account belongs to an organization already.")
        made = record_id(self.streams.context.command_id, "draft")
        draft_id = queries.open_draft(self.views, account_id, now + LIFE / 2) or made
        draft = self._draft(draft_id).state
        with asking():
            customer_ref = draft.customer_ref or provider.ensure_customer(draft_id)
            setup = provider.begin_card_setup(customer_ref, str(self.streams.context.command_id))
        begin = BeginDraft(draft_id, account_id, customer_ref, setup.setup_id, now)
        handled = self.streams.handle(DRAFTS, stream_of(draft_id), begin)
        assert handled.state.expires_at is not None
        told = {"draft_id": draft_id, "card_setup": self._setup(setup), "expires_at": iso(handled.state.expires_at)}
        return {**told, "position": handled.position}

    @rpc(expected_exceptions=FlotillaError)
    def finish_draft(self, draft_id: str | None, account_id: str, setup_id: str | None) -> dict[str, Any]:
        """``{"org_id", "position"}``: the card of the set-up is kept, and the organization is to have this id. Both are
        None where nobody is billed. Refuses with ``card_required``, ``provider_unavailable``."""
        if self.payments.provider is None:
            return {"org_id": None, "position": None}
        if not is_record_id(draft_id):
            must_be_open(Draft(), account_id, self.billing_clock.now())
        return {"org_id": draft_id, "position": self._save_card(str(draft_id), account_id, setup_id)}

    def _save_card(self, draft_id: str, account_id: str, setup_id: str | None) -> Position | None:
        """Nothing for a draft that is used already: then the organization exists, or is about to."""
        loaded, now = self._draft(draft_id), self.billing_clock.now()
        must_be_open(loaded.state, account_id, now)
        if loaded.state.is_used:
            return loaded.position
        with asking():
            card = self._provider().finish_card_setup(loaded.state.customer_ref, well_formed(setup_id))
        return self.streams.handle(DRAFTS, stream_of(draft_id), SaveDraftCard(account_id, card, now)).position

    @reaction("cards")
    @event_handler("billing", "DraftExpired")
    def forget_customer(self, message: Mapping[str, Any]) -> None:
        """Have the provider forget whom it kept a card for."""
        expired = self.streams.event(message)
        if self.payments.provider is None:
            log.warning("customer %s of a draft that has lapsed stays with the provider", expired.customer_ref)
            return
        self.payments.provider.forget_customer(expired.customer_ref)

    def _draft(self, draft_id: str) -> Loaded[Draft]:
        return self.streams.load(DRAFTS, stream_of(draft_id))
