"""The subscription of one organization. Stream ``subscription-<org id>``. Rules BIL-1, CAL-1, CAL-3."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.aggregates import Aggregate
from shared.events.billing import TrialStarted
from shared.events.orgs import Plan

TRIAL = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class StartTrial:
    """The organization was created at this moment."""

    org_id: str
    plan: Plan
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Subscription:
    """``trial`` is None for a subscription that does not exist."""

    trial: TrialStarted | None = None


def decide(state: Subscription, command: StartTrial) -> list[TrialStarted]:
    """A trial of 30 days, counted in whole seconds; nothing if there was one."""
    if state.trial is not None:
        return []
    starts_at = command.created_at.replace(microsecond=0)  # CAL-3
    return [TrialStarted(command.org_id, command.plan, starts_at + TRIAL)]


def evolve(state: Subscription, event: TrialStarted) -> Subscription:
    """The subscription after this event."""
    return Subscription(event)


SUBSCRIPTIONS: Aggregate[Subscription, StartTrial] = Aggregate(Subscription(), decide, evolve)


def stream_of(org_id: str) -> str:
    """The stream of this organization's subscription."""
    return f"subscription-{org_id}"
