"""Calls between gateways over a real bus: what only a bus can show."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from services.gateway.calls import MARGIN_S, Calls, service_of
from services.gateway.devices.calls import FlashFile, FunctionCall, Question
from services.gateway.entries import FlashEntry
from shared.bus.client import AsyncBus
from shared.bus.open import open_bus, open_transport
from shared.context import Context
from shared.errors import Refused

DEVICE = "0123456789abcdef01234567"
CONTEXT = Context.new("account:" + "1" * 24, "test")
AT_ONCE_S = 3.0
"""Far less than the time-outs of the calls here, and enough for a busy machine."""
PATIENT_S = 30.0


class Held:
    """One device that is connected to one gateway; it answers when it is let."""

    def __init__(self) -> None:
        self.sessions = frozenset({DEVICE})
        self.asked = asyncio.Event()
        self.answer = asyncio.Event()
        self.callers: list[str] = []
        self.questions: list[Question] = []

    async def ask(self, device_id: str, question: Question, timeout_s: float, *, context: Context) -> Any:
        self.callers.append(context.actor)
        self.questions.append(question)
        self.asked.set()
        await self.answer.wait()
        if question == FunctionCall("fail"):
            raise Refused("call_failed", "no water")
        return {"heard": question.argument if isinstance(question, FunctionCall) else None}


@pytest.fixture(params=["local", pytest.param("amqp", marks=pytest.mark.broker)])
def open_one(request: pytest.FixtureRequest) -> Any:
    """Opens the bus of one process of an installation."""
    if request.param == "amqp":
        url = request.getfixturevalue("amqp_url")
        yield lambda name: open_bus(url, name=name)
        return
    transport = open_transport("local:", name="test")
    transport.start()
    yield lambda name: open_bus(transport, name=name)
    transport.stop()


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await scenario()

    asyncio.run(bounded())


@asynccontextmanager
async def two_gateways(open_one: Callable[[str], AsyncBus], held: Held) -> AsyncIterator[tuple[Calls, AsyncBus]]:
    """The calls of gateway a, which holds nothing, and the bus of gateway b, which holds the device."""

    async def locate(context: Context, device_id: str) -> dict[str, Any]:
        return {"online": True, "gateway": "b", "epoch": 1, "session": 1, "product_id": 1000}

    async with AsyncExitStack() as stack:
        buses = [open_one(name) for name in ("services", "gateway-a", "gateway-b")]
        for bus in buses:
            await bus.start()
            stack.push_async_callback(bus.stop)
        services, a, b = buses
        await services.serve("devices", {"locate": locate})
        calls = Calls("a", a, lambda: None)
        await a.serve(service_of("a"), calls.methods())
        await b.serve(service_of("b"), Calls("b", b, lambda: held).methods())
        yield calls, b


def test_a_call_reaches_the_device_on_the_other_gateway_and_its_answer_comes_back(open_one: Any) -> None:
    async def scenario() -> None:
        held = Held()
        held.answer.set()
        async with two_gateways(open_one, held) as (calls, _):
            for argument in ("on", {"colour": [1, 2.5, None]}, ""):
                answer = await calls.ask(DEVICE, FunctionCall("led", argument), PATIENT_S, CONTEXT)
                assert answer == {"heard": argument}
            with pytest.raises(Refused) as refused:
                await calls.ask(DEVICE, FunctionCall("fail"), PATIENT_S, CONTEXT)
            assert (refused.value.code, refused.value.reason) == ("call_failed", "no water")
            assert held.callers == ["account:" + "1" * 24] * 4

    run(scenario)


def test_devices_of_a_gateway_that_has_gone_are_offline_at_once(open_one: Any) -> None:
    async def scenario() -> None:
        async with two_gateways(open_one, Held()) as (calls, other):
            await other.stop()
            with pytest.raises(Refused) as refused:
                async with asyncio.timeout(AT_ONCE_S):
                    await calls.ask(DEVICE, FunctionCall("led"), PATIENT_S, CONTEXT)
            assert refused.value.code == "device_offline"

    run(scenario)


def test_a_device_that_is_silent_costs_no_more_than_its_time(open_one: Any) -> None:
    async def scenario() -> None:
        held = Held()
        async with two_gateways(open_one, held) as (calls, _):
            with pytest.raises(Refused) as refused:
                async with asyncio.timeout(0.2 + MARGIN_S + AT_ONCE_S):
                    await calls.ask(DEVICE, FunctionCall("led"), 0.2, CONTEXT)
            assert refused.value.code == "timeout"
            assert len(held.callers) == 1
            held.answer.set()

    run(scenario)


def test_a_slow_device_keeps_nobody_else_waiting(open_one: Any) -> None:
    async def scenario() -> None:
        held = Held()
        async with two_gateways(open_one, held) as (calls, _):
            slow = [asyncio.create_task(calls.ask(DEVICE, FunctionCall("led"), PATIENT_S, CONTEXT)) for _ in range(50)]
            await held.asked.wait()
            assert await calls._bus.call(service_of("b"), "ping", CONTEXT) == {"gateway": "b"}
            held.answer.set()
            assert await asyncio.gather(*slow) == [{"heard": ""}] * 50

    run(scenario)


def test_a_file_reaches_the_gateway_that_holds_the_device_as_it_was_asked_for(open_one: Any) -> None:
    async def scenario() -> None:
        held = Held()
        held.answer.set()
        async with two_gateways(open_one, held) as (calls, bus):
            file = FlashFile(FlashEntry("f" * 24, 1000, 9, 4, "0" * 64), "trial.bin")
            await calls.ask(DEVICE, file, PATIENT_S, CONTEXT)
            assert (held.questions, held.callers) == ([file], [CONTEXT.actor])
            bad = {"device_id": DEVICE, "kind": "flash", "wait_s": 1.0, "file": {"file_name": "a.bin"}}
            with pytest.raises(Refused) as refusal:
                await bus.call(service_of("b"), "call_device", CONTEXT, **bad)
            assert refusal.value.code == "invalid_request"

    run(scenario)
