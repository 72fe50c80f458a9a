"""What billing hears of teams: organizations that are created, members who join and leave (ORG-2, ORG-4, CAL-5)."""

# Nameko's decorators have no types.
# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nameko.events import event_handler

from services.billing.edge import Edge
from shared.bus.messages import to_recorded


class SeatReactions(Edge):
    """Each catches up with all that its team did, in the order in which it happened (``following``)."""

    @event_handler("orgs", "OrganizationCreated")
    def start_trial(self, message: Mapping[str, Any]) -> None:
        """With a card, if it has one; its queue had this name before there were cards."""
        self._follow(message)

    @event_handler("orgs", "MemberJoined")
    def add_seat(self, message: Mapping[str, Any]) -> None:
        self._follow(message)

    @event_handler("orgs", "MemberRemoved")
    def remove_seat(self, message: Mapping[str, Any]) -> None:
        self._follow(message)

    def _follow(self, message: Mapping[str, Any]) -> None:
        event = self.streams.event(message)
        self._following().catch_up(event.org_id, to_recorded(message).version)
