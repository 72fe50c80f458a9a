"""What devices published, kept for a while: stream ``log-<product id>`` of this gateway's log store (LOG-1).

A relay publishes each ``DevicePublished`` on the exchange ``telemetry.events``, so what was acknowledged to a device
reaches listeners though the gateway dies in between.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from services.gateway.batch import Attempt, Batcher, BatchLimits, Storing
from services.gateway.facts import size_of
from services.gateway.filters import log_stream, own_log_stream
from services.gateway.seen_ids import SeenIds
from shared.errors import Conflict, Unavailable
from shared.events.contracts import CONTRACTS, Registry
from shared.events.gateway import DevicePublished, ServerPublished
from shared.store.port import ANY, Append, Appended, EventStore, New, StreamNotFound

log = logging.getLogger(__name__)

KEPT_EVENTS = 100_000
"""The newest events of a product that are kept."""
FORGET_AT_ONCE = 2_000
"""How many events one truncation forgets at most, so that appends hardly wait for it."""
FORGET_PAUSE_S = 0.5


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
        self._ids = SeenIds()
        self._retention = Retention(store, kept_events)
        self._versions: dict[str, int] = {}
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

    def publish(self, event: DevicePublished) -> Storing:
        """Done when the event is durable; ``Unavailable`` after 10 s, or at once when too much waits. The order is
        kept. Raises ``Misuse`` for an event that breaks its contract."""
        new = self._contracts.encode_seen(event, f"device:{event.device_id}", self._source, self._ids.take())
        return self.batcher.put((log_stream(event.product_id), new), size_of(new))

    def post(self, event: ServerPublished, actor: str) -> Storing:
        """The same for what somebody published over HTTP."""
        new = self._contracts.encode_seen(event, actor, self._source, self._ids.take())
        stream = own_log_stream(event.owner_id) if event.product_id is None else log_stream(event.product_id)
        return self.batcher.put((stream, new), size_of(new))

    def _begin(self, items: Sequence[tuple[str, New]]) -> Attempt:
        return _Batch(self._store, items, self._retention, self._versions).attempt

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(FORGET_PAUSE_S)
            try:
                await asyncio.to_thread(self._retention.step)
            except Exception as error:
                log.error("the log was not shortened", exc_info=not isinstance(error, Unavailable))


class _Batch:
    """One append a product; a repeat goes on with those that did not answer.

    ``versions`` are the last ones of the products' streams, as far as they are known: an append that expects one need
    not be compared with the events before it.
    """

    def __init__(
        self, store: EventStore, items: Sequence[tuple[str, New]], retention: Retention, versions: dict[str, int]
    ) -> None:
        self._store = store
        self._retention = retention
        self._versions = versions
        self._streams: dict[str, list[int]] = {}
        for index, (stream, _) in enumerate(items):
            self._streams.setdefault(stream, []).append(index)
        self._items = items
        self._outcomes: list[Exception | None] = [None] * len(items)

    def attempt(self) -> Sequence[Exception | None]:
        surprised = self._append(list(self._streams))
        if surprised:  # somebody else wrote there, or an earlier batch was given up although the store had taken it
            self._append(surprised)
        return self._outcomes

    def _append(self, pending: list[str]) -> list[str]:
        """Append to these streams; those that had another version than was known, which is forgotten."""
        appends = [
            Append(stream, self._versions.pop(stream, ANY), [self._items[index][1] for index in self._streams[stream]])
            for stream in pending
        ]
        surprised: list[str] = []
        for append, outcome in zip(appends, self._store.append_many(appends), strict=True):
            stream, failure = append.stream, None if isinstance(outcome, Appended) else outcome
            if isinstance(failure, Conflict) and append.expected is not ANY:
                surprised.append(stream)
                continue
            for index in self._streams[stream]:
                self._outcomes[index] = failure
            if isinstance(outcome, Appended):
                self._versions[stream] = outcome.version
                self._retention.grown(stream, outcome.version)
            if not isinstance(failure, Unavailable):
                del self._streams[stream]
        return surprised


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
