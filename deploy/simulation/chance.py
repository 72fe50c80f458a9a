"""Chance that can be had again: the same seed and name give the same numbers. Pure."""

from __future__ import annotations

import hashlib

_BITS = 53


class Chance:
    """A stream of random numbers in two small fields, where ``random.Random`` would take 2.5 KB for each device."""

    __slots__ = ("_count", "_seed")

    def __init__(self, seed: int | str, name: str = "") -> None:
        self._seed = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=16).digest()
        self._count = 0

    def random(self) -> float:
        """The next number, from 0 and below 1."""
        self._count += 1
        drawn = hashlib.blake2b(self._count.to_bytes(8, "big"), key=self._seed, digest_size=8).digest()
        return (int.from_bytes(drawn, "big") >> 64 - _BITS) / (1 << _BITS)

    def uniform(self, low: float, high: float) -> float:
        """Anything between."""
        return low + (high - low) * self.random()

    def happens(self, share: float) -> bool:
        """True in so many of all cases."""
        return self.random() < share

    def below(self, limit: int) -> int:
        """A whole number from 0 and below the limit."""
        return int(self.random() * limit)
