"""How many devices that nobody has imported may appear at a product that trusts their first keys. Pure.

Each of them costs a stream, rows and a place in the quarantine, and anybody can make up device IDs and keys.
"""

from __future__ import annotations

from services.gateway.devices.limits import Bucket

AT_ONCE = 1_000.0
A_SECOND = 0.2
PRODUCTS = 1_000
"""Of which it is remembered how many came; with more, those that nobody came to lately are forgotten, then all."""


class Newcomers:
    """Of one gateway."""

    def __init__(self) -> None:
        self._buckets: dict[int, Bucket] = {}

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, product_id: int, now: float) -> bool:
        """Whether one more may come to this product, which is one that exists."""
        bucket = self._buckets.get(product_id)
        if bucket is None:
            if len(self._buckets) >= PRODUCTS:
                self._forget(now)
            bucket = self._buckets[product_id] = Bucket(A_SECOND, AT_ONCE, now)
        if bucket.empty_until(now) is not None:
            return False
        bucket.take(now)
        return True

    def _forget(self, now: float) -> None:
        left = {product_id: bucket for product_id, bucket in self._buckets.items() if bucket.level(now) < AT_ONCE}
        self._buckets = left if len(left) < PRODUCTS else {}
