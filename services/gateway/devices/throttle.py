"""How fast new connections are let in: as fast as the loop can take it without keeping those who are in waiting. Pure.

The rate rises by steps while somebody waits and the loop is in time, and falls by a share when the loop is late. Nobody
is let in while facts of earlier connections wait for the store: a device that is told that it is connected is on
record a moment later, or the store is to blame, not the crowd.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AdmissionLimits:
    """Times in seconds, rates in connections a second."""

    waiting: int = 50_000
    """New connections that wait in all."""
    unproven_an_address: int = 1_000
    """Places of one address, in line and until it is known who it is."""
    connections_an_address: int = 50_000
    """Connections of one address; 0: no limit."""
    late_s: float = 0.05
    """The loop may be late by this; half of what a device may delay another's acknowledgement by (MQL-4)."""
    behind_s: float = 1.0
    """Facts may wait so long for the store before nobody is let in."""
    at_once: int = 32
    """Connections that it is found out of who they are, in one turn of the loop."""
    first_rate: float = 500.0
    least_rate: float = 20.0
    most_rate: float = 20_000.0
    step: float = 100.0
    share: float = 0.7
    change_s: float = 0.1
    """The rate changes once in this."""
    burst_s: float = 0.05
    """So much of the rate may be let in at once."""
    tick_s: float = 0.01


class Throttle:
    """See the module. Moments are the loop's."""

    def __init__(self, limits: AdmissionLimits, now: float) -> None:
        self.rate = limits.first_rate
        self.late = 0
        """How often the loop was late."""
        self._limits = limits
        self._tokens = self._burst
        self._refilled_at = now
        self._change_at = now

    @property
    def _burst(self) -> float:
        return max(1.0, self.rate * self._limits.burst_s)

    def observe(self, late_s: float, waited: bool, now: float) -> None:
        """The loop was late by this; ``waited``: somebody waited although the loop had time."""
        limits = self._limits
        if now < self._change_at:
            return
        if late_s > limits.late_s:
            self.late += 1
            self.rate = max(limits.least_rate, self.rate * limits.share)
        elif waited:
            self.rate = min(limits.most_rate, self.rate + limits.step)
        self._change_at = now + limits.change_s

    def take(self, now: float) -> bool:
        """Whether one more may be let in now."""
        self._tokens = min(self._burst, self._tokens + (now - self._refilled_at) * self.rate)
        self._refilled_at = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True
