"""One timer for very many waiting things: a wheel of buckets, each a fraction of a second wide. Does no I/O."""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar


class Scheduled(Protocol):
    """Something that can wait in one wheel; ``bucket`` belongs to the wheel and is None at first."""

    bucket: int | None


Item = TypeVar("Item", bound=Scheduled)


class Wheel(Generic[Item]):
    """Each item waits for one moment at most; late by at most one ``tick_s``, never early."""

    def __init__(self, tick_s: float, now: float) -> None:
        self._tick_s = tick_s
        self._buckets: dict[int, dict[int, Item]] = {}
        self._done = int(now / tick_s)

    def schedule(self, item: Item, at: float) -> None:
        """Wake it at this moment instead of any other."""
        bucket = max(self._done + 1, int(at / self._tick_s) + 1)
        if item.bucket == bucket:
            return
        self.cancel(item)
        item.bucket = bucket
        self._buckets.setdefault(bucket, {})[id(item)] = item

    def wake_by(self, item: Item, at: float) -> None:
        """Wake it at this moment, if it would not be woken before."""
        if item.bucket is None or int(at / self._tick_s) + 1 < item.bucket:
            self.schedule(item, at)

    def cancel(self, item: Item) -> None:
        """It waits for nothing any more."""
        if item.bucket is None:
            return
        waiting = self._buckets.get(item.bucket)
        if waiting is not None:
            waiting.pop(id(item), None)
            if not waiting:
                del self._buckets[item.bucket]
        item.bucket = None

    def next_at(self, latest: float) -> float:
        """The first moment at which ``due`` has something, ``latest`` if there is none before that. Looks at every
        tick until then."""
        for bucket in range(self._done + 1, int(latest / self._tick_s) + 1):
            if bucket in self._buckets:
                return bucket * self._tick_s
        return latest

    def due(self, now: float, most: int) -> list[Item]:
        """At most ``most`` items whose moment has come; they wait for nothing any more. Ask again while it is full."""
        last = int(now / self._tick_s)
        found: list[Item] = []
        while self._done < last:
            waiting = self._buckets.get(self._done + 1)
            if waiting is None:
                self._done += 1
                continue
            while waiting and len(found) < most:
                _, item = waiting.popitem()
                item.bucket = None
                found.append(item)
            if waiting:
                return found
            del self._buckets[self._done + 1]
        return found
