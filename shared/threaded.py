"""Something asynchronous as a part of a process: on a thread of its own, with an event loop of its own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import uvloop

from shared.errors import Unavailable

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")

THREADS = 32
"""For what blocks in the loop's default executor: files, the store."""


class Threaded:
    """A ``shared.runtime.Part`` made of two coroutine functions. ``begin`` cleans up after itself if it raises or is
    cancelled; ``end`` is called only after ``begin`` has returned."""

    def __init__(
        self,
        name: str,
        begin: Callable[[], Awaitable[None]],
        end: Callable[[], Awaitable[None]],
        *,
        start_s: float,
        stop_s: float,
    ) -> None:
        self.name = name
        self._begin = begin
        self._end = end
        self._start_s = start_s
        self._stop_s = stop_s
        self._thread: threading.Thread | None = None
        self._told = threading.Event()
        self._tell: Callable[[], None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Returns when ``begin`` has; raises what it raises, ``Unavailable`` if it is stopped before that, and
        ``TimeoutError``."""
        ready: Future[None] = Future()
        self._told.clear()
        self._tell = None
        self._thread = threading.Thread(target=self._run, args=(ready,), name=self.name, daemon=True)
        self._thread.start()
        try:
            ready.result(self._start_s)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Returns when the thread has ended. Raises ``Unavailable`` if it has not in time."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._told.set()
        if self._tell is not None:
            self._tell()
        thread.join(self._stop_s)
        if thread.is_alive():
            raise Unavailable(f"{self.name} is still busy")

    def ask(self, question: Callable[[], Answer], timeout_s: float) -> Answer:
        """What a function answers that is called in the loop. Raises ``Unavailable`` if the loop does not run, or does
        not get to it in time."""
        answer: Future[Answer] = Future()

        def call() -> None:
            try:
                answer.set_result(question())
            except Exception as error:  # noqa: BLE001 - raised in the thread that asks
                answer.set_exception(error)

        try:
            if self._loop is None:
                raise RuntimeError("it has not begun")
            self._loop.call_soon_threadsafe(call)
            return answer.result(timeout_s)
        except (RuntimeError, TimeoutError) as error:
            raise Unavailable(f"{self.name} does not answer: {error or f'{timeout_s:g} s'}") from error

    def carry_out(self, task: Callable[[], Coroutine[Any, Any, Answer]], timeout_s: float) -> Answer:
        """What a coroutine function returns that runs in the loop. Raises what it raises, and ``Unavailable`` if the
        loop does not run, or it does not end in time."""
        if self._loop is None or self._loop.is_closed():
            raise Unavailable(f"{self.name} does not run")
        running = asyncio.run_coroutine_threadsafe(task(), self._loop)
        try:
            return running.result(timeout_s)
        except TimeoutError as error:
            running.cancel()
            raise Unavailable(f"{self.name} does not answer within {timeout_s:g} s") from error

    def _run(self, ready: Future[None]) -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._serve(ready))
        except asyncio.CancelledError:
            ready.set_exception(Unavailable(f"{self.name} was stopped before it had begun"))
        except BaseException as error:
            if ready.done():
                log.exception("%s ended with an error", self.name)
            else:
                ready.set_exception(error)

    async def _serve(self, ready: Future[None]) -> None:
        loop, told = asyncio.get_running_loop(), asyncio.Event()
        self._loop = loop
        loop.set_default_executor(ThreadPoolExecutor(THREADS, thread_name_prefix=self.name))

        def tell() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: it has ended by itself
                loop.call_soon_threadsafe(told.set)

        self._tell = tell
        if self._told.is_set():  # before there was anything to tell
            told.set()
        beginning = asyncio.ensure_future(self._begin())
        waiting = asyncio.ensure_future(told.wait())
        await asyncio.wait({beginning, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if not beginning.done():
            beginning.cancel()
        await beginning
        ready.set_result(None)
        await waiting
        await self._end()
