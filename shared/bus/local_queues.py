"""Event queues in memory: bounded, in order, with what is unsettled given back; for the bus of one process."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from shared.bus.transport import Deliver, EventQueue
from shared.bus.wire import Message
from shared.errors import Misuse


@dataclass(slots=True)
class Publication:
    """One event in all the queues that it was put into."""

    done: Future[None] | None
    open: int

    def settled(self) -> Future[None] | None:
        """One queue less; the future to resolve if it was the last."""
        self.open -= 1
        return self.done if self.open == 0 else None


@dataclass(slots=True, eq=False)
class QueuedEvent:
    message: Message
    publication: Publication


class EventDelivery:
    nested = False

    def __init__(self, consumer: Consumer, event: QueuedEvent) -> None:
        self.message = event.message
        self.queue = consumer.queue.name
        self._consumer = consumer
        self._event = event

    def lost(self) -> bool:
        return self._consumer.closed

    def settle(self) -> None:
        self._consumer.settle(self._event)

    def respond(self, body: bytes) -> None:
        raise Misuse("an event gets no reply")

    def refuse(self, reason: str) -> None:
        self._consumer.settle(self._event)


class Queue:
    """A queue and its consumers. Everything but ``pump`` is called under the lock of the transport."""

    def __init__(self, spec: EventQueue, lock: threading.Lock) -> None:
        self.name = spec.name
        self.spec = spec
        self.waiting: deque[QueuedEvent] = deque()
        self.consumers: list[Consumer] = []
        self._lock = lock
        self._pumping = False

    @property
    def depth(self) -> int:
        return len(self.waiting) + sum(len(consumer.unsettled) for consumer in self.consumers)

    def takes(self, source: str, event_type: str) -> bool:
        return self.is_for(source, event_type) and self.spec.wanted()

    def is_for(self, source: str, event_type: str) -> bool:
        """Whether it takes such events while it wants any."""
        return self.spec.source == source and (event_type in self.spec.types or "#" in self.spec.types)

    def pump(self) -> None:
        """Hand out what can be; whoever comes while another thread does it leaves it to that one, for order."""
        while True:
            with self._lock:
                consumer = next((one for one in self.consumers if one.has_room), None)
                if self._pumping or consumer is None or not self.waiting:
                    return
                self._pumping = True
                event = self.waiting.popleft()
                consumer.unsettled.append(event)
                self.consumers.append(self.consumers.pop(self.consumers.index(consumer)))
            try:
                consumer.deliver(EventDelivery(consumer, event))
            finally:
                with self._lock:
                    self._pumping = False


class Consumer:
    def __init__(
        self, queue: Queue, deliver: Deliver, prefetch: int, guard: threading.Lock, drop: Callable[[Queue], None]
    ) -> None:
        self.queue = queue
        self.deliver = deliver
        self.unsettled: list[QueuedEvent] = []
        self.closed = False
        self._paused = False
        self._prefetch = prefetch
        self._guard = guard
        self._drop = drop

    @property
    def has_room(self) -> bool:
        return not self._paused and len(self.unsettled) < self._prefetch

    def settle(self, event: QueuedEvent) -> None:
        with self._guard:
            if event not in self.unsettled:
                return
            self.unsettled.remove(event)
            done = event.publication.settled()
        if done is not None:
            done.set_result(None)
        self.queue.pump()

    def pause(self) -> None:
        self._paused = True

    def close(self) -> None:
        with self._guard:
            if self.closed:
                return
            self.closed = self._paused = True
            self.queue.consumers.remove(self)
            self.queue.waiting.extendleft(reversed(self.unsettled))
            self.unsettled.clear()
            if not self.queue.spec.lasting:
                self._drop(self.queue)
        self.queue.pump()
