"""What the gateway remembers of one device over its connections, while there is something to remember. Pure."""

from __future__ import annotations

from collections import deque

from services.gateway.devices.attributes import Reported
from services.gateway.devices.conduct import Conduct
from services.gateway.devices.limits import Bucket
from services.gateway.devices.updates import Updates

YOUNG_S = 5.0
STORM_TAKEOVERS = 30
STORM_S = 60.0
STORM_PAUSE_S = 10.0
FACTS_A_SECOND = 2.0
FACTS_AT_ONCE = 1_000.0
"""Facts that one device may cause, connections among them: what devices publish has buckets of its own, but facts go to
the event store, and to everybody."""
FACTS_FORGOTTEN = 10.0
"""So few are not worth remembering a device for that is offline."""
PIN_S = 86_400.0
"""So long a key that was trusted at first use is remembered, if the directory does not show it before."""


class DeviceMemory:
    """Attempts, conduct and attributes of one device, and how often its connections throw each other out."""

    __slots__ = (
        "_facts",
        "_pinned_until",
        "_storm_until",
        "_takeovers",
        "conduct",
        "device_id",
        "key_told",
        "pinned_key",
        "product_id",
        "reported",
        "untold_from",
        "updates",
        "version",
    )

    def __init__(self, device_id: str) -> None:
        self.device_id = device_id
        self.product_id: int | None = None
        self.version: int | None = None
        """The firmware that it reported, as far as a session here knew."""
        self.updates = Updates(device_id)
        self.conduct = Conduct()
        self.reported: Reported | None = None
        """What the device reported about itself, once that was asked for."""
        self.untold_from: int | None = None
        """The revision of desired attributes behind which a connection that was taken over has not told them."""
        self._takeovers: deque[float] | None = None
        self._storm_until = 0.0
        self.pinned_key: bytes | None = None
        self.key_told = False
        """Whether that key was recorded."""
        self._pinned_until = 0.0
        self._facts: Bucket | None = None

    def caused(self, facts: int, now: float) -> None:
        """So many facts were recorded because of the device."""
        if self._facts is None:
            self._facts = Bucket(FACTS_A_SECOND, FACTS_AT_ONCE, now)
        for _ in range(facts):
            self._facts.take(now)

    def may_cause_facts_from(self, now: float) -> float | None:
        """From when on it may cause facts again; None if it may now."""
        return None if self._facts is None else self._facts.empty_until(now)

    def pin(self, key_der: bytes, now: float) -> None:
        """The device is trusted with this key, and with no other from now on."""
        self.pinned_key, self._pinned_until = key_der, now + PIN_S

    def unpin(self) -> None:
        """The directory knows the device's key."""
        self.pinned_key, self.key_told = None, False

    def storm(self, age_s: float, now: float) -> bool:
        """Whether the connection that wants to take over from one of this age is refused (MQS-3): more than 30
        takeovers of young connections in a minute mean that two devices use one token."""
        if now < self._storm_until:
            return True
        if age_s >= YOUNG_S:
            return False
        if self._takeovers is None:
            self._takeovers = deque(maxlen=STORM_TAKEOVERS)
        full = len(self._takeovers) == STORM_TAKEOVERS and self._takeovers[0] > now - STORM_S
        if full:
            self._storm_until = now + STORM_PAUSE_S
            return True
        self._takeovers.append(now)
        return False

    def forgettable(self, now: float) -> bool:
        """Whether nothing is lost with it, the device being offline."""
        settled = self.reported is None or self.reported.settled(now)
        pinned = self.pinned_key is not None and now < self._pinned_until
        slow = self._facts is None or self._facts.level(now) >= FACTS_AT_ONCE - FACTS_FORGOTTEN
        return settled and slow and not pinned and self.updates.forgettable(now) and self.conduct.forgettable(now)
