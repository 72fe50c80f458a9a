"""One page of events for one webhook: what may be tried next, and how far its place has moved. Pure.

Events of one device are tried in their order, one at a time; the place moves over what is done from the beginning.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence

from services.hooks.heard import Heard


class Page:
    """``done``: ids of events that were dealt with when the page was read before; ``held``: of those that failed and
    are not to be tried yet, which keep the later ones of their devices waiting."""

    def __init__(self, events: Sequence[Heard], done: Collection[str] = (), held: Collection[str] = ()) -> None:
        self._events = events
        self._done = {event.id for event in events}.intersection(done)
        self._of: dict[str, deque[Heard]] = {}
        for event in events:
            if event.id not in self._done:
                self._of.setdefault(event.coreid, deque()).append(event)
        self._ready = deque(device for device, waiting in self._of.items() if waiting[0].id not in held)

    def take(self) -> Heard | None:
        """The next that may be tried: of a device of which nothing is being tried, and nothing has failed."""
        return self._of[self._ready.popleft()][0] if self._ready else None

    def finish(self, event: Heard) -> None:
        """It is dealt with; the next of its device may be tried."""
        self._done.add(event.id)
        waiting = self._of[event.coreid]
        waiting.popleft()
        if waiting:
            self._ready.append(event.coreid)

    @property
    def is_done(self) -> bool:
        """Whether all of it is."""
        return len(self._done) == len(self._events)

    def moved(self) -> int | None:
        """The position of the last event before which nothing is left to do, None if the first is."""
        return self._events[self._first_left - 1].position if self._first_left else None

    @property
    def left_done(self) -> frozenset[str]:
        """The ids of those that are done behind one that is not."""
        return frozenset(event.id for event in self._events[self._first_left :] if event.id in self._done)

    @property
    def _first_left(self) -> int:
        left = (index for index, event in enumerate(self._events) if event.id not in self._done)
        return next(left, len(self._events))
