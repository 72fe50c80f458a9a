"""A service of our kind, with our providers, hosted by ``nameko run`` instead of by us."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

from nameko.events import event_handler
from nameko.rpc import rpc

from shared.aggregates import Aggregate
from shared.bus.providers import ClockProvider, EventStreams
from shared.events.billing import TrialStarted

SUFFIX = os.environ["STOCK_SUFFIX"]
TRIAL = timedelta(days=30)


def decide(started: bool, event: TrialStarted) -> list[object]:
    return [] if started else [event]


subscriptions: Aggregate[bool, TrialStarted] = Aggregate(False, decide, lambda _state, _event: True)


class Billing:
    name = f"billing_{SUFFIX}"

    streams = EventStreams()
    clock = ClockProvider()

    @rpc
    def start_trial(self, org_id: str) -> dict[str, Any]:
        command = TrialStarted(org_id, "monthly", self.clock() + TRIAL)
        handled = self.streams.handle(subscriptions, f"subscription-{org_id}", command)
        return {"position": handled.position, "actor": self.streams.context.actor}

    @event_handler(f"orgs_{SUFFIX}", "OrganizationCreated")
    def on_organization_created(self, message: dict[str, Any]) -> None:
        self.start_trial(self.streams.event(message).org_id)
