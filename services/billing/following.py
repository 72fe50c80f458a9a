"""The seats of a subscription follow the team of its organization (ORG-4), in the order in which the team changed and
as of the instant at which it did (CAL-5).

Joining and leaving come by different queues, in any order; so whoever hears of one reads the organization's stream and
catches up with all of it. What was done already is known by its event ids, which are derived from the team's event.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid5

from services.billing.clock import BillingClock
from services.billing.drafts import DRAFTS, UseDraft
from services.billing.drafts import stream_of as draft_stream_of
from services.billing.standing import Subscription
from services.billing.subscriptions import (
    AddSeat,
    Command,
    Policy,
    RemoveSeat,
    StartSubscription,
    StartTrial,
    stream_of,
    subscriptions,
)
from shared.context import Context
from shared.errors import Unavailable
from shared.events.metadata import metadata
from shared.events.orgs import MemberJoined, MemberRemoved, OrganizationCreated
from shared.ids import event_id
from shared.store.port import Recorded, StreamNotFound
from shared.streams import Loaded, Streams

ACTOR, SOURCE = "system:billing", "billing.following"
_TOLD = frozenset({"OrganizationCreated", "MemberJoined", "MemberRemoved"})
_BEGUN_WITH = {"SubscriptionStarted": 1, "TrialStarted": 0}
"""Up to which event of its team a subscription has done everything when it begins: with a card, its founder's joining,
too (ORG-2)."""
_COMMANDS = UUID("5f0a4f8e-2f63-4f7b-8b7a-0c4c2c1f7d42")


@dataclass(frozen=True, slots=True)
class Following:
    """Safe beside others that do the same; every method may be repeated."""

    streams: Streams
    policy: Policy
    clock: BillingClock

    def catch_up(self, org_id: str, at_least: int = -1) -> Loaded[Subscription]:
        """Start the subscription of an organization that exists, and do with its seats what its team did. Raises
        ``Unavailable`` if the store does not give out the team's event of version ``at_least`` yet."""
        loaded = self._load(org_id)
        done = {event.id for event in loaded.recorded}
        begun = _BEGUN_WITH[loaded.recorded[0].type] if loaded.recorded else -1
        changed = False
        for recorded in self._team(org_id, at_least):
            context = _context(recorded)
            if recorded.version <= begun or event_id(context.command_id, 0, stream_of(org_id)) in done:
                continue
            events = self._follow(org_id, recorded, context)
            begun = _BEGUN_WITH[type(events[0]).__name__] if begun < 0 else begun
            changed = changed or bool(events)
        return self._load(org_id) if changed else loaded

    def _team(self, org_id: str, at_least: int) -> list[Recorded]:
        try:
            recorded = self.streams.store.read(f"org-{org_id}")
        except StreamNotFound:
            recorded = []
        if at_least >= 0 and (not recorded or recorded[-1].version < at_least):
            raise Unavailable(f"the store does not give out event {at_least} of organization {org_id} yet")
        return [event for event in recorded if event.type in _TOLD]

    def _load(self, org_id: str) -> Loaded[Subscription]:
        return self.streams.load(subscriptions(self.policy), stream_of(org_id))

    def _follow(self, org_id: str, recorded: Recorded, context: Context) -> Sequence[object]:
        """What happens to the subscription."""
        event = self.streams.contracts.decode(recorded)
        at = recorded.at + self.clock.ahead()
        command: Command
        match event:
            case MemberJoined():
                command = AddSeat(event.account_id, at)
            case MemberRemoved():
                command = RemoveSeat(event.account_id, at)
            case _:
                command = self._start(event, at, context)
        return self.streams.handle(subscriptions(self.policy), stream_of(org_id), command, context).events

    def _start(self, created: OrganizationCreated, at: datetime, context: Context) -> StartSubscription | StartTrial:
        """With the card of its draft, if it has one. The draft is used up first, so that it lapses no more."""
        org_id, plan = created.org_id, created.plan
        draft = self.streams.handle(DRAFTS, draft_stream_of(org_id), UseDraft(), context).state
        if not draft.is_used or draft.card is None:
            return StartTrial(org_id, plan, at)
        return StartSubscription(org_id, plan, created.owner_id, draft.customer_ref, draft.card, at)


def _context(recorded: Recorded) -> Context:
    """Of the command that follows from this event of a team: the same, whoever hears of it and how often."""
    return Context(
        command_id=uuid5(_COMMANDS, str(recorded.id)),
        actor=ACTOR,
        correlation_id=metadata(recorded).correlation,
        causation_id=str(recorded.id),
        causation_place=f"{recorded.stream}@{recorded.version}",
        source=SOURCE,
    )
