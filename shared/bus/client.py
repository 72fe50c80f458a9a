"""The bus for asyncio code: calls, events out, events in; in-process or over a connection of the running loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, Protocol
from uuid import uuid4

from shared.bus import wire
from shared.bus.calls import unpack
from shared.bus.connection import resolve
from shared.bus.consumer import AmqpConsumer, EventConsumer
from shared.bus.errors import Malformed, as_ours
from shared.bus.link import AmqpLink
from shared.bus.transport import Consumption, Delivery, EventQueue, Transport
from shared.bus.wire import Message
from shared.context import Context
from shared.errors import FlotillaError, Misuse, Unavailable

log = logging.getLogger(__name__)

CALL_TIMEOUT_S = 10.0
PUBLISH_TIMEOUT_S = 10.0
PUBLISH_PAUSE_S = 0.2
LISTEN_PREFETCH = 200

Handler = Callable[[dict[str, Any]], None]


class AsyncBus(Protocol):
    """See the module. All methods belong to the loop that ``start`` ran in."""

    async def start(self) -> None:
        """Raises ``Unavailable`` if there is no broker."""
        ...

    async def stop(self) -> None:
        """Safe to call twice, and before ``start``."""
        ...

    async def call(
        self, service: str, method: str, context: Context, *, timeout_s: float = CALL_TIMEOUT_S, **arguments: Any
    ) -> Any:
        """What the method returns. Raises what it raised of ``shared.errors``, ``RemoteError`` for anything else,
        ``Unavailable`` if nobody was asked, ``Unknown`` if no answer came."""
        ...

    async def publish(
        self,
        source: str,
        event_type: str,
        message: Mapping[str, Any],
        *,
        context: Context | None = None,
        timeout_s: float = PUBLISH_TIMEOUT_S,
    ) -> None:
        """Returns when the event is safe with the broker; it may arrive twice. Raises ``Unavailable``, ``Unknown``."""
        ...

    async def listen(self, source: str, handler: Handler, *, types: Sequence[str] | None = None) -> None:
        """Call ``handler`` with every event of this source from now on; what is published while the broker is away
        from us is missed. It must not block; what it raises is logged."""
        ...

    def status(self) -> dict[str, Any]:
        """Whether it is connected."""
        ...


class _Bus:
    """What both kinds share: bytes in and out, timeouts, errors."""

    def __init__(self, name: str) -> None:
        self._name = name

    async def call(
        self, service: str, method: str, context: Context, *, timeout_s: float = CALL_TIMEOUT_S, **arguments: Any
    ) -> Any:
        body = wire.encode_request((), arguments)
        stack = {"call_id_stack": [f"{self._name}.{method}.{uuid4()}"]}
        headers = wire.to_headers({**context.headers(), **stack})
        answered: asyncio.Future[Message | Exception] = asyncio.get_running_loop().create_future()
        outcome: Message | Exception | None = None
        try:
            async with asyncio.timeout(timeout_s):
                self._request(service, method, body, headers, timeout_s, answered)
                outcome = await answered
        except TimeoutError:
            outcome = None
        try:
            return unpack(outcome, f"{service}.{method}", timeout_s)
        except FlotillaError:
            raise
        except Exception as problem:
            raise as_ours(problem) from problem

    async def publish(
        self,
        source: str,
        event_type: str,
        message: Mapping[str, Any],
        *,
        context: Context | None = None,
        timeout_s: float = PUBLISH_TIMEOUT_S,
    ) -> None:
        body = wire.encode(dict(message))
        headers = wire.to_headers(context.headers() if context else {})
        problem: Unavailable | None = None
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    try:
                        return await self._publish(source, event_type, body, headers)
                    except Unavailable as failed:
                        problem = failed
                    await asyncio.sleep(PUBLISH_PAUSE_S)
        except TimeoutError:
            raise problem or Unavailable(f"{source}.events took no message in {timeout_s:g} s") from None

    def _request(
        self,
        service: str,
        method: str,
        body: bytes,
        headers: Mapping[str, Any],
        timeout_s: float,
        answered: asyncio.Future[Message | Exception],
    ) -> None:
        raise NotImplementedError

    async def _publish(self, source: str, event_type: str, body: bytes, headers: Mapping[str, Any]) -> None:
        raise NotImplementedError

    def _queue(self, source: str, types: Sequence[str] | None) -> EventQueue:
        name = f"evt-{source}--{self._name}-{uuid4().hex}"
        return EventQueue(name, source, list(types) if types is not None else ["#"], lasting=False, exclusive=True)


class LocalBus(_Bus):
    """Over the transport of this process."""

    def __init__(self, transport: Transport, name: str) -> None:
        super().__init__(name)
        self._transport = transport
        self._listening: list[Consumption] = []

    async def start(self) -> None:
        """Ready at once."""

    async def stop(self) -> None:
        while self._listening:
            self._listening.pop().close()

    def status(self) -> dict[str, Any]:
        return self._transport.status()

    async def listen(self, source: str, handler: Handler, *, types: Sequence[str] | None = None) -> None:
        loop = asyncio.get_running_loop()
        hand_over = partial(_hand_over, loop, handler)
        consumed = self._transport.consume(self._queue(source, types), hand_over, prefetch=LISTEN_PREFETCH)
        self._listening.append(consumed)

    def _request(
        self,
        service: str,
        method: str,
        body: bytes,
        headers: Mapping[str, Any],
        timeout_s: float,
        answered: asyncio.Future[Message | Exception],
    ) -> None:
        done = partial(_in_loop, asyncio.get_running_loop(), resolve, answered)
        self._transport.request(service, method, body, headers, timeout_s, done)

    async def _publish(self, source: str, event_type: str, body: bytes, headers: Mapping[str, Any]) -> None:
        published: Future[None] = self._transport.publish(source, event_type, body, headers)
        await asyncio.wrap_future(published)


class AmqpBus(_Bus):
    """Over a connection of its own."""

    def __init__(self, url: str, name: str) -> None:
        super().__init__(name)
        self._url = url
        self._link: AmqpLink | None = None

    async def start(self) -> None:
        link = AmqpLink(self._url, self._name)
        await link.start()
        self._link = link

    async def stop(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            await link.stop()

    def status(self) -> dict[str, Any]:
        return {"connected": False, "problem": "not started"} if self._link is None else self._link.status()

    async def listen(self, source: str, handler: Handler, *, types: Sequence[str] | None = None) -> None:
        def deliver(delivery: Delivery) -> None:
            _handle(handler, delivery)

        consumer: AmqpConsumer = EventConsumer(self._queue(source, types), deliver, LISTEN_PREFETCH, _at_once)
        await self._started().consume(consumer)

    def _request(
        self,
        service: str,
        method: str,
        body: bytes,
        headers: Mapping[str, Any],
        timeout_s: float,
        answered: asyncio.Future[Message | Exception],
    ) -> None:
        self._started().request(service, method, body, headers, timeout_s, partial(resolve, answered))

    async def _publish(self, source: str, event_type: str, body: bytes, headers: Mapping[str, Any]) -> None:
        confirmed: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        exchange = wire.event_exchange(source)
        self._started().publish(exchange, event_type, body, headers, partial(resolve, confirmed))
        problem = await confirmed
        if problem is not None:
            raise problem

    def _started(self) -> AmqpLink:
        if self._link is None:
            raise Misuse(f"{self._name} is not started")
        return self._link


def _handle(handler: Handler, delivery: Delivery) -> None:
    try:
        handler(wire.decode(delivery.message))
    except Malformed as problem:
        log.error("%s: malformed event is dropped: %s", delivery.queue, problem)
    except Exception:
        log.exception("%s: a listener failed", delivery.queue)
    finally:
        delivery.settle()


def _hand_over(loop: asyncio.AbstractEventLoop, handler: Handler, delivery: Delivery) -> None:
    _in_loop(loop, _handle, handler, delivery)


def _in_loop(loop: asyncio.AbstractEventLoop, function: Callable[..., None], *args: Any) -> None:
    """Run it in the loop; one that has ended waits for nothing any more."""
    try:
        loop.call_soon_threadsafe(function, *args)
    except RuntimeError:
        if not loop.is_closed():
            raise
        log.debug("the loop has ended; %s is not called", function)


def _at_once(work: Callable[[], None]) -> None:
    work()
