"""The link to a broker: one connection, made again whenever it is lost, with everything declared anew.

Belongs to one asyncio loop; ``amqp`` puts it on a thread, ``client`` into the gateway's loop. What was in flight when
the connection went ends with ``Unknown``; what was not sent yet waits for the next connection, for a while.
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

from shared.bus.connection import Connection, resolve
from shared.bus.consumer import AmqpConsumer, AmqpDelivery, declare_event_queue
from shared.bus.publisher import Confirmed, Publisher
from shared.bus.requests import Outcome, Requests
from shared.bus.transport import MAX_PARKED, PARKED_QUEUE, EventQueue
from shared.clock import system_clock
from shared.errors import Unavailable
from shared.times import iso

log = logging.getLogger(__name__)

START_TIMEOUT_S = 15.0
PATIENCE_S = 5.0
"""How long something that was not sent yet waits for a lost connection."""
FIRST_PAUSE_S = 0.1
MOST_PAUSE_S = 1.5
MAX_WAITING = 10_000
LOCK_RETRY_S = 1.0
PARKED_ARGUMENTS = {"x-max-length": MAX_PARKED, "x-overflow": "reject-publish"}
PARKED_HEADER = "flotilla.parked."


class AmqpLink:
    """See the module."""

    def __init__(self, url: str, name: str, queues: Sequence[EventQueue] = ()) -> None:
        self._url = url
        self._queues = list(queues)
        self._name = name
        self._loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self._connection: Connection | None = None
        self._publisher: Publisher | None = None
        self._requests = Requests(name)
        self._waiting: dict[int, tuple[asyncio.TimerHandle, Callable[[], None]]] = {}
        self._numbers = itertools.count()
        self._consumers: list[AmqpConsumer] = []
        self._supervisor: asyncio.Task[None] | None = None
        self._up = asyncio.Event()
        self._problem = "not started"

    @property
    def connected(self) -> bool:
        return self._up.is_set()

    def status(self) -> dict[str, Any]:
        """Whether it is connected, why not, and what is under way."""
        return {
            "connected": self.connected,
            "problem": self._problem,
            "calls": self._requests.waiting,
            "unconfirmed": self._publisher.unconfirmed if self._publisher else 0,
        }

    async def start(self) -> None:
        """Raises ``Unavailable`` if there is no broker."""
        self._supervisor = asyncio.create_task(self._supervise())
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                await self._up.wait()
        except TimeoutError:
            await self.stop()
            raise Unavailable(f"no broker in {START_TIMEOUT_S:g} s: {self._problem}") from None

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
            await asyncio.wait({connection.closed}, timeout=5.0)

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

    async def hold_lock(self, queue: str, changed: Callable[[bool], None]) -> None:
        """Stand in line until cancelled: the one exclusive consumer of this queue has the lock."""
        while True:
            await self._up.wait()
            connection = self._connection
            if connection is None or not connection.is_open:
                await asyncio.sleep(FIRST_PAUSE_S)
                continue
            try:
                channel = await connection.channel(vital=False)
                await connection.ask(channel, channel.queue_declare, queue, durable=True, auto_delete=True)
                await connection.ask(channel, channel.basic_consume, queue, _ignore, exclusive=True)
            except Unavailable:
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
            try:
                connection = await Connection.open(self._url, self._name)
                try:
                    await self._set_up(connection)
                except BaseException:
                    connection.close("could not be set up")
                    raise
            except (Unavailable, AMQPError, OSError) as problem:
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
        publisher = await Publisher.open(connection)
        await self._requests.attach(connection)
        channel = await connection.channel()
        await connection.ask(channel, channel.queue_declare, PARKED_QUEUE, durable=True, arguments=PARKED_ARGUMENTS)
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

    def _down(self, reason: str) -> None:
        self._problem = reason
        self._up.clear()
        publisher, self._publisher = self._publisher, None
        self._connection = None
        for consumer in self._consumers:
            consumer.detached()
        if publisher is not None:
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
