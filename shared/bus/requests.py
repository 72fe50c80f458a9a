"""Requests and their replies on one connection after the other.

Requests are ``mandatory``, so that the broker returns one for a service that does not exist, but are not confirmed: the
reply says more, a lost one shows as a lost connection, and a confirmation would cost half a round trip. Only quorum
queues refuse requests, while they have no leader; with them the confirmation tells it (and see ``Publisher``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import uuid4

import pika
from pika.channel import Channel

from shared.bus import wire
from shared.bus.connection import Connection
from shared.bus.publisher import properties
from shared.bus.wire import Message
from shared.errors import NotServed, Unavailable, Unknown

MAX_CALLS = 10_000
"""Calls that may wait for their reply; further ones are ``Unavailable``."""

Outcome = Callable[[Message | Exception], None]


@dataclass(slots=True)
class _Call:
    on_done: Outcome
    timer: asyncio.TimerHandle


@dataclass(slots=True)
class _Sending:
    """The channel of requests; what is not confirmed on it, if it confirms."""

    channel: Channel
    confirms: bool
    sent: int = 0
    unconfirmed: dict[int, str] = field(default_factory=dict)


class Requests:
    """Belongs to one asyncio loop. ``on_refused``: see ``Publisher``; ``renew`` mends it."""

    def __init__(self, name: str, on_refused: Callable[[], None]) -> None:
        self._name = name
        self._on_refused = on_refused
        self._sending: _Sending | None = None
        self._reply_key = ""
        self._calls: dict[str, _Call] = {}

    @property
    def waiting(self) -> int:
        return len(self._calls)

    async def attach(self, connection: Connection) -> None:
        """Declare a reply queue of this connection alone. Raises ``Unavailable``."""
        channel = await connection.channel()
        await connection.ask(channel, channel.exchange_declare, wire.RPC_EXCHANGE, "topic", durable=True)
        self._reply_key = str(uuid4())
        queue = wire.reply_queue(self._name, self._reply_key)
        await connection.ask(channel, channel.queue_declare, queue, exclusive=True, auto_delete=True)
        await connection.ask(channel, channel.queue_bind, queue, wire.RPC_EXCHANGE, self._reply_key)
        await connection.ask(channel, channel.basic_consume, queue, self._on_reply, auto_ack=True)
        await self.renew(connection)

    async def renew(self, connection: Connection) -> None:
        """Send on a channel of its own from now on, a new one. Raises ``Unavailable``."""
        channel = await connection.channel()
        channel.add_on_return_callback(self._on_return)
        made = _Sending(channel, connection.kind.confirm_requests)
        if made.confirms:
            await connection.ask(channel, channel.confirm_delivery, partial(self._on_confirm, made))
        old, self._sending = self._sending, made
        if old is not None and old.channel.is_open:
            old.channel.close()

    def send(
        self, routing_key: str, body: bytes, headers: Mapping[str, Any], timeout_s: float, on_done: Outcome
    ) -> None:
        """Send one; the broker forgets it when its caller has."""
        sending = self._sending
        if sending is None or not sending.channel.is_open or len(self._calls) >= MAX_CALLS:
            on_done(Unavailable("the broker takes no more requests now"))
            return
        identity = str(uuid4())
        sent = properties(
            headers,
            correlation_id=identity,
            reply_to=self._reply_key,
            expiration=str(max(1, int(timeout_s * 1000))),
        )
        late = Unknown(f"{routing_key} gave no answer in {timeout_s:g} s")
        timer = asyncio.get_running_loop().call_later(timeout_s, self._settle, identity, late)
        self._calls[identity] = _Call(on_done, timer)
        if sending.confirms:
            sending.sent += 1
            sending.unconfirmed[sending.sent] = identity
        sending.channel.basic_publish(wire.RPC_EXCHANGE, routing_key, body, sent, mandatory=True)

    def lost(self, reason: str) -> None:
        """The connection is over; what was asked may have been done."""
        self._sending = None
        for identity in list(self._calls):
            self._settle(identity, Unknown(f"the broker went away before the answer came: {reason}"))

    def _settle(self, identity: str, outcome: Message | Exception) -> None:
        call = self._calls.pop(identity, None)
        if call is not None:
            call.timer.cancel()
            call.on_done(outcome)

    def _on_return(self, _channel: Channel, method: Any, sent: pika.BasicProperties, _body: bytes) -> None:
        service = method.routing_key.partition(".")[0]
        self._settle(sent.correlation_id or "", NotServed(f"no service {service!r} runs"))

    def _on_confirm(self, sending: _Sending, frame: Any) -> None:
        method = frame.method
        tags = [method.delivery_tag]
        if method.multiple:
            tags = [tag for tag in sending.unconfirmed if tag <= method.delivery_tag]
        found = [sending.unconfirmed.pop(tag, "") for tag in tags]
        if method.NAME == "Basic.Ack":
            return
        for identity in found:
            self._settle(identity, Unavailable("the broker refused this request"))
        self._on_refused()

    def _on_reply(self, _channel: Channel, method: Any, sent: pika.BasicProperties, body: bytes) -> None:
        reply = Message(
            body,
            method.exchange,
            method.routing_key,
            content_type=sent.content_type,
            content_encoding=sent.content_encoding,
        )
        self._settle(sent.correlation_id or "", reply)
