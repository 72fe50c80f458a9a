"""Many small appends as few big ones, from asyncio: collect, append in a thread, repeat, answer by futures."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

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


@dataclass(slots=True)
class _Waiting(Generic[Item]):
    item: Item
    size_bytes: int
    until_s: float
    done: asyncio.Future[None]


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

    def put(self, item: Item, size_bytes: int) -> asyncio.Future[None]:
        """Done when the item is durable; else ``Unavailable``, or what the attempt made of it. May be ignored."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        done.add_done_callback(_looked_at)
        limits = self._limits
        if self._stopping:
            self._fail(done, Unavailable(f"{self.name} is stopping"))
        elif len(self._waiting) >= limits.waiting_items or self._waiting_bytes + size_bytes > limits.waiting_bytes:
            self._fail(done, Unavailable(f"{self.name} is behind: {len(self._waiting)} wait"))
        else:
            self._waiting.append(_Waiting(item, size_bytes, loop.time() + limits.give_up_s, done))
            self._waiting_bytes += size_bytes
            self._wake.set()
            if len(self._waiting) >= limits.batch_items or self._waiting_bytes >= limits.batch_bytes:
                self._full.set()
        return done

    async def _run(self) -> None:
        while True:
            if not self._waiting:
                if self._stopping:
                    return
                self._wake.clear()
                await self._wake.wait()
                continue
            await self._collect()
            await self._append(self._take())

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
                self._fail(waiting.done, Unknown(str(behind)))
        while self._waiting and self._waiting[0].until_s <= now_s:
            expired = self._waiting.popleft()
            self._waiting_bytes -= expired.size_bytes
            self._fail(expired.done, Unavailable(str(behind)))
        if self.failed > failed_before:
            log.error("%s: gave up on %d items: %r", self.name, self.failed - failed_before, behind)

    def _answer(self, batch: list[_Waiting[Item]], outcomes: Sequence[Exception | None]) -> None:
        failed = [outcome for outcome in outcomes if outcome is not None]
        if failed:
            log.error("%s: %d of %d items are lost: %r", self.name, len(failed), len(batch), failed[0])
        self.appended += len(batch) - len(failed)
        for waiting, outcome in zip(batch, outcomes, strict=True):
            if outcome is None:
                _succeed(waiting.done)
            else:
                self._fail(waiting.done, Unknown(str(outcome)) if isinstance(outcome, Unavailable) else outcome)

    def _fail(self, done: asyncio.Future[None], error: Exception) -> None:
        if not done.done():
            self.failed += 1
            done.set_exception(error)


def _succeed(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)


def _looked_at(done: asyncio.Future[None]) -> None:
    """Whoever does not wait for an item must not be warned about it: the loss is counted and logged here."""
    if not done.cancelled():
        done.exception()


def _outcomes(attempt: Attempt, items: int) -> Sequence[Exception | None]:
    try:
        return attempt()
    except Exception as error:  # noqa: BLE001 - handed to whoever waits for these items
        return [error] * items


def _raising(error: Exception) -> Attempt:
    def attempt() -> Sequence[Exception | None]:
        raise error

    return attempt
