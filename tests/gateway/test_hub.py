from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from services.gateway import hub as hub_module
from services.gateway.devices.subscriptions import Publisher
from services.gateway.entries import DeviceEntry, ProductEntry
from services.gateway.hub import EventFilter, Hub, Missed, PublishedEvent, Subscription
from shared.bus.messages import to_message
from shared.context import Context
from shared.errors import Misuse, Unavailable
from shared.events import gateway as g
from shared.events.contracts import CONTRACTS
from shared.store.port import Position, Recorded
from shared.targets import Membership

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
A, B, STRAY = "a" * 24, "b" * 24, "c" * 24
MEMBER = DeviceEntry(A, Membership(1000), 1000, 7, "1000", "7", True, None, None, 0, 0)


@dataclass
class Known:
    devices: dict[str, DeviceEntry] = field(default_factory=dict)

    def device(self, device_id: str) -> DeviceEntry | None:
        return self.devices.get(device_id)

    def product(self, ref: str) -> ProductEntry | None:
        org = {"1000": "1" * 24, "1001": "1" * 24, "2000": "2" * 24}.get(ref)
        return ProductEntry(int(ref), org, "slug", "name", "mqtt", 65535, None) if org else None


def message(event: object, *, at: datetime = NOW) -> dict[str, Any]:
    new = CONTRACTS.encode(event, 0, Context.new("system:test", "test"))
    return to_message(Recorded(uuid4(), new.type, "s", 0, Position(1), at, new.data, new.meta))


def temperature(device_id: str = A, product_id: int = 1000, name: str = "temperature", data: str = "21") -> Any:
    return g.DevicePublished(device_id, product_id, name, data, "text", 60, False, NOW, None, 7)


def connected(session: int = 1, gateway: str = "a", device_id: str = A) -> g.DeviceConnected:
    return g.DeviceConnected(device_id, 1000, gateway, 1, session, NOW, "mqtt/3.1.1", "10.0.0.1:5", False, "c")


def disconnected(session: int = 1, gateway: str = "a", device_id: str = A) -> g.DeviceDisconnected:
    return g.DeviceDisconnected(device_id, 1000, gateway, 1, session, "connection_lost", 5, 1, 2, 3, 4)


async def read(subscription: Subscription) -> list[PublishedEvent | Missed]:
    found: list[PublishedEvent | Missed] = []
    try:
        async with asyncio.timeout(0):
            while True:
                found.append(await anext(subscription))
    except TimeoutError:
        return found


def waiting(subscription: Subscription) -> list[PublishedEvent | Missed]:
    return asyncio.run(read(subscription))


def names(subscription: Subscription) -> list[tuple[str, str | None]]:
    return [(event.name, event.data) for event in waiting(subscription) if isinstance(event, PublishedEvent)]


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await scenario()

    asyncio.run(bounded())


def test_a_published_event_reaches_the_readers_of_its_product_organization_and_device_only() -> None:
    hub = Hub(Known({A: MEMBER}))
    wanted = {
        EventFilter(product_id=1000): True,
        EventFilter(product_id=1001): False,
        EventFilter(org_id="1" * 24): True,
        EventFilter(org_id="2" * 24): False,
        EventFilter(device_id=A): True,
        EventFilter(device_id=B): False,
        EventFilter(product_id=1000, device_id=A): True,
        EventFilter(product_id=1000, device_id=B): False,
        EventFilter(product_id=1000, org_id="1" * 24): True,
        EventFilter(product_id=1000, org_id="2" * 24): False,
        EventFilter(product_id=1000, prefix="temp"): True,
        EventFilter(product_id=1000, prefix="temperature/"): False,
    }
    subscriptions = {one: hub.subscribe(one) for one in wanted}
    hub.hear_telemetry(message(temperature()))
    assert {one: bool(waiting(subscription)) for one, subscription in subscriptions.items()} == wanted


def test_a_reader_sees_everything_of_a_published_event() -> None:
    hub = Hub(Known({A: MEMBER}))
    reader = hub.subscribe(EventFilter(product_id=1000))
    hub.hear_telemetry(message(temperature()))
    assert waiting(reader) == [PublishedEvent("temperature", "21", 60, NOW, A, 1000, 7, False)]


@pytest.mark.parametrize(
    "membership",
    [
        Membership(1000, quarantined=True),
        Membership(1000, denied=True),
        Membership(1000, forced=True, quarantined=True),
    ],
)
def test_nobody_hears_of_a_device_in_quarantine_or_denied(membership: Membership) -> None:
    hub = Hub(Known({A: replace(MEMBER, membership=membership)}))
    reader = hub.subscribe(EventFilter(product_id=1000))
    own = hub.subscribe(EventFilter(device_id=A))
    for fact in (connected(), g.UpdateStarted(A, 1000, 8, 1, "lock", 10), disconnected()):
        hub.hear_fact(message(fact))
    hub.hear_telemetry(message(temperature()))
    assert waiting(reader) == waiting(own) == []


def test_nobody_hears_facts_of_a_device_that_reports_another_product_or_is_unknown() -> None:
    hub = Hub(Known({A: replace(MEMBER, reported_product=1001)}))
    readers = [hub.subscribe(EventFilter(product_id=product_id)) for product_id in (1000, 1001)]
    hub.hear_fact(message(connected()))
    hub.hear_fact(message(connected(device_id=STRAY)))
    assert [waiting(reader) for reader in readers] == [[], []]


@pytest.mark.parametrize(
    ("fact", "told"),
    [
        (connected(), [("spark/status", "online")]),
        (
            g.SessionReplaced(A, 1000, "a", 1, 2, NOW, "mqtt/5.0", "10.0.0.1:5", False, "c", "10.0.0.1:4"),
            [("spark/status", "online")],
        ),
        (disconnected(), [("spark/status", "offline")]),
        (
            g.UpdateStarted(A, 1000, 8, 1, "release", 10),
            [("spark/status", "auto-update"), ("spark/flash/status", "started")],
        ),
        (g.UpdateStarted(A, 1000, 8, 1, "file", 10), [("spark/flash/status", "started")]),
        (g.UpdateSucceeded(A, 1000, 8, 1), [("spark/flash/status", "success")]),
        (g.UpdateFailed(A, 1000, 8, 1, "stalled", "", 1), [("spark/flash/status", "failed")]),
        (g.UpdateInterrupted(A, 1000, 8, 1, 50), []),
    ],
)
def test_facts_are_told_in_the_words_of_the_contract(fact: object, told: Sequence[tuple[str, str]]) -> None:
    hub = Hub(Known({A: MEMBER}))
    reader = hub.subscribe(EventFilter(product_id=1000, prefix="spark"))
    hub.hear_fact(message(fact))
    assert names(reader) == told


def test_the_late_end_of_an_older_session_is_not_told_as_offline() -> None:
    hub = Hub(Known({A: MEMBER}))
    reader = hub.subscribe(EventFilter(product_id=1000))
    hub.hear_fact(message(connected(1, "a")))
    hub.hear_fact(message(connected(9, "b")))
    hub.hear_fact(message(disconnected(1, "a")))
    hub.hear_fact(message(disconnected(9, "b")))
    assert names(reader) == [("spark/status", word) for word in ("online", "online", "offline")]


def test_a_slow_reader_is_told_how_much_it_missed_and_others_miss_nothing() -> None:
    def data(events: list[PublishedEvent | Missed]) -> list[str | Missed | None]:
        return [event if isinstance(event, Missed) else event.data for event in events]

    async def scenario() -> None:
        hub = Hub(Known({A: MEMBER}))
        slow = hub.subscribe(EventFilter(product_id=1000), limit=3)
        quick = hub.subscribe(EventFilter(product_id=1000), limit=100)
        for number in range(5):
            hub.hear_telemetry(message(temperature(data=str(number))))
        assert data(await read(slow)) == ["0", "1", "2", Missed(2)]
        for number in range(5, 7):
            hub.hear_telemetry(message(temperature(data=str(number))))
        assert data(await read(slow)) == ["5", "6"]
        assert data(await read(quick)) == [str(number) for number in range(7)]

    run(scenario)


def test_a_gap_is_told_between_what_came_before_and_after_it() -> None:
    async def scenario() -> None:
        hub = Hub(Known({A: MEMBER}))
        reader = hub.subscribe(EventFilter(product_id=1000), limit=2)
        for number in range(4):
            hub.hear_telemetry(message(temperature(data=str(number))))
        first = await anext(reader)
        hub.hear_telemetry(message(temperature(data="4")))
        rest = [await anext(reader) for _ in range(3)]
        told = [event if isinstance(event, Missed) else event.data for event in (first, *rest)]
        assert told == ["0", "1", Missed(2), "4"]

    run(scenario)


def test_a_reader_waits_for_events_and_loses_none_when_its_wait_is_cancelled() -> None:
    async def scenario() -> None:
        hub = Hub(Known({A: MEMBER}))
        reader = hub.subscribe(EventFilter(product_id=1000))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(reader), 0.001)
        waiter = asyncio.ensure_future(anext(reader))
        await asyncio.sleep(0)
        hub.hear_telemetry(message(temperature(data="1")))
        event = await waiter
        assert isinstance(event, PublishedEvent)
        assert event.data == "1"

    run(scenario)


def test_closing_ends_the_iteration_and_frees_the_place() -> None:
    async def scenario() -> None:
        hub = Hub(Known({A: MEMBER}))
        reader, other = hub.subscribe(EventFilter(product_id=1000)), hub.subscribe(EventFilter(org_id="1" * 24))
        waiter = asyncio.ensure_future(anext(reader))
        await asyncio.sleep(0)
        reader.close()
        reader.close()
        with pytest.raises(StopAsyncIteration):
            await waiter
        assert hub.readers == 1
        hub.close()
        assert [event async for event in other] == []
        assert hub.readers == 0

    run(scenario)


def test_there_is_no_subscription_to_everything_and_no_end_of_subscriptions() -> None:
    hub = Hub(Known())
    with pytest.raises(Misuse):
        hub.subscribe(EventFilter(prefix="x"))
    with pytest.raises(Misuse):
        hub.subscribe(EventFilter(product_id=1000), limit=0)
    assert hub.readers == 0
    for _ in range(hub_module.MAX_SUBSCRIPTIONS):
        hub.subscribe(EventFilter(product_id=1000))
    with pytest.raises(Unavailable):
        hub.subscribe(EventFilter(product_id=1000))


def test_a_message_that_is_not_understood_is_counted_and_disturbs_nobody() -> None:
    hub = Hub(Known({A: MEMBER}))
    reader = hub.subscribe(EventFilter(product_id=1000))
    good = message(temperature())
    strange: list[dict[str, Any]] = [
        {},
        {**good, "id": "x"},
        {**good, "type": "FromTheFuture"},
        {**good, "data": {"device_id": 1}},
        {**good, "meta": {"schema": 99, "actor": "a", "command": "c", "correlation": "c"}},
        {**good, "at": 12},
    ]
    for one in strange:
        hub.hear_telemetry(one)
    hub.hear_telemetry(good)
    assert hub.strange == len(strange)
    assert names(reader) == [("temperature", "21")]


class Subscribers:
    """The devices of a gateway, all of which want names that begin with ``temp``."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, Publisher]] = []

    def may_want(self, name: str) -> bool:
        return name.startswith("temp")

    def publish(self, event: g.DevicePublished, publisher: Publisher) -> None:
        self.heard.append((event.name, publisher))


def test_what_a_device_published_reaches_devices_that_may_want_it_with_whose_it_is() -> None:
    devices = Subscribers()
    hub = Hub(Known({A: replace(MEMBER, owner_id="9" * 24)}), devices=lambda: devices)
    hub.hear_telemetry(message(temperature()))
    hub.hear_telemetry(message(temperature(name="humidity")))
    hub.hear_telemetry(message(temperature(B, 2000)))
    assert devices.heard == [
        ("temperature", Publisher("1" * 24, "9" * 24, 1000)),
        ("temperature", Publisher("2" * 24, None, 2000)),
    ]


def test_devices_hear_nothing_of_a_device_in_quarantine_and_nothing_before_there_is_an_epoch() -> None:
    devices = Subscribers()
    hub = Hub(Known({A: replace(MEMBER, membership=Membership(1000, quarantined=True))}), devices=lambda: devices)
    hub.hear_telemetry(message(temperature()))
    Hub(Known({A: MEMBER})).hear_telemetry(message(temperature()))
    assert devices.heard == []


def test_what_no_device_may_want_is_not_decoded() -> None:
    hub = Hub(Known({A: MEMBER}), devices=Subscribers)
    broken = message(temperature(name="humidity"))
    broken["data"]["ttl_s"] = "many"
    hub.hear_telemetry(broken)
    assert hub.strange == 0


def test_who_reads_while_the_bus_is_away_is_told_that_nobody_knows_what_was_missed() -> None:
    async def scenario() -> None:
        hub = Hub(Known({A: MEMBER}))
        before = hub.subscribe(EventFilter(product_id=1000))
        hub.hear_telemetry(message(temperature(data="1")))
        hub.hears("telemetry", True)
        for source in ("telemetry", "gateway", "telemetry"):
            hub.hears(source, False)
        during = hub.subscribe(EventFilter(product_id=1000))
        hub.hears("telemetry", True)
        assert await read(during) == []
        hub.hears("gateway", True)
        hub.hear_telemetry(message(temperature(data="2")))
        told = [event if isinstance(event, Missed) else event.data for event in await read(before)]
        assert told == ["1", Missed(None), "2"]
        assert (await read(during))[0] == Missed(None)

    run(scenario)


def test_what_comes_before_all_is_heard_again_comes_behind_the_gap() -> None:
    async def scenario() -> None:
        hub = Hub(Known({A: MEMBER}))
        reader = hub.subscribe(EventFilter(product_id=1000))
        for source in ("telemetry", "gateway"):
            hub.hears(source, False)
        hub.hears("telemetry", True)
        for data in ("1", "2"):
            hub.hear_telemetry(message(temperature(data=data)))
        hub.hears("gateway", True)
        told = [event if isinstance(event, Missed) else event.data for event in await read(reader)]
        assert told == [Missed(None), "1", "2", Missed(None)]

    run(scenario)


def test_what_waits_for_a_slow_reader_is_bounded_in_bytes_too() -> None:
    async def scenario() -> None:
        hub = Hub(Known({A: MEMBER}))
        reader = hub.subscribe(EventFilter(product_id=1000))
        for _ in range(200):
            hub.hear_telemetry(message(temperature(data="x" * 65_536)))
        told = await read(reader)
        assert told[-1] == Missed(200 - len(told) + 1)
        assert len(told) < 70
        hub.hear_telemetry(message(temperature(data="x" * 65_536)))
        assert len(await read(reader)) == 1

    run(scenario)
