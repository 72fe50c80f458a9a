"""How many firmware images a gateway transfers at once, and how fast, whatever the protocol. Pure.

Devices wait for their turn in the order in which they asked, those that are being set up before all others (PRD-5), and
are told nothing meanwhile. Whoever got a turn and
transfers nothing for a minute loses it, so that a device that ignores an offer holds nobody up. Bytes are paced by
reservation: whoever wants to send some learns from when on it may, behind those who asked before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

IDLE_S = 60.0
BURST_S = 1.0
"""A rate that was not used for a while may be made up for by so much."""
STRETCH_BYTES = 16_384
STRETCH_S = 10.0
"""With a rate for all, there are no more transfers at once than can have a stretch each in this time."""


@dataclass(frozen=True, slots=True)
class TransferLimits:
    """Of one gateway; a rate of 0 is none."""

    at_once: int = 500
    bytes_per_s: int = 0
    device_bytes_per_s: int = 0

    @property
    def turns(self) -> int:
        """How many transfers may go on at once."""
        if not self.bytes_per_s:
            return self.at_once
        return min(self.at_once, max(1, int(self.bytes_per_s * STRETCH_S / STRETCH_BYTES)))


class Rate:
    """Bytes a second, by reservation; it never refuses, it only says from when on."""

    __slots__ = ("_bytes_per_s", "_reserved_until")

    def __init__(self, bytes_per_s: int, now: float) -> None:
        self._bytes_per_s = bytes_per_s
        self._reserved_until = now - BURST_S

    def reserve(self, size_bytes: int, now: float) -> float:
        """From when on so many bytes may be sent: behind all that were reserved before."""
        begins = max(self._reserved_until, now - BURST_S)
        self._reserved_until = begins + size_bytes / self._bytes_per_s
        return max(now, begins)


class Transfers:
    """Of one gateway. ``granted`` is told the device whose turn comes after it had to wait; it must not call back."""

    def __init__(self, limits: TransferLimits | None = None, granted: Callable[[str], None] | None = None) -> None:
        self.limits = limits or TransferLimits()
        self._granted = granted
        self._running: dict[str, float] = {}
        self._waiting: dict[str, None] = {}
        self._first: dict[str, None] = {}
        self._rate: Rate | None = None
        self._rates: dict[str, Rate] = {}

    def enter(self, device_id: str, now: float, *, first: bool = False) -> bool:
        """Whether it is the device's turn to be sent an image; if not, it waits for it from now on, ``first``: before
        all who are not."""
        ahead = self._first or (not first and self._waiting)
        if device_id not in self._running and (ahead or len(self._running) >= self.limits.turns):
            if first:
                self._waiting.pop(device_id, None)
            (self._first if first else self._waiting).setdefault(device_id)
            return False
        self._running[device_id] = now
        return True

    def active(self, device_id: str, now: float) -> None:
        """The device is transferring: it has a turn, even one beyond the limit if it began by itself."""
        self._forget(device_id)
        self._running[device_id] = now

    def _forget(self, device_id: str) -> None:
        self._first.pop(device_id, None)
        self._waiting.pop(device_id, None)

    def done(self, device_id: str, now: float) -> None:
        """The device's transfer is over, well or not; if it waits for another, it goes on waiting."""
        if self._running.pop(device_id, None) is not None:
            self._rates.pop(device_id, None)
            self._grant(now)

    def leave(self, device_id: str, now: float) -> None:
        """The device is gone, or wants nothing any more."""
        self._forget(device_id)
        self.done(device_id, now)

    def sweep(self, now: float) -> None:
        """Take back the turns that are not used; to be called every now and then."""
        for device_id in [device_id for device_id, at in self._running.items() if now >= at + IDLE_S]:
            self.done(device_id, now)

    def _grant(self, now: float) -> None:
        while (waiting := self._first or self._waiting) and len(self._running) < self.limits.turns:
            device_id = next(iter(waiting))
            del waiting[device_id]
            self._running[device_id] = now
            if self._granted is not None:
                self._granted(device_id)

    def reserve(self, device_id: str, size_bytes: int, now: float) -> float:
        """From when on so many bytes may be sent to the device, by the gateway's rate and its own."""
        self.active(device_id, now)
        moments = [now]
        if self.limits.bytes_per_s:
            self._rate = self._rate or Rate(self.limits.bytes_per_s, now)
            moments.append(self._rate.reserve(size_bytes, now))
        if self.limits.device_bytes_per_s:
            rate = self._rates.get(device_id)
            if rate is None:
                rate = self._rates[device_id] = Rate(self.limits.device_bytes_per_s, now)
            moments.append(rate.reserve(size_bytes, now))
        at = max(moments)
        self._running[device_id] = at
        return at

    def status(self) -> dict[str, Any]:
        """Numbers for operators."""
        return {"running": len(self._running), "waiting": len(self._first) + len(self._waiting)}
