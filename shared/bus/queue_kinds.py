"""What lasting queues are at the broker: ``classic`` (one node has them) or ``quorum`` (most nodes of a cluster do).

Everything that must survive a node is declared by these arguments: requests, events for handlers, parked messages.
Locks, replies and listeners go with their connection, so they are exclusive queues of it, whatever the kind.
The reasons, and what a program of somebody else meets: ``docs/decisions/13-queues.md``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

PARKED_QUEUE = "flotilla.parked"
MAX_PARKED = 100_000
"""So many messages are kept; further ones stay with their handler, which goes on trying."""
MOST_DELIVERIES = 50
"""A message that has cost so many handlers their connection is parked by the broker itself (quorum)."""
FOR_EVER = 1_000_000_000
"""Deliveries that nobody ever counts to: looking at a parked message delivers it (quorum)."""


@dataclass(frozen=True, slots=True)
class Kind:
    """Arguments of ``queue.declare`` for each use. With ``confirm_requests`` the broker says of each request whether a
    queue has it: a quorum queue without a leader refuses, where a classic one takes it or is not there."""

    name: str
    requests: Mapping[str, Any] = field(default_factory=dict)
    events: Mapping[str, Any] = field(default_factory=dict)
    parked: Mapping[str, Any] = field(default_factory=dict)
    confirm_requests: bool = False


_PARKED = {"x-max-length": MAX_PARKED, "x-overflow": "reject-publish"}
_QUORUM = {"x-queue-type": "quorum"}
_EVENTS = {
    "x-single-active-consumer": True,  # EVT-4: replicas that share a queue would not keep the order of a stream
    "x-delivery-limit": MOST_DELIVERIES,
    "x-dead-letter-exchange": "",
    "x-dead-letter-routing-key": PARKED_QUEUE,
    "x-dead-letter-strategy": "at-least-once",
    "x-overflow": "reject-publish",
}

CLASSIC = Kind("classic", parked=_PARKED)
"""As nameko declares them: a stock nameko program may host our classes, or declare our queues."""
QUORUM = Kind("quorum", _QUORUM, _QUORUM | _EVENTS, _QUORUM | _PARKED | {"x-delivery-limit": FOR_EVER}, True)

KINDS: Mapping[str, Kind] = {kind.name: kind for kind in (CLASSIC, QUORUM)}
