"""Serves methods as coroutines of one loop: nameko's requests and replies, without its classes, for a gateway.

What it serves goes with it: over a broker its queue is of the connection, so a request for a server that has gone is
refused at once (``NotServed``) where one for a service of a ``ServiceHost`` waits for the next that is started. A
method gets the ``Context`` of its caller first, then the arguments of the request.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol
from uuid import uuid4

from nameko.exceptions import IncorrectSignature, MalformedRequest, MethodNotFound

from shared.bus import incoming, wire
from shared.bus.errors import Malformed
from shared.bus.transport import Delivery
from shared.bus.wire import Message
from shared.context import Context
from shared.errors import FlotillaError, NotServed, Unavailable, Unknown

log = logging.getLogger(__name__)

AsyncMethod = Callable[..., Awaitable[Any]]
"""Called with a ``Context`` and the arguments of the request."""
Park = Callable[[Delivery, str, str], Awaitable[None]]
"""Keeps a copy of a delivery for people to look at, with its handler and the error; may raise ``Unavailable``."""

MOST_RUNNING = 1_000
"""Requests in work at one server; further ones are refused."""
SPARE = 100
"""How many more than these are fetched, so that they can be refused: what is not fetched waits unseen."""
STOP_TIMEOUT_S = 5.0
"""How long ``stop`` waits for what runs."""
_OF_CALLERS = (MalformedRequest, MethodNotFound, IncorrectSignature)


class Place(Protocol):
    """Where a server gets its requests from."""

    async def leave(self) -> None:
        """When this returns, new requests are ``NotServed``, and those that came before are delivered."""
        ...

    def close(self) -> None:
        """Nothing is settled any more."""
        ...


class Server:
    """One service. ``take`` and all else belong to the loop; ``serve`` of an ``AsyncBus`` makes and attaches it."""

    def __init__(
        self, service: str, methods: Mapping[str, AsyncMethod], park: Park, *, most_running: int = MOST_RUNNING
    ) -> None:
        self.service = service
        self.counts = {"answered": 0, "refused": 0, "malformed": 0}
        self._methods = {name: (method, inspect.signature(method)) for name, method in methods.items()}
        self._park = park
        self._most_running = most_running
        self._running: set[asyncio.Task[None]] = set()
        self._place: Place | None = None
        self._stopping = False

    @property
    def prefetch(self) -> int:
        """How many requests to fetch that are not answered."""
        return self._most_running + SPARE

    def attach(self, place: Place) -> None:
        """What brings the requests; it is left when the server stops."""
        self._place = place

    def take(self, delivery: Delivery) -> None:
        """Begin with a request, or refuse it."""
        if self._stopping or len(self._running) >= self._most_running:
            self.counts["refused"] += 1
            busy = Unavailable(f"{self.service} has too many requests in work")
            delivery.respond(_failure(NotServed(f"{self.service} stops") if self._stopping else busy))
            return
        task = asyncio.create_task(self._answer(delivery), name=f"{self.service} answers")
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Take nothing more, finish what runs, and cancel what takes longer: its callers get ``Unknown``. Safe to call
        twice."""
        self._stopping = True
        place, self._place = self._place, None
        if place is not None:
            await place.leave()
        if self._running:
            _, late = await asyncio.wait(set(self._running), timeout=timeout_s)
            for task in late:
                task.cancel()
            if late:
                log.warning("%s: %d requests were still in work after %g s", self.service, len(late), timeout_s)
                await asyncio.wait(late)
        if place is not None:
            place.close()

    def status(self) -> dict[str, Any]:
        """Requests in work, and counts since the start."""
        return {"service": self.service, "running": len(self._running), **self.counts}

    async def _answer(self, delivery: Delivery) -> None:
        """Every request gets a reply; one that cannot be understood is parked as well."""
        if delivery.lost():
            return
        name = incoming.method_of(delivery.message)
        try:
            args, kwargs = incoming.arguments_of(delivery.message)
        except Malformed as malformed:
            await self._refuse_malformed(delivery, name, malformed)
            return
        try:
            body, problem = wire.encode_reply(await self._call(name, args, kwargs, delivery.message), None)
        except asyncio.CancelledError:
            delivery.respond(_failure(Unknown(f"{self.service} stops before {name} is done")))
            raise
        except Exception as raised:  # noqa: BLE001 - the caller is told
            body, problem = wire.encode_reply(None, raised)
        self.counts["answered"] += 1
        self._report(name, problem)
        delivery.respond(body)

    async def _call(self, name: str, args: list[Any], kwargs: dict[str, Any], message: Message) -> Any:
        if name not in self._methods:
            raise MethodNotFound(name)
        method, signature = self._methods[name]
        incoming.check_arguments(name, signature, args, kwargs)
        return await method(self._context(name, message), *args, **kwargs)

    def _context(self, name: str, message: Message) -> Context:
        data = wire.from_headers(message.headers)
        call_id = message.correlation_id or str(uuid4())
        try:
            return Context.from_headers(data, call_id=call_id, source=f"{self.service}.{name}")
        except ValueError as problem:
            raise MalformedRequest(f"context headers: {problem}") from None

    async def _refuse_malformed(self, delivery: Delivery, name: str, problem: Malformed) -> None:
        self.counts["malformed"] += 1
        log.error("%s.%s: malformed request is parked: %s", self.service, name, problem)
        try:
            await self._park(delivery, f"{self.service}.{name}", f"Malformed: {problem}")
        except (Unavailable, OSError) as failed:
            log.error("%s: could not be parked: %s", self.service, failed)
        incoming.answer_malformed(delivery, problem)

    def _report(self, name: str, problem: Exception | None) -> None:
        """Log an error where it stops: what callers expect is theirs."""
        if problem is None:
            return
        if isinstance(problem, (FlotillaError, *_OF_CALLERS)):
            log.info("%s.%s: %s", self.service, name, problem)
        else:
            log.error("%s.%s failed", self.service, name, exc_info=problem)


def _failure(problem: Exception) -> bytes:
    return wire.encode_reply(None, problem)[0]
