"""Waiting for events: told at once of commits of this process, at the next look of those of others."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from shared.errors import Unavailable

LOOK_EVERY_S = 0.025


class Watch:
    """One of those who wait looks at the file for all, so that looking costs the same however many wait."""

    def __init__(self, look: Callable[[], int]) -> None:
        self._look = look
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._head = 0
        self._waiting = 0
        self._somebody_looks = False
        self._closed = False

    def advance(self, head: int) -> None:
        """There are events up to this position."""
        with self._lock:
            if head > self._head:
                self._head = head
                if self._waiting:
                    self._changed.notify_all()

    def wake(self) -> None:
        """Let everybody ask again whether they were stopped."""
        with self._lock:
            self._changed.notify_all()

    def close(self) -> None:
        """Whoever waits gets ``Unavailable``."""
        with self._lock:
            self._closed = True
            self._changed.notify_all()

    def wait(self, after: int, timeout_s: float, stopped: Callable[[], bool]) -> bool:
        """Block until the head is behind ``after``, ``stopped`` says so, or the time is over; whether it is behind."""
        deadline = time.monotonic() + timeout_s
        if self._head <= after:
            self.advance(self._look())
        with self._lock:
            self._waiting += 1
            try:
                return self._wait(after, deadline, stopped)
            finally:
                self._waiting -= 1
                if not self._somebody_looks:
                    self._changed.notify()  # somebody else must look now

    def _wait(self, after: int, deadline: float, stopped: Callable[[], bool]) -> bool:
        while True:
            if self._closed:
                raise Unavailable("the store is closed")
            if self._head > after:
                return True
            remaining_s = deadline - time.monotonic()
            if remaining_s <= 0 or stopped():
                return False
            if self._somebody_looks:
                self._changed.wait(remaining_s)
            else:
                self._wait_and_look(min(remaining_s, LOOK_EVERY_S))

    def _wait_and_look(self, timeout_s: float) -> None:
        self._somebody_looks = True
        try:
            if self._changed.wait(timeout_s):
                return
            self._lock.release()
            try:
                head = self._look()
            finally:
                self._lock.acquire()
            if head > self._head:
                self._head = head
                self._changed.notify_all()
        finally:
            self._somebody_looks = False
