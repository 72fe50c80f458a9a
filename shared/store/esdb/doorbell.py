"""Waiting for events: one subscription tells all who wait that there is something; what there is, they read.

The bell is never trusted alone: who waits also looks at the store itself every ``LOOK_EVERY_S``, so that a
subscription that stalls without an error costs a delay and nothing else.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from shared.errors import FlotillaError, Unavailable
from shared.store.esdb.client import positions
from shared.store.esdb.failures import FAILURES, explained
from shared.store.port import Recorded

log = logging.getLogger(__name__)

LOOK_EVERY_S = 2.0
FIRST_PAUSE_S = 0.1
LAST_PAUSE_S = 2.0
"""Pause before the subscription is opened again, doubled with each failure in a row."""


class Doorbell:
    """``subscribe`` opens a subscription behind the end, ``look`` gives the last position, 0 for none."""

    def __init__(self, subscribe: Callable[[], Any], look: Callable[[], int]) -> None:
        self._subscribe = subscribe
        self._look = look
        self._changed = threading.Condition()
        self._head = 0
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self._call: Any = None

    def advance(self, head: int) -> None:
        """There are events up to this position."""
        with self._changed:
            if head > self._head:
                self._head = head
                self._changed.notify_all()

    def wake(self) -> None:
        """Let everybody who waits ask again whether to go on."""
        with self._changed:
            self._changed.notify_all()

    def wait(self, after: int, timeout_s: float, stopped: Callable[[], bool], *, look_first: bool) -> bool:
        """Block until there is something behind ``after``, ``stopped`` says so, or the time is over; whether there is.

        ``look_first``: ask the store before waiting; who has just read to the end need not. Raises ``Unavailable``.
        """
        deadline = time.monotonic() + timeout_s
        next_look = time.monotonic() + (0 if look_first else LOOK_EVERY_S)
        self._start()
        while True:
            if self._head <= after and time.monotonic() >= next_look:
                next_look = time.monotonic() + LOOK_EVERY_S
                self.advance(self._look())
            with self._changed:
                if self._closed.is_set():
                    raise Unavailable("the store is closed")
                if self._head > after:
                    return True
                remaining_s = deadline - time.monotonic()
                if remaining_s <= 0 or stopped():
                    return False
                self._changed.wait(min(remaining_s, max(next_look - time.monotonic(), 0)))

    def close(self) -> None:
        """End the subscription; whoever waits gets ``Unavailable``."""
        self._closed.set()
        self.wake()
        with self._changed:
            call, thread = self._call, self._thread
        if call is not None:
            call.cancel()
        if thread is not None and thread is not threading.current_thread():
            thread.join(LAST_PAUSE_S)

    def _start(self) -> None:
        with self._changed:
            if self._thread is None and not self._closed.is_set():
                self._thread = threading.Thread(target=self._run, name="event store doorbell", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        pause_s = FIRST_PAUSE_S
        while not self._closed.is_set():
            opened_at = time.monotonic()
            try:
                self._listen()
            except (FlotillaError, *FAILURES) as failure:
                if self._closed.is_set():
                    return
                log.warning("doorbell: %s; opening it again", explained(failure, "subscription"))
            if time.monotonic() - opened_at > LAST_PAUSE_S:
                pause_s = FIRST_PAUSE_S
            self._closed.wait(pause_s)
            pause_s = min(2 * pause_s, LAST_PAUSE_S)

    def _listen(self) -> None:
        call = self._subscribe()
        with self._changed:
            self._call = call
            if self._closed.is_set():
                call.cancel()
        self.advance(self._look())  # what came before the subscription stood
        for told in positions(call):
            if isinstance(told, Recorded):
                self.advance(told.position)
