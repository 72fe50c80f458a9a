"""How fast something may be done: a number a minute, after a first few at once."""

from __future__ import annotations

import time
from collections.abc import Callable

AT_ONCE = 20


class Pace:
    """For one thread. ``per_minute`` 0: no limit."""

    def __init__(self, per_minute: int, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._step_s = 60 / per_minute if per_minute > 0 else 0.0
        self._monotonic = monotonic
        self._full_at = 0.0
        """When all that was done would be forgotten, had nothing more been done."""

    def pause_s(self) -> float:
        """One more was done: how long to wait before the next."""
        now = self._monotonic()
        self._full_at = max(self._full_at, now) + self._step_s
        return max(0.0, self._full_at - now - (AT_ONCE - 1) * self._step_s)
