"""Publishing with confirms, pipelined: each message learns by callback what became of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from uuid import uuid4

import pika
from pika.channel import Channel

from shared.bus import wire
from shared.bus.connection import Connection
from shared.errors import Unavailable, Unknown

MAX_UNCONFIRMED = 10_000
"""Messages that may wait for their confirmation; further ones are ``Unavailable``."""

Confirmed = Callable[[Exception | None], None]


def properties(headers: Mapping[str, Any], **more: Any) -> pika.BasicProperties:
    """Those that nameko sets on every message, and more."""
    return pika.BasicProperties(
        content_type=wire.CONTENT_TYPE,
        content_encoding=wire.CONTENT_ENCODING,
        delivery_mode=wire.PERSISTENT,
        priority=0,
        headers=dict(headers),
        **more,
    )


class Publisher:
    """A channel in confirm mode.

    ``on_refused`` is called when the broker refuses a message: a channel whose first message to a quorum queue comes
    while that has no leader is refused for ever (RabbitMQ 3.10), so whoever opened this one opens another.
    """

    def __init__(self, channel: Channel, on_refused: Callable[[], None]) -> None:
        self._channel = channel
        self._on_refused = on_refused
        self._retired = False
        self._sent = 0
        self._open: dict[int, tuple[str, Confirmed]] = {}
        self._returned: set[str] = set()
        self._exchanges: set[str] = set()

    @classmethod
    async def open(cls, connection: Connection, on_refused: Callable[[], None]) -> Publisher:
        """Raises ``Unavailable``."""
        channel = await connection.channel()
        made = cls(channel, on_refused)
        channel.add_on_return_callback(made._on_return)
        await connection.ask(channel, channel.confirm_delivery, made._on_confirm)
        return made

    @property
    def unconfirmed(self) -> int:
        return len(self._open)

    def send(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        headers: Mapping[str, Any],
        on_confirm: Confirmed,
        *,
        mandatory: bool = False,
        **more: Any,
    ) -> None:
        """Publish. A ``mandatory`` message that reaches no queue is confirmed with ``Unavailable``."""
        if len(self._open) >= MAX_UNCONFIRMED or not self._channel.is_open:
            on_confirm(Unavailable("the broker takes no more messages now"))
            return
        identity = more.pop("message_id", None) or (uuid4().hex if mandatory else "")
        if identity:
            more["message_id"] = identity
        if exchange.endswith(".events") and exchange not in self._exchanges:
            self._exchanges.add(exchange)
            self._channel.exchange_declare(exchange, "topic", durable=True)
        self._sent += 1
        self._open[self._sent] = (identity, on_confirm)
        self._channel.basic_publish(exchange, routing_key, body, properties(headers, **more), mandatory)

    def lost(self, reason: str) -> None:
        """The connection is over; what is unconfirmed may or may not have arrived."""
        waiting, self._open = self._open, {}
        for _, on_confirm in waiting.values():
            on_confirm(Unknown(f"the broker went away before it confirmed: {reason}"))

    def retire(self) -> None:
        """Give way to another one: close when the last message is confirmed."""
        self._retired = True
        self._leave()

    def _leave(self) -> None:
        if self._retired and not self._open and self._channel.is_open:
            self._channel.close()

    def _on_return(self, _channel: Channel, _method: Any, sent: pika.BasicProperties, _body: bytes) -> None:
        if sent.message_id:
            self._returned.add(sent.message_id)

    def _on_confirm(self, frame: Any) -> None:
        method = frame.method
        tags = [method.delivery_tag]
        if method.multiple:
            tags = [tag for tag in self._open if tag <= method.delivery_tag]
        for tag in tags:
            identity, on_confirm = self._open.pop(tag, ("", None))
            if on_confirm is None:
                continue
            if identity in self._returned:
                self._returned.discard(identity)
                on_confirm(Unavailable("no queue takes this message"))
            else:
                on_confirm(None if method.NAME == "Basic.Ack" else Unavailable("the broker refused this message"))
        if method.NAME != "Basic.Ack":
            self._on_refused()
        self._leave()
