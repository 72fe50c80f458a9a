"""Methods served as coroutines: the same promises over ``local`` and ``amqp``."""

from __future__ import annotations

import asyncio
import json
import queue
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from nameko.standalone.rpc import ClusterRpcProxy

from shared.bus import address, wire
from shared.bus.client import AsyncBus
from shared.bus.errors import CROSSING, RemoteError
from shared.bus.open import open_bus
from shared.bus.server import MOST_RUNNING, STOP_TIMEOUT_S, Server
from shared.context import Context
from shared.errors import Conflict, NotServed, Refused, Unavailable, Unknown

Unique = Callable[[str], str]
Bed = Any
Heard = Any


class Methods:
    """What the tests' service does."""

    def __init__(self, heard: Heard) -> None:
        self.heard = heard
        self.go = asyncio.Event()
        self.failure: Exception = ZeroDivisionError("no way")

    async def double(self, context: Context, number: int) -> dict[str, Any]:
        return {"number": number * 2, "words": ["ä", "€"], "none": None}

    async def whoami(self, context: Context) -> list[str]:
        return [context.actor, str(context.command_id), context.source]

    async def wait(self, context: Context, label: int = 0) -> int:
        self.heard.put(label)
        await self.go.wait()
        return label

    async def fail(self, context: Context) -> None:
        raise self.failure

    async def strange(self, context: Context) -> object:
        return object()

    def all(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("double", "whoami", "wait", "fail", "strange")}


@pytest.fixture
def methods(heard: Heard) -> Methods:
    return Methods(heard)


def serve(bed: Bed, name: str, methods: Methods, bus: AsyncBus | None = None, **options: Any) -> Server:
    made: Server = bed.loop.run((bus or bed.bus).serve(name, methods.all(), **options))
    return made


def go(bed: Bed, methods: Methods) -> None:
    async def set_it() -> None:
        methods.go.set()

    bed.loop.run(set_it())


def ask(bed: Bed, service: str, method: str, **arguments: Any) -> Any:
    """A call that is not waited for yet."""
    context = Context.new("account:tester", "test")
    return asyncio.run_coroutine_threadsafe(bed.bus.call(service, method, context, **arguments), bed.loop._loop)


def test_a_method_answers_with_what_it_returns(bed: Bed, unique: Unique, methods: Methods) -> None:
    name = unique("gateway-a")
    serve(bed, name, methods)
    assert bed.call(name, "double", number=21) == {"number": 42, "words": ["ä", "€"], "none": None}


def test_a_method_gets_the_context_of_its_caller(bed: Bed, unique: Unique, methods: Methods) -> None:
    name = unique("gateway-a")
    serve(bed, name, methods)
    context = Context.new("account:me", "test")
    assert bed.call(name, "whoami", context=context) == ["account:me", str(context.command_id), "test"]


ARGUMENTS = {Refused: ("busy", "Too many wait.", '{"most": 16}'), Conflict: ("device-1", "3", "5")}


@pytest.mark.parametrize("kind", CROSSING)
def test_an_error_crosses_as_its_own_class(bed: Bed, unique: Unique, methods: Methods, kind: type[Exception]) -> None:
    methods.failure = kind(*ARGUMENTS.get(kind, ("in words",)))
    name = unique("gateway-a")
    serve(bed, name, methods)
    with pytest.raises(kind) as raised:
        bed.call(name, "fail")
    assert type(raised.value) is kind
    assert raised.value.args == methods.failure.args


def test_what_is_wrong_with_a_request_or_a_method_is_a_remote_error_that_names_it(
    bed: Bed, unique: Unique, methods: Methods
) -> None:
    name = unique("gateway-a")
    serve(bed, name, methods)
    for method, arguments, error in (
        ("fail", {}, "ZeroDivisionError"),
        ("nothing", {}, "MethodNotFound"),
        ("double", {"numbers": 1}, "IncorrectSignature"),
        ("strange", {}, "UnserializableValueError"),
    ):
        with pytest.raises(RemoteError) as raised:
            bed.call(name, method, **arguments)
        assert raised.value.exc_type == error
    body = wire.encode_request((), {"number": 1, "context": "mine"})
    assert json.loads(request(bed, name, "double", body, {}).body)["error"]["exc_type"] == "IncorrectSignature"


def test_context_headers_that_cannot_be_read_are_told_to_the_caller(bed: Bed, unique: Unique, methods: Methods) -> None:
    name = unique("gateway-a")
    serve(bed, name, methods)
    reply = request(bed, name, "double", wire.encode_request((), {"number": 1}), {"nameko.command_id": "no uuid"})
    assert json.loads(reply.body)["error"]["exc_type"] == "MalformedRequest"
    assert bed.call(name, "double", number=1)["number"] == 2


def request(bed: Bed, service: str, method: str, body: bytes, headers: dict[str, Any]) -> Any:
    """The outcome of a request of any bytes."""
    done: queue.Queue[Any] = queue.Queue()
    bed.transport.request(service, method, body, headers, 10.0, done.put)
    return done.get(timeout=10)


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"args": {}, "kwargs": {}}', b"\xff"])
def test_a_malformed_request_is_answered_and_parked(bed: Bed, unique: Unique, methods: Methods, body: bytes) -> None:
    name = unique("gateway-a")
    server = serve(bed, name, methods)
    reply = request(bed, name, "double", body, {})
    assert json.loads(reply.body)["error"]["exc_type"] == "MalformedRequest"
    (parked,) = bed.wait_for_parked(name)
    assert parked.handler == f"{name}.double"
    bed.until(lambda: server.status()["running"] == 0)  # it is parked before it counts as done
    assert server.status() == {"service": name, "running": 0, "answered": 0, "refused": 0, "malformed": 1}


def test_requests_run_side_by_side_and_those_beyond_the_limit_are_refused_and_counted(
    bed: Bed, unique: Unique, methods: Methods, heard: Heard
) -> None:
    name = unique("gateway-a")
    server = serve(bed, name, methods, most_running=3)
    waiting = [ask(bed, name, "wait", label=label) for label in range(3)]
    assert sorted(heard.many(3)) == [0, 1, 2]
    for _ in range(2):
        with pytest.raises(Unavailable, match="too many requests"):
            bed.call(name, "wait")
    assert server.status()["refused"] == 2
    assert server.status()["running"] == 3
    go(bed, methods)
    assert [future.result(10) for future in waiting] == [0, 1, 2]
    assert bed.call(name, "wait", label=4) == 4


def test_a_server_that_has_gone_is_not_served_at_once_and_another_takes_its_place(
    bed: Bed, unique: Unique, methods: Methods
) -> None:
    name = unique("gateway-a")
    with pytest.raises(NotServed):
        bed.call(name, "double", number=1)
    server = serve(bed, name, methods)
    assert bed.call(name, "double", number=1)["number"] == 2
    bed.loop.run(server.stop())
    with pytest.raises(NotServed):
        bed.call(name, "double", number=1)
    serve(bed, name, methods)
    assert bed.call(name, "double", number=2)["number"] == 4


def test_a_stop_lets_finish_what_runs(bed: Bed, unique: Unique, methods: Methods, heard: Heard) -> None:
    name = unique("gateway-a")
    server = serve(bed, name, methods)
    running = ask(bed, name, "wait", label=7)
    heard.take()
    stopping = asyncio.run_coroutine_threadsafe(server.stop(), bed.loop._loop)
    with pytest.raises(NotServed):
        bed.call(name, "wait")
    go(bed, methods)
    stopping.result(10)
    assert running.result(10) == 7
    bed.loop.run(server.stop())


def test_a_stop_cancels_what_takes_too_long_and_its_caller_is_told_that_it_may_have_happened(
    bed: Bed, unique: Unique, methods: Methods, heard: Heard
) -> None:
    name = unique("gateway-a")
    server = serve(bed, name, methods)
    running = ask(bed, name, "wait")
    heard.take()
    bed.loop.run(server.stop(timeout_s=0.05))
    with pytest.raises(Unknown, match="stops before wait is done"):
        running.result(10)
    assert server.status()["running"] == 0


def test_a_bus_that_stops_stops_its_servers(bed: Bed, unique: Unique, methods: Methods) -> None:
    name = unique("gateway-a")
    other = open_bus(bed.transport, name="other")
    bed.loop.run(other.start())
    serve(bed, name, methods, other)
    assert bed.call(name, "double", number=1)["number"] == 2
    bed.loop.run(other.stop())
    with pytest.raises(NotServed):
        bed.call(name, "double", number=1)


def test_the_limits_are_those_that_operators_read() -> None:
    assert MOST_RUNNING == 1_000
    assert STOP_TIMEOUT_S == 5.0


@pytest.mark.broker
def test_a_stock_nameko_client_calls_it(amqp_bed: Bed, unique: Unique, methods: Methods) -> None:
    name = unique("gateway-a")
    serve(amqp_bed, name, methods)
    plain = address.parse(amqp_bed.url).nodes[0]
    options = {"uri": plain, "timeout": 10}
    with ClusterRpcProxy(context_data={"actor": "account:stock"}, **options) as proxy:
        assert proxy[name].double(21)["number"] == 42
        actor, command_id, source = proxy[name].whoami()
        assert (actor, source) == ("account:stock", f"{name}.whoami")
        assert UUID(command_id)
        methods.failure = Refused("device_offline", "The device is offline.")
        with pytest.raises(Refused, match="device_offline"):
            proxy[name].fail()
