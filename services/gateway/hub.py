"""Live events for the readers that are connected to this gateway (LOG-1, LOG-2, LOG-4).

Hears ``telemetry.events`` and ``gateway.events`` of all gateways and hands each event to the subscriptions that want
it, and what devices published to the devices that subscribed to it. Subscriptions are found by product, organization or
device, so an event that nobody reads costs next to nothing. A slow reader misses events and is told how many; it never
keeps anybody waiting.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from functools import partial
from typing import Any, Protocol

import msgspec

from services.gateway.devices.subscriptions import Publisher
from services.gateway.entries import DeviceEntry, ProductEntry
from services.gateway.filters import EventFilter, of_owner
from services.gateway.live import (
    MAX_WAITING_BYTES,
    PLATFORM_EVENTS,
    Missed,
    PublishedEvent,
    Sessions,
    as_devices_hear,
    facts_told,
    told,
)
from shared.bus.messages import to_event, to_recorded
from shared.errors import Misuse, Unavailable
from shared.events import gateway as g
from shared.events.contracts import CONTRACTS, Registry, UnknownEvent

__all__ = ["EventFilter", "Hub", "Missed", "PublishedEvent", "Subscription"]

log = logging.getLogger(__name__)

MAX_SUBSCRIPTIONS = 10_000
MAX_WAITING_EVENTS = 10_000
"""Of one subscription."""

Message = dict[str, Any]


class Known(Protocol):
    """What the hub asks the directory."""

    def device(self, device_id: str) -> DeviceEntry | None: ...

    def product(self, ref: str) -> ProductEntry | None: ...


class Devices(Protocol):
    """The devices of this gateway that subscribed to events."""

    def __len__(self) -> int: ...

    def may_want(self, name: str) -> bool: ...

    def publish(self, event: g.DevicePublished, publisher: Publisher) -> None: ...


class Subscription:
    """Iterates over ``PublishedEvent`` and ``Missed`` until it is closed; for one reader. Waiting may be cancelled."""

    def __init__(self, hub: Hub, wanted: EventFilter, limit: int) -> None:
        self.wanted = wanted
        self._hub = hub
        self._limit = limit
        self._waiting: deque[PublishedEvent | Missed] = deque()
        self._waiting_bytes = 0
        self._missed = 0
        self._gap = False
        self._wake = asyncio.Event()
        self._closed = False

    def __aiter__(self) -> AsyncIterator[PublishedEvent | Missed]:
        return self

    async def __anext__(self) -> Any:
        while not self._closed:
            if self._waiting:
                item = self._waiting.popleft()
                self._waiting_bytes -= item.size_bytes
                return item
            if self._missed:
                return self._say_missed()
            self._wake.clear()
            await self._wake.wait()
        raise StopAsyncIteration

    def offer(self, event: PublishedEvent) -> None:
        """Never blocks: without room the event is counted as missed."""
        if self._gap:  # one source is heard again before another
            self._say_gap()
        if len(self._waiting) >= self._limit or self._waiting_bytes >= MAX_WAITING_BYTES:
            self._missed += 1
            return
        if self._missed:  # the gap lies behind what waited then and before this event
            self._waiting.append(self._say_missed())
        self._waiting.append(event)
        self._waiting_bytes += event.size_bytes
        self._wake.set()

    def lost(self) -> None:
        """From now on, what is published may not come here."""
        self._gap = True

    def found(self) -> None:
        """It comes again; nobody knows how much did not."""
        self._say_gap()

    def close(self) -> None:
        """End the iteration; what still waits is dropped."""
        if not self._closed:
            self._closed = True
            self._waiting.clear()
            self._hub.forget(self)
            self._wake.set()

    def _say_gap(self) -> None:
        self._gap = False
        if not self._waiting or self._waiting[-1] != Missed(None):
            self._waiting.append(Missed(None))
            self._wake.set()

    def _say_missed(self) -> Missed:
        missed, self._missed = Missed(self._missed), 0
        return missed


class Hub:
    """In the loop's thread."""

    def __init__(
        self,
        directory: Known,
        *,
        contracts: Registry = CONTRACTS,
        devices: Callable[[], Devices | None] = lambda: None,
    ) -> None:
        self._directory = directory
        self._devices = devices
        self._contracts = contracts
        self._by_product: dict[int, set[Subscription]] = {}
        self._by_org: dict[str, set[Subscription]] = {}
        self._by_device: dict[str, set[Subscription]] = {}
        self._by_owner: dict[str, set[Subscription]] = {}
        self._public: dict[None, set[Subscription]] = {}
        self._sessions = Sessions()
        self._deaf: set[str] = set()
        self.readers = 0
        self.strange = 0

    async def listen(self, bus: Any) -> None:
        """Hear all gateways on an ``AsyncBus`` from now on, while somebody is there to be told."""
        telemetry = [g.DevicePublished.__name__, g.ServerPublished.__name__]
        facts = [event.__name__ for event in PLATFORM_EVENTS]
        hears = partial(self.hears, "telemetry")
        await bus.listen("telemetry", self.hear_telemetry, types=telemetry, wanted=self._has_listeners, hears=hears)
        hears = partial(self.hears, "gateway")
        await bus.listen("gateway", self.hear_fact, types=facts, wanted=lambda: self.readers > 0, hears=hears)

    def hears(self, source: str, hears: bool) -> None:
        """Whether this gateway hears what is published, as the bus tells: while it does not, readers miss events."""
        was_deaf = bool(self._deaf)
        if hears:
            self._deaf.discard(source)
        else:
            self._deaf.add(source)
        if bool(self._deaf) != was_deaf:
            for subscription in self._subscriptions():
                if was_deaf:
                    subscription.found()
                else:
                    subscription.lost()

    def subscribe(self, filter: EventFilter, limit: int = 1_000) -> Subscription:  # noqa: A002 - the contract's word
        """From now on; ``limit`` events wait at most. Raises ``Unavailable`` when there are too many readers."""
        if not 1 <= limit <= MAX_WAITING_EVENTS:
            raise Misuse(f"{limit} events cannot wait")
        subscription = Subscription(self, filter, limit)
        self.join(subscription)
        return subscription

    def join(self, subscription: Subscription) -> None:
        """Offer it what it wants from now on. Raises ``Unavailable`` when there are too many readers."""
        if self.readers >= MAX_SUBSCRIPTIONS:
            raise Unavailable("too many event streams are open on this gateway")
        index, key = self._place(subscription.wanted)
        index.setdefault(key, set()).add(subscription)
        self.readers += 1
        if self._deaf:
            subscription.lost()

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
        for subscription in self._subscriptions():
            subscription.close()

    def _subscriptions(self) -> list[Subscription]:
        indexes: Iterable[dict[Any, set[Subscription]]] = (
            self._by_product,
            self._by_org,
            self._by_device,
            self._by_owner,
            self._public,
        )
        return [one for index in indexes for readers in index.values() for one in readers]

    def publish(self, event: PublishedEvent) -> None:
        """Hand an event of a device that counts as its product's to those who want it."""
        product_id = event.product_id
        if product_id is None:
            return
        readers = [*self._by_product.get(product_id, ()), *self._by_device.get(event.coreid, ())]
        owner_id = None
        if self._by_owner or self._public:
            device = self._directory.device(event.coreid)
            owner_id = device.owner_id if device else None
            readers += [*self._by_owner.get(owner_id or "", ()), *self._public.get(None, ())]
        org_id = None
        if self._by_org or any(reader.wanted.org_id for reader in readers):
            product = self._directory.product(str(product_id))
            org_id = product.org_id if product else None
            readers += self._by_org.get(org_id or "", ())
        for reader in readers:
            if reader.wanted.takes(event, org_id, owner_id):
                reader.offer(event)

    def hear_telemetry(self, message: Message) -> None:
        """A ``DevicePublished`` from the bus; the gateway that took it has seen to it that the device counts as the
        product's, but it may have been denied since."""
        devices = self._devices()
        wanted = devices is not None and devices.may_want(message["data"].get("name", ""))
        if not (self.readers or wanted) or (event := self._decode(message)) is None:
            return
        if isinstance(event, g.ServerPublished):
            self._hear_server(event, _told(event, message), devices if wanted else None)
            return
        device = self._directory.device(event.device_id)
        if device is not None and (device.membership.quarantined or device.membership.denied):
            return
        if self.readers:
            self.publish(of_owner(_told(event, message), device))
        if devices is not None and wanted:
            product = self._directory.product(str(event.product_id))
            owner_id = None if device is None else device.owner_id
            devices.publish(event, Publisher(None if product is None else product.org_id, owner_id, event.product_id))

    def _hear_server(self, event: g.ServerPublished, shown: PublishedEvent, devices: Devices | None) -> None:
        """What somebody published over HTTP, to a product or to their own."""
        if event.product_id is not None:
            self.publish(shown)
        for reader in [*self._by_owner.get(event.owner_id or "", ()), *self._public.get(None, ())]:
            if event.product_id is None and reader.wanted.takes_own(event):
                reader.offer(shown)
        if devices is not None:
            product = self._directory.product(str(event.product_id))
            org_id = None if product is None else product.org_id
            publisher = Publisher(org_id, event.owner_id, event.product_id or 0, event.for_org_id)
            devices.publish(as_devices_hear(event), publisher)

    def hear_fact(self, message: Message) -> None:
        """A fact about a connection or an update from the bus."""
        if not self.readers or (fact := self._decode(message)) is None or not self._sessions.is_news(fact):
            return
        device = self._directory.device(fact.device_id)
        if device is not None:
            for event in facts_told(to_recorded(message), fact, device.counted_product, device.reported_version):
                self.publish(of_owner(event, device))

    def _has_listeners(self) -> bool:
        """Whether there are readers, or devices that subscribed to anything; asked from any thread."""
        devices = self._devices()
        return self.readers > 0 or (devices is not None and len(devices) > 0)

    def _place(self, wanted: EventFilter) -> tuple[dict[Any, set[Subscription]], Any]:
        if wanted.public:
            return self._public, None
        if wanted.owner_id is not None:
            return self._by_owner, wanted.owner_id
        if wanted.product_id is not None:
            return self._by_product, wanted.product_id
        if wanted.org_id is not None:
            return self._by_org, wanted.org_id
        if wanted.device_id is not None:
            return self._by_device, wanted.device_id
        raise Misuse("a subscription to everybody's events")

    def _decode(self, message: Message) -> Any:
        """The event, or None for one that a newer release wrote; malformed ones are counted and logged."""
        try:
            return to_event(message, self._contracts)
        except (UnknownEvent, KeyError, TypeError, ValueError, msgspec.MsgspecError) as error:
            self.strange += 1
            log.warning("an event on the bus is not understood: %r", error)
            return None


def _told(event: Any, message: Message) -> PublishedEvent:
    return told(event, str(message["meta"].get("source", "")), message["position"])
