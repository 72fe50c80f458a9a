"""Every limit of the MQTT listener, and the buckets that some of them are measured with. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MqttLimits:
    """Sizes in bytes, times in seconds; ``down`` is to the device, ``up`` from it."""

    connections: int = 200_000
    connect_s: float = 10.0
    connect_bytes: int = 8_192
    packet_bytes: int = 65_536
    chunk_bytes: int = 65_536
    image_bytes: int = 8 * 1024 * 1024
    image_cache_bytes: int = 64 * 1024 * 1024
    unacknowledged_down: int = 32
    unacknowledged_down_old: int = 16
    """The same for 3.1 and 3.1.1, whose clients cannot say how many they take."""
    queued_down: int = 100
    unacknowledged_up: int = 64
    subscriptions: int = 32
    filter_bytes: int = 256
    topic_aliases: int = 8
    downloads: int = 8
    """Request ids of one connection whose images are remembered; the oldest is forgotten."""
    items: int = 1_024
    """Items in one telemetry message."""
    event_bytes: int = 16_384
    messages_a_second: float = 50.0
    messages_burst: float = 500.0
    chunks_a_second: float = 200.0
    chunks_burst: float = 200.0
    throttled_s: float = 30.0
    """Paused for so long out of twice as long is too fast (MQL-3)."""
    bad_messages_a_minute: int = 300
    refused_logins: int = 100
    refused_logins_s: float = 60.0
    keep_alive_s: int = 1_200
    standing_still_s: float = 30.0
    write_buffer_bytes: int = 131_072
    turn_bytes: int = 65_536
    turn_packets: int = 200
    tick_s: float = 0.25
    patience_s: float = 1.0
    """How long an offer waits after what made it possible: SDKs subscribe first and report after."""
    unreported_s: float = 10.0
    """Online for so long without a report, what the device reported last counts (MQF-4)."""
    asked_s: float = 5.0
    offer_again_s: float = 600.0


class Bucket:
    """Tokens that come back at a rate, up to a burst; it may be overdrawn by one taking."""

    __slots__ = ("_at", "_burst", "_rate", "_tokens")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._at = now

    def take(self, now: float) -> None:
        """Take one, whether or not there is one."""
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate) - 1.0
        self._at = now

    def empty_until(self, now: float) -> float | None:
        """When there will be a token again; None if there is one."""
        if self._tokens >= 1.0:
            return None
        missing = 1.0 - (self._tokens + (now - self._at) * self._rate)
        return None if missing <= 1e-9 else now + missing / self._rate


class LoginGuard:
    """Counts refused log-ins by address; an address with too many goes unheard for a while."""

    ADDRESSES = 10_000
    """Addresses remembered; the one refused longest ago is forgotten."""

    def __init__(self, refused: int, window_s: float) -> None:
        self._most = refused
        self._window_s = window_s
        self._by_address: dict[str, tuple[float, int]] = {}
        self._closed_until: dict[str, float] = {}

    def refused(self, address: str, now: float) -> None:
        """One log-in from this address was refused."""
        since, count = self._by_address.pop(address, (now, 0))
        if now - since > self._window_s:
            since, count = now, 0
        self._by_address[address] = (since, count + 1)
        if count + 1 > self._most:
            self._closed_until[address] = now + self._window_s
            del self._by_address[address]
        if len(self._by_address) > self.ADDRESSES:
            del self._by_address[next(iter(self._by_address))]
        if len(self._closed_until) > self.ADDRESSES:
            del self._closed_until[next(iter(self._closed_until))]

    def unheard(self, address: str, now: float) -> bool:
        """Whether connections from this address are closed unheard now."""
        until = self._closed_until.get(address)
        if until is None:
            return False
        if now < until:
            return True
        del self._closed_until[address]
        return False
