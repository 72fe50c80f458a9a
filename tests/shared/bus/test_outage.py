"""A broker that goes and comes back under load: everybody gets on, and no event is lost."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from nameko.events import event_handler
from nameko.rpc import ServiceRpc, rpc

from deploy.rabbitmq import RabbitNode, find_server
from shared.bus.open import open_bus, open_transport
from shared.bus.relay import Relay
from shared.context import Context
from shared.errors import Unavailable
from shared.events.contracts import CONTRACTS
from shared.events.devices import DeviceLocked
from shared.store.open import open_store
from shared.store.port import ANY

pytestmark = [
    pytest.mark.broker,
    pytest.mark.timeout(120),
    pytest.mark.skipif(find_server() is None, reason="needs a rabbitmq-server of its own to stop"),
]

Heard = Any
DEVICE = "0" * 24


class Checkpoints:
    def __init__(self) -> None:
        self.position: Any = None

    def load(self, name: str) -> Any:
        return self.position

    def advance(self, name: str, old: Any, new: Any) -> bool:
        if self.position != old:
            return False
        self.position = new
        return True


@pytest.fixture
def node(tmp_path: Path) -> Iterator[RabbitNode]:
    with RabbitNode(tmp_path / "rabbit") as running:
        yield running


def test_a_restart_of_the_broker_under_load_is_survived_by_every_part(
    node: RabbitNode, tmp_path: Path, heard: Heard
) -> None:
    class Inner:
        name = "inner"

        @rpc
        def double(self, number: int) -> int:
            return number * 2

    class Outer:
        name = "outer"
        inner = ServiceRpc("inner")

        @rpc
        def double(self, number: int) -> int:
            return int(self.inner.double(number))

        @event_handler("devices", "DeviceLocked")
        def on_locked(self, message: dict[str, Any]) -> None:
            heard.put(message["data"]["version"])

    from shared.bus.host import ServiceHost

    with ThreadPoolExecutor(1) as lasting, ExitStack() as stack:  # the node ends with the thread that has started it
        store = open_store(f"sqlite:///{tmp_path / 'events.db'}?durability=normal")
        stack.callback(store.close)
        server, feeder = (open_transport(node.url, name=name) for name in ("server", "feeder"))
        relay = Relay("devices", store, feeder, Checkpoints(), CONTRACTS.of_service("devices"), contracts=CONTRACTS)
        for part in (server, feeder, ServiceHost(Inner, server), ServiceHost(Outer, server), relay):
            part.start()
            stack.callback(part.stop)
        appended = asyncio.run(_load(node, lasting, lambda number: _append(store, number), heard))
    assert appended > 100


def _append(store: Any, number: int) -> None:
    event = DeviceLocked(DEVICE, 1000, number, flash=False)
    store.append("device-0", ANY, [CONTRACTS.encode(event, 0, Context.new("account:x", "test"))])


async def _load(node: RabbitNode, lasting: Executor, append: Callable[[int], None], heard: Heard) -> int:
    bus = open_bus(node.url, name="load")
    await bus.start()
    listened: list[int] = []
    await bus.listen("devices", lambda message: listened.append(message["data"]["version"]))
    over = asyncio.Event()
    restarted = threading.Event()
    good_after = 0
    failures: list[Exception] = []
    numbers = itertools.count()
    appended = 0

    async def caller() -> None:
        nonlocal good_after
        while not over.is_set():
            number = next(numbers)
            try:
                answer = await bus.call("outer", "double", Context.new("account:x", "test"), timeout_s=3, number=number)
            except Unavailable as problem:
                failures.append(problem)
                await asyncio.sleep(0.05)
                continue
            assert answer == number * 2
            good_after += restarted.is_set()

    async def feeder() -> None:
        nonlocal appended
        while not over.is_set():
            await asyncio.to_thread(append, appended)
            appended += 1
            await asyncio.sleep(0.005)

    def restart() -> None:
        node.stop()
        node.start()
        restarted.set()

    tasks = [asyncio.create_task(work()) for work in (caller, caller, caller, caller, feeder)]
    await asyncio.sleep(0.5)
    await asyncio.get_running_loop().run_in_executor(lasting, restart)
    async with asyncio.timeout(30):
        while good_after < 50:
            await asyncio.sleep(0.02)
            assert not any(task.done() for task in tasks), [task.exception() for task in tasks if task.done()]
    over.set()
    await asyncio.gather(*tasks)
    missing = set(range(appended))
    while missing:
        missing.discard(await asyncio.to_thread(heard.take, 20))
    async with asyncio.timeout(15):
        while not listened or listened[-1] != appended - 1:
            await asyncio.sleep(0.02)
    assert failures, "the restart was not noticed at all"
    await bus.stop()
    return appended


def test_a_server_of_a_loop_serves_again_after_a_restart_of_the_broker(node: RabbitNode) -> None:
    asyncio.run(_serve_over_a_restart(node))


async def _serve_over_a_restart(node: RabbitNode) -> None:
    async def double(context: Context, number: int) -> int:
        return number * 2

    gateway, caller = (open_bus(node.url, name=name) for name in ("gateway-a", "gateway-b"))
    await gateway.start()
    await caller.start()
    try:
        server = await gateway.serve("gateway-a", {"double": double})
        context = Context.new("account:tester", "test")
        assert await caller.call("gateway-a", "double", context, number=1) == 2
        await asyncio.to_thread(node.stop)
        with pytest.raises(Unavailable):
            await caller.call("gateway-a", "double", context, number=2, timeout_s=1.0)
        await asyncio.to_thread(node.start)
        assert await _at_last(caller, context) == 6
        assert server.status()["answered"] == 2
    finally:
        await gateway.stop()
        await caller.stop()


async def _at_last(caller: Any, context: Context) -> Any:
    """The answer as soon as both sides are connected again."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await caller.call("gateway-a", "double", context, number=3, timeout_s=1.0)
            except Unavailable:
                await asyncio.sleep(0.1)
