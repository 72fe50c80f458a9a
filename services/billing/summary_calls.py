"""Calls that look at a subscription, and change nothing."""

# Nameko's decorators have no types.
# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

from typing import Any

from nameko.rpc import rpc

from services.billing import queries
from services.billing.edge import Edge, is_record_id
from services.billing.previewing import preview
from services.billing.subscriptions import stream_of
from services.billing.summary_object import line_object
from shared.bus.given import Given
from shared.errors import FlotillaError, NotFound
from shared.mail.bouncing import bouncing
from shared.mail.queue import MailQueue
from shared.times import iso


class SummaryCalls(Edge):
    """How a subscription stands, its invoices, who hears nothing of it, and what a change would come to."""

    mails: MailQueue = Given()

    @rpc(expected_exceptions=FlotillaError)
    def subscription(self, org_id: str) -> dict[str, Any]:
        """``{state, reason, plan, trial_ends_at}``. Raises ``NotFound``."""
        state = self._loaded(org_id).state
        summary = self._summary(state)
        return {name: summary[name] for name in ("state", "reason", "plan", "trial_ends_at")}

    @rpc(expected_exceptions=FlotillaError)
    def summary(self, org_id: str) -> dict[str, Any]:
        """``{"summary": {…}}`` (contract 13.1). Raises ``NotFound``."""
        return {"summary": self._summary(self._loaded(org_id).state)}

    @rpc(expected_exceptions=FlotillaError)
    def unreachable(self, org_id: str) -> dict[str, Any]:
        """``{"unreachable": [{"user_id", "since"}]}``: members whose mail server refuses what we tell of the
        subscription, the longest first; until a letter arrives, or their address is another."""
        if not is_record_id(org_id):
            raise NotFound("Subscription not found.")
        team = queries.members(self.views, org_id)
        refused = sorted((at, who) for who, at in bouncing(self.mails.fates(stream_of(org_id)), team).items())
        return {"unreachable": [{"user_id": who, "since": iso(at)} for at, who in refused]}

    @rpc(expected_exceptions=FlotillaError)
    def access(self, org_id: str) -> dict[str, Any]:
        """``{"access": "full" | "billing_only"}`` (BIL-7a). Raises ``NotFound``."""
        return {"access": "full" if self._loaded(org_id).state.is_open else "billing_only"}

    @rpc(expected_exceptions=FlotillaError)
    def invoices(self, org_id: str, page: int = 1, per_page: int = 25) -> dict[str, Any]:
        """``{"invoices": […], "meta": {page, per_page, total, total_pages}}``, the latest first."""
        return queries.invoices(self.views, org_id, page, per_page)

    @rpc(expected_exceptions=FlotillaError)
    def invoice(self, org_id: str, number: int) -> dict[str, Any]:
        """``{"invoice": {…, "attempts": […]}}``. Raises ``NotFound``."""
        return {"invoice": queries.invoice(self.views, org_id, number)}

    @rpc(expected_exceptions=FlotillaError)
    def preview(self, org_id: str, plan: str | None = None, seats: int | None = None) -> dict[str, Any]:
        """``{"summary": {…, "lines": [{kind, cents, description, …}]}}``: the summary as it would be, and the lines
        that would be made now. Refuses with ``unknown_plan``, ``inactive``, ``invalid_request``."""
        ahead, lines = preview(self.policy, self._loaded(org_id).state, plan, seats, self.billing_clock.now())
        return {"summary": {**self._summary(ahead), "lines": [line_object(line) for line in lines]}}
