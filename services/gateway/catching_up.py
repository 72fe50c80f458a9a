"""One reader's queue, filled from the logs and from what comes live: each event once, each lane in its order. Pure.

A lane (``live.PLATFORM``, or the log of one gateway) is *behind* until its log was read to the end. What comes live of
it meanwhile is left out, unless a page is being read: then it is kept, and follows the page if that was the last one.
Nothing is lost, because what comes live was in the log before.

==========  ==========================  ===============================================
lane        what comes live             becomes
==========  ==========================  ===============================================
behind      left out                    reading with ``begin``; live with ``give_up``
reading     kept, up to ``limit``       live with the last page, if all could be kept;
                                        behind with any other page and with ``leave``
live        queued, or told as missed   behind with ``lose``
==========  ==========================  ===============================================
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from services.gateway.live import MAX_WAITING_BYTES, Cursor, Missed, Place, PublishedEvent


@dataclass(frozen=True, slots=True)
class Page:
    """A stretch of a lane's log: what the reader wants of it, and up to where that is all (None: there is nothing).
    ``end``: nothing lay behind it at that moment; ``gap``: something before it is forgotten; ``restarted``: the log is
    another one than that of the reader's place, so that it counts from its beginning again."""

    events: Sequence[PublishedEvent]
    looked: Place | None
    end: bool
    gap: bool = False
    restarted: bool = False


@dataclass(frozen=True, slots=True)
class Told:
    """What a reader gets next, if anything but a new place: ``cursor`` is how far it has come with it."""

    event: PublishedEvent | Missed | None
    cursor: Cursor


@dataclass(frozen=True, slots=True)
class _Reached:
    """Everything of the lane up to here was looked at."""

    lane: str
    place: Place


class CatchingUp:
    """``behind``: the lanes to be read first; ``limit`` live events wait at most."""

    def __init__(self, cursor: Cursor, behind: Iterable[str], limit: int) -> None:
        self._cursor = cursor
        self._limit = limit
        self._waiting: deque[PublishedEvent | Missed | _Reached] = deque()
        self._bytes = 0
        self._kept_bytes = 0
        self._queued: dict[str, Place] = dict(cursor.places)
        self._behind: dict[str, list[PublishedEvent] | None] = dict.fromkeys(behind)
        self._left_out: dict[str, int] = {}
        self._missed = 0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def size_bytes(self) -> int:
        """What waits takes."""
        return self._bytes

    def place(self, lane: str) -> Place | None:
        """How far the lane has been queued."""
        return self._queued.get(lane)

    def left_out(self, lane: str) -> int:
        """How many live events of the lane were left out since it is behind."""
        return self._left_out.get(lane, 0)

    def hear(self, event: PublishedEvent) -> None:
        """An event that comes live. Never more than ``limit`` of them wait."""
        if event.lane not in self._behind:
            self._queue(event)
            return
        kept = self._behind[event.lane]
        if kept is not None and self._has_room(len(kept) + 1, self._kept_bytes):
            kept.append(event)
            self._kept_bytes += event.size_bytes
        else:
            self._behind[event.lane] = None
            self._left_out[event.lane] = self.left_out(event.lane) + 1

    def begin(self, lane: str) -> None:
        """A page of this lane is about to be read; of one at a time."""
        self._behind[lane] = []
        self._kept_bytes = 0

    def leave(self, lane: str) -> None:
        """It could not be read."""
        self._behind[lane] = None

    def page(self, lane: str, page: Page) -> bool:
        """What was read behind ``place``. Whether the lane is live now."""
        if page.restarted:
            self._queued.pop(lane, None)
            places = {name: known for name, known in self._cursor.places.items() if name != lane}
            self._cursor = replace(self._cursor, places=places)
        if page.gap:
            self._waiting.append(Missed(None))
        for event in page.events:
            self._put(event)
        if page.looked is not None and page.looked > self._queued.get(lane, Place(-1)):
            self._queued[lane] = page.looked
            self._waiting.append(_Reached(lane, page.looked))
        kept = self._behind[lane]
        has_room = not kept or self._has_room(len(self._waiting) + len(kept), self._bytes + self._kept_bytes)
        if not page.end or kept is None or not has_room:
            self._behind[lane] = None
            return False
        self._live(lane)
        for event in kept:
            self._queue(event)
        return True

    def lose(self, lanes: Iterable[str]) -> tuple[str, ...]:
        """What comes live is not all there is: these lanes and all that anything was heard of are behind. Which are."""
        for lane in {*lanes, *self._queued, *self._behind}:
            self._behind[lane] = None
        return tuple(self._behind)

    def give_up(self, lane: str) -> None:
        """The lane cannot be read: what it had is missed."""
        self._waiting.append(Missed(None))
        self._live(lane)

    def take(self) -> Told | None:
        """The next for the reader; None while there is nothing."""
        if not self._waiting:
            return Told(self._say_missed(), self._cursor) if self._missed else None
        item = self._waiting.popleft()
        if isinstance(item, PublishedEvent):
            self._bytes -= item.size_bytes
        if isinstance(item, _Reached):
            return Told(None, self._advanced(item.lane, item.place))
        if isinstance(item, PublishedEvent) and item.place is not None:
            return Told(item, self._advanced(item.lane, item.place))
        return Told(item, self._cursor)

    def clear(self) -> None:
        """Nothing is told any more."""
        self._waiting.clear()
        self._bytes = 0
        self._behind.clear()

    def _live(self, lane: str) -> None:
        del self._behind[lane]
        self._left_out.pop(lane, None)

    def _queue(self, event: PublishedEvent) -> None:
        if self._is_double(event):
            return
        if not self._has_room(len(self._waiting) + 1, self._bytes):
            self._missed += 1
            return
        if self._missed:  # the gap lies behind what waited then and before this event
            self._waiting.append(self._say_missed())
        self._put(event)

    def _put(self, event: PublishedEvent) -> None:
        if self._is_double(event):
            return
        if event.place is not None:
            self._queued[event.lane] = event.place
        self._waiting.append(event)
        self._bytes += event.size_bytes

    def _has_room(self, events: int, size_bytes: int) -> bool:
        return events <= self._limit and size_bytes < MAX_WAITING_BYTES

    def _is_double(self, event: PublishedEvent) -> bool:
        known = self._queued.get(event.lane)
        return known is not None and event.place is not None and event.place <= known

    def _say_missed(self) -> Missed:
        missed, self._missed = Missed(self._missed), 0
        return missed

    def _advanced(self, lane: str, place: Place) -> Cursor:
        places = {name: known for name, known in self._cursor.places.items() if name != lane}
        self._cursor = replace(self._cursor, places={**places, lane: place})
        return self._cursor
