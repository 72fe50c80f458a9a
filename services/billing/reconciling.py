"""What the payment provider has and does, held against the streams: hints, refunds, disputes, strays (GW-5, GW-6)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID, uuid5

from services.billing.oversight import NoteReturn, NoteStray, RefreshCard
from services.billing.provider import Hint, Provider, Seen
from services.billing.standing import Subscription
from services.billing.subscriptions import Command, Policy, stream_of, subscriptions
from shared.clock import Clock
from shared.context import Context
from shared.events.billing import PaymentSucceeded
from shared.streams import Loaded, Streams

log = logging.getLogger(__name__)

ACTOR, SOURCE = "system:billing", "billing reconciliation"
LOOKED_BACK = timedelta(days=3)
"""So far a reconciliation looks back."""
_COMMANDS = UUID("6f1c0b9e-2d55-4c1e-8a50-1f6a0f0e9a12")

PAYMENT, RETURNS, CARD = "payment_intent.", ("charge.refunded", "charge.dispute.created"), "payment_method."


@dataclass(frozen=True, slots=True)
class Reconciler:
    """``settle``: has the attempt in flight of an organization looked at; ``clock`` is billing's, ``real`` the
    machine's, by which the provider counts. Methods raise ``ProviderUnavailable`` and ``Unavailable``."""

    streams: Streams
    provider: Provider
    policy: Policy
    settle: Callable[[str], Subscription]
    clock: Clock
    real: Clock

    def follow(self, hint: Hint) -> None:
        """Ask the provider for what the message was about, and act on what it says now (GW-5)."""
        if hint.kind.startswith(PAYMENT):
            org_id = self.provider.org_of(hint.provider_ref)
            if org_id is not None and self._load(org_id).state.standing != "none":
                self.settle(org_id)
        elif hint.kind in RETURNS:
            self.note_returns()
        elif hint.kind.startswith(CARD):
            self._refresh_card(hint.provider_ref)

    def reconcile(self) -> int:
        """Compare what succeeded lately with the streams, and note what went back; the number of strays found."""
        seen = self.provider.payments_since(self.real() - LOOKED_BACK)
        found = sum(self._note_stray(payment) for payment in self._unexplained(seen))
        self.note_returns()
        return found

    def note_returns(self) -> None:
        """Refunds and disputes of our payments, each once."""
        for one in self.provider.returns_since(self.real() - LOOKED_BACK):
            if self._load(one.org_id).state.standing == "none":
                continue
            noted = NoteReturn(one.kind, one.provider_ref, one.return_ref, one.amount_cents, self.clock())
            self._handle(one.org_id, noted, one.return_ref)

    def _unexplained(self, seen: Iterable[Seen]) -> Iterable[Seen]:
        for payment in seen:
            if payment.provider_ref not in self._paid(payment.org_id):
                yield payment

    def _paid(self, org_id: str) -> set[str]:
        """The payments that invoices of this organization are paid by."""
        events = (self.streams.contracts.decode(one) for one in self._load(org_id).recorded)
        return {event.provider_ref for event in events if isinstance(event, PaymentSucceeded)}

    def _note_stray(self, payment: Seen) -> bool:
        state = self._load(payment.org_id).state
        if state.standing == "none":
            log.error(
                "payment %s succeeded for organization %s, which this installation does not know",
                payment.provider_ref,
                payment.org_id,
            )
            return False
        self.settle(payment.org_id)  # it may be the attempt in flight
        state = self._load(payment.org_id).state
        if payment.provider_ref in self._paid(payment.org_id) or payment.provider_ref in state.noted:
            return False
        known = () if state.invoice is None else state.invoice.refs
        if payment.provider_ref in known and state.charge is None:
            return False  # an earlier attempt of the open invoice: the next one finds it, and it pays (GW-1)
        log.error(
            "payment %s of organization %s succeeded, and no invoice is paid by it; see `flotilla billing strays`",
            payment.provider_ref,
            payment.org_id,
        )
        stray = NoteStray(payment.provider_ref, payment.amount_cents, self.clock())
        self._handle(payment.org_id, stray, payment.provider_ref)
        return True

    def _refresh_card(self, card_ref: str) -> None:
        """A bank may give a card another expiry, or another number."""
        found = self.provider.card_of(card_ref)
        if found is not None:
            org_id, card = found
            if self._load(org_id).state.standing != "none":
                self._handle(org_id, RefreshCard(card, self.clock()), f"{card_ref}:{card}")

    def _load(self, org_id: str) -> Loaded[Subscription]:
        return self.streams.load(subscriptions(self.policy), stream_of(org_id))

    def _handle(self, org_id: str, command: Command, named: str) -> None:
        context = Context.new(ACTOR, SOURCE, uuid5(_COMMANDS, f"{type(command).__name__}:{org_id}:{named}"))
        self.streams.handle(subscriptions(self.policy), stream_of(org_id), command, context)
