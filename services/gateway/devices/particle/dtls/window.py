"""Which sequence numbers of one epoch were received: the replay window of RFC 6347, 4.1.2.6."""

from __future__ import annotations

WINDOW_RECORDS = 64
_MASK = (1 << WINDOW_RECORDS) - 1


class ReplayWindow:
    """The highest number received and which of the 64 up to it; ``bits`` has bit 0 for ``highest``."""

    __slots__ = ("bits", "highest")

    def __init__(self, highest: int = -1, bits: int = 0) -> None:
        self.highest = highest
        self.bits = bits & _MASK

    def is_fresh(self, sequence: int) -> bool:
        """Whether the number was not received yet; one that is too old to say counts as received."""
        behind = self.highest - sequence
        return behind < 0 or (behind < WINDOW_RECORDS and not self.bits >> behind & 1)

    def mark(self, sequence: int) -> None:
        """It was received; only to be said of a record that was verified."""
        ahead = sequence - self.highest
        if ahead > 0:
            self.bits = (self.bits << ahead | 1) & _MASK if ahead < WINDOW_RECORDS else 1
            self.highest = sequence
        elif -ahead < WINDOW_RECORDS:
            self.bits |= 1 << -ahead
