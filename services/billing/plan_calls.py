"""Calls that change a subscription: its plan, its end, its new beginning."""

# Nameko's decorators have no types.
# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nameko.rpc import rpc

from services.billing.edge import Edge, asking, well_formed
from services.billing.previewing import as_of
from services.billing.standing import Subscription
from services.billing.subscriptions import Cancel, Reactivate, SwitchPlan
from shared.errors import FlotillaError, Refused
from shared.events.billing import Card
from shared.store.port import Recorded
from shared.times import iso


class PlanCalls(Edge):
    """Every one refuses with ``payments_off`` where nobody is billed, and with ``charge_in_progress`` where the fate of
    an attempt must be known first."""

    @rpc(expected_exceptions=FlotillaError)
    def switch_plan(self, org_id: str, plan: str) -> dict[str, Any]:
        """``{"summary": {…}, "position"}``. Refuses with ``unknown_plan``, ``inactive``."""
        self._provider()
        self._loaded(org_id)
        self._wish(org_id, SwitchPlan(str(plan), self.billing_clock.now()))
        return self._answer(org_id)

    @rpc(expected_exceptions=FlotillaError)
    def cancel(self, org_id: str) -> dict[str, Any]:
        """``{"summary": {…}, "ends_at", "position"}``: it ends with what is paid, at once if nothing is (BIL-4).
        Refuses with ``inactive``."""
        self._provider()
        self._loaded(org_id)
        state = self._wish(org_id, Cancel(self.billing_clock.now())).state
        ends_at = state.cancel_at or state.at
        return {**self._answer(org_id), "ends_at": ends_at and iso(ends_at)}

    @rpc(expected_exceptions=FlotillaError)
    def reactivate(self, org_id: str, setup_id: str | None = None) -> dict[str, Any]:
        """``{"summary": {…}, "known": bool, "position"}``; not ``known``: the provider has not said yet whether it is
        paid, ask for the summary again. Refuses with ``not_cancelled``, ``card_required``, ``provider_unavailable``;
        with ``card_declined`` when it stays inactive (BIL-5)."""
        self._provider()
        now = self.billing_clock.now()
        card = self._new_card(as_of(self.policy, self._loaded(org_id).state, now), setup_id)
        state = self._wish(org_id, Reactivate(now, card)).state
        if state.charge is not None:
            state = self._settled(org_id)
        if state.charge is None and state.standing == "inactive":
            raise self._declined(self._loaded(org_id).recorded)
        return {**self._answer(org_id), "known": state.charge is None}

    def _new_card(self, state: Subscription, setup_id: str | None) -> Card | None:
        """The card that an inactive subscription begins anew with; None: it takes none, or is refused without."""
        if state.standing != "inactive" or state.charge is not None or setup_id is None:
            return None
        with asking():
            return self._provider().finish_card_setup(state.customer_ref or "", well_formed(setup_id))

    def _declined(self, recorded: Sequence[Recorded]) -> Refused:
        failed = next(event for event in reversed(recorded) if event.type == "PaymentFailed")
        code = self.streams.contracts.decode(failed).code
        return Refused("card_declined", f"The bank refused the charge ({code}); nothing was paid. Try another card.")
