from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, cast

import pytest

from services.gateway.life import Life
from shared.context import Context
from shared.errors import Unavailable
from shared.events.contracts import CONTRACTS
from shared.events.gateway import GatewayBeat, GatewayLost, GatewayStarted, GatewayStopped
from shared.store.port import ANY, EventStore, StreamNotFound

Events = Callable[[str], list[object]]


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await scenario()

    asyncio.run(bounded())


def append(store: EventStore, event: object, stream: str = "gateway-a") -> None:
    store.append(stream, ANY, [CONTRACTS.encode(event, 0, Context.new("system:devices", "test"))])


def versions(store: EventStore, stream: str) -> list[int]:
    try:
        return [recorded.version for recorded in store.read(stream)]
    except StreamNotFound:
        return []


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.01)


def test_an_epoch_begins_and_ends_in_the_gateways_stream(store: EventStore, events_of: Events) -> None:
    async def scenario() -> None:
        for epoch in (1, 2):
            life = Life(store, "a", 15)
            assert not life.alive
            assert await life.start() == epoch
            assert life.alive
            await life.stop()
            await life.stop()

    run(scenario)
    assert events_of("gateway-a") == [
        GatewayStarted("a", 1, 15),
        GatewayStopped("a", 1),
        GatewayStarted("a", 2, 15),
        GatewayStopped("a", 2),
    ]


def test_an_epoch_that_was_not_ended_is_followed_by_the_next_number(store: EventStore) -> None:
    append(store, GatewayStarted("a", 7, 15))
    for _ in range(150):
        append(store, GatewayBeat("a", 7), "beat-a.7")

    async def scenario() -> None:
        life = Life(store, "a", 15)
        assert await life.start() == 8
        await life.stop()

    run(scenario)


def test_processes_of_one_name_that_start_together_have_epochs_of_their_own(store: EventStore) -> None:
    async def scenario() -> None:
        lives = [Life(store, "a", 15) for _ in range(6)]
        assert sorted(await asyncio.gather(*[life.start() for life in lives])) == [1, 2, 3, 4, 5, 6]
        for life in lives:
            await life.stop()

    run(scenario)


def test_a_gateway_beats_three_times_a_lease_whoever_writes_beside_it(store: EventStore, events_of: Events) -> None:
    async def scenario() -> None:
        life = Life(store, "a", 1)
        await life.start()
        append(store, GatewayLost("a", 0))
        append(store, GatewayBeat("a", 1), life.beats)
        await until(lambda: events_of("beat-a.1").count(GatewayBeat("a", 1)) >= 3)
        await life.stop()

    run(scenario)
    assert events_of("gateway-a") == [GatewayStarted("a", 1, 1), GatewayLost("a", 0), GatewayStopped("a", 1)]


def test_a_gateway_forgets_its_old_beats_and_never_its_life(store: EventStore, events_of: Events) -> None:
    kept, beats = 16, 100

    async def scenario() -> None:
        life = Life(store, "a", 60, kept_beats=kept)
        await life.start()
        for _ in range(beats):
            await asyncio.to_thread(life._beat)
            assert len(versions(store, "beat-a.1")) <= kept + kept // 8
        await life.stop()

    run(scenario)
    left = versions(store, "beat-a.1")
    assert left[-1] == beats - 1
    assert len(left) >= kept
    assert events_of("gateway-a") == [GatewayStarted("a", 1, 60), GatewayStopped("a", 1)]


def test_of_an_epoch_that_is_over_only_the_last_beat_is_kept(store: EventStore) -> None:
    append(store, GatewayStarted("a", 7, 15))
    for _ in range(20):
        append(store, GatewayBeat("a", 7), "beat-a.7")

    async def scenario() -> None:
        life = Life(store, "a", 15)
        await life.start()
        await life.stop()

    run(scenario)
    assert versions(store, "beat-a.7") == [19]


def test_a_gateway_that_cannot_forget_goes_on_beating(store: EventStore, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        life = Life(cast(EventStore, NeverForgets(store)), "a", 60, kept_beats=4)
        await life.start()
        for _ in range(10):
            assert await asyncio.to_thread(life._beat) is None
        await life.stop()

    run(scenario)
    assert versions(store, "beat-a.1") == list(range(10))
    assert "old beats were not forgotten" in caplog.text


class NeverForgets:
    """A store that does everything but truncate."""

    def __init__(self, inner: EventStore) -> None:
        self._inner = inner

    def truncate(self, stream: str, before: int) -> None:
        raise Unavailable("not now")

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)


@pytest.mark.parametrize(("event", "over"), [(GatewayLost("a", 1), "lost"), (GatewayStarted("a", 2, 15), "superseded")])
def test_a_gateway_learns_that_its_epoch_is_over_and_writes_no_more(
    store: EventStore, events_of: Events, event: object, over: str
) -> None:
    async def scenario() -> None:
        life = Life(store, "a", 1)
        await life.start()
        append(store, event)
        assert life.over is not None
        assert await life.over == over
        assert not life.alive
        await life.stop()

    run(scenario)
    assert events_of("gateway-a")[-1] == event


def test_without_a_stored_beat_a_gateway_is_not_alive_after_its_lease_and_recovers(flaky: Any) -> None:
    async def scenario() -> None:
        now_s = 100.0
        life = Life(flaky, "a", 1, monotonic=lambda: now_s)
        await life.start()
        flaky.failures = ["away", "mute"]
        now_s = 101.0
        assert not life.alive
        await until(lambda: life.alive)
        await life.stop()

    run(scenario)
    beats = [recorded.id for recorded in flaky.read("beat-a.1")]
    assert len(beats) == len(set(beats)) >= 1


def test_a_gateway_whose_store_is_away_does_not_start(flaky: Any) -> None:
    async def scenario() -> None:
        flaky.failures = ["away"]
        life = Life(flaky, "a", 15)
        with pytest.raises(Unavailable):
            await life.start()
        await life.stop()

    run(scenario)
    with pytest.raises(StreamNotFound):
        flaky.read("gateway-a")
