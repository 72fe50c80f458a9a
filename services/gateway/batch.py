"""Many small appends as few big ones, from asyncio: collect, append in a thread, repeat, tell what became of each."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from shared.errors import Unavailable, Unknown

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Attempt = Callable[[], Sequence[Exception | None]]
"""One try at a batch, in a thread: an outcome for each item, in order; whatever it raises is the outcome of all."""

_LONGEST_PAUSE_S = 1.0


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """How long a batch collects, how big it gets, how much may wait, and how long an item is tried."""

    collect_s: float = 0.02
    batch_items: int = 500
    batch_bytes: int = 512 * 1024
    waiting_items: int = 50_000
    waiting_bytes: int = 32 * 1024 * 1024
    give_up_s: float = 10.0
    first_pause_s: float = 0.05


class Storing:
    """What becomes of one item, told as a future tells it, but without what a future does for every callback: a copy of
    the context and a turn of the loop. Nobody can cancel it."""

    __slots__ = ("_callbacks", "_error", "_known")

    def __init__(self) -> None:
        self._callbacks: list[Callable[[Storing], object]] = []
        self._known = False
        self._error: Exception | None = None

    def __await__(self) -> Generator[Any, None, None]:
        if not self._known:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.add_done_callback(partial(_wake, waiter))
            yield from waiter
        if self._error is not None:
            raise self._error

    def add_done_callback(self, callback: Callable[[Storing], object], /) -> None:
        """Call it once this is known, never before this returns."""
        if self._known:
            asyncio.get_running_loop().call_soon(callback, self)
        else:
            self._callbacks.append(callback)

    def cancelled(self) -> bool:
        """Never."""
        return False

    def exception(self) -> Exception | None:
        """Why the item is not durable, if that is known."""
        return self._error

    def settle(self, error: Exception | None) -> bool:
        """Tell it; False if it was told before."""
        if self._known:
            return False
        self._known, self._error = True, error
        for callback in self._callbacks:
            try:
                callback(self)
            except Exception:
                log.exception("somebody who waited for an item failed")
        self._callbacks = []
        return True


def _wake(waiter: asyncio.Future[None], _: Storing) -> None:
    if not waiter.done():
        waiter.set_result(None)


@dataclass(slots=True)
class _Waiting(Generic[Item]):
    item: Item
    size_bytes: int
    until_s: float
    storing: Storing


class Batcher(Generic[Item]):
    """Takes items in the loop's thread; keeps their order; one batch at a time is being appended.

    ``begin`` turns a batch into an attempt, which is repeated as it is while an outcome is ``Unavailable`` (so it must
    use the same ids each time), until ``give_up_s`` after its last item came. An item that is older than that has
    failed: with ``Unknown`` if it was tried, else with ``Unavailable``. Items beyond what may wait are refused with
    ``Unavailable`` at once.
    """

    def __init__(
        self, name: str, begin: Callable[[Sequence[Item]], Attempt], limits: BatchLimits | None = None
    ) -> None:
        self.name = name
        self._begin = begin
        self._limits = limits or BatchLimits()
        self._waiting: deque[_Waiting[Item]] = deque()
        self._waiting_bytes = 0
        self._appending: list[_Waiting[Item]] = []
        self._wake = asyncio.Event()
        self._full = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        self.appended = 0
        self.failed = 0

    @property
    def waiting(self) -> int:
        """Items that are not in a batch yet."""
        return len(self._waiting)

    @property
    def behind_s(self) -> float:
        """How long the oldest item has waited that is not durable yet, in a batch or not."""
        oldest = self._appending or self._waiting
        if not oldest:
            return 0.0
        return max(0.0, asyncio.get_running_loop().time() - oldest[0].until_s + self._limits.give_up_s)

    def status(self) -> dict[str, int]:
        """Numbers of items since the start."""
        return {"appended": self.appended, "waiting": self.waiting, "failed": self.failed}

    def start(self) -> None:
        """Begin to append; in a running loop."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name=self.name)

    async def stop(self) -> None:
        """Append what waits, or fail it within ``give_up_s`` and one attempt; nothing is taken any more."""
        self._stopping = True
        self._wake.set()
        self._full.set()
        if self._task is not None:
            await self._task
            self._task = None
        self._thread.shutdown(wait=False)

    def put(self, item: Item, size_bytes: int) -> Storing:
        """Done when the item is durable; else ``Unavailable``, or what the attempt made of it. May be ignored."""
        storing, limits = Storing(), self._limits
        if self._stopping:
            self._fail(storing, Unavailable(f"{self.name} is stopping"))
        elif len(self._waiting) >= limits.waiting_items or self._waiting_bytes + size_bytes > limits.waiting_bytes:
            self._fail(storing, Unavailable(f"{self.name} is behind: {len(self._waiting)} wait"))
        else:
            until_s = asyncio.get_running_loop().time() + limits.give_up_s
            self._waiting.append(_Waiting(item, size_bytes, until_s, storing))
            self._waiting_bytes += size_bytes
            self._wake.set()
            if len(self._waiting) >= limits.batch_items or self._waiting_bytes >= limits.batch_bytes:
                self._full.set()
        return storing

    async def _run(self) -> None:
        while True:
            if not self._waiting:
                if self._stopping:
                    return
                self._wake.clear()
                await self._wake.wait()
                continue
            await self._collect()
            self._appending = self._take()
            await self._append(self._appending)
            self._appending = []

    async def _collect(self) -> None:
        """Give others a moment to join, unless the batch is full already."""
        if self._stopping or self._full.is_set():
            return
        try:
            async with asyncio.timeout(self._limits.collect_s):
                await self._full.wait()
        except TimeoutError:
            return

    def _take(self) -> list[_Waiting[Item]]:
        batch: list[_Waiting[Item]] = []
        size_bytes = 0
        while self._waiting and len(batch) < self._limits.batch_items:
            size_bytes += self._waiting[0].size_bytes
            if batch and size_bytes > self._limits.batch_bytes:
                break
            batch.append(self._waiting.popleft())
            self._waiting_bytes -= batch[-1].size_bytes
        rest_is_full = len(self._waiting) >= self._limits.batch_items or self._waiting_bytes >= self._limits.batch_bytes
        if not (rest_is_full or self._stopping):
            self._full.clear()
        return batch

    async def _append(self, batch: list[_Waiting[Item]]) -> None:
        loop = asyncio.get_running_loop()
        pause_s = self._limits.first_pause_s
        try:
            attempt = self._begin([waiting.item for waiting in batch])
        except Exception as error:  # noqa: BLE001 - handed to whoever waits for these items
            attempt = _raising(error)
        while True:
            outcomes = await loop.run_in_executor(self._thread, _outcomes, attempt, len(batch))
            behind = next((outcome for outcome in outcomes if isinstance(outcome, Unavailable)), None)
            if behind is None:
                break
            self._expire(batch, loop.time(), behind)
            if loop.time() + pause_s > batch[-1].until_s:
                break
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        self._answer(batch, outcomes)

    def _expire(self, batch: list[_Waiting[Item]], now_s: float, behind: Exception) -> None:
        """Fail what has waited long enough; the batch itself stays as it is, for it may have been stored."""
        failed_before = self.failed
        for waiting in batch:
            if waiting.until_s <= now_s:
                self._fail(waiting.storing, Unknown(str(behind)))
        while self._waiting and self._waiting[0].until_s <= now_s:
            expired = self._waiting.popleft()
            self._waiting_bytes -= expired.size_bytes
            self._fail(expired.storing, Unavailable(str(behind)))
        if self.failed > failed_before:
            log.error("%s: gave up on %d items: %r", self.name, self.failed - failed_before, behind)

    def _answer(self, batch: list[_Waiting[Item]], outcomes: Sequence[Exception | None]) -> None:
        failed = [outcome for outcome in outcomes if outcome is not None]
        if failed:
            log.error("%s: %d of %d items are lost: %r", self.name, len(failed), len(batch), failed[0])
        self.appended += len(batch) - len(failed)
        for waiting, outcome in zip(batch, outcomes, strict=True):
            if outcome is None:
                waiting.storing.settle(None)
            else:
                self._fail(waiting.storing, Unknown(str(outcome)) if isinstance(outcome, Unavailable) else outcome)

    def _fail(self, storing: Storing, error: Exception) -> None:
        if storing.settle(error):
            self.failed += 1


def _outcomes(attempt: Attempt, items: int) -> Sequence[Exception | None]:
    try:
        return attempt()
    except Exception as error:  # noqa: BLE001 - handed to whoever waits for these items
        return [error] * items


def _raising(error: Exception) -> Attempt:
    def attempt() -> Sequence[Exception | None]:
        raise error

    return attempt
