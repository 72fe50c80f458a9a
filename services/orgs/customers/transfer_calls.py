"""Calls about devices that somebody asks their owner for."""

# Nameko's decorators have no types.
# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

from typing import Any

from nameko.rpc import ServiceRpc, rpc

from services.orgs.customers.transferring import Transferring
from services.orgs.customers.transfers import Wish
from services.orgs.edge import Edge
from shared.errors import FlotillaError


class TransferCalls(Edge):
    """Asked by the ``devices`` service, which has checked the claimant, and by whoever follows the mailed link."""

    devices = ServiceRpc("devices")

    @rpc(expected_exceptions=FlotillaError)
    def record_transfer(
        self,
        device_id: str,
        product_id: int,
        owner_id: str,
        claim: int,
        claimant_id: str,
        customer_id: str | None = None,
        invitee_id: str | None = None,
        device_name: str = "",
    ) -> dict[str, Any]:
        wish = Wish(device_id, product_id, owner_id, claim, claimant_id, customer_id, invitee_id, device_name)
        transfer_id, position = self._command(Transferring).ask(wish)
        return {"transfer_id": transfer_id, "position": position}

    @rpc(expected_exceptions=FlotillaError, sensitive_arguments="token")
    def get_transfer(self, token: str) -> dict[str, Any]:
        """What a link is about that works. ``actor``: whose it is, as events have it."""
        wish, owner, asker = self._command(Transferring).shown(str(token), self._holding)
        return {
            "device_id": wish.device_id,
            "device_name": wish.device_name,
            "asker": asker.email,
            "proven": asker.proven,
            "actor": owner.actor,
        }

    @rpc(expected_exceptions=FlotillaError, sensitive_arguments="token")
    def answer_transfer(self, token: str, accept: bool) -> dict[str, Any]:
        return {"position": self._command(Transferring).answer(str(token), self._holding, accept=accept is True)}

    def _holding(self, device_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.devices.get_holding(device_id=device_id)
        return found
