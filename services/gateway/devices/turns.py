"""Costly work that many ask for at the same moment, a few pieces in each turn of the loop, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol


class Soon(Protocol):
    """A loop."""

    def call_soon(self, callback: Callable[[], None], /) -> object: ...


class Turns:
    """``most`` pieces in a turn; whoever comes behind others that wait, waits too."""

    def __init__(self, loop: Soon, most: int) -> None:
        self._loop = loop
        self._most = most
        self._left = most
        self._waiting: deque[Callable[[], None]] = deque()
        self._counting = False

    def __len__(self) -> int:
        """How many pieces wait."""
        return len(self._waiting)

    def do(self, work: Callable[[], None]) -> bool:
        """Do it now if this turn has room, else in a later one; whether it was done."""
        if not self._counting:
            self._counting = True
            self._loop.call_soon(self._next)
        if self._left <= 0 or self._waiting:
            self._waiting.append(work)
            return False
        self._left -= 1
        work()
        return True

    def _next(self) -> None:
        self._left = self._most
        self._counting = bool(self._waiting)
        if self._waiting:
            self._loop.call_soon(self._next)
        while self._waiting and self._left > 0:
            self._left -= 1
            self._waiting.popleft()()
