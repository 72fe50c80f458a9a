"""A local copy of all events of another store: the backup of a cluster, a fast source for rebuilds, and the way from a
cluster to one file.

The copy is an ordinary SQLite store with the original positions, versions and times, and may be read while it grows. It
keeps what it got, even when the source forgets it. Where it goes on is its own head, so that it may be stopped at any
moment.
"""

from __future__ import annotations

import fcntl
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from shared.errors import NotFound, Refused, Unavailable
from shared.store.port import EventStore, Page, Position, Recorded
from shared.store.sqlite import SqliteEventStore

log = logging.getLogger(__name__)

PAGE = 2_000
WAIT_S = 2.0
"""Longest wait for new events without telling how far the copy is."""
FIRST_PAUSE_S = 0.2
LAST_PAUSE_S = 5.0
"""Pause before the source is asked again, doubled with each failure in a row."""


@dataclass(frozen=True, slots=True)
class Progress:
    """``events`` were copied since the start. ``head`` is the source's last position. ``at`` is when the last event
    that was copied was recorded. ``problem`` says why nothing moves, if so."""

    events: int
    position: Position | None
    head: Position | None
    at: datetime | None
    problem: str = ""

    @property
    def is_level(self) -> bool:
        """Whether nothing is missing."""
        return not self.problem and (self.position or 0) >= (self.head or 0)


Told = Callable[[Progress], None]


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other mirrors off this file. Raises ``Refused`` when one is at work."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with Path(f"{path}.mirror").open("w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused("mirror_in_use", f"another mirror is writing to {path}") from None
        yield


class Mirror:
    """From ``source`` to ``copy``, whose only writer this must be (``locked``)."""

    def __init__(self, source: EventStore, copy: SqliteEventStore, told: Told) -> None:
        self._source = source
        self._copy = copy
        self._told = told
        self._position: Position | None = None
        self._events = 0
        self._at: datetime | None = None
        self._is_checked = False

    def catch_up(self) -> Progress:
        """Copy all that there is now. Raises ``Unavailable``, and ``Refused`` for a file that is no copy of this
        source, or that somebody else writes to."""
        self._check()
        head = self._source.head()
        with ThreadPoolExecutor(1, thread_name_prefix="mirror") as ahead:
            page = self._read()
            while True:
                following = None if page.end else ahead.submit(self._source.read_all, page.looked, PAGE)
                self._keep(page)
                self._tell(max(head or 0, self._position or 0))
                if following is None:
                    return self._progress(max(head or 0, self._position or 0))
                page = following.result()

    def follow(self, stopped: threading.Event) -> None:
        """Copy what there is and what comes until ``stopped``; while the source is away, wait for it. Raises
        ``Refused`` as ``catch_up``."""
        pause_s = FIRST_PAUSE_S
        while not stopped.is_set():
            try:
                self.catch_up()
                pause_s = FIRST_PAUSE_S
                self._wait(stopped)
            except Unavailable as failure:
                self._is_checked = False  # whether the last page was kept is not known
                if pause_s == FIRST_PAUSE_S:  # once an outage
                    log.warning("mirror at %s: %s; trying again until it goes on", self._position, failure)
                self._told(self._progress(self._position or 0, str(failure)))
                stopped.wait(pause_s)
                pause_s = min(2 * pause_s, LAST_PAUSE_S)

    def _wait(self, stopped: threading.Event) -> None:
        while not stopped.is_set() and not self._source.wait(self._position, WAIT_S):
            self._tell(self._position or 0)

    def _read(self) -> Page:
        return self._source.read_all(self._position, PAGE)

    def _keep(self, page: Page) -> None:
        if page.events:
            self._copy.restore(page.events)
            self._events += len(page.events)
            self._position, self._at = page.events[-1].position, page.events[-1].at

    def _check(self) -> None:
        """Where the copy ends, and that its last event is the source's, too."""
        if not self._is_checked:
            self._position = self._copy.head()
            if self._position is not None:
                self._compare(self._position)
            self._is_checked = True

    def _compare(self, position: Position) -> None:
        head = self._source.head()
        if head is None or head < position:
            raise self._foreign(f"it goes up to position {position}, and the store to {head}")
        try:
            mine, theirs = self._copy.at(position), self._source.at(position)
        except NotFound:  # forgotten on one side since: there is nothing to compare
            return
        if _identity(mine) != _identity(theirs):
            raise self._foreign(f"at position {position} it has {mine.type} {mine.id}")

    def _foreign(self, reason: str) -> Refused:
        return Refused("bad_mirror", f"{self._copy.path} is no mirror of this store: {reason}")

    def _tell(self, head: int) -> None:
        self._told(self._progress(head))

    def _progress(self, head: int, problem: str = "") -> Progress:
        last = Position(head) if head else None
        return Progress(self._events, self._position, last, self._at, problem)


def _identity(event: Recorded) -> tuple[bytes, str, int]:
    return event[0], event.stream, event.version
