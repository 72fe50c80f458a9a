from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.gateway.batch import BatchLimits
from services.gateway.facts import Facts
from shared.context import Context
from shared.errors import Misuse, Unavailable
from shared.events.gateway import UpdateSucceeded
from shared.events.metadata import metadata
from shared.store.port import EventStore

NOON = datetime(2026, 3, 4, 12, 59, 59, tzinfo=UTC)
DEVICE = "a" * 24
QUICK = BatchLimits(collect_s=0, give_up_s=5, first_pause_s=0)


def fact(number: int) -> UpdateSucceeded:
    return UpdateSucceeded(DEVICE, 1000, 7, number)


class Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await scenario()

    asyncio.run(bounded())


def test_a_recorded_fact_is_in_the_stream_of_its_gateway_epoch_and_hour(
    store: EventStore, events_of: Callable[[str], list[object]]
) -> None:
    async def scenario() -> None:
        clock = Clock()
        facts = Facts(store, "eu-1", 3, clock=clock, limits=QUICK)
        facts.start()
        await facts.record(fact(1), actor=f"device:{DEVICE}")
        clock.now += timedelta(seconds=1)
        await facts.record(fact(2), actor=f"device:{DEVICE}")
        await facts.record(fact(3), actor=f"device:{DEVICE}")
        await facts.stop()

    run(scenario)
    assert events_of("connection-eu-1.3-2026030412") == [fact(1)]
    assert events_of("connection-eu-1.3-2026030413") == [fact(2), fact(3)]


def test_a_fact_says_who_and_where_and_has_a_command_of_its_own(store: EventStore) -> None:
    async def scenario() -> None:
        facts = Facts(store, "a", 1, clock=Clock(), limits=QUICK)
        facts.start()
        await asyncio.gather(*[facts.record(fact(number), actor=f"device:{DEVICE}") for number in range(2)])
        await facts.stop()

    run(scenario)
    metas = [msgspec.json.decode(recorded.meta) for recorded in store.read("connection-a.1-2026030412")]
    assert [(meta["actor"], meta["source"]) for meta in metas] == [(f"device:{DEVICE}", "gateway:a")] * 2
    assert len({meta["command"] for meta in metas}) == 2


def test_a_fact_of_what_somebody_asked_for_says_under_which_token_and_about_what(store: EventStore) -> None:
    asked = replace(
        Context.new(f"account:{'1' * 24}", "gateway:b"), token="c" * 24, address="sealed", about="b" * 24 + "/1000"
    )

    async def scenario() -> None:
        facts = Facts(store, "a", 1, clock=Clock(), limits=QUICK)
        facts.start()
        for number in range(2):  # of one command
            await facts.record(fact(number), actor=asked.actor, context=asked)
        await facts.stop()

    run(scenario)
    first, second = map(metadata, store.read("connection-a.1-2026030412"))
    assert (first.actor, first.token, first.address, first.about) == (asked.actor, asked.token, "sealed", asked.about)
    assert first.correlation == second.correlation == asked.correlation_id
    assert first.command != second.command
    assert first.source == "gateway:a"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(["", "away", "mute"]), max_size=8), st.lists(st.integers(1, 5), min_size=1, max_size=4))
def test_facts_are_stored_once_and_in_order_whatever_the_store_does(
    flaky: Any, failures: list[str], groups: list[int]
) -> None:
    epoch = flaky.appends + 1
    flaky.failures = list(failures)

    async def scenario() -> None:
        facts = Facts(flaky, "a", epoch, clock=Clock(), limits=QUICK)
        facts.start()
        for group in groups:
            await asyncio.gather(*[facts.record(fact(number), actor="system:test") for number in range(group)])
        await facts.stop()

    run(scenario)
    attempts = [msgspec.json.decode(one.data)["attempt"] for one in flaky.read(f"connection-a.{epoch}-2026030412")]
    assert attempts == [number for group in groups for number in range(group)]


def test_facts_go_on_behind_a_batch_that_was_given_up_though_the_store_had_taken_it(
    flaky: Any, events_of: Callable[[str], list[object]]
) -> None:
    async def scenario() -> None:
        limits = BatchLimits(collect_s=0, give_up_s=0, first_pause_s=0.001)
        facts = Facts(flaky, "a", 1, clock=Clock(), limits=limits)
        facts.start()
        flaky.failures = ["mute"]
        with pytest.raises(Unavailable):
            await facts.record(fact(1), actor="system:test")
        await facts.record(fact(2), actor="system:test")
        await facts.stop()

    run(scenario)
    assert events_of("connection-a.1-2026030412") == [fact(1), fact(2)]


def test_an_event_that_breaks_its_contract_is_a_bug_of_the_caller(store: EventStore) -> None:
    async def scenario() -> None:
        facts = Facts(store, "a", 1, limits=QUICK)
        with pytest.raises(Misuse):
            facts.record(UpdateSucceeded("no id", 1000, 7, 1), actor="system:test")

    run(scenario)
