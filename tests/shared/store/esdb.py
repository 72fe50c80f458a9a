"""What the tests of the EventStoreDB adapter share."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue
from uuid import uuid4

from shared.errors import Conflict, Unavailable
from shared.store.port import Appended, CaughtUp, EventStore, New, Recorded

TIMEOUT_S = 60.0
"""gRPC alone may wait 20 s for a connection that was opened just as a server died."""


def new(count: int = 1, kind: str = "Happened") -> list[New]:
    return [New(uuid4(), kind, b"{}", b"{}") for _ in range(count)]


@contextmanager
def followed(store: EventStore) -> Iterator[Callable[[], Recorded | CaughtUp]]:
    """What a subscription delivers to another thread, one at a time."""
    delivered: SimpleQueue[Recorded | CaughtUp] = SimpleQueue()
    subscription = store.subscribe()

    def follow() -> None:
        for item in subscription:
            delivered.put(item)

    with ThreadPoolExecutor(1) as thread:
        done = thread.submit(follow)
        try:
            yield lambda: delivered.get(timeout=TIMEOUT_S)
        finally:
            subscription.stop()
            done.result(TIMEOUT_S)


def patiently(call: Callable[[], Appended]) -> Appended:
    """Repeat it while the store is away, as callers do: with the same ids and versions."""
    deadline = time.monotonic() + TIMEOUT_S
    pause = threading.Event()
    while True:
        try:
            return call()
        except Conflict:
            raise
        except Unavailable:
            if time.monotonic() > deadline:
                raise
            pause.wait(0.05)
