"""How fast an import may go: no faster than the fleet view follows, or whoever changes a device meanwhile would wait
for the answer until the view has come through all that the import is ahead. Pure but for the clock."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from shared.store.port import Position

CHUNKS_AHEAD = 2
"""With 1 other calls wait half as long as with 4, and the import takes a quarter longer."""
LONGEST_S = 2.0
"""A view that does not move for so long holds up no import: it is broken, or has nothing to do with this."""
LOOK_S = 0.02


class Pace:
    """Called after each chunk with the position that it reached; returns when the next may follow. ``seen``: how far
    the view is."""

    def __init__(
        self,
        seen: Callable[[], Position | None],
        *,
        sleep: Callable[[float], object] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._seen = seen
        self._sleep = sleep
        self._clock = clock
        self._reached: deque[Position] = deque()
        self._stuck_at: Position | None = None

    def __call__(self, reached: Position) -> None:
        self._reached.append(reached)
        if len(self._reached) <= CHUNKS_AHEAD:
            return
        wanted = self._reached.popleft()
        seen, until_s = self._seen(), self._clock() + LONGEST_S
        while seen is not None and seen < wanted and seen != self._stuck_at:
            if self._clock() > until_s:
                self._stuck_at = seen
                return
            self._sleep(LOOK_S)
            moved = self._seen()
            if moved != seen:
                seen, until_s = moved, self._clock() + LONGEST_S
