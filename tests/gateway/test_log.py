from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.gateway import log as log_module
from services.gateway.batch import BatchLimits
from services.gateway.log import Retention, TelemetryLog, log_stream
from shared.context import Context
from shared.events.contracts import CONTRACTS
from shared.events.gateway import DevicePublished
from shared.store.port import ANY, EventStore, StreamNotFound

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
DEVICE = "a" * 24
QUICK = BatchLimits(collect_s=0, give_up_s=5, first_pause_s=0)


def event(number: int, product_id: int = 1000) -> DevicePublished:
    return DevicePublished(DEVICE, product_id, "count", str(number), "text", 60, False, NOON, None, None)


def logged(store: EventStore, product_id: int) -> list[int]:
    try:
        return [int(msgspec.json.decode(one.data)["data"]) for one in store.read(log_stream(product_id))]
    except StreamNotFound:
        return []


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await scenario()

    asyncio.run(bounded())


def fill(store: EventStore, product_id: int, first: int, count: int) -> int:
    new = [CONTRACTS.encode(event(first + n, product_id), 0, Context.new("system:t", "t")) for n in range(count)]
    return store.append(log_stream(product_id), ANY, new).version


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(["", "away"]), max_size=10), st.lists(st.integers(0, 2), min_size=1, max_size=20))
def test_every_product_has_its_events_once_and_in_order_though_the_store_fails_for_some(
    flaky: Any, failures: list[str], products: list[int]
) -> None:
    before = [len(logged(flaky, 1000 + product)) for product in range(3)]
    flaky.failures = list(failures)

    async def scenario() -> None:
        log = TelemetryLog(flaky, "a", limits=QUICK)
        log.start()
        await asyncio.gather(*[log.publish(event(n, 1000 + product)) for n, product in enumerate(products)])
        await log.stop()

    run(scenario)
    for product in range(3):
        mine = [number for number, one in enumerate(products) if one == product]
        assert logged(flaky, 1000 + product)[before[product] :] == mine


def test_events_that_somebody_else_logged_meanwhile_are_followed_by_those_of_the_batch(store: EventStore) -> None:
    async def scenario() -> None:
        log = TelemetryLog(store, "a", limits=QUICK)
        log.start()
        await log.publish(event(0))
        fill(store, 1000, 1, 2)
        await asyncio.gather(log.publish(event(3)), log.publish(event(0, 1001)))
        await log.publish(event(4))
        assert log.batcher.status() == {"appended": 4, "waiting": 0, "failed": 0}
        await log.stop()

    run(scenario)
    assert (logged(store, 1000), logged(store, 1001)) == ([0, 1, 2, 3, 4], [0])


def test_only_the_newest_events_of_a_product_are_kept(store: EventStore) -> None:
    retention = Retention(store, kept_events=50)
    retention.grown(log_stream(1000), fill(store, 1000, 0, 120))
    retention.grown(log_stream(1001), fill(store, 1001, 0, 40))
    retention.step()
    assert logged(store, 1000) == list(range(70, 120))
    assert logged(store, 1001) == list(range(40))


def test_a_step_forgets_a_bounded_number_of_events_and_the_next_one_goes_on(store: EventStore) -> None:
    retention = Retention(store, kept_events=10)
    total = log_module.FORGET_AT_ONCE + 510
    fill(store, 1000, 0, 1_500)
    retention.grown(log_stream(1000), fill(store, 1000, 1_500, total - 1_500))
    retention.step()
    assert len(logged(store, 1000)) == 510
    retention.step()
    assert logged(store, 1000) == list(range(total - 10, total))


def test_retention_goes_on_after_a_restart_where_the_stream_begins(store: EventStore) -> None:
    first = Retention(store, kept_events=10)
    first.grown(log_stream(1000), fill(store, 1000, 0, 30))
    first.step()
    second = Retention(store, kept_events=10)
    second.grown(log_stream(1000), fill(store, 1000, 30, 15))
    second.step()
    assert logged(store, 1000) == list(range(35, 45))


def test_a_log_in_use_is_shortened(store: EventStore) -> None:
    async def scenario() -> None:
        log = TelemetryLog(store, "a", kept_events=20, limits=QUICK)
        log.start()
        await asyncio.gather(*[log.publish(event(number)) for number in range(100)])
        while len(logged(store, 1000)) > 20:
            await asyncio.sleep(0.05)
        assert logged(store, 1000) == list(range(80, 100))
        await log.stop()

    run(scenario)
