"""A bus of each kind, and services made for one test."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack
from typing import Any, TypeVar
from uuid import uuid4

import pytest

from shared.bus.address import with_queues
from shared.bus.client import AsyncBus
from shared.bus.host import ServiceHost
from shared.bus.lanes import Retry
from shared.bus.open import open_bus, open_transport
from shared.bus.parking import list_parked
from shared.bus.transport import ParkedMessage, Transport
from shared.context import Context

Answer = TypeVar("Answer")

QUICK = Retry(tries=3, first_s=0.01, most_s=0.05)
PATIENCE_S = 15.0


class Loop:
    """An asyncio loop on a thread, as a gateway has one."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, Answer], timeout_s: float = PATIENCE_S) -> Answer:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout_s)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()


class Heard:
    """What handlers heard, for a test to wait for."""

    def __init__(self) -> None:
        self._items: queue.Queue[Any] = queue.Queue()

    def put(self, item: Any) -> None:
        self._items.put(item)

    def take(self, timeout_s: float = PATIENCE_S) -> Any:
        return self._items.get(timeout=timeout_s)

    def many(self, count: int, timeout_s: float = PATIENCE_S) -> list[Any]:
        return [self.take(timeout_s) for _ in range(count)]

    @property
    def is_empty(self) -> bool:
        return self._items.empty()


class Bed:
    """One bus, its transport, its asyncio side, and the services on it."""

    def __init__(self, url: str, stack: ExitStack, name: str = "test") -> None:
        self.url = url
        self.loop = Loop()
        stack.callback(self.loop.close)
        self.transport: Transport = open_transport(url, name=name)
        self.transport.start()
        stack.callback(self.transport.stop)
        self.bus: AsyncBus = open_bus(self.transport, name=f"{name}-client")
        self.loop.run(self.bus.start())
        stack.callback(lambda: self.loop.run(self.bus.stop()))
        self._stack = stack

    @property
    def is_local(self) -> bool:
        return self.url.startswith("local:")

    @property
    def parking(self) -> Transport | str:
        """Where parked messages are looked for, as a person would: by URL."""
        return self.transport if self.is_local else self.url

    def host(self, service_class: type, **options: Any) -> ServiceHost:
        options.setdefault("retry", QUICK)
        host = ServiceHost(service_class, self.transport, **options)
        host.start()
        self._stack.callback(host.stop)
        return host

    def call(self, service: str, method: str, *, context: Context | None = None, **arguments: Any) -> Any:
        made = context or Context.new("account:tester", "test")
        return self.loop.run(self.bus.call(service, method, made, **arguments))

    def parked_of(self, queue_part: str) -> list[ParkedMessage]:
        return [message for message in list_parked(self.parking, 1_000) if queue_part in message.queue]

    def wait_for_parked(self, queue_part: str, count: int = 1) -> list[ParkedMessage]:
        """Parking is told by nobody, so this asks until it is there."""
        waiting = threading.Event()
        for _ in range(300):
            found = self.parked_of(queue_part)
            if len(found) >= count:
                return found
            waiting.wait(0.05)
        raise AssertionError(f"nothing parked from {queue_part}")

    def until(self, holds: Callable[[], bool]) -> None:
        """For what nobody tells."""
        waiting = threading.Event()
        for _ in range(300):
            if holds():
                return
            waiting.wait(0.05)
        raise AssertionError("it never came true")

    def publish(self, source: str, event_type: str, message: Any) -> None:
        self.loop.run(self.bus.publish(source, event_type, message))


KINDS = ("local", *(pytest.param(kind, marks=pytest.mark.broker) for kind in ("classic", "quorum")))


@pytest.fixture(scope="module")
def quorum_url(rabbitmq: Any) -> str:
    """A virtual host of this module where lasting queues are quorum queues."""
    return with_queues(rabbitmq.add_vhost(f"test-{uuid4().hex[:12]}"), "quorum")


def amqp_url_of(request: pytest.FixtureRequest, kind: str) -> str:
    url: str = request.getfixturevalue("amqp_url" if kind == "classic" else "quorum_url")
    return url


@pytest.fixture(params=KINDS)
def bed(request: pytest.FixtureRequest) -> Iterator[Bed]:
    """The same behaviour over both transports, and over both kinds of queues."""
    url = "local:" if request.param == "local" else amqp_url_of(request, request.param)
    with ExitStack() as stack:
        yield Bed(url, stack)


@pytest.fixture(params=KINDS[1:])
def amqp_bed(request: pytest.FixtureRequest) -> Iterator[Bed]:
    """For what only a broker does."""
    with ExitStack() as stack:
        yield Bed(amqp_url_of(request, request.param), stack)


@pytest.fixture
def unique() -> Callable[[str], str]:
    """Names that no other test has."""
    suffix = uuid4().hex[:10]
    return lambda name: f"{name}_{suffix}"


@pytest.fixture
def heard() -> Heard:
    return Heard()
