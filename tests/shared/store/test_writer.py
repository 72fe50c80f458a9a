from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest

from shared.errors import Unavailable, Unknown
from shared.store.port import ANY, Appended, New
from shared.store.sqlite import SqliteEventStore
from shared.store.sqlite.batch import Batch
from shared.store.sqlite.schema import connect
from shared.store.sqlite.turns import Turns
from shared.store.sqlite.writer import MAX_GROUP_WEIGHT, Writer

TIMEOUT_S = 10.0


class Bench:
    """A writer whose transactions are counted, and may be held up."""

    def __init__(self, path: Path) -> None:
        SqliteEventStore(path).close()
        self.transactions = 0
        self.heads: list[int] = []
        self.held = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()
        opening = partial(connect, path, durable=False, patience_s=1.0)
        self.writer = Writer(opening, Turns(path, 1.0), self._now_us, self.heads.append)

    def _now_us(self) -> int:
        self.transactions += 1
        self.held.set()
        assert self.go_on.wait(TIMEOUT_S)
        return self.transactions

    def append(self, stream: str = "a") -> Appended:
        events = [New(uuid4(), "Happened", b"{}", b"{}")]
        outcome: Appended = self.writer.run(lambda batch: batch.append(stream, ANY, events))
        return outcome


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path / "events.db")
    yield made
    made.go_on.set()
    made.writer.close()


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(80) as pool:
        yield pool


def held_up(bench: Bench, threads: ThreadPoolExecutor, call: Callable[[], object]) -> Future[object]:
    """A call whose transaction is held."""
    bench.held.clear()
    bench.go_on.clear()
    running: Future[object] = threads.submit(call)
    assert bench.held.wait(TIMEOUT_S)
    return running


def queued(bench: Bench, threads: ThreadPoolExecutor, count: int) -> list[Future[Appended]]:
    """Calls that all wait behind the one that is held."""
    waiting = [threads.submit(bench.append, f"s-{number}") for number in range(count)]
    tick = threading.Event()
    for _ in range(int(TIMEOUT_S / 0.005)):
        if len(bench.writer._queue) == count:
            return waiting
        tick.wait(0.005)
    raise AssertionError("they do not wait")


def test_who_waits_together_is_committed_together(bench: Bench, threads: ThreadPoolExecutor) -> None:
    first = held_up(bench, threads, bench.append)
    waiting = queued(bench, threads, 50)
    bench.go_on.set()
    first.result(TIMEOUT_S)
    positions = [each.result(TIMEOUT_S).position for each in waiting]
    assert sorted(positions) == list(range(2, 52))
    assert bench.transactions == 2
    assert bench.heads == [1, 51]


def test_a_caller_alone_writes_in_its_own_thread(bench: Bench) -> None:
    ran_in: list[threading.Thread] = []
    bench.writer.run(lambda batch: ran_in.append(threading.current_thread()))
    assert ran_in == [threading.current_thread()]


def test_a_group_is_no_heavier_than_its_limit(bench: Bench, threads: ThreadPoolExecutor) -> None:
    first = held_up(bench, threads, bench.append)
    heavy = [
        threads.submit(bench.writer.run, lambda batch: None, weight=MAX_GROUP_WEIGHT // 2, size_bytes=0)
        for _ in range(4)
    ]
    while len(bench.writer._queue) < 4:
        assert not any(each.done() for each in heavy)
    bench.go_on.set()
    first.result(TIMEOUT_S)
    for each in heavy:
        each.result(TIMEOUT_S)
    assert bench.transactions == 3


def test_a_failure_of_the_transaction_reaches_all_and_the_writer_goes_on(
    bench: Bench, threads: ThreadPoolExecutor
) -> None:
    def broken(batch: Batch) -> None:
        batch.db.execute("SELECT * FROM nowhere")

    first = held_up(bench, threads, bench.append)
    waiting = queued(bench, threads, 5)
    spoiler = threads.submit(bench.writer.run, broken)
    while len(bench.writer._queue) < 6:
        assert not spoiler.done()
    bench.go_on.set()
    first.result(TIMEOUT_S)
    failures = [each.exception(TIMEOUT_S) for each in [*waiting, spoiler]]
    assert all(failure is not None for failure in failures)
    assert len({id(failure) for failure in failures}) == 6
    assert bench.append().position == 2


def test_a_writing_thread_that_is_stopped_leaves_the_others_in_doubt_and_the_writer_usable(
    bench: Bench, threads: ThreadPoolExecutor
) -> None:
    class Stopped(BaseException):
        """As KeyboardInterrupt, at the worst moment."""

    def stopping(batch: Batch) -> None:
        raise Stopped

    first = held_up(bench, threads, bench.append)
    stopped = threads.submit(bench.writer.run, stopping)
    while len(bench.writer._queue) < 1:
        assert not stopped.done()
    waiting = [threads.submit(bench.append) for _ in range(3)]
    while len(bench.writer._queue) < 4:
        assert not stopped.done()
    bench.go_on.set()
    first.result(TIMEOUT_S)
    assert isinstance(stopped.exception(TIMEOUT_S), Stopped)
    assert {type(each.exception(TIMEOUT_S)) for each in waiting} == {Unknown}
    assert bench.append().position == 2


def test_closing_lets_the_running_transaction_end_and_fails_what_waits(
    bench: Bench, threads: ThreadPoolExecutor
) -> None:
    first = held_up(bench, threads, bench.append)
    waiting = queued(bench, threads, 3)
    closing = threads.submit(bench.writer.close)
    assert {type(each.exception(TIMEOUT_S)) for each in waiting} == {Unavailable}
    assert not closing.done()
    bench.go_on.set()
    closing.result(TIMEOUT_S)
    assert isinstance(first.result(TIMEOUT_S), Appended)
    with pytest.raises(Unavailable):
        bench.append()
