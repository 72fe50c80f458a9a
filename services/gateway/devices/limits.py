"""What limits of every protocol are measured with: buckets, and addresses whose log-ins are refused. Pure."""

from __future__ import annotations

from ipaddress import AddressValueError, IPv6Address


def network_of(address: str) -> str:
    """What is counted as one address: an IPv4 address, or an IPv6 network of 64 bits, which is what one line has."""
    if ":" not in address or address.startswith("::ffff:"):
        return address
    try:
        return str(IPv6Address(int(IPv6Address(address.partition("%")[0])) >> 64 << 64))
    except AddressValueError:
        return address


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
        self._tokens = self.level(now) - 1.0
        self._at = now

    def level(self, now: float) -> float:
        """How many there are."""
        return min(self._burst, self._tokens + (now - self._at) * self._rate)

    def empty_until(self, now: float) -> float | None:
        """When there will be a token again; None if there is one."""
        if self._tokens >= 1.0:
            return None
        missing = 1.0 - (self._tokens + (now - self._at) * self._rate)
        return None if missing <= 1e-9 else now + missing / self._rate


class LoginGuard:
    """Counts refused log-ins by address (``network_of``); an address with too many goes unheard for a while."""

    ADDRESSES = 10_000
    """Addresses remembered; the one refused longest ago is forgotten."""

    def __init__(self, refused: int, window_s: float) -> None:
        self._most = refused
        self._window_s = window_s
        self._by_address: dict[str, tuple[float, int]] = {}
        self._closed_until: dict[str, float] = {}

    def refused(self, address: str, now: float) -> None:
        """One log-in from this address was refused."""
        address = network_of(address)
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
        if not self._closed_until:
            return False
        address = network_of(address)
        until = self._closed_until.get(address)
        if until is None:
            return False
        if now < until:
            return True
        del self._closed_until[address]
        return False
