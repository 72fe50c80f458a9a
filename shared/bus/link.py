"""The link to a broker: one connection, made again whenever it is lost, with everything declared anew.

Belongs to one asyncio loop; ``amqp`` puts it on a thread, ``client`` into the gateway's loop. What was in flight when
the connection went ends with ``Unknown``; what was not sent yet waits for the next connection, for a while. (Longer
than most modules: all of it is one state, that of the connection.)
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import uuid4

from pika.exceptions import AMQPError

from shared.bus import address
from shared.bus.connection import CLOSE_TIMEOUT_S, Connection, resolve
from shared.bus.consumer import AmqpConsumer, AmqpDelivery, RpcConsumer, declare_event_queue
from shared.bus.publisher import Confirmed, Publisher
from shared.bus.queue_kinds import PARKED_QUEUE
from shared.bus.requests import Outcome, Requests
from shared.bus.transport import EventQueue
from shared.clock import system_clock
from shared.errors import NotFound, Refused, Unavailable
from shared.times import iso

log = logging.getLogger(__name__)

START_TIMEOUT_S = 15.0
PATIENCE_S = 5.0
"""How long something that was not sent yet waits for a lost connection."""
FIRST_PAUSE_S = 0.1
MOST_PAUSE_S = 1.5
MAX_WAITING = 10_000
LOCK_RETRY_S = 1.0
RENEW_PAUSE_S = 0.5
"""Before other channels are opened because the broker refused a message: time to elect a leader."""
LOCK_PREFIX = "flotilla.lock."
PARKED_HEADER = "flotilla.parked."


class AmqpLink:
    """See the module."""

    def __init__(self, url: str, name: str, queues: Sequence[EventQueue] = ()) -> None:
        where = address.parse(url)
        self._kind = where.kind
        self._nodes = itertools.cycle(random.sample(where.nodes, len(where.nodes)))  # clients spread over a cluster
        self._node = ""
        self._queues = list(queues)
        self._name = name
        self._loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self._connection: Connection | None = None
        self._publisher: Publisher | None = None
        self._retired: list[Publisher] = []
        self._requests = Requests(name, self._renew)
        self._renewing: asyncio.Task[None] | None = None
        self._waiting: dict[int, tuple[asyncio.TimerHandle, Callable[[], None]]] = {}
        self._numbers = itertools.count()
        self._consumers: list[AmqpConsumer] = []
        self._supervisor: asyncio.Task[None] | None = None
        self._up = asyncio.Event()
        self._refused: asyncio.Future[Refused] = self._loop.create_future()
        self._problem = "not started"

    @property
    def connected(self) -> bool:
        return self._up.is_set()

    def status(self) -> dict[str, Any]:
        """Whether it is connected, to which node, why not, and what is under way."""
        return {
            "connected": self.connected,
            "node": self._node if self.connected else None,
            "problem": self._problem,
            "calls": self._requests.waiting,
            "unconfirmed": self._publisher.unconfirmed if self._publisher else 0,
        }

    async def start(self) -> None:
        """Raises ``Unavailable`` if there is no broker, and ``Refused`` if a queue is of another kind there."""
        self._supervisor = asyncio.create_task(self._supervise())
        up = asyncio.create_task(self._up.wait())
        either: set[asyncio.Future[Any]] = {up, self._refused}
        await asyncio.wait(either, timeout=START_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
        if self.connected:
            return
        up.cancel()
        await self.stop()
        if self._refused.done():
            raise self._refused.result()
        raise Unavailable(f"no broker in {START_TIMEOUT_S:g} s: {self._problem}")

    async def stop(self) -> None:
        """Close; what is under way ends with ``Unknown``."""
        if self._supervisor is None:
            return
        self._supervisor.cancel()
        await asyncio.wait({self._supervisor})
        self._supervisor = None
        connection = self._connection
        self._down("stopped")
        if connection is not None:
            connection.close()
            await asyncio.wait({connection.closed}, timeout=CLOSE_TIMEOUT_S)

    def request(
        self,
        service: str,
        method: str,
        body: bytes,
        headers: Mapping[str, Any],
        timeout_s: float,
        on_done: Outcome,
    ) -> None:
        """As ``Transport.request``."""

        def send() -> None:
            self._requests.send(f"{service}.{method}", body, headers, timeout_s, on_done)

        self._when_up(send, on_done, min(timeout_s, PATIENCE_S))

    def publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        headers: Mapping[str, Any],
        on_confirm: Confirmed,
        *,
        patience_s: float = PATIENCE_S,
        **more: Any,
    ) -> None:
        """Publish; ``on_confirm`` gets None when it is safe, ``Unavailable`` or ``Unknown``."""

        def send() -> None:
            assert self._publisher is not None
            self._publisher.send(exchange, routing_key, body, headers, on_confirm, **more)

        self._when_up(send, on_confirm, patience_s)

    def park(self, delivery: AmqpDelivery, handler: str, error: str, on_confirm: Confirmed) -> None:
        """Publish a copy into the queue of parked messages, with the circumstances in headers."""
        message = delivery.message
        identity = uuid4().hex
        circumstances = {
            "id": identity,
            "queue": delivery.queue,
            "handler": handler,
            "error": error[:4_000],
            "at": iso(system_clock()),
            "exchange": message.exchange,
            "routing_key": message.routing_key,
            "content_type": message.content_type,
            "content_encoding": message.content_encoding,
        }
        headers = {**message.headers, **{f"{PARKED_HEADER}{key}": value for key, value in circumstances.items()}}
        self.publish(
            "",
            PARKED_QUEUE,
            message.body,
            headers,
            on_confirm,
            mandatory=True,
            message_id=identity,
            correlation_id=message.correlation_id,
        )

    async def consume(self, consumer: AmqpConsumer) -> None:
        """Consume from now on, in this and all later connections. Raises ``Unavailable``."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._up.wait()
        except TimeoutError:
            raise Unavailable(f"no connection to the broker: {self._problem}") from None
        assert self._connection is not None
        self._consumers.append(consumer)
        try:
            await consumer.attach(self._connection)
        except BaseException:
            self.forget(consumer)
            raise

    async def leave(self, consumer: RpcConsumer) -> None:
        """See ``RpcConsumer.leave``; its queue is gone already if the connection is."""
        connection = self._connection
        try:
            if connection is not None:
                await consumer.leave(connection)
        except Unavailable as problem:
            log.warning("%s: left %s without the broker: %s", self._name, consumer.queue, problem)
        consumer.cancel()

    async def declare(self, queue: EventQueue) -> None:
        """Let a queue exist, now and in all later connections. Raises ``Unavailable``."""
        self._queues.append(queue)
        connection = self._connection
        if connection is not None:
            channel = await connection.channel()
            await declare_event_queue(connection, channel, queue)
            channel.close()

    def forget(self, consumer: AmqpConsumer) -> None:
        """Leave the queue."""
        consumer.close()
        if consumer in self._consumers:
            self._consumers.remove(consumer)

    async def depth(self, queue: str) -> int:
        """How many messages wait in a queue, without those that a consumer has. Raises ``NotFound`` and
        ``Unavailable``."""
        connection = self._connection
        if connection is None:
            raise Unavailable(f"no connection to the broker: {self._problem}")
        channel = await connection.channel(vital=False)
        try:
            declared = await connection.ask(channel, channel.queue_declare, queue, passive=True)
        except Unavailable as problem:
            if "NOT_FOUND" not in str(problem):
                raise
            raise NotFound(f"there is no queue {queue} ({problem})") from None
        channel.close()
        return int(declared.method.message_count)

    async def hold_lock(self, name: str, changed: Callable[[bool], None]) -> None:
        """Stand in line until cancelled: the connection that has the exclusive queue of this name has the lock.

        The queue is of this connection and of no file, so a node that dies takes it along, and the next in line makes
        it anew on another node.
        """
        queue = f"{LOCK_PREFIX}{name}"
        while True:
            await self._up.wait()
            connection = self._connection
            if connection is None or not connection.is_open:
                await asyncio.sleep(FIRST_PAUSE_S)
                continue
            try:
                channel = await connection.channel(vital=False)
                await connection.ask(channel, channel.queue_declare, queue, exclusive=True, auto_delete=True)
                await connection.ask(channel, channel.basic_consume, queue, _ignore, exclusive=True)
            except (Unavailable, Refused):
                await asyncio.sleep(LOCK_RETRY_S * random.uniform(0.5, 1.0))  # noqa: S311 - spreads attempts
                continue
            await _held(connection, channel, changed)

    def _when_up(self, send: Callable[[], None], refuse: Callable[[Exception], None], patience_s: float) -> None:
        if self._up.is_set():
            send()
            return
        if patience_s <= 0 or len(self._waiting) >= MAX_WAITING or self._supervisor is None:
            refuse(Unavailable(f"no connection to the broker: {self._problem}"))
            return
        number = next(self._numbers)

        def give_up() -> None:
            del self._waiting[number]
            refuse(Unavailable(f"no connection to the broker: {self._problem}"))

        self._waiting[number] = (self._loop.call_later(patience_s, give_up), send)

    async def _supervise(self) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            node = next(self._nodes)
            try:
                connection = await Connection.open(node, self._name, self._kind)
                self._node = node.rpartition("@")[2].partition("/")[0]
                try:
                    await self._set_up(connection)
                except BaseException:
                    connection.close("could not be set up")
                    await asyncio.wait({connection.closed}, timeout=CLOSE_TIMEOUT_S)
                    raise
            except (Unavailable, Refused, AMQPError, OSError) as problem:
                if isinstance(problem, Refused):
                    resolve(self._refused, problem)
                self._down(str(problem))
                log.warning("%s: %s", self._name, problem)
                await asyncio.sleep(pause_s * random.uniform(0.75, 1.25))  # noqa: S311 - spreads attempts
                pause_s = min(pause_s * 2, MOST_PAUSE_S)
                continue
            pause_s = FIRST_PAUSE_S
            reason = await asyncio.shield(connection.closed)
            log.warning("%s: the broker went away: %s", self._name, reason)
            self._down(reason)

    async def _set_up(self, connection: Connection) -> None:
        self._connection = connection
        publisher = await Publisher.open(connection, self._renew)
        await self._requests.attach(connection)
        channel = await connection.channel()
        parked = dict(self._kind.parked)
        await connection.ask(channel, channel.queue_declare, PARKED_QUEUE, durable=True, arguments=parked)
        for lasting in list(self._queues):
            await declare_event_queue(connection, channel, lasting)
        for consumer in list(self._consumers):
            await consumer.attach(connection)
        if not connection.is_open:
            raise Unavailable("the broker went away at once")
        self._publisher = publisher
        self._problem = ""
        self._up.set()
        waiting, self._waiting = self._waiting, {}
        for timer, send in waiting.values():
            timer.cancel()
            send()

    def _renew(self) -> None:
        """Send on other channels soon: see ``Publisher``."""
        if self._renewing is None or self._renewing.done():
            self._renewing = asyncio.create_task(self._renew_channels())

    async def _renew_channels(self) -> None:
        await asyncio.sleep(RENEW_PAUSE_S)
        connection = self._connection
        if connection is None or not self.connected:
            return
        try:
            fresh = await Publisher.open(connection, self._renew)
            await self._requests.renew(connection)
        except Unavailable as problem:
            log.warning("%s: %s", self._name, problem)
            return
        if self._connection is not connection or self._publisher is None:
            return  # it was lost meanwhile, and all is new
        self._retired = [one for one in self._retired if one.unconfirmed] + [self._publisher]
        self._publisher.retire()
        self._publisher = fresh

    def _down(self, reason: str) -> None:
        self._problem = reason
        self._up.clear()
        publishers = [*self._retired, *([self._publisher] if self._publisher else [])]
        self._publisher, self._retired = None, []
        self._connection = None
        for consumer in self._consumers:
            consumer.detached()
        for publisher in publishers:
            publisher.lost(reason)
        self._requests.lost(reason)


async def _held(connection: Connection, channel: Any, changed: Callable[[bool], None]) -> None:
    """Have the lock as long as the channel lives; give it back when cancelled."""
    over = asyncio.get_running_loop().create_future()
    channel.add_on_close_callback(lambda *_: resolve(over, None))
    changed(True)
    try:
        await asyncio.wait({over, connection.closed}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        changed(False)
        if channel.is_open:
            channel.close()


def _ignore(*_delivery: Any) -> None:
    """Nothing is ever published to a lock queue."""
