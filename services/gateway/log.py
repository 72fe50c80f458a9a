"""What devices published, kept for a while: stream ``log-<product id>`` of this gateway's log store (LOG-1).

A relay publishes each ``DevicePublished`` on the exchange ``telemetry.events``, so what was acknowledged to a device
reaches listeners though the gateway dies in between.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from services.gateway.batch import Attempt, Batcher, BatchLimits
from services.gateway.facts import size_of
from shared.context import Context
from shared.errors import Unavailable
from shared.events.contracts import CONTRACTS, Registry
from shared.events.gateway import DevicePublished
from shared.store.port import ANY, Append, Appended, EventStore, New, StreamNotFound

log = logging.getLogger(__name__)

KEPT_EVENTS = 100_000
"""The newest events of a product that are kept."""
FORGET_AT_ONCE = 2_000
"""How many events one truncation forgets at most, so that appends hardly wait for it."""
FORGET_PAUSE_S = 0.5


def log_stream(product_id: int) -> str:
    """The stream of a product's log."""
    return f"log-{product_id}"


class TelemetryLog:
    """Publishes into the log store; in the loop's thread."""

    def __init__(
        self,
        store: EventStore,
        gateway: str,
        *,
        kept_events: int = KEPT_EVENTS,
        contracts: Registry = CONTRACTS,
        limits: BatchLimits | None = None,
    ) -> None:
        self._store = store
        self._source = f"gateway:{gateway}"
        self._contracts = contracts
        self._retention = Retention(store, kept_events)
        self._sweeper: asyncio.Task[None] | None = None
        self.batcher: Batcher[tuple[str, New]] = Batcher(f"log-{gateway}", self._begin, limits)

    def start(self) -> None:
        """Begin to append and to forget; in a running loop."""
        self.batcher.start()
        self._sweeper = asyncio.create_task(self._sweep(), name="log-retention")

    async def stop(self) -> None:
        """Append what waits; nothing is published any more."""
        await self.batcher.stop()
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.wait([self._sweeper])
            self._sweeper = None

    def publish(self, event: DevicePublished) -> asyncio.Future[None]:
        """Done when the event is durable; ``Unavailable`` after 10 s, or at once when too much waits. The order is
        kept. Raises ``Misuse`` for an event that breaks its contract."""
        context = Context.new(f"device:{event.device_id}", self._source)
        new = self._contracts.encode(event, 0, context)
        return self.batcher.put((log_stream(event.product_id), new), size_of(new))

    def _begin(self, items: Sequence[tuple[str, New]]) -> Attempt:
        return _Batch(self._store, items, self._retention).attempt

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(FORGET_PAUSE_S)
            try:
                await asyncio.to_thread(self._retention.step)
            except Exception as error:
                log.error("the log was not shortened", exc_info=not isinstance(error, Unavailable))


class _Batch:
    """One append a product; a repeat goes on with those that did not answer."""

    def __init__(self, store: EventStore, items: Sequence[tuple[str, New]], retention: Retention) -> None:
        self._store = store
        self._retention = retention
        self._streams: dict[str, list[int]] = {}
        for index, (stream, _) in enumerate(items):
            self._streams.setdefault(stream, []).append(index)
        self._items = items
        self._outcomes: list[Exception | None] = [None] * len(items)

    def attempt(self) -> Sequence[Exception | None]:
        pending = list(self._streams)
        appends = [
            Append(stream, ANY, [self._items[index][1] for index in self._streams[stream]]) for stream in pending
        ]
        for stream, outcome in zip(pending, self._store.append_many(appends), strict=True):
            failure = None if isinstance(outcome, Appended) else outcome
            for index in self._streams[stream]:
                self._outcomes[index] = failure
            if isinstance(outcome, Appended):
                self._retention.grown(stream, outcome.version)
            if not isinstance(failure, Unavailable):
                del self._streams[stream]
        return self._outcomes


class Retention:
    """Forgets the oldest events of streams that have grown beyond what is kept, a bounded piece a step.

    A stream that no event comes to is not looked at; it cannot have grown.
    """

    def __init__(self, store: EventStore, kept_events: int) -> None:
        self._store = store
        self._kept = kept_events
        self._last: dict[str, int] = {}
        self._first: dict[str, int] = {}

    def grown(self, stream: str, version: int) -> None:
        """The stream's last event has this version now."""
        self._last[stream] = version

    def step(self) -> None:
        """Forget at most ``FORGET_AT_ONCE`` events of each stream that is too long. Raises ``Unavailable``."""
        for stream, last in list(self._last.items()):
            before = last - self._kept + 1
            if before <= 0:
                continue
            first = self._first[stream] if stream in self._first else self._read_first(stream)
            if before - first < min(FORGET_AT_ONCE, max(1, self._kept // 10)):
                continue  # not worth a write yet
            step = min(before, first + FORGET_AT_ONCE)
            self._store.truncate(stream, step)
            self._first[stream] = step

    def _read_first(self, stream: str) -> int:
        try:
            recorded = self._store.read(stream, limit=1)
        except StreamNotFound:
            recorded = []
        self._first[stream] = recorded[0].version if recorded else 0
        return self._first[stream]
