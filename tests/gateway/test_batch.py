from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.batch import Attempt, Batcher, BatchLimits
from shared.errors import Misuse, Unavailable, Unknown

QUICK = BatchLimits(collect_s=0.001, give_up_s=0.2, first_pause_s=0.001)


class Store:
    """Takes batches and fails when ``failing`` says so: with an error, before or after having stored the batch."""

    def __init__(self, failing: Sequence[tuple[Exception, bool] | None] = ()) -> None:
        self.batches: list[list[Any]] = []
        self.attempts = 0
        self.running = 0
        self._failing = list(failing)
        self.gate = threading.Event()
        self.gate.set()

    @property
    def items(self) -> list[Any]:
        return [item for batch in self.batches for item in batch]

    def begin(self, items: Sequence[Any]) -> Attempt:
        batch = list(items)

        def attempt() -> Sequence[Exception | None]:
            self.attempts += 1
            self.running += 1
            assert self.running == 1
            try:
                assert self.gate.wait(10)
                fails = self._failing.pop(0) if self._failing else None
                if (fails is None or fails[1]) and batch not in self.batches:
                    self.batches.append(batch)
                if fails is not None:
                    raise fails[0]
                return [None] * len(batch)
            finally:
                self.running -= 1

        return attempt


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await scenario()

    asyncio.run(bounded())


def test_items_that_come_together_are_appended_together_and_in_order() -> None:
    async def scenario() -> None:
        store = Store()
        batcher = Batcher("b", store.begin, QUICK)
        batcher.start()
        await asyncio.gather(*[batcher.put(number, 1) for number in range(100)])
        assert store.batches == [list(range(100))]
        assert batcher.appended == 100
        await batcher.stop()

    run(scenario)


def test_a_batch_holds_at_most_its_number_and_size_of_items() -> None:
    async def scenario() -> None:
        store = Store()
        batcher = Batcher("b", store.begin, BatchLimits(collect_s=0.001, batch_items=3, batch_bytes=100))
        batcher.start()
        sizes = [10, 10, 10, 10, 60, 60, 500, 1]
        await asyncio.gather(*[batcher.put(number, size) for number, size in enumerate(sizes)])
        assert store.batches == [[0, 1, 2], [3, 4], [5], [6], [7]]
        await batcher.stop()

    run(scenario)


def test_a_full_batch_does_not_wait_for_more() -> None:
    async def scenario() -> None:
        store = Store()
        batcher = Batcher("b", store.begin, BatchLimits(collect_s=3600, batch_items=2))
        batcher.start()
        await asyncio.gather(batcher.put(1, 1), batcher.put(2, 1))
        assert store.batches == [[1, 2]]
        await batcher.stop()

    run(scenario)


def test_an_item_is_acknowledged_only_when_its_batch_is_stored() -> None:
    async def scenario() -> None:
        store = Store()
        store.gate.clear()
        batcher = Batcher("b", store.begin, QUICK)
        batcher.start()
        first = batcher.put(1, 1)
        done, _ = await asyncio.wait([asyncio.ensure_future(first)], timeout=0.05)
        assert not done
        later = batcher.put(2, 1)
        store.gate.set()
        await asyncio.gather(first, later)
        assert store.batches == [[1], [2]]
        await batcher.stop()

    run(scenario)


def test_how_long_the_oldest_item_waits_is_known_whether_or_not_it_is_being_appended() -> None:
    async def scenario() -> None:
        store = Store()
        store.gate.clear()
        batcher = Batcher("b", store.begin, QUICK)
        assert batcher.behind_s == 0.0
        batcher.start()
        first = batcher.put(1, 1)
        await asyncio.wait([asyncio.ensure_future(first)], timeout=0.05)
        assert 0.0 < batcher.behind_s < QUICK.give_up_s
        later = batcher.put(2, 1)
        assert batcher.behind_s > 0.0
        store.gate.set()
        await asyncio.gather(first, later)
        await batcher.stop()
        assert batcher.behind_s == 0.0

    run(scenario)


outages = st.lists(
    st.one_of(
        st.none(),
        st.tuples(st.sampled_from([Unavailable("away"), Unknown("who knows")]), st.booleans()),
    ),
    max_size=8,
)


@given(outages, st.lists(st.integers(1, 30), min_size=1, max_size=5))
def test_every_acknowledged_item_is_stored_once_and_in_order_whatever_the_store_does(
    failing: list[tuple[Exception, bool] | None], groups: list[int]
) -> None:
    async def scenario() -> None:
        store = Store(failing)
        batcher = Batcher("b", store.begin, BatchLimits(collect_s=0, give_up_s=30, first_pause_s=0))
        batcher.start()
        numbers = iter(range(1_000))
        futures = []
        for group in groups:
            futures += [batcher.put(next(numbers), 1) for _ in range(group)]
            await asyncio.sleep(0)
        await asyncio.gather(*futures)
        assert store.items == list(range(sum(groups)))
        await batcher.stop()

    run(scenario)


def test_after_a_long_outage_items_fail_as_unknown_and_later_ones_are_stored() -> None:
    async def scenario() -> None:
        store = Store([(Unavailable("away"), False)] * 100)
        batcher = Batcher("b", store.begin, BatchLimits(collect_s=0, give_up_s=0.05, first_pause_s=0.01))
        batcher.start()
        with pytest.raises(Unknown, match="away"):
            await batcher.put("lost", 1)
        assert batcher.failed == 1
        store._failing.clear()
        await batcher.put("kept", 1)
        assert store.items == ["kept"]
        await batcher.stop()

    run(scenario)


def test_items_that_wait_behind_a_batch_that_is_tried_for_long_fail_in_time_too() -> None:
    async def scenario() -> None:
        store = Store([(Unavailable("away"), False)] * 1_000)
        batcher = Batcher("b", store.begin, BatchLimits(collect_s=0, batch_items=1, give_up_s=0.05, first_pause_s=0.01))
        batcher.start()
        loop = asyncio.get_running_loop()
        begun_s = loop.time()
        futures = [batcher.put(number, 1) for number in range(200)]
        results = await asyncio.gather(*futures, return_exceptions=True)
        assert loop.time() - begun_s < 2
        assert all(isinstance(result, Unavailable) for result in results)
        assert batcher.failed == 200
        await batcher.stop()

    run(scenario)


def test_a_failure_of_one_item_is_that_items_alone() -> None:
    async def scenario() -> None:
        def begin(items: Sequence[Any]) -> Attempt:
            return lambda: [Misuse("no") if item == 2 else None for item in items]

        batcher = Batcher("b", begin, QUICK)
        batcher.start()
        one, two, three = (batcher.put(number, 1) for number in (1, 2, 3))
        await asyncio.gather(one, three)
        with pytest.raises(Misuse):
            await two
        await batcher.stop()

    run(scenario)


def test_other_errors_are_not_repeated() -> None:
    async def scenario() -> None:
        store = Store([(Misuse("a bug"), False)])
        batcher = Batcher("b", store.begin, QUICK)
        batcher.start()
        with pytest.raises(Misuse):
            await batcher.put(1, 1)
        await batcher.put(2, 1)
        assert store.attempts == 2
        await batcher.stop()

    run(scenario)


def test_what_does_not_fit_is_refused_at_once() -> None:
    async def scenario() -> None:
        store = Store()
        store.gate.clear()
        limits = BatchLimits(collect_s=0, batch_items=1, waiting_items=3, waiting_bytes=100, give_up_s=20)
        batcher = Batcher("b", store.begin, limits)
        batcher.start()
        taken = [batcher.put(number, 1) for number in range(3)]
        assert batcher.waiting == 3
        with pytest.raises(Unavailable, match="behind"):
            await batcher.put(3, 1)
        store.gate.set()
        await asyncio.gather(*taken)
        with pytest.raises(Unavailable):
            await batcher.put("big", 101)
        await batcher.stop()

    run(scenario)


def test_stop_appends_what_waits_and_takes_nothing_more() -> None:
    async def scenario() -> None:
        store = Store()
        batcher = Batcher("b", store.begin, BatchLimits(collect_s=3600))
        batcher.start()
        futures = [batcher.put(number, 1) for number in range(10)]
        await asyncio.sleep(0)
        await batcher.stop()
        assert [await waiting for waiting in futures] == [None] * 10
        assert store.items == list(range(10))
        with pytest.raises(Unavailable, match="stopping"):
            await batcher.put(11, 1)

    run(scenario)


def test_a_caller_that_gave_up_disturbs_nobody() -> None:
    async def scenario() -> None:
        store = Store()
        batcher = Batcher("b", store.begin, QUICK)
        batcher.start()
        asyncio.ensure_future(batcher.put(1, 1)).cancel()
        given_up = asyncio.ensure_future(batcher.put(2, 1))
        await asyncio.sleep(0)
        given_up.cancel()
        await batcher.put(3, 1)
        assert store.items == [1, 2, 3]
        await batcher.stop()

    run(scenario)


def test_whoever_waits_is_told_once_in_order_and_one_that_fails_disturbs_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    told: list[object] = []

    def fails(_: object) -> None:
        raise ValueError("mine")

    async def scenario() -> None:
        batcher = Batcher("b", Store().begin, QUICK)
        batcher.start()
        first = batcher.put(1, 1)
        for callback in (lambda _: told.append("a"), fails, lambda storing: told.append(storing.exception())):
            first.add_done_callback(callback)
        await batcher.put(2, 1)
        assert told == ["a", None]
        first.add_done_callback(lambda _: told.append("late"))
        assert told == ["a", None]
        await asyncio.sleep(0)
        assert (told[-1], first.cancelled(), first.settle(None)) == ("late", False, False)
        await batcher.stop()

    run(scenario)
    assert "somebody who waited for an item failed" in caplog.text
