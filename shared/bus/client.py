"""The bus for asyncio code: calls both ways, events both ways; in-process or over a connection of the running loop."""

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
from shared.bus.connection import Connection, resolve
from shared.bus.consumer import AmqpConsumer, EventConsumer, Post, RpcConsumer
from shared.bus.errors import Malformed, as_ours
from shared.bus.link import AmqpLink
from shared.bus.server import MOST_RUNNING, AsyncMethod, Server
from shared.bus.transport import Consumption, Deliver, Delivery, EventQueue, Transport, always
from shared.bus.wire import Message
from shared.context import Context
from shared.errors import FlotillaError, Misuse, Unavailable

log = logging.getLogger(__name__)

CALL_TIMEOUT_S = 10.0
PUBLISH_TIMEOUT_S = 10.0
PUBLISH_PAUSE_S = 0.2
LISTEN_PREFETCH = 200

Handler = Callable[[dict[str, Any]], None]


def _whatever(_: bool) -> None:
    """Nobody asks."""


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

    async def listen(
        self,
        source: str,
        handler: Handler,
        *,
        types: Sequence[str] | None = None,
        wanted: Callable[[], bool] = always,
        hears: Callable[[bool], None] = _whatever,
    ) -> None:
        """Call ``handler`` with every event of this source from now on; what is published while the broker is away
        from us is missed: ``hears`` is told when that begins (False) and when it is over (True). Neither may block;
        what ``handler`` raises is logged. ``wanted`` is asked from any thread; while it says no, events may be left
        out, which spares a bus within the process all work with them."""
        ...

    async def serve(
        self, service: str, methods: Mapping[str, AsyncMethod], *, most_running: int = MOST_RUNNING
    ) -> Server:
        """Answer requests for a service from now on, until the server or the bus is stopped, also after the broker was
        away. Raises ``Unavailable``."""
        ...

    def status(self) -> dict[str, Any]:
        """Whether it is connected."""
        ...


class _Bus:
    """What both kinds share: bytes in and out, timeouts, errors."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._servers: list[Server] = []

    async def serve(
        self, service: str, methods: Mapping[str, AsyncMethod], *, most_running: int = MOST_RUNNING
    ) -> Server:
        server = Server(service, methods, self._park, most_running=most_running)
        await self._attach(server)
        self._servers.append(server)
        return server

    async def _stop_servers(self) -> None:
        while self._servers:
            await self._servers.pop().stop()

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

    async def _attach(self, server: Server) -> None:
        raise NotImplementedError

    async def _park(self, delivery: Any, handler: str, error: str) -> None:
        raise NotImplementedError

    def _queue(self, source: str, types: Sequence[str] | None, wanted: Callable[[], bool]) -> EventQueue:
        name, chosen = f"evt-{source}--{self._name}-{uuid4().hex}", list(types) if types is not None else ["#"]
        return EventQueue(name, source, chosen, lasting=False, exclusive=True, wanted=wanted)


class LocalBus(_Bus):
    """Over the transport of this process."""

    def __init__(self, transport: Transport, name: str) -> None:
        super().__init__(name)
        self._transport = transport
        self._listening: list[Consumption] = []

    async def start(self) -> None:
        """Ready at once."""

    async def stop(self) -> None:
        await self._stop_servers()
        while self._listening:
            self._listening.pop().close()

    def status(self) -> dict[str, Any]:
        return self._transport.status()

    async def listen(
        self,
        source: str,
        handler: Handler,
        *,
        types: Sequence[str] | None = None,
        wanted: Callable[[], bool] = always,
        hears: Callable[[bool], None] = _whatever,
    ) -> None:
        loop = asyncio.get_running_loop()
        hand_over = partial(_hand_over, loop, handler)
        consumed = self._transport.consume(self._queue(source, types, wanted), hand_over, prefetch=LISTEN_PREFETCH)
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

    async def _attach(self, server: Server) -> None:
        take = partial(_in_loop, asyncio.get_running_loop(), server.take)
        server.attach(_LocalPlace(self._transport.serve(server.service, take, prefetch=server.prefetch)))

    async def _park(self, delivery: Any, handler: str, error: str) -> None:
        await asyncio.wrap_future(self._transport.park(delivery, handler, error))


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
        await self._stop_servers()
        link, self._link = self._link, None
        if link is not None:
            await link.stop()

    def status(self) -> dict[str, Any]:
        return {"connected": False, "problem": "not started"} if self._link is None else self._link.status()

    async def listen(
        self,
        source: str,
        handler: Handler,
        *,
        types: Sequence[str] | None = None,
        wanted: Callable[[], bool] = always,
        hears: Callable[[bool], None] = _whatever,
    ) -> None:
        def deliver(delivery: Delivery) -> None:
            _handle(handler, delivery)

        queue = self._queue(source, types, wanted)
        consumer: AmqpConsumer = _Listening(queue, deliver, LISTEN_PREFETCH, _at_once, hears)
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

    async def _attach(self, server: Server) -> None:
        link = self._started()
        consumer = RpcConsumer(server.service, server.take, server.prefetch, _at_once, lasting=False)
        await link.consume(consumer)
        server.attach(_LinkPlace(link, consumer))

    async def _park(self, delivery: Any, handler: str, error: str) -> None:
        parked: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self._started().park(delivery, handler, error, partial(resolve, parked))
        problem = await parked
        if problem is not None:
            raise problem

    def _started(self) -> AmqpLink:
        if self._link is None:
            raise Misuse(f"{self._name} is not started")
        return self._link


class _Listening(EventConsumer):
    """Tells when it hears nothing, and when it hears again."""

    def __init__(
        self, spec: EventQueue, deliver: Deliver, prefetch: int, post: Post, hears: Callable[[bool], None]
    ) -> None:
        super().__init__(spec, deliver, prefetch, post)
        self._hears = hears

    async def attach(self, connection: Connection) -> None:
        await super().attach(connection)
        self._hears(True)

    def detached(self) -> None:
        super().detached()
        self._hears(False)


class _LocalPlace:
    """A server's place at the transport of this process."""

    def __init__(self, consumption: Consumption) -> None:
        self._consumption = consumption

    async def leave(self) -> None:
        self._consumption.pause()

    def close(self) -> None:
        self._consumption.close()


class _LinkPlace:
    """A server's place at this loop's link."""

    def __init__(self, link: AmqpLink, consumer: RpcConsumer) -> None:
        self._link = link
        self._consumer = consumer

    async def leave(self) -> None:
        await self._link.leave(self._consumer)

    def close(self) -> None:
        self._link.forget(self._consumer)


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
