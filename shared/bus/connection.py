"""One life of an AMQP connection, from open to closed; pika's callbacks as awaitables.

Everything here belongs to one asyncio loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pika
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.channel import Channel
from pika.exceptions import AMQPError

from shared.bus.queue_kinds import CLASSIC, Kind
from shared.errors import Refused, Unavailable

OPEN_TIMEOUT_S = 5.0
ASK_TIMEOUT_S = 5.0
CLOSE_TIMEOUT_S = 5.0
PRECONDITION_FAILED = 406
HEARTBEAT_S = 10
"""Unless the URL says otherwise; a broker that is silent for two of them is gone."""


def parameters(url: str, name: str) -> pika.URLParameters:
    """From the URL, with short timeouts: a dead address must not delay the next attempt."""
    made = pika.URLParameters(url)
    if "heartbeat=" not in url:
        made.heartbeat = HEARTBEAT_S
    made.socket_timeout = 2.0
    made.stack_timeout = 4.0
    made.connection_attempts = 1
    made.client_properties = {"connection_name": name, "product": "flotilla"}
    return made


class _Joining(AsyncioConnection):  # type: ignore[misc]
    """Pika hands every frame to the socket alone, three for one message; here all frames of one turn of the loop go
    together, which halves the time of a round trip. Leans on a private method of pika 1.4, and a test on that."""

    def __init__(self, *args: Any, custom_ioloop: asyncio.AbstractEventLoop, **options: Any) -> None:
        self._loop = custom_ioloop
        self._unsent: list[bytes] = []
        super().__init__(*args, custom_ioloop=custom_ioloop, **options)

    def _adapter_emit_data(self, data: bytes) -> None:
        self._unsent.append(data)
        if len(self._unsent) == 1:
            self._loop.call_soon(self._send_unsent)

    def _send_unsent(self) -> None:
        data = b"".join(self._unsent)
        self._unsent.clear()
        if not self.is_closed:
            super()._adapter_emit_data(data)


class Connection:
    """``closed`` has the reason once it is over; ``kind`` is what lasting queues are declared as."""

    def __init__(self, kind: Kind = CLASSIC) -> None:
        self.kind = kind
        self.closed: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pika: Any = None

    @classmethod
    async def open(cls, url: str, name: str, kind: Kind = CLASSIC) -> Connection:
        """To one node. Raises ``Unavailable``."""
        made = cls(kind)
        made._pika = _Joining(
            parameters(url, name),
            on_open_callback=lambda _: resolve(made._opened, None),
            on_open_error_callback=lambda _, problem: made._over(problem),
            on_close_callback=lambda _, problem: made._over(problem),
            custom_ioloop=asyncio.get_running_loop(),
        )
        either: set[asyncio.Future[Any]] = {made._opened, made.closed}
        try:
            await asyncio.wait(either, timeout=OPEN_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            made.close("not wanted any more")
            await asyncio.wait({made.closed}, timeout=CLOSE_TIMEOUT_S)
            raise
        if made.closed.done():
            raise Unavailable(f"no connection to the broker: {made.closed.result()}")
        if not made._opened.done():
            made.close("no answer in time")
            raise Unavailable(f"no connection to the broker in {OPEN_TIMEOUT_S:g} s")
        return made

    @property
    def is_open(self) -> bool:
        return not self.closed.done() and bool(self._pika.is_open)

    async def channel(self, *, vital: bool = True) -> Channel:
        """A new channel; if a ``vital`` one is closed by the broker, the connection is over. Raises
        ``Unavailable``."""
        opened: asyncio.Future[Channel] = asyncio.get_running_loop().create_future()
        try:
            channel = self._pika.channel(on_open_callback=lambda made: resolve(opened, made))
        except AMQPError as problem:
            raise Unavailable(f"the broker went away: {problem!r}") from problem
        if vital:
            channel.add_on_close_callback(self._on_channel_closed)
            channel.add_on_cancel_callback(lambda _: self.close("the broker cancelled a consumer"))
        return await self._answer(channel, opened)

    async def ask(self, channel: Channel, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a method of a channel and wait for the broker's answer. Raises ``Unavailable``, and ``Refused``
        (``other_kind_of_queue``) for a queue that is declared as something else already."""
        answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        try:
            method(*args, callback=lambda frame: resolve(answered, frame), **kwargs)
        except AMQPError as problem:
            raise Unavailable(f"the broker went away: {problem!r}") from problem
        return await self._answer(channel, answered)

    def close(self, reason: str = "closed by us") -> None:
        """Begin to close; ``closed`` says when it is over."""
        if self._pika is not None and not (self._pika.is_closing or self._pika.is_closed):
            self._pika.close(reply_text=reason[:200])

    async def _answer(self, channel: Channel, answered: asyncio.Future[Any]) -> Any:
        def on_close(_channel: Channel, problem: Exception) -> None:
            if not answered.done():
                answered.set_exception(_refusal(problem))

        channel.add_on_close_callback(on_close)
        done, _ = await asyncio.wait(
            {answered, self.closed}, timeout=ASK_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED
        )
        if answered in done:
            return answered.result()
        answered.cancel()
        raise Unavailable(self.closed.result() if self.closed.done() else "the broker gave no answer in time")

    def _on_channel_closed(self, _channel: Channel, problem: Exception) -> None:
        if not isinstance(problem, pika.exceptions.ChannelClosedByClient):
            self.close(f"a channel was closed: {problem}")

    def _over(self, problem: BaseException) -> None:
        resolve(self.closed, str(problem) or repr(problem))


def _refusal(problem: Exception) -> Exception:
    if not isinstance(problem, pika.exceptions.ChannelClosedByBroker) or problem.reply_code != PRECONDITION_FAILED:
        return Unavailable(f"the broker refused: {problem}")
    return Refused(
        "other_kind_of_queue",
        f"the broker has this queue as something else than FLOTILLA_QUEUES asks for ({problem.reply_text}): set it to "
        "the kind that is there, or stop the platform, delete the queue (`rabbitmqctl delete_queue NAME`) and send "
        "what was in it again (`flotilla replay service NAME`)",
    )


def resolve(future: asyncio.Future[Any], value: object) -> None:
    """Set the result, unless it is decided already."""
    if not future.done():
        future.set_result(value)
