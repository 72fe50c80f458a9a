"""Calls about private betas, and the reaction that uses codes up."""

# Nameko's decorators have no types.
# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nameko.events import event_handler
from nameko.rpc import rpc

from services.orgs import queries
from services.orgs.customers import beta_queries
from services.orgs.customers.beta_codes import BetaCodes
from services.orgs.edge import Edge
from shared.errors import FlotillaError


class BetaCalls(Edge):
    """Calls about private betas."""

    @rpc(expected_exceptions=FlotillaError)
    def invite_to_beta(self, product_id: int, emails: Sequence[Any]) -> dict[str, Any]:
        queries.product_row(self.views, product_id)
        invited, problems, position = self._command(BetaCodes).invite(product_id, emails)
        views = self.views if position is None else self.views.since(position)
        codes = beta_queries.of_invitees(views, product_id, invited)
        return {"activation_codes": codes, "problems": problems, "position": position}

    @rpc(expected_exceptions=FlotillaError)
    def list_activation_codes(self, product_id: int, page: int = 1, per_page: int = 25) -> dict[str, Any]:
        return beta_queries.page(self.views, product_id, page, per_page)

    @rpc(expected_exceptions=FlotillaError, sensitive_arguments="code")
    def check_activation_code(self, product_id: int, customer_id: str, code: str) -> dict[str, Any]:
        return {"invitee_id": self._command(BetaCodes).check(product_id, customer_id, code)}

    @rpc(expected_exceptions=FlotillaError)
    def take_activation_code(self, product_id: int, invitee_id: str, owner_id: str, device_id: str) -> dict[str, Any]:
        """Of several who take it at once one gets it; ``check_claim`` says who."""
        self._command(BetaCodes).use(product_id, invitee_id, owner_id, device_id)
        return {}

    @event_handler("devices", "DeviceClaimed")
    def use_activation_code(self, message: Mapping[str, Any]) -> None:
        """The same, should the process that claimed the device have died before it took the code."""
        claimed = self.streams.event(message)
        if claimed.invitee_id is not None:
            using = self._command(BetaCodes)
            using.use(claimed.product_id, claimed.invitee_id, claimed.owner_id, claimed.device_id)
