"""Live events for the readers that are connected to this gateway (LOG-1, LOG-2, LOG-4).

Hears ``telemetry.events`` and ``gateway.events`` of all gateways and hands each event to the subscriptions that want
it. Subscriptions are found by product, organization or device, so an event that nobody reads costs next to nothing.
A slow reader misses events and is told how many; it never keeps anybody waiting.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from services.gateway.entries import DeviceEntry, ProductEntry
from services.gateway.live import PLATFORM_EVENTS, Missed, PublishedEvent, announced, published
from shared.bus.messages import to_event, to_recorded
from shared.errors import Misuse, Unavailable
from shared.events import gateway as g
from shared.events.contracts import CONTRACTS, Registry, UnknownEvent

__all__ = ["EventFilter", "Hub", "Missed", "PublishedEvent", "Subscription"]

log = logging.getLogger(__name__)

MAX_SUBSCRIPTIONS = 10_000
MAX_WAITING_EVENTS = 10_000
"""Of one subscription."""
_SESSIONS = 20_000
"""Newest sessions that are remembered, so that the end of an older one is not told as "offline"."""

Message = dict[str, Any]


class Known(Protocol):
    """What the hub asks the directory."""

    def device(self, device_id: str) -> DeviceEntry | None: ...

    def product(self, ref: str) -> ProductEntry | None: ...


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events; all that is given must hold, and at least one of the first three must be given."""

    product_id: int | None = None
    org_id: str | None = None
    device_id: str | None = None
    prefix: str = ""


class Subscription:
    """Iterates over ``PublishedEvent`` and ``Missed`` until it is closed; for one reader. Waiting may be cancelled."""

    def __init__(self, hub: Hub, wanted: EventFilter, limit: int) -> None:
        self.wanted = wanted
        self._hub = hub
        self._limit = limit
        self._waiting: deque[PublishedEvent | Missed] = deque()
        self._missed = 0
        self._wake = asyncio.Event()
        self._closed = False

    def __aiter__(self) -> AsyncIterator[PublishedEvent | Missed]:
        return self

    async def __anext__(self) -> PublishedEvent | Missed:
        while not self._closed:
            if self._waiting:
                return self._waiting.popleft()
            if self._missed:
                return self._say_missed()
            self._wake.clear()
            await self._wake.wait()
        raise StopAsyncIteration

    def offer(self, event: PublishedEvent) -> None:
        """Never blocks: without room the event is counted as missed."""
        if len(self._waiting) >= self._limit:
            self._missed += 1
            return
        if self._missed:  # the gap lies behind what waited then and before this event
            self._waiting.append(self._say_missed())
        self._waiting.append(event)
        self._wake.set()

    def close(self) -> None:
        """End the iteration; what still waits is dropped."""
        if not self._closed:
            self._closed = True
            self._waiting.clear()
            self._hub.forget(self)
            self._wake.set()

    def _say_missed(self) -> Missed:
        missed, self._missed = Missed(self._missed), 0
        return missed


class Hub:
    """In the loop's thread."""

    def __init__(self, directory: Known, *, contracts: Registry = CONTRACTS) -> None:
        self._directory = directory
        self._contracts = contracts
        self._by_product: dict[int, set[Subscription]] = {}
        self._by_org: dict[str, set[Subscription]] = {}
        self._by_device: dict[str, set[Subscription]] = {}
        self._sessions: OrderedDict[str, tuple[str, int, int]] = OrderedDict()
        self.readers = 0
        self.strange = 0

    async def listen(self, bus: Any) -> None:
        """Hear all gateways on an ``AsyncBus`` from now on."""
        await bus.listen("telemetry", self.hear_telemetry, types=[g.DevicePublished.__name__])
        await bus.listen("gateway", self.hear_fact, types=[event.__name__ for event in PLATFORM_EVENTS])

    def subscribe(self, filter: EventFilter, limit: int = 1_000) -> Subscription:  # noqa: A002 - the contract's word
        """From now on; ``limit`` events wait at most. Raises ``Unavailable`` when there are too many readers."""
        if not 1 <= limit <= MAX_WAITING_EVENTS:
            raise Misuse(f"{limit} events cannot wait")
        if self.readers >= MAX_SUBSCRIPTIONS:
            raise Unavailable("too many event streams are open on this gateway")
        subscription = Subscription(self, filter, limit)
        index, key = self._place(filter)
        index.setdefault(key, set()).add(subscription)
        self.readers += 1
        return subscription

    def forget(self, subscription: Subscription) -> None:
        """Called by a subscription that is closed."""
        index, key = self._place(subscription.wanted)
        readers = index.get(key, set())
        if subscription in readers:
            readers.remove(subscription)
            self.readers -= 1
            if not readers:
                del index[key]

    def close(self) -> None:
        """End all subscriptions."""
        indexes: Iterable[dict[Any, set[Subscription]]] = (self._by_product, self._by_org, self._by_device)
        for subscription in [one for index in indexes for readers in index.values() for one in readers]:
            subscription.close()

    def publish(self, event: PublishedEvent) -> None:
        """Hand an event of a device that counts as its product's to those who want it."""
        product_id = event.product_id
        if product_id is None:
            return
        readers = [*self._by_product.get(product_id, ()), *self._by_device.get(event.coreid, ())]
        org_id = None
        if self._by_org or any(reader.wanted.org_id for reader in readers):
            product = self._directory.product(str(product_id))
            org_id = product.org_id if product else None
            readers += self._by_org.get(org_id or "", ())
        for reader in readers:
            wanted = reader.wanted
            if (
                event.name.startswith(wanted.prefix)
                and wanted.device_id in (None, event.coreid)
                and wanted.product_id in (None, product_id)
                and wanted.org_id in (None, org_id)
            ):
                reader.offer(event)

    def hear_telemetry(self, message: Message) -> None:
        """A ``DevicePublished`` from the bus; the gateway that took it has seen to it that the device counts as the
        product's, but it may have been denied since."""
        if self.readers and (event := self._decode(message)) is not None:
            device = self._directory.device(event.device_id)
            if device is None or not (device.membership.quarantined or device.membership.denied):
                self.publish(published(event))

    def hear_fact(self, message: Message) -> None:
        """A fact about a connection or an update from the bus."""
        if not self.readers or (fact := self._decode(message)) is None or not self._newest(fact):
            return
        device = self._directory.device(fact.device_id)
        if device is not None:
            at = to_recorded(message).at
            for event in announced(fact, at, device.counted_product, device.reported_version):
                self.publish(event)

    def _place(self, wanted: EventFilter) -> tuple[dict[Any, set[Subscription]], Any]:
        if wanted.product_id is not None:
            return self._by_product, wanted.product_id
        if wanted.org_id is not None:
            return self._by_org, wanted.org_id
        if wanted.device_id is not None:
            return self._by_device, wanted.device_id
        raise Misuse("a subscription to everybody's events")

    def _newest(self, fact: Any) -> bool:
        """False for the end of a session that a newer one has followed, on whichever gateway (DEV-7)."""
        match fact:
            case g.DeviceConnected() | g.SessionReplaced():
                self._sessions[fact.device_id] = (fact.gateway, fact.epoch, fact.session)
                self._sessions.move_to_end(fact.device_id)
                if len(self._sessions) > _SESSIONS:
                    self._sessions.popitem(last=False)
            case g.DeviceDisconnected():
                mine = (fact.gateway, fact.epoch, fact.session)
                return self._sessions.get(fact.device_id, mine) == mine
        return True

    def _decode(self, message: Message) -> Any:
        """The event, or None for one that a newer release wrote; malformed ones are counted and logged."""
        try:
            return to_event(message, self._contracts)
        except (UnknownEvent, KeyError, TypeError, ValueError, msgspec.MsgspecError) as error:
            self.strange += 1
            log.warning("an event on the bus is not understood: %r", error)
            return None
