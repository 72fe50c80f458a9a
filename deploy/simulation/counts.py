"""What a simulated fleet has done and what was done to it, all devices together."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

MAX_REASONS = 32
"""Different reasons that are kept of each kind; the others are counted as one."""
OTHERS = "(others)"


def note(reasons: Counter[str], reason: str) -> None:
    """One more of this reason."""
    reasons[reason if reason in reasons or len(reasons) < MAX_REASONS else OTHERS] += 1


@dataclass(slots=True)
class Counts:
    """``refused``: attempts to connect that came to nothing; ``lost``: connections that ended and were not meant to;
    ``meant``: ends of connections that the fleet was asked to suffer; ``failed``: updates, with what went wrong, and
    ``failed_on_purpose`` those that were to."""

    connections: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    meant: Counter[str] = field(default_factory=Counter)
    updates_begun: int = 0
    updates_done: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    failed_on_purpose: Counter[str] = field(default_factory=Counter)
    events_sent: int = 0
    events_refused: int = 0
    events_heard: int = 0
    functions_called: int = 0
    variables_read: int = 0
    signals: int = 0
