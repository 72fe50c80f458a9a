"""What the gateway remembers of one device over its connections, while there is something to remember. Pure."""

from __future__ import annotations

from collections import deque

from services.gateway.devices.conduct import Conduct
from services.gateway.devices.updates import Updates

YOUNG_S = 5.0
STORM_TAKEOVERS = 30
STORM_S = 60.0
STORM_PAUSE_S = 10.0


class DeviceMemory:
    """Attempts and conduct of one device, and how often its connections throw each other out."""

    __slots__ = ("_storm_until", "_takeovers", "conduct", "device_id", "product_id", "updates")

    def __init__(self, device_id: str) -> None:
        self.device_id = device_id
        self.product_id: int | None = None
        self.updates = Updates(device_id)
        self.conduct = Conduct()
        self._takeovers: deque[float] | None = None
        self._storm_until = 0.0

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
        return self.updates.forgettable(now) and self.conduct.forgettable(now)
