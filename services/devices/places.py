"""Places of many devices in the order of a roll-out, kept in eight bytes each; the n-th is found without sorting all.
Pure."""

from __future__ import annotations

from array import array
from collections.abc import Iterable

from shared.rollouts import PLACES

_BUCKETS = 1_024
_SHIFT = PLACES.bit_length() - _BUCKETS.bit_length()


class Places:
    """They are spread evenly, as hashes are, so that a bucket has its share of them."""

    def __init__(self) -> None:
        self._buckets = [array("Q") for _ in range(_BUCKETS)]

    def extend(self, places: Iterable[int]) -> None:
        """Add them."""
        buckets = self._buckets
        for place in places:
            buckets[place >> _SHIFT].append(place)

    def __len__(self) -> int:
        return sum(map(len, self._buckets))

    def behind(self, count: int) -> int:
        """The place behind the first ``count`` of them: 0 for none; ``count`` is at most how many there are."""
        before = 0
        for bucket in self._buckets:
            if count <= before + len(bucket):
                return sorted(bucket)[count - before - 1] + 1 if count else 0
            before += len(bucket)
        return PLACES
