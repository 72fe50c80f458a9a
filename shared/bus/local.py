"""The bus of one process: queues in memory, no thread of its own, no polling.

It promises what a broker does, as far as one process can: queues are bounded, each delivers in order, what a consumer
leaves unsettled is delivered again. It keeps nothing over a restart; a relay therefore publishes with ``handled``, and
its checkpoint says what to publish again. Parked messages are kept in a folder, if there is one.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any
from uuid import uuid4

from shared.bus import wire
from shared.bus.kept import KeptMessages
from shared.bus.local_queues import Consumer, Publication, Queue, QueuedEvent
from shared.bus.transport import Consumption, Deliver, EventQueue, Lock, ParkedMessage
from shared.bus.wire import Message
from shared.clock import system_clock
from shared.errors import NotFound, NotServed, Unavailable

MAX_QUEUED = 10_000
"""Events in one queue; a publisher gets ``Unavailable`` beyond."""


class _Request:
    """A request in the hands of a service of this process."""

    def __init__(
        self,
        message: Message,
        queue: str,
        deadline: float,
        on_done: Callable[[Message | Exception], None],
        nested: bool,
    ) -> None:
        self.message = message
        self.queue = queue
        self.nested = nested
        self._deadline = deadline
        self._on_done = on_done

    def lost(self) -> bool:
        return monotonic() >= self._deadline

    def settle(self) -> None:
        """Nothing keeps it."""

    def respond(self, body: bytes) -> None:
        reply = Message(body, wire.RPC_EXCHANGE, self.message.reply_to or "")
        self._on_done(reply)

    def refuse(self, reason: str) -> None:
        self._on_done(Unavailable(reason))


@dataclass(eq=False)
class _Server:
    service: str
    deliver: Deliver
    servers: dict[str, list[_Server]]
    guard: threading.Lock

    def pause(self) -> None:
        with self.guard:
            mine = self.servers.get(self.service, [])
            if self in mine:
                mine.remove(self)

    def close(self) -> None:
        self.pause()


@dataclass(eq=False)
class _Lock:
    line: list[_Lock]
    changed: Callable[[bool], None]
    guard: threading.Lock
    _left: bool = field(default=False, init=False)

    def release(self) -> None:
        with self.guard:
            if self._left:
                return
            self._left = True
            held = self.line[0] is self
            self.line.remove(self)
            heir = self.line[0] if held and self.line else None
        if held:
            self.changed(False)
        if heir is not None:
            heir.changed(True)


class LocalTransport:
    """One for all services and the gateway of a process."""

    def __init__(self, name: str = "local", *, parked: Path | None = None, max_queued: int = MAX_QUEUED) -> None:
        self.name = name
        self.guard = threading.Lock()
        self.kept = KeptMessages(parked)
        self._max_queued = max_queued
        self._queues: dict[str, Queue] = {}
        self._takers: dict[tuple[str, str], list[Queue]] = {}
        """By source and type, as far as anybody asked since queues changed; an import asks for each device."""
        self._servers: dict[str, list[_Server]] = {}
        self._locks: dict[str, list[_Lock]] = {}
        self._turns = itertools.count()
        self._stopped = False

    def start(self) -> None:
        """Ready at once."""
        self._stopped = False

    def stop(self) -> None:
        """Whoever waits for a publication gets ``Unavailable``; what is queued stays until the process ends."""
        with self.guard:
            self._stopped = True
            events = [event for queue in self._queues.values() for event in queue.waiting]
            for queue in self._queues.values():
                events += [event for consumer in queue.consumers for event in consumer.unsettled]
            waiting = {id(event.publication): event.publication.done for event in events}
            for event in events:
                event.publication.done = None
        for done in waiting.values():
            if done is not None:
                done.set_exception(Unavailable("the bus stops"))

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
        with self.guard:
            servers = self._servers.get(service)
            server = servers[next(self._turns) % len(servers)] if servers else None
        if server is None:
            on_done(NotServed(f"no service {service!r} runs"))
            return
        identity = str(uuid4())
        message = Message(
            body,
            wire.RPC_EXCHANGE,
            f"{service}.{method}",
            dict(headers),
            correlation_id=identity,
            reply_to=identity,
        )
        server.deliver(_Request(message, wire.rpc_queue(service), monotonic() + timeout_s, on_done, nested))

    def publish(
        self, source: str, event_type: str, body: bytes, headers: Mapping[str, Any], *, handled: bool = False
    ) -> Future[None]:
        message = Message(body, wire.event_exchange(source), event_type, dict(headers))
        done: Future[None] = Future()
        with self.guard:
            queues = [queue for queue in self._queues.values() if queue.takes(source, event_type)]
            full = next((queue.name for queue in queues if queue.depth >= self._max_queued), None)
            refusal = "the bus stops" if self._stopped else f"queue {full} is full" if full else None
            if refusal is None:
                lasting = sum(queue.spec.lasting for queue in queues) if handled else 0
                kept = Publication(done if lasting else None, lasting)
                passing = Publication(None, 0)
                for queue in queues:
                    queue.waiting.append(QueuedEvent(message, kept if queue.spec.lasting else passing))
        if refusal is not None:
            done.set_exception(Unavailable(refusal))
            return done
        if not lasting:
            done.set_result(None)
        for queue in queues:
            queue.pump()
        return done

    def send(self, queue: str, body: bytes, headers: Mapping[str, Any]) -> Future[None]:
        done: Future[None] = Future()
        with self.guard:
            known = self._queues.get(queue)
            if self._stopped or known is None:
                refusal = f"no queue {queue} takes this message"
            else:
                refusal = f"queue {queue} is full" if known.depth >= self._max_queued else ""
            if known is not None and not refusal:
                known.waiting.append(QueuedEvent(Message(body, "", queue, dict(headers)), Publication(done, 1)))
        if known is None or refusal:
            done.set_exception(Unavailable(refusal))
        else:
            known.pump()
        return done

    def depth(self, queue: str) -> Future[int]:
        done: Future[int] = Future()
        with self.guard:
            known = self._queues.get(queue)
        if known is None:
            done.set_exception(NotFound(f"there is no queue {queue}"))
        else:
            done.set_result(len(known.waiting))
        return done

    def wants(self, source: str, event_type: str) -> bool:
        with self.guard:
            takers = self._takers.get((source, event_type))
            if takers is None:
                takers = [queue for queue in self._queues.values() if queue.is_for(source, event_type)]
                self._takers[source, event_type] = takers
            return any(queue.spec.wanted() for queue in takers)

    def serve(self, service: str, deliver: Deliver, *, prefetch: int) -> Consumption:
        server = _Server(service, deliver, self._servers, self.guard)
        with self.guard:
            self._servers.setdefault(service, []).append(server)
        return server

    def declare(self, queue: EventQueue) -> None:
        with self.guard:
            self._takers.clear()
            self._queues.setdefault(queue.name, Queue(queue, self.guard))

    def consume(self, queue: EventQueue, deliver: Deliver, *, prefetch: int) -> Consumption:
        with self.guard:
            self._takers.clear()
            known = self._queues.setdefault(queue.name, Queue(queue, self.guard))
            known.spec = queue
            consumer = Consumer(known, deliver, prefetch, self.guard, self.drop)
            known.consumers.append(consumer)
        known.pump()
        return consumer

    def drop(self, queue: Queue) -> None:
        """Forget a queue that is gone with its consumer; called under the guard."""
        if not queue.consumers:
            self._takers.clear()
            self._queues.pop(queue.name, None)

    def park(self, delivery: Any, handler: str, error: str) -> Future[None]:
        message: Message = delivery.message
        text = message.body.decode(errors="replace")
        done: Future[None] = Future()
        try:
            self.kept.add(ParkedMessage(uuid4().hex, delivery.queue, handler, error, system_clock(), text, message))
        except (Unavailable, OSError) as problem:
            done.set_exception(problem)
        else:
            done.set_result(None)
        return done

    def resend(self, parked: ParkedMessage) -> None:
        """Give a message to the queue that it was parked from, and to no other. Raises ``NotFound``."""
        with self.guard:
            queue = self._queues.get(parked.queue)
            servers = self._servers.get(parked.queue.removeprefix("rpc-"))
            if queue is not None:
                queue.waiting.append(QueuedEvent(parked.original, Publication(None, 0)))
        if queue is not None:
            queue.pump()
        elif servers:
            servers[0].deliver(_Request(parked.original, parked.queue, monotonic() + 60, _forget, nested=False))
        else:
            raise NotFound(f"there is no queue {parked.queue}")

    def lock(self, name: str, changed: Callable[[bool], None]) -> Lock:
        with self.guard:
            line = self._locks.setdefault(name, [])
            place = _Lock(line, changed, self.guard)
            line.append(place)
            first = line[0] is place
        if first:
            changed(True)
        return place

    def status(self) -> dict[str, Any]:
        """Depth of each queue, messages that are parked."""
        with self.guard:
            depths = {queue.name: queue.depth for queue in self._queues.values()}
        return {"connected": not self._stopped, "queues": depths, "parked": len(self.kept)}


def _forget(_outcome: Message | Exception) -> None:
    """Nobody waits for the reply to a request that was sent again."""
