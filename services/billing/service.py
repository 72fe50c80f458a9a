"""The ``billing`` service: starts the trial of every new organization and says how its subscription stands."""

# Nameko's decorators have no types.
# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from nameko.events import event_handler
from nameko.rpc import rpc

from services.billing.hook_calls import HookCalls
from services.billing.standing import Subscription
from services.billing.subscriptions import Policy, StartTrial, stream_of, subscriptions
from shared.bus.messages import to_recorded
from shared.bus.providers import EventStreams
from shared.errors import FlotillaError, NotFound
from shared.times import iso

_SUBSCRIPTIONS = subscriptions(Policy())
_ORG_ID = re.compile(r"[0-9a-f]{24}")


class BillingService(HookCalls):
    """What organizations pay; in their first 30 days nothing (BIL-1)."""

    name = "billing"

    streams = EventStreams()

    @event_handler("orgs", "OrganizationCreated")
    def start_trial(self, message: Mapping[str, Any]) -> None:
        created = self.streams.event(message)
        command = StartTrial(created.org_id, created.plan, to_recorded(message).at)
        self.streams.handle(_SUBSCRIPTIONS, stream_of(created.org_id), command)

    @rpc(expected_exceptions=FlotillaError)
    def subscription(self, org_id: str) -> dict[str, Any]:
        known = _ORG_ID.fullmatch(str(org_id)) is not None
        state = self.streams.load(_SUBSCRIPTIONS, stream_of(org_id)).state if known else Subscription()
        if state.trial_ends_at is None:
            raise NotFound("Subscription not found.")
        stands = {"state": state.standing, "reason": state.reason, "plan": state.plan}
        return {**stands, "trial_ends_at": iso(state.trial_ends_at)}
