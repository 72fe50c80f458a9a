"""Threads of a service: a pool that runs tasks, and an alarm clock that runs them later."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
from collections import deque
from collections.abc import Callable
from time import monotonic

log = logging.getLogger(__name__)

Task = Callable[[], None]

MAX_WAITING = 1_000
"""Tasks that may wait for a worker."""
MAX_EXTRA = 256
"""Workers beyond the size of a pool, for calls that a worker of this process waits for."""


class Workers:
    """A pool of threads that are made when they are first needed."""

    def __init__(self, name: str, size: int, *, max_waiting: int = MAX_WAITING) -> None:
        self._name = name
        self._size = size
        self._max_waiting = max_waiting
        self._tasks: deque[Task] = deque()
        self._changed = threading.Condition(threading.Lock())
        self._idle = 0
        self._threads: set[threading.Thread] = set()
        self._numbers = itertools.count(1)
        self._stopping = False

    @property
    def busy(self) -> int:
        """Tasks that run now."""
        return len(self._threads) - self._idle

    @property
    def waiting(self) -> int:
        """Tasks that wait for a worker."""
        return len(self._tasks)

    def submit(self, task: Task, *, extra: bool = False) -> bool:
        """Run a task soon; False if too many wait or the pool stops. An ``extra`` one never waits for a busy worker:
        the pool grows for it."""
        with self._changed:
            if self._stopping:
                return False
            if self._idle > len(self._tasks):
                self._tasks.append(task)
                self._changed.notify()
                return True
            if len(self._threads) < self._size + (MAX_EXTRA if extra else 0):
                self._spawn(task)
                return True
            if len(self._tasks) >= self._max_waiting:
                return False
            self._tasks.append(task)
            return True

    def stop(self, timeout_s: float) -> bool:
        """Finish what was submitted and end; whether all ended in time."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
            threads = list(self._threads)
        deadline = monotonic() + timeout_s
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, deadline - monotonic()))
        return not any(thread.is_alive() for thread in threads)

    def _spawn(self, task: Task) -> None:
        name = f"{self._name}-{next(self._numbers)}"
        thread = threading.Thread(target=self._run, args=(task,), name=name, daemon=True)
        self._threads.add(thread)
        thread.start()

    def _run(self, task: Task | None) -> None:
        while task is not None:
            try:
                task()
            except BaseException:
                log.exception("%s: a task failed", self._name)
            task = self._next()

    def _next(self) -> Task | None:
        with self._changed:
            while not self._tasks:
                if self._stopping or len(self._threads) > self._size:
                    self._threads.discard(threading.current_thread())
                    return None
                self._idle += 1
                try:
                    self._changed.wait()
                finally:
                    self._idle -= 1
            return self._tasks.popleft()


class Alarm:
    """Runs short tasks at their time, on a thread of its own that is made when it is first needed."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._heap: list[tuple[float, int, Task]] = []
        self._numbers = itertools.count()
        self._changed = threading.Condition(threading.Lock())
        self._thread: threading.Thread | None = None
        self._stopping = False

    def after(self, delay_s: float, task: Task) -> None:
        """Run the task in so many seconds, unless the alarm is stopped before."""
        with self._changed:
            if self._stopping:
                return
            heapq.heappush(self._heap, (monotonic() + delay_s, next(self._numbers), task))
            self._changed.notify()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=f"{self._name}-alarm", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        """Forget what has not run yet."""
        with self._changed:
            self._stopping = True
            self._heap.clear()
            self._changed.notify()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(5.0)

    def _run(self) -> None:
        while True:
            with self._changed:
                task = self._due()
                if task is None:
                    return
            try:
                task()
            except Exception:
                log.exception("%s: a timed task failed", self._name)

    def _due(self) -> Task | None:
        while not self._stopping:
            left_s = self._heap[0][0] - monotonic() if self._heap else None
            if left_s is not None and left_s <= 0:
                return heapq.heappop(self._heap)[2]
            self._changed.wait(left_s)
        return None
