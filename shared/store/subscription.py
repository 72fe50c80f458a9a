"""Following the store: pages up to the end, then waiting for more.

Pages are asked for, never pushed, so that a slow reader is never "too slow", and going on after an outage is
asking for the next page again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import Protocol

from shared.errors import Unavailable
from shared.store.port import CaughtUp, Only, Page, Position, Recorded

log = logging.getLogger(__name__)

PAGE = 500
WAIT_S = 5.0
FIRST_PAUSE_S = 0.1
LAST_PAUSE_S = 2.0
"""Pause before the store is asked again, doubled with each failure in a row."""


class Source(Protocol):
    """What a subscription needs of its store."""

    @property
    def is_closed(self) -> bool: ...

    def read_all(self, after: Position | None, limit: int, only: Only) -> Page: ...

    def follow(self, after: Position | None, timeout_s: float, stopped: threading.Event) -> bool: ...

    def wake(self) -> None: ...


class PagedSubscription:
    """See ``shared.store.port.Subscription``; ends with ``Unavailable`` when the store is closed under it."""

    def __init__(self, source: Source, after: Position | None, only: Only) -> None:
        self._source = source
        self._position = after
        self._only = only
        self._stopped = threading.Event()
        self._pause_s = FIRST_PAUSE_S

    def __iter__(self) -> Iterator[Recorded | CaughtUp]:
        must_tell = True
        while not self._stopped.is_set():
            try:
                page = self._source.read_all(self._position, PAGE, self._only)
            except Unavailable as failure:
                self._back_off(failure)
                continue
            self._recover()
            for event in page.events:
                if self._stopped.is_set():
                    return
                self._position = event.position
                yield event
            must_tell = must_tell or bool(page.events)
            self._position = page.looked
            if page.end:
                if must_tell:
                    must_tell = False
                    yield CaughtUp(page.looked)
                self._wait()

    def stop(self) -> None:
        """End the iteration, also while it waits."""
        self._stopped.set()
        self._source.wake()

    def _wait(self) -> None:
        try:
            self._source.follow(self._position, WAIT_S, self._stopped)
        except Unavailable as failure:
            self._back_off(failure)

    def _recover(self) -> None:
        if self._pause_s > FIRST_PAUSE_S:
            log.info("subscription at %s goes on", self._position)
            self._pause_s = FIRST_PAUSE_S

    def _back_off(self, failure: Unavailable) -> None:
        if self._source.is_closed:
            raise failure
        if self._pause_s == FIRST_PAUSE_S:  # once an outage
            log.warning("subscription at %s: %s; trying again until it goes on", self._position, failure)
        self._stopped.wait(self._pause_s)
        self._pause_s = min(2 * self._pause_s, LAST_PAUSE_S)
