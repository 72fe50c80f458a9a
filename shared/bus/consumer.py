"""A consumer at a queue of the broker, over all lives of the connection, and what it delivers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pika
from pika.channel import Channel

from shared.bus import wire
from shared.bus.connection import Connection
from shared.bus.publisher import properties
from shared.bus.transport import Deliver, EventQueue
from shared.bus.wire import Message

Post = Callable[[Callable[[], None]], None]
"""Runs something on the loop of the link, from any thread."""


class AmqpDelivery:
    """An unacknowledged message; settling it after its connection is over does nothing."""

    nested = False

    def __init__(self, consumer: AmqpConsumer, channel: Channel, tag: int, message: Message) -> None:
        self.message = message
        self.queue = consumer.queue
        self._consumer = consumer
        self._channel = channel
        self._tag = tag

    def lost(self) -> bool:
        return self._consumer.channel is not self._channel

    def settle(self) -> None:
        self._consumer.post(self._ack)

    def respond(self, body: bytes) -> None:
        self._consumer.post(lambda: self._reply(body))

    def refuse(self, reason: str) -> None:
        self._consumer.post(self._nack)

    def _ack(self) -> None:
        if self._channel.is_open:
            self._channel.basic_ack(self._tag)

    def _nack(self) -> None:
        if self._channel.is_open:
            self._channel.basic_nack(self._tag)

    def _reply(self, body: bytes) -> None:
        """On the channel of the request, so that the broker has the reply before the acknowledgement."""
        if self._channel.is_open:
            sent = properties({}, correlation_id=self.message.correlation_id)
            self._channel.basic_publish(wire.RPC_EXCHANGE, self.message.reply_to or "", body, sent)
            self._channel.basic_ack(self._tag)


class AmqpConsumer:
    """Declares its queue and consumes it, again in every life of the connection. For the loop only."""

    def __init__(self, queue: str, deliver: Deliver, prefetch: int, post: Post) -> None:
        self.queue = queue
        self.post = post
        self.channel: Channel | None = None
        self.wanted = True
        self._deliver = deliver
        self._prefetch = prefetch
        self._tag = ""

    async def declare(self, connection: Connection, channel: Channel) -> None:
        """Exchange, queue and binding, as nameko declares them."""
        raise NotImplementedError

    async def attach(self, connection: Connection) -> None:
        """Raises ``Unavailable``."""
        channel = await connection.channel()
        await self.declare(connection, channel)
        await connection.ask(channel, channel.basic_qos, prefetch_count=self._prefetch)
        if not self.wanted:
            return
        self.channel = channel
        self._tag = f"{self.queue[:200]}-{id(self):x}"
        await connection.ask(channel, channel.basic_consume, self.queue, self._on_message, consumer_tag=self._tag)

    def detached(self) -> None:
        """The connection is over."""
        self.channel = None

    def cancel(self) -> None:
        """No further deliveries."""
        if self.wanted and self.channel is not None and self.channel.is_open:
            self.channel.basic_cancel(self._tag)
        self.wanted = False

    def close(self) -> None:
        """The broker takes back what is not settled."""
        self.wanted = False
        channel, self.channel = self.channel, None
        if channel is not None and channel.is_open:
            channel.close()

    def _on_message(self, channel: Channel, method: Any, sent: pika.BasicProperties, body: bytes) -> None:
        message = Message(
            body,
            method.exchange,
            method.routing_key,
            sent.headers or {},
            sent.content_type,
            sent.content_encoding,
            sent.correlation_id,
            sent.reply_to,
        )
        self._deliver(AmqpDelivery(self, channel, method.delivery_tag, message))


class RpcConsumer(AmqpConsumer):
    """Requests for one service. A ``lasting`` queue keeps them while nobody serves; another one goes with the
    connection, and has another name in each, because the broker may take a while to notice that the old one is dead."""

    def __init__(self, service: str, deliver: Deliver, prefetch: int, post: Post, *, lasting: bool = True) -> None:
        super().__init__(wire.rpc_queue(service), deliver, prefetch, post)
        self._service = service
        self._lasting = lasting

    async def declare(self, connection: Connection, channel: Channel) -> None:
        how: dict[str, Any] = {"durable": True, "arguments": dict(connection.kind.requests)}
        if not self._lasting:
            self.queue = f"{wire.rpc_queue(self._service)}-{uuid4().hex}"
            how = {"exclusive": True, "auto_delete": True}
        await connection.ask(channel, channel.exchange_declare, wire.RPC_EXCHANGE, "topic", durable=True)
        await connection.ask(channel, channel.queue_declare, self.queue, **how)
        await connection.ask(channel, channel.queue_bind, self.queue, wire.RPC_EXCHANGE, f"{self._service}.*")

    async def leave(self, connection: Connection) -> None:
        """Nothing more is routed here when this returns, and what was is delivered. Raises ``Unavailable``."""
        channel = self.channel
        if channel is not None and channel.is_open:
            binding = f"{self._service}.*"
            await connection.ask(channel, channel.queue_unbind, self.queue, wire.RPC_EXCHANGE, binding)
            await connection.ask(channel, channel.queue_declare, self.queue, passive=True)  # behind the deliveries
        self.cancel()


class EventConsumer(AmqpConsumer):
    """Events for one handler."""

    def __init__(self, spec: EventQueue, deliver: Deliver, prefetch: int, post: Post) -> None:
        super().__init__(spec.name, deliver, prefetch, post)
        self._spec = spec

    async def declare(self, connection: Connection, channel: Channel) -> None:
        await declare_event_queue(connection, channel, self._spec)


async def declare_event_queue(connection: Connection, channel: Channel, spec: EventQueue) -> None:
    """Exchange, queue and bindings. Raises ``Unavailable``."""
    exchange = wire.event_exchange(spec.source)
    how: dict[str, Any] = {"exclusive": spec.exclusive, "auto_delete": not spec.lasting}
    how["durable"] = not spec.exclusive  # a durable one would stay behind on a node that died, and keep us from ours
    how["arguments"] = dict(connection.kind.events) if spec.lasting else {}
    await connection.ask(channel, channel.exchange_declare, exchange, "topic", durable=True)
    await connection.ask(channel, channel.queue_declare, spec.name, **how)
    for event_type in spec.types:
        await connection.ask(channel, channel.queue_bind, spec.name, exchange, event_type)
