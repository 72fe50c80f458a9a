"""What a server can do to its clients, on request of a test."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field

from google.protobuf.message import Message

SLOW_EVENTS = 500


@dataclass
class Faults:
    """Counters go down with every call that they strike."""

    lost_replies: int = 0
    """Appends that are stored, and whose call then ends with UNAVAILABLE."""
    error_details: deque[Message] = field(default_factory=deque)
    """What the next batch appends are refused with; nothing is stored."""
    hold_appends: threading.Event | None = None
    """Appends wait for it, before they store anything."""
    cut_reads: int = 0
    """Reads that end with UNAVAILABLE after their first event."""
    slow_reads: int = 0
    """Filtered reads that get through ``SLOW_EVENTS`` events only, and then say nothing until their time is over."""
    deaf_subscriptions: bool = False
    """Subscriptions are confirmed, and then hear of nothing."""
    late_revivals: int = 0
    """Reads of a stream that are answered "not found" though it has just come back."""

    def strikes(self, name: str) -> bool:
        """Count one down."""
        left: int = getattr(self, name)
        setattr(self, name, max(left - 1, 0))
        return left > 0
