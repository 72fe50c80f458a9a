from __future__ import annotations

import asyncio
import threading

import pytest

from shared.errors import Refused, Unavailable
from shared.threaded import Threaded


class Work:
    def __init__(self, hangs: bool = False, fails: Exception | None = None) -> None:
        self.log: list[str] = []
        self.threads: set[int] = set()
        self.begun = threading.Event()
        self._hangs = hangs
        self._fails = fails

    async def begin(self) -> None:
        self.threads.add(threading.get_ident())
        self.log.append("begin")
        self.begun.set()
        try:
            if self._fails:
                raise self._fails
            if self._hangs:
                await asyncio.sleep(3600)
        except asyncio.CancelledError:
            self.log.append("cancelled")
            raise

    async def end(self) -> None:
        self.threads.add(threading.get_ident())
        self.log.append("end")


def part(work: Work, start_s: float = 10) -> Threaded:
    return Threaded("work", work.begin, work.end, start_s=start_s, stop_s=10)


def test_it_begins_and_ends_on_one_thread_of_its_own() -> None:
    work = Work()
    made = part(work)
    made.stop()
    made.start()
    assert work.log == ["begin"]
    made.stop()
    made.stop()
    assert work.log == ["begin", "end"]
    assert len(work.threads) == 1
    assert threading.get_ident() not in work.threads


def test_it_can_be_started_again() -> None:
    work = Work()
    made = part(work)
    for _ in range(2):
        made.start()
        made.stop()
    assert work.log == ["begin", "end"] * 2


def test_what_keeps_it_from_beginning_is_raised_and_nothing_is_ended() -> None:
    work = Work(fails=Refused("no", "not today"))
    with pytest.raises(Refused):
        part(work).start()
    assert work.log == ["begin"]


def test_a_beginning_that_takes_too_long_is_cancelled() -> None:
    work = Work(hangs=True)
    with pytest.raises(TimeoutError):
        part(work, start_s=0.05).start()
    assert work.log == ["begin", "cancelled"]


def test_it_can_be_stopped_from_elsewhere_while_it_begins() -> None:
    work = Work(hangs=True)
    made = part(work)

    def stop() -> None:
        assert work.begun.wait(10)
        made.stop()

    stopper = threading.Thread(target=stop)
    stopper.start()
    with pytest.raises(Unavailable, match="stopped before it had begun"):
        made.start()
    stopper.join(10)
    assert work.log == ["begin", "cancelled"]


def test_one_that_does_not_end_in_time_is_said_to_be_busy() -> None:
    go_on = threading.Event()

    async def nothing() -> None:
        return

    async def slow_end() -> None:
        assert await asyncio.to_thread(go_on.wait, 10)

    made = Threaded("slow", nothing, slow_end, start_s=10, stop_s=0.05)
    made.start()
    with pytest.raises(Unavailable, match="slow is still busy"):
        made.stop()
    go_on.set()


def test_a_question_is_answered_in_the_loop_or_not_in_time() -> None:
    async def nothing() -> None: ...

    part = Threaded("asked", nothing, nothing, start_s=5, stop_s=5)
    with pytest.raises(Unavailable, match="has not begun"):
        part.ask(lambda: 1, 1.0)
    part.start()
    try:
        assert part.ask(threading.current_thread, 5.0).name == "asked"
        with pytest.raises(ZeroDivisionError):
            part.ask(lambda: 1 // 0, 5.0)
        block = threading.Event()
        waiting = threading.Thread(target=part.ask, args=(lambda: block.wait(10), 20.0))
        waiting.start()
        with pytest.raises(Unavailable, match="does not answer"):
            part.ask(lambda: 1, 0.05)
        block.set()
        waiting.join()
    finally:
        part.stop()
