"""Whose turn it is to write, among processes: SQLite's own waiting is unfair and sleeps up to 100 ms."""

from __future__ import annotations

import fcntl
import mmap
import os
import time
from pathlib import Path
from uuid import uuid4

from shared.errors import Unavailable

POLL_S = 0.000_5
_WAITING = 16
"""The byte behind the mark: whether somebody waits."""
_PAGE_BYTES = _WAITING + 1


class Turns:
    """A lock on two side files.

    Who must wait for ``lock`` holds ``queue`` and says so in ``lock``'s shared page, so that a process which writes
    all the time queues up behind it. The kernel lets go of both when the process dies; a page that still says so
    costs the next writer a detour. The page also has the mark of who had the last turn.
    """

    def __init__(self, path: Path, patience_s: float) -> None:
        self._patience_s = patience_s
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self._lock = os.open(f"{path}.lock", flags, 0o600)
        self._queue = os.open(f"{path}.queue", flags, 0o600)
        os.ftruncate(self._lock, _PAGE_BYTES)
        self._page = mmap.mmap(self._lock, _PAGE_BYTES)
        self._mark = uuid4().bytes

    def take(self) -> bool:
        """Wait for the turn; whether nobody else has had one since ours. Raises ``Unavailable`` when patience is
        over."""
        if self._page[_WAITING] or not _try(self._lock):
            self._queue_up()
        if self._page[:_WAITING] == self._mark:
            return True
        self._page[:_WAITING] = self._mark
        return False

    def give(self) -> None:
        """Let the next one write."""
        fcntl.flock(self._lock, fcntl.LOCK_UN)

    def close(self) -> None:
        """Let go of the side files."""
        self._page.close()
        os.close(self._lock)
        os.close(self._queue)

    def _queue_up(self) -> None:
        deadline = time.monotonic() + self._patience_s
        self._wait(self._queue, deadline)
        try:
            self._page[_WAITING] = 1
            self._wait(self._lock, deadline)
        finally:
            self._page[_WAITING] = 0
            fcntl.flock(self._queue, fcntl.LOCK_UN)

    def _wait(self, descriptor: int, deadline: float) -> None:
        while not _try(descriptor):
            if time.monotonic() >= deadline:
                raise Unavailable(f"another process has been writing for {self._patience_s:g} s")
            time.sleep(POLL_S)


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
