"""Stands between the exchanges and the services: every event message reaches its handlers twice, some of them late and
so behind newer ones. What it holds is not acknowledged to the broker, so nothing is lost with it."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass
from functools import cache
from typing import Any

import pika

from deploy.composition import CLASSES
from shared.bus import declarations, wire
from shared.bus.transport import EventQueue

QUEUE = "faults.tap"
LATE = 0.3
"""How many copies come late."""
LATEST_S = 3.0
AGAIN_S = 2.0
"""How often the services' own bindings are taken away; they make them anew when they connect."""
STOP_S = 60.0


@dataclass(order=True, slots=True)
class _Copy:
    due_s: float
    number: int
    tag: int
    queue: str
    body: bytes
    properties: Any


class Tap:
    """Taps from ``start`` to ``stop``; ``copies`` and ``late`` are the messages that it delivered."""

    def __init__(self, url: str, seed: int) -> None:
        self.copies = self.late = 0
        self._url = url
        self._chance = random.Random(f"{seed}/tap")
        self._held: list[_Copy] = []
        self._left: dict[int, int] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tap", daemon=True)
        self._problem: BaseException | None = None
        self._ready = threading.Event()

    def start(self) -> None:
        """Returns when everything goes through it."""
        self._thread.start()
        if not self._ready.wait(10):
            raise TimeoutError(f"the tap does not start: {self._problem}")

    def stop(self) -> None:
        """Let go of everything that is held, and let the services have their own again. Raises what went wrong."""
        self._stopping.set()
        self._thread.join(STOP_S)
        if self._thread.is_alive():
            raise TimeoutError(f"the tap still holds messages after {STOP_S} s")
        if self._problem is not None:
            raise self._problem

    def _run(self) -> None:
        try:
            connection = pika.BlockingConnection(pika.URLParameters(self._url))
            self._tap(connection.channel())
            connection.close()
        except Exception as problem:  # noqa: BLE001 - raised by ``stop``
            self._problem = problem

    def _tap(self, channel: Any) -> None:
        channel.queue_declare(QUEUE, durable=True)
        for source in {queue.source for queue in _queues()}:
            channel.queue_bind(QUEUE, wire.event_exchange(source), "#")
        self._bind(channel, own=False)
        self._ready.set()
        again_s = time.monotonic() + AGAIN_S
        for method, properties, body in channel.consume(QUEUE, inactivity_timeout=0.05):
            if method is not None:
                self._take(channel, method, properties, body)
            if time.monotonic() > again_s:
                self._bind(channel, own=self._stopping.is_set())
                again_s = time.monotonic() + AGAIN_S
            self._deliver(channel)
            if self._stopping.is_set() and method is None and not self._held:
                break
        channel.cancel()
        self._bind(channel, own=True)
        channel.queue_delete(QUEUE)

    def _bind(self, channel: Any, *, own: bool) -> None:
        for queue in _queues():
            for event_type in queue.types:
                change = channel.queue_bind if own else channel.queue_unbind
                change(queue.name, wire.event_exchange(queue.source), event_type)

    def _take(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        wanting = [
            queue.name
            for queue in _queues()
            if wire.event_exchange(queue.source) == method.exchange and method.routing_key in queue.types
        ]
        if not wanting:
            channel.basic_ack(method.delivery_tag)
            return
        self._left[method.delivery_tag] = 2 * len(wanting)
        for queue in 2 * wanting:
            wait_s = self._chance.uniform(0.2, LATEST_S) if self._chance.random() < LATE else 0.0
            self.late += wait_s > 0
            self.copies += 1
            self._held.append(
                _Copy(time.monotonic() + wait_s, self.copies, method.delivery_tag, queue, body, properties)
            )

    def _deliver(self, channel: Any) -> None:
        now_s = time.monotonic()
        due = sorted(copy for copy in self._held if copy.due_s <= now_s or self._stopping.is_set())
        self._held = [copy for copy in self._held if copy not in due]
        for copy in due:
            channel.basic_publish("", copy.queue, copy.body, copy.properties)
            self._left[copy.tag] -= 1
            if not self._left[copy.tag]:
                del self._left[copy.tag]
                channel.basic_ack(copy.tag)


@cache
def _queues() -> tuple[EventQueue, ...]:
    """The queues of all handlers of all services."""
    return tuple(
        queue for service in CLASSES for queue in declarations.lasting_queues(declarations.read(service, service))
    )
