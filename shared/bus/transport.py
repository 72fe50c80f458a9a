"""What carries messages: the seam between hosts, relays and clients, and the transports ``local`` and ``amqp``.

A transport moves bytes; what they mean is in ``wire``. All methods may be called from any thread and none of them
waits for the network: outcomes arrive by callback or future, on whatever thread, and whoever needs them waits with a
timeout of its own. ``deliver`` and ``changed`` callbacks must return at once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from shared.bus.wire import Message

REPLAYED_HEADER = "flotilla.replayed"
"""On an event that was sent again from the store on demand: when, ISO 8601."""


def always() -> bool:
    """Yes."""
    return True


@dataclass(frozen=True, slots=True)
class EventQueue:
    """A queue of events of ``source``, of these types (``#``: all). A ``lasting`` queue is there without consumer;
    an ``exclusive`` one has this consumer only and goes with it. Within a process a queue takes events only while
    ``wanted`` says so; a broker does not ask."""

    name: str
    source: str
    types: Sequence[str]
    lasting: bool = True
    exclusive: bool = False
    wanted: Callable[[], bool] = always


@dataclass(frozen=True, slots=True)
class ParkedMessage:
    """A message that its handler could not handle. ``message`` is its body as text, ``handler`` ``service.method``."""

    id: str
    queue: str
    handler: str
    error: str
    at: datetime
    message: str
    original: Message = field(repr=False)

    @property
    def position(self) -> int | None:
        """Of the stored event in it; None for anything else."""
        try:
            found = json.loads(self.message)
        except ValueError:
            return None
        position = found.get("position") if isinstance(found, dict) else None
        return position if isinstance(position, int) else None

    @property
    def replayed(self) -> str | None:
        """When it was replayed; None for a message that came as usual."""
        found = self.original.headers.get(REPLAYED_HEADER)
        return None if found is None else str(found)


class Delivery(Protocol):
    """A message in the hands of a consumer until it is settled; if the consumer or the broker goes before that, it is
    delivered again."""

    @property
    def message(self) -> Message: ...

    @property
    def queue(self) -> str: ...

    @property
    def nested(self) -> bool:
        """Whether a worker of this process is waiting for the reply, so that it must not wait for a free worker."""
        ...

    def lost(self) -> bool:
        """Whether nobody waits for it any more, or it will be delivered again: not to be begun."""
        ...

    def settle(self) -> None:
        """It is dealt with."""
        ...

    def respond(self, body: bytes) -> None:
        """Send the reply to this request, then settle it."""
        ...

    def refuse(self, reason: str) -> None:
        """It cannot be taken now; somebody else may."""
        ...


Deliver = Callable[[Delivery], None]


class Consumption(Protocol):
    """A consumer at its queue."""

    def pause(self) -> None:
        """No further deliveries; those that are out may still be settled. Returns at once."""
        ...

    def close(self) -> None:
        """Give back what is not settled and leave. Safe to call twice."""
        ...


class Lock(Protocol):
    """A place in the line for a lock."""

    def release(self) -> None:
        """Leave the line, or give up the lock. Safe to call twice."""
        ...


class Transport(Protocol):
    """See the module. It is a ``shared.runtime.Part``; ``consume``, ``serve`` and ``lock`` need it started."""

    @property
    def name(self) -> str: ...

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def request(
        self,
        service: str,
        method: str,
        body: bytes,
        headers: Mapping[str, Any],
        timeout_s: float,
        on_done: Callable[[Message | Exception], None],
        *,
        nested: bool = False,
    ) -> None:
        """Call a method. ``on_done`` gets the reply, or ``Unavailable`` (nothing happened: no broker; ``NotServed``:
        no such service), or ``Unknown``; at most once, and perhaps never after ``timeout_s``."""
        ...

    def publish(
        self, source: str, event_type: str, body: bytes, headers: Mapping[str, Any], *, handled: bool = False
    ) -> Future[None]:
        """Publish an event. Done when it is safe: the broker has confirmed it, or, with ``handled`` on a transport
        that keeps nothing, every lasting queue has dealt with it. Fails with ``Unavailable`` or ``Unknown``."""
        ...

    def send(self, queue: str, body: bytes, headers: Mapping[str, Any]) -> Future[None]:
        """Put an event into one queue and no other. Done when it is safe there or, on a transport that keeps nothing,
        dealt with. Fails with ``Unavailable``, also when there is no such queue, or ``Unknown``."""
        ...

    def depth(self, queue: str) -> Future[int]:
        """How many messages wait in a queue, without those that a consumer has. Fails with ``NotFound`` and
        ``Unavailable``."""
        ...

    def wants(self, source: str, event_type: str) -> bool:
        """Whether anybody would get such an event. A broker cannot know who listens, so there it is always true."""
        ...

    def serve(self, service: str, deliver: Deliver, *, prefetch: int) -> Consumption:
        """Consume requests for a service. Raises ``Unavailable``."""
        ...

    def declare(self, queue: EventQueue) -> None:
        """Let a lasting queue be there, without consumer, so that no event misses it; before ``start`` this means
        from the start on. Raises ``Unavailable``."""
        ...

    def consume(self, queue: EventQueue, deliver: Deliver, *, prefetch: int) -> Consumption:
        """Consume events; the queue exists, and misses nothing, when this returns. Raises ``Unavailable``."""
        ...

    def park(self, delivery: Delivery, handler: str, error: str) -> Future[None]:
        """Keep a copy of a delivery for people to look at; done when it is safe. Does not settle it."""
        ...

    def lock(self, name: str, changed: Callable[[bool], None]) -> Lock:
        """Stand in line for the lock of this name; ``changed`` tells when it is ours and when no longer."""
        ...

    def status(self) -> dict[str, Any]:
        """What is cheap to know: connected, parked, queues."""
        ...
