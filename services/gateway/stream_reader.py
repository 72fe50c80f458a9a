"""A reader of an event stream that comes back with an id and gets what it missed (decision 25)."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from services.gateway.catching_up import CatchingUp, Page, Told
from services.gateway.filters import EventFilter
from services.gateway.history import Past
from services.gateway.hub import Hub, Subscription
from services.gateway.live import PLATFORM, Cursor, Missed, Place, PublishedEvent
from services.gateway.stream_ids import Ids
from shared.errors import Unavailable

log = logging.getLogger(__name__)

PAUSE_S = 0.02
"""Between two pages for one reader, so that one that has missed much keeps nobody busy."""
ROOM = 100
"""The next page is read when so few events wait."""
ROOM_BYTES = 256 * 1024
"""And when they take so little."""
AWAY_S = 3.0
"""How often a gateway that is away is asked again."""
ATTEMPTS = 10
"""After so many a gateway that tells live events, but does not let its log be read, is given up."""


@dataclass(frozen=True, slots=True)
class Placed:
    """What a reader gets next, if anything but a new place, with the id to come back with."""

    event: PublishedEvent | Missed | None
    id: str


class History(Protocol):
    """See ``services.gateway.history``."""

    @property
    def ids(self) -> Ids: ...

    def lanes(self) -> dict[str, str]: ...

    async def here(self) -> dict[str, Place]: ...

    async def read(self, wanted: EventFilter, lane: str, place: Place | None, since: datetime, past: Past) -> Page: ...


class StreamReader(Subscription):
    """Iterates over ``Placed``: a place to begin with, then what the reader missed since then, mixed with what comes
    live."""

    def __init__(
        self, hub: Hub, wanted: EventFilter, limit: int, history: History, cursor: Cursor, behind: Iterable[str]
    ) -> None:
        super().__init__(hub, wanted, limit)
        self._history = history
        self._since = cursor.since
        self._behind = tuple(behind)
        self._core = CatchingUp(cursor, self._behind, limit)
        self._first: deque[Told] = deque([Told(None, cursor)])
        self._taken = asyncio.Event()
        self._start()

    async def __anext__(self) -> Placed:
        while not self._closed:
            told = self._first.popleft() if self._first else self._core.take()
            if told is not None:
                self._taken.set()
                return Placed(told.event, self._history.ids.text(told.cursor))
            self._wake.clear()
            await self._wake.wait()
        raise StopAsyncIteration

    def offer(self, event: PublishedEvent) -> None:
        """Never blocks: without room the event is counted as missed."""
        self._core.hear(event)
        self._wake.set()

    def say_missed(self) -> None:
        """Before anything else: nobody knows what this reader missed."""
        self._first.extendleft([Told(Missed(None), self._first[0].cursor)])

    def lost(self) -> None:
        """What comes live is not all there is: it is read from the logs, once it comes again."""
        self._task.cancel()
        self._behind = self._core.lose([PLATFORM, *self._history.lanes()])

    def found(self) -> None:
        """It comes again."""
        self._start()

    def close(self) -> None:
        """End the iteration and the catching up; what still waits is dropped."""
        super().close()
        self._core.clear()
        self._task.cancel()

    def _start(self) -> None:
        self._task = asyncio.create_task(self._catch_up(self._behind), name="an event stream catches up")

    async def _catch_up(self, behind: Sequence[str]) -> None:
        past, attempts = Past(), dict.fromkeys(behind, 0)
        while attempts:
            asked_again = False
            for lane in list(attempts):
                try:
                    is_live = await self._read(lane, past)
                except Exception as error:
                    if not isinstance(error, Unavailable):
                        log.exception("the history of an event stream cannot be read")
                    is_live = self._away(lane, attempts)
                else:
                    attempts[lane] = 0
                    asked_again = True
                if is_live:
                    del attempts[lane]
            await asyncio.sleep(PAUSE_S if asked_again else AWAY_S)

    async def _read(self, lane: str, past: Past) -> bool:
        """One page, once there is room for it; whether the lane is live now."""
        while len(self._core) > ROOM or self._core.size_bytes > ROOM_BYTES:
            self._taken.clear()
            await self._taken.wait()
        self._core.begin(lane)
        page = await self._history.read(self.wanted, lane, self._core.place(lane), self._since, past)
        is_live = self._core.page(lane, page)
        self._wake.set()
        return is_live

    def _away(self, lane: str, attempts: dict[str, int]) -> bool:
        self._core.leave(lane)
        attempts[lane] += 1
        if attempts[lane] < ATTEMPTS or not self._core.left_out(lane):
            return False
        self._core.give_up(lane)
        self._wake.set()
        return True


async def come_back(
    hub: Hub, history: History, wanted: EventFilter, limit: int, last_id: str | None, now: datetime
) -> StreamReader:
    """A reader from the place of this id on; without one, or with one that is none, from now on. Raises
    ``Unavailable``."""
    cursor = None if last_id is None else history.ids.cursor(last_id, now)
    if cursor is None:
        here = await history.here()
        reader = StreamReader(hub, wanted, limit, history, Cursor(now, here), here)
        if last_id is not None:
            reader.say_missed()
    else:
        reader = StreamReader(hub, wanted, limit, history, cursor, [PLATFORM, *history.lanes()])
    try:
        hub.join(reader)
    except BaseException:
        reader.close()
        raise
    return reader
