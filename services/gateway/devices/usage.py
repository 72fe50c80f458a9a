"""How devices are used: counted by device as it happens, and told in facts of many devices each. Pure.

What was counted is told a minute later at the earliest, the oldest first and no faster than ``DEVICES_A_SECOND``. So a
gateway that dies loses no more than its last minute, or what so many devices do in the time that it takes to tell of
them all; and of devices that were connected then, for how long they were on that day. Each count is in one fact, and
given up with it if that cannot be stored, so nothing is counted twice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from itertools import islice

from services.gateway.devices.effects import Now
from services.gateway.entries import DeviceEntry
from shared.events.gateway import DeviceUsage, UsageCounted

TOLD_AFTER_S = 60.0
DEVICES_A_SECOND = 50.0
DEVICES_A_FACT = 200


class _Used:
    """What one device did since it was told of last. ``since``: when that began."""

    __slots__ = ("calls", "connected_s", "events", "reads", "sessions", "since")

    def __init__(self, since: float) -> None:
        self.since = since
        self.events = self.calls = self.reads = self.sessions = 0
        self.connected_s = 0.0


class Usage:
    """In the loop's thread. Days are those of UTC; what happens between midnight and the next ``due`` is of the day
    before."""

    def __init__(self, gateway: str, epoch: int, now: Now) -> None:
        self._gateway = gateway
        self._epoch = epoch
        self._day = _day(now)
        self._used: dict[str, _Used] = {}  # in the order of ``since``
        self._earlier: deque[tuple[datetime, dict[str, _Used]]] = deque()
        self._connected: dict[str, float] = {}
        self._now = now.s
        self._told_at = now.s

    def published(self, device_id: str) -> None:
        """The device published an event."""
        self._of(device_id).events += 1

    def called(self, device_id: str) -> None:
        """A function of the device was called."""
        self._of(device_id).calls += 1

    def read(self, device_id: str) -> None:
        """A variable of the device was read."""
        self._of(device_id).reads += 1

    def began(self, device_id: str, now_s: float) -> None:
        """The device has a session."""
        self.ended(device_id, now_s)
        self._connected[device_id] = now_s
        self._of(device_id).sessions += 1

    def ended(self, device_id: str, now_s: float) -> None:
        """It has none any more."""
        since = self._connected.pop(device_id, None)
        if since is not None:
            self._of(device_id).connected_s += max(0.0, now_s - since)

    def _of(self, device_id: str) -> _Used:
        used = self._used.get(device_id)
        if used is None:
            used = self._used[device_id] = _Used(self._now)
        return used

    def due(self, now: Now, device: Callable[[str], DeviceEntry | None]) -> Iterator[UsageCounted]:
        """What is to be told now; to be called every few seconds. Raises what ``device`` raises; what was not told is
        counted as given up."""
        most = int((now.s - self._told_at) * DEVICES_A_SECOND)
        self._now = self._told_at = now.s
        if _day(now) != self._day:
            self._begin_day(now)
        return self._told(self._oldest(most, now.s - TOLD_AFTER_S), device)

    def rest(self, now: Now, device: Callable[[str], DeviceEntry | None]) -> Iterator[UsageCounted]:
        """All that has not been told: the gateway ends."""
        for device_id in list(self._connected):
            self.ended(device_id, now.s)
        return self._told(self._oldest(len(self), now.s), device)

    def __len__(self) -> int:
        """Devices that have not been told of."""
        return len(self._used) + sum(len(used) for _, used in self._earlier)

    def _begin_day(self, now: Now) -> None:
        for device_id, since in self._connected.items():
            self._of(device_id).connected_s += max(0.0, now.s - since)
            self._connected[device_id] = now.s
        if self._used:
            self._earlier.append((self._day, self._used))
        self._day, self._used = _day(now), {}

    def _oldest(self, most: int, until_s: float) -> Iterator[tuple[datetime, list[tuple[str, _Used]]]]:
        """At most so many devices by day, without those whose counts began later."""
        while self._earlier and most > 0:
            day, used = self._earlier[0]
            taken = [(device_id, used.pop(device_id)) for device_id in list(islice(used, most))]
            if not used:
                self._earlier.popleft()
            most -= len(taken)
            yield day, taken
        chosen: list[str] = []
        for device_id, counts in islice(self._used.items(), max(0, most)):
            if counts.since > until_s:
                break
            chosen.append(device_id)
        yield self._day, [(device_id, self._used.pop(device_id)) for device_id in chosen]

    def _told(
        self, days: Iterable[tuple[datetime, list[tuple[str, _Used]]]], device: Callable[[str], DeviceEntry | None]
    ) -> Iterator[UsageCounted]:
        for day, taken in days:
            products: dict[int, list[DeviceUsage]] = {}
            for device_id, used in taken:
                entry = device(device_id)
                product_id = None if entry is None else entry.membership.product_id
                if entry is not None and product_id is not None:
                    products.setdefault(product_id, []).append(_usage(entry, used))
            for product_id, usages in products.items():
                for first in range(0, len(usages), DEVICES_A_FACT):
                    some = usages[first : first + DEVICES_A_FACT]
                    yield UsageCounted(product_id, day, some, self._gateway, self._epoch)


def _day(now: Now) -> datetime:
    return now.at.replace(hour=0, minute=0, second=0, microsecond=0)


def _usage(entry: DeviceEntry, used: _Used) -> DeviceUsage:
    counts = (used.events, used.calls, used.reads, used.sessions, int(used.connected_s))
    return DeviceUsage(entry.device_id, entry.owner_id, *counts)
