from __future__ import annotations

import asyncio
from typing import Any

import pytest

from services.gateway.rollout_progress import RolloutProgress, Watch
from shared.errors import Unavailable

ID = "7" * 24


def shown(state: str, succeeded: int) -> dict[str, Any]:
    return {"id": ID, "state": state, "counts": {"succeeded": succeeded}}


class Bus:
    """Answers as told; remembers the positions that answers must not be older than."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.after: list[int | None] = []

    async def listen(self, source: str, handler: Any, *, types: Any, wanted: Any, hears: Any) -> None:
        self.heard, self.wanted, self.hears = handler, wanted, hears

    async def call(self, service: str, method: str, context: Any, **arguments: Any) -> Any:
        self.after.append(context.after)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return {"rollout": answer}

    def moved(self, position: int, rollout_id: str = ID) -> None:
        self.heard({"data": {"rollout_id": rollout_id}, "position": position})


async def watched(bus: Bus, readers: int = 1) -> tuple[RolloutProgress, list[Watch]]:
    progress = RolloutProgress("a", pace_s=0)
    await progress.listen(bus)
    return progress, [progress.watch(1000, ID, shown("running", 0)) for _ in range(readers)]


async def told(watch: Watch) -> Any:
    found = await asyncio.wait_for(anext(watch, None), 5)
    return None if found is None else (found["state"], found["counts"]["succeeded"])


async def until(watch: Watch, state: tuple[str, int]) -> None:
    """Who is told of a newer state need not be told of older ones."""
    while await told(watch) != state:
        pass


def test_all_readers_are_told_by_one_question_whenever_it_moved():
    async def story() -> None:
        bus = Bus(shown("running", 0), shown("running", 3), shown("completed", 9))
        _, readers = await watched(bus, 3)
        assert [await told(one) for one in readers] == [("running", 0)] * 3
        bus.moved(5)
        bus.moved(6, "8" * 24)
        assert [await told(one) for one in readers] == [("running", 3)] * 3
        bus.moved(9)
        assert [await told(one) for one in readers] == [("completed", 9)] * 3
        assert [await told(one) for one in readers] == [None] * 3  # it is over
        assert bus.after == [None, 5, 9]
        for one in readers:
            one.close()

    asyncio.run(story())


def test_what_moved_before_anybody_listened_is_not_missed_and_nobody_listens_for_nobody():
    async def story() -> None:
        bus = Bus(shown("paused", 2))
        progress, (reader,) = await watched(bus)
        await until(reader, ("paused", 2))
        assert bus.wanted() is True
        reader.close()
        assert bus.wanted() is False
        bus.moved(7)
        progress.watch(1000, ID, shown("cancelled", 2)).close()

    asyncio.run(story())


@pytest.mark.parametrize("trouble", [Unavailable("gone")])
def test_it_is_asked_for_again_after_trouble_and_when_events_were_missed(trouble: Exception):
    async def story() -> None:
        bus = Bus(trouble, shown("running", 1), shown("running", 2))
        _, (reader,) = await watched(bus)
        await until(reader, ("running", 1))
        bus.hears(False)
        bus.hears(True)
        await until(reader, ("running", 2))
        reader.close()

    asyncio.run(story())
