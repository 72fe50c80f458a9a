"""Bounded memories of the API: rates by address, where names log in, positions by token, tokens that do not exist, open
streams."""

from __future__ import annotations

import ipaddress
import math
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from shared.clock import Clock
from shared.errors import Refused
from shared.store.port import Position

REMEMBERED = 10_000
"""How many addresses, tokens and positions are remembered at most; the longest unused is forgotten first."""
NEVER_S = 3_600
"""What is said of a bucket that nothing refills."""
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


@dataclass(frozen=True, slots=True)
class Allowance:
    """What somebody may still do: ``remaining`` of ``limit`` at once, all of it again in ``reset_s``."""

    limit: int
    remaining: int
    reset_s: int

    def headers(self) -> dict[str, str]:
        """As clients are told (draft-ietf-httpapi-ratelimit-headers, the form with three fields)."""
        return {
            "RateLimit-Limit": str(self.limit),
            "RateLimit-Remaining": str(self.remaining),
            "RateLimit-Reset": str(self.reset_s),
        }


class TooMany(Refused):
    """Refused as ``too_many_requests`` until ``retry_after_s`` from now."""

    def __init__(self, reason: str, allowance: Allowance, retry_after_s: int) -> None:
        super().__init__("too_many_requests", reason)
        self.allowance = allowance
        self.retry_after_s = retry_after_s

    def headers(self) -> dict[str, str]:
        """As clients are told."""
        return {**self.allowance.headers(), "Retry-After": str(self.retry_after_s)}


class Rate:
    """A bucket for each address, or whatever else it is asked by: ``burst`` at once, ``per_s`` in the long run."""

    def __init__(
        self, burst: float, per_s: float, clock: Clock, *, what: str, whose: str = "from this address"
    ) -> None:
        self._burst = burst
        self._per_s = per_s
        self._clock = clock
        self._what = f"{what} {whose}"
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, address: str) -> Allowance:
        """Take one; raises ``TooMany`` when there is none left."""
        now = self._clock().timestamp()
        left, at = self._buckets.pop(network(address), (self._burst, now))
        left = min(self._burst, left + max(0.0, now - at) * self._per_s)
        self._keep(address, left - 1 if left >= 1 else left, now)
        if left < 1:
            retry_after_s = self._refilled_s(1 - left)
            reason = f"Too many {self._what}; try again in {retry_after_s} s."
            raise TooMany(reason, Allowance(int(self._burst), 0, self._refilled_s(self._burst - left)), retry_after_s)
        return Allowance(int(self._burst), int(left - 1), self._refilled_s(self._burst - left + 1))

    def _refilled_s(self, missing: float) -> int:
        return math.ceil(missing / self._per_s) if self._per_s else NEVER_S

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


class Familiar:
    """From where each name was logged in with, so that whoever guesses its password elsewhere does not keep out whose
    it is."""

    def __init__(self) -> None:
        self._seen: OrderedDict[tuple[str, str], None] = OrderedDict()

    def add(self, name: str, address: str) -> None:
        """The name's password was said here."""
        place = (name, network(address))
        self._seen[place] = None
        self._seen.move_to_end(place)
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)

    def has(self, name: str, address: str) -> bool:
        """Whether it was said here before."""
        return (name, network(address)) in self._seen


@dataclass(frozen=True, slots=True)
class Share:
    """Somebody's part of the streams that may be open here: ``most`` of them; ``whose``: "This login has"."""

    key: str
    most: int
    whose: str


class Slots:
    """So many streams (or what else is open for long) at a time for each login, person and organization."""

    def __init__(self, what: str = "event streams") -> None:
        self._what = what
        self._open: Counter[str] = Counter()

    def acquire(self, shares: Sequence[Share]) -> Callable[[], None]:
        """Take one of each; the answer gives them back, once. Raises ``Refused`` ``too_many_requests``, and takes none,
        when all of one are in use."""
        for share in shares:
            if self._open[share.key] >= share.most:
                reason = f"{share.whose} {share.most} {self._what} open on this gateway; close one first."
                raise Refused("too_many_requests", reason)
        self._open.update(share.key for share in shares)
        held = [share.key for share in shares]

        def release() -> None:
            while held:
                key = held.pop()
                self._open[key] -= 1
                if self._open[key] <= 0:
                    del self._open[key]

        return release

    def used(self, key: str) -> int:
        """How many are open now."""
        return self._open.get(key, 0)

    def __len__(self) -> int:
        return sum(1 for number in self._open.values() if number)
