"""RPC methods beside the page: the provider's messages come in, and an operator moves the clock."""

# Nameko's decorators have no types.
# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

import binascii
import logging
from base64 import b64decode
from collections.abc import Callable
from datetime import datetime
from typing import Any

from nameko.rpc import rpc

from services.billing.edge import Edge
from services.billing.hints import Hints
from services.billing.payments import Payments
from services.billing.stripe_kinds import WANTED
from shared.bus.given import Given
from shared.errors import FlotillaError, Refused, Unavailable
from shared.times import iso

log = logging.getLogger(__name__)

MOST_BYTES = 262_144
"""Of a message; the provider's are some kilobytes."""
PATIENCE_S = 8.0
"""So long a call waits for what came due by a move; callers wait for ten."""


class Inbox:
    """Takes in what the provider sends. Safe from any thread. ``refused`` counts what was not signed."""

    def __init__(self, payments: Payments, hints: Hints, wake: Callable[[], None]) -> None:
        self._payments = payments
        self._hints = hints
        self._wake = wake
        self.refused = 0

    @property
    def bills_nobody(self) -> bool:
        """Then nothing comes due, either."""
        return self._payments.provider is None

    def receive(self, body: str, signature: str) -> None:
        """Verify it and remember its id; it is followed soon (GW-5). Raises ``Refused``: ``bad_signature``,
        ``payments_off``."""
        provider = self._payments.provider
        if provider is None:
            raise Refused("payments_off", "nobody is billed here (FLOTILLA_PAYMENTS=off:)")
        try:
            raw = b64decode(body, validate=True)
            if len(raw) > MOST_BYTES:
                raise Refused("bad_signature", f"a message of the payment provider has {MOST_BYTES} bytes at most")
            hint = provider.parse_webhook(raw, signature)
        except (Refused, binascii.Error):
            self.refused += 1
            log.warning("a message to the payment provider's webhook was refused, the %dth", self.refused)
            raise Refused("bad_signature", "the message is not signed with a secret of this installation") from None
        if hint.kind in WANTED and self._hints.add(hint):
            self._wake()


class HookCalls(Edge):
    """A part of ``BillingService``."""

    inbox: Inbox = Given()

    @rpc(expected_exceptions=FlotillaError)
    def receive_hook(self, body: str, signature: str) -> dict[str, Any]:
        self.inbox.receive(body, signature)
        return {}

    @rpc(expected_exceptions=FlotillaError)
    def advance(self, to: str) -> dict[str, Any]:
        """Move billing's clock to this time; ``finished``: all that came due by that is done, but for ``waiting``
        attempts, of which the provider says nothing."""
        try:
            moment = datetime.fromisoformat(to)
        except ValueError:
            raise Refused("invalid_request", f"{to[:64]!r} is no time, as in 2027-01-31T12:00:00Z") from None
        if moment.tzinfo is None:
            raise Refused("invalid_request", f"{to[:64]!r} has no time zone, as in 2027-01-31T12:00:00Z")
        moved = self.billing_clock.move(moment, self.streams.context)
        if self.inbox.bills_nobody:
            self.billing_clock.reached(moved.state.moves, 0, self.streams.context.step("reached"))
        try:
            moves = self.billing_clock.await_reached(moved.state.moves, PATIENCE_S)
        except Unavailable:
            moves = None
        told = {"now": iso(self.billing_clock.now()), "position": moved.position}
        return {**told, "finished": moves is not None, "waiting": 0 if moves is None else moves.waiting}
