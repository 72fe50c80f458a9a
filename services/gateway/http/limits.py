"""Bounded memories of the API: rates by address, positions by token, tokens that do not exist, open streams."""

from __future__ import annotations

import ipaddress
from collections import Counter, OrderedDict

from shared.clock import Clock
from shared.errors import Refused
from shared.store.port import Position

REMEMBERED = 10_000
"""How many addresses, tokens and positions are remembered at most; the longest unused is forgotten first."""
UNKNOWN_TOKEN_S = 5.0
"""How long a token that does not exist is refused without asking again."""


def network(address: str) -> str:
    """Whom an address stands for: itself, or its /64 where one subscriber has that many."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:
        return address
    return str(ipaddress.ip_network((parsed, 64), strict=False))


class Rate:
    """A bucket for each address: ``burst`` at once, ``per_s`` in the long run."""

    def __init__(self, burst: float, per_s: float, clock: Clock, *, what: str) -> None:
        self._burst = burst
        self._per_s = per_s
        self._clock = clock
        self._what = what
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, address: str) -> None:
        """Take one; raises ``Refused`` ``too_many_requests`` when there is none left."""
        now = self._clock().timestamp()
        left, at = self._buckets.pop(network(address), (self._burst, now))
        left = min(self._burst, left + max(0.0, now - at) * self._per_s)
        self._keep(address, left - 1 if left >= 1 else left, now)
        if left < 1:
            raise Refused("too_many_requests", f"Too many {self._what} from this address; wait a little.")

    def give_back(self, address: str) -> None:
        """What was taken did not count after all."""
        now = self._clock().timestamp()
        left, at = self._buckets.pop(network(address), (self._burst, now))
        self._keep(address, min(self._burst, left + 1), at)

    def _keep(self, address: str, left: float, at: float) -> None:
        self._buckets[network(address)] = (left, at)
        if len(self._buckets) > REMEMBERED:
            self._buckets.popitem(last=False)


class Positions:
    """The last position that each token has seen, so that it reads its own writes."""

    def __init__(self) -> None:
        self._seen: OrderedDict[str, Position] = OrderedDict()

    def remember(self, token_digest: str, position: Position) -> None:
        """Positions only grow."""
        known = self._seen.pop(token_digest, position)
        self._seen[token_digest] = max(known, position)
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)

    def of(self, token_digest: str) -> Position | None:
        """None when it has written nothing that we know of."""
        if token_digest in self._seen:
            self._seen.move_to_end(token_digest)
        return self._seen.get(token_digest)


class UnknownTokens:
    """Digests of tokens that the service did not know a moment ago."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until: OrderedDict[str, float] = OrderedDict()

    def add(self, token_digest: str) -> None:
        self._until[token_digest] = self._clock().timestamp() + UNKNOWN_TOKEN_S
        self._until.move_to_end(token_digest)
        if len(self._until) > REMEMBERED:
            self._until.popitem(last=False)

    def __contains__(self, token_digest: str) -> bool:
        until = self._until.get(token_digest)
        return until is not None and self._clock().timestamp() < until


class Slots:
    """So many streams a token at a time."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: Counter[str] = Counter()

    def acquire(self, token_digest: str) -> None:
        """Raises ``Refused`` ``too_many_requests`` when all are in use."""
        if self._open[token_digest] >= self._most:
            raise Refused("too_many_requests", f"This login has {self._most} event streams open; close one first.")
        self._open[token_digest] += 1

    def release(self, token_digest: str) -> None:
        self._open[token_digest] -= 1
        if self._open[token_digest] <= 0:
            del self._open[token_digest]

    def used(self, token_digest: str) -> int:
        """How many are open now."""
        return self._open.get(token_digest, 0)
