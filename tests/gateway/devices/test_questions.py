"""Questions to connected devices, and sessions of one device on two gateways, over a connection that is a fake."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

import pytest

from services.gateway.devices.calls import MOST_WAITING, FlashFile, FunctionCall, Probe, Question
from services.gateway.devices.effects import Answer, Now, SessionName
from services.gateway.devices.memory import DeviceMemory
from services.gateway.devices.server import DeviceServer
from services.gateway.entries import FlashEntry
from shared.clock import system_clock
from shared.context import Context
from shared.errors import Refused
from shared.events.gateway import DeviceDisconnected, FlashAsked, FunctionCalled

DEVICE = "0123456789abcdef01234567"
ACCOUNT = "a" * 24


class Device:
    """A connection and its session in one."""

    def __init__(self, server: DeviceServer, answer: Any = None) -> None:
        self.server = server
        self.session: Device | None = self
        self.device_id = DEVICE
        self.address = "192.0.2.1"
        self.answer = answer
        self.asked: list[tuple[int, Question]] = []
        self.unasked: list[int] = []
        self.was_replaced = False
        now = server.now()
        self.started_at, self.connected_at = now.s, now.at
        place = server.sessions.join(self, DEVICE, now)
        assert place is not None
        self.memory: DeviceMemory = place.memory
        self.memory.product_id = 1000
        self.name = SessionName("a", 1, place.number)

    def ask(self, number: int, question: Question, now: Now) -> None:
        self.asked.append((number, question))
        if self.answer is not None:
            self.server.answered(DEVICE, Answer(number, self.answer))

    def unask(self, number: int) -> None:
        self.unasked.append(number)

    def replaced(self, now: Now) -> None:
        self.was_replaced, self.session = True, None
        self.server.sessions.leave(self, self)

    def news(self, now: Now) -> None:
        raise AssertionError("no news in these tests")

    def dismiss(self, ending: str, text: str) -> None:
        self.session = None
        self.server.sessions.leave(self, self)


def run(recorder: Any, body: Callable[[DeviceServer], Coroutine[Any, Any, None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(10):
            server = DeviceServer(
                directory=None,  # type: ignore[arg-type]
                facts=recorder,
                log=recorder,
                blobs=None,  # type: ignore[arg-type]
                gateway="a",
                epoch=1,
                clock=system_clock,
            )
            await body(server)

    asyncio.run(bounded())


async def refusal(asking: Coroutine[Any, Any, Any]) -> str:
    with pytest.raises(Refused) as refused:
        await asking
    return refused.value.code


@pytest.mark.parametrize(
    ("actor", "caller"),
    [
        (f"account:{ACCOUNT}", ACCOUNT),
        (f"customer:{ACCOUNT}", ACCOUNT),
        ("client:lamp-1234", ""),
        ("system:devices", ""),
    ],
)
def test_a_call_is_answered_and_recorded_with_who_asked(recorder: Any, actor: str, caller: str) -> None:
    async def body(server: DeviceServer) -> None:
        Device(server, answer=42)
        context = Context.new(actor, "test")
        assert await server.ask(DEVICE, FunctionCall("brew", "2"), context=context) == 42
        (fact,) = recorder.facts
        assert isinstance(fact, FunctionCalled)
        assert (fact.product_id, fact.function, fact.outcome, fact.caller) == (1000, "brew", "answered", caller)
        assert recorder.contexts == [context]

    run(recorder, body)


def test_a_file_is_recorded_with_who_wanted_it_before_anything_that_comes_of_it(recorder: Any) -> None:
    file = FlashFile(FlashEntry("1" * 24, 1000, 9, 40_960, "0" * 64), "kettle.bin")

    async def body(server: DeviceServer) -> None:
        device = Device(server, answer=True)
        context = Context.new(f"account:{ACCOUNT}", "test")
        assert await server.ask(DEVICE, file, context=context) is True
        asked = FlashAsked(DEVICE, 1000, "1" * 24, 9, "0" * 64, 40_960, "kettle.bin")
        assert (recorder.facts, recorder.contexts) == ([asked], [context])
        device.answer = Refused("busy", "The device is being updated.")
        assert await refusal(server.ask(DEVICE, file, context=context)) == "busy"
        assert recorder.facts == [asked]

    run(recorder, body)


def test_a_device_that_is_not_here_is_offline(recorder: Any) -> None:
    async def body(server: DeviceServer) -> None:
        assert await refusal(server.ask(DEVICE, FunctionCall("brew"))) == "device_offline"
        assert [fact.outcome for fact in recorder.facts] == ["offline"]
        assert await refusal(server.ask(DEVICE, Probe())) == "device_offline"
        assert len(recorder.facts) == 1  # only function calls are facts

    run(recorder, body)


def test_a_refusal_of_the_session_reaches_the_caller(recorder: Any) -> None:
    async def body(server: DeviceServer) -> None:
        Device(server, answer=Refused("unknown_function", "no such function"))
        assert await refusal(server.ask(DEVICE, FunctionCall("brew"))) == "unknown_function"

    run(recorder, body)


def test_silence_is_a_timeout_and_a_late_answer_is_counted(recorder: Any) -> None:
    async def body(server: DeviceServer) -> None:
        device = Device(server)
        assert await refusal(server.ask(DEVICE, FunctionCall("brew"), 0.01)) == "timeout"
        (number, _), *_ = device.asked
        assert device.unasked == [number]
        server.answered(DEVICE, Answer(number, 1))
        assert server.counts["unawaited_answers"] == 1
        assert len(server.questions) == 0

    run(recorder, body)


@pytest.mark.parametrize("how", ["lost", "taken over"])
def test_the_end_of_the_session_ends_the_waiting(recorder: Any, how: str) -> None:
    async def body(server: DeviceServer) -> None:
        device = Device(server)
        asking = asyncio.ensure_future(server.ask(DEVICE, FunctionCall("brew")))
        await asyncio.sleep(0)
        if how == "lost":
            device.dismiss("kicked", "")
        else:
            Device(server, answer=7)
        assert await refusal(_awaited(asking)) == "device_offline"  # a call is never sent twice
        assert len(device.asked) == 1

    run(recorder, body)


async def _awaited(future: asyncio.Future[Any]) -> Any:
    return await future


def test_one_device_is_asked_only_so_many_questions_at_once(recorder: Any) -> None:
    async def body(server: DeviceServer) -> None:
        device = Device(server)
        waiting = [asyncio.ensure_future(server.ask(DEVICE, Probe())) for _ in range(MOST_WAITING)]
        await asyncio.sleep(0)
        assert await refusal(server.ask(DEVICE, Probe())) == "busy"
        for number, _ in device.asked:
            server.answered(DEVICE, Answer(number, True))
        assert await asyncio.gather(*waiting) == [True] * MOST_WAITING
        numbers = [number for number, _ in device.asked]
        assert len(set(numbers)) == MOST_WAITING
        assert all(0 < number < 2**31 for number in numbers)

    run(recorder, body)


def test_whoever_gives_up_asking_leaves_nothing_behind(recorder: Any) -> None:
    async def body(server: DeviceServer) -> None:
        device = Device(server)
        asking = asyncio.ensure_future(server.ask(DEVICE, FunctionCall("brew")))
        await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert (len(server.questions), len(device.unasked)) == (0, 1)
        assert recorder.facts[-1].outcome == "failed"

    run(recorder, body)


def test_a_newer_session_on_another_gateway_ends_the_one_here(recorder: Any) -> None:
    async def body(server: DeviceServer) -> None:
        device = Device(server)
        now, elsewhere = server.now(), SessionName("b", 5, 1)
        earlier = device.connected_at - timedelta(seconds=1)
        server.sessions.elsewhere(DEVICE, elsewhere, earlier, now)
        server.sessions.elsewhere(DEVICE, SessionName("a", 1, 99), device.connected_at + timedelta(seconds=1), now)
        assert not device.was_replaced
        server.sessions.elsewhere(DEVICE, elsewhere, device.connected_at + timedelta(seconds=1), now)
        assert device.was_replaced
        assert DEVICE not in server.sessions

    run(recorder, body)


def test_a_device_whose_newer_session_could_not_begin_is_offline(recorder: Any) -> None:  # DEV-7
    async def body(server: DeviceServer) -> None:
        older, now = Device(server), server.now()
        newer = Device.__new__(Device)
        newer.session = None
        place = server.sessions.join(newer, DEVICE, now)
        assert older.was_replaced
        assert DEVICE in server.sessions
        server.sessions.failed(newer, place, now)
        server.sessions.failed(newer, place, now)  # nothing more to tell
        assert DEVICE not in server.sessions
        (fact,) = recorder.facts
        assert isinstance(fact, DeviceDisconnected)
        assert (fact.device_id, fact.product_id, fact.session, fact.reason) == (
            DEVICE,
            1000,
            older.name.session,
            "kicked",
        )
        Device(server)
        server.sessions.failed(newer, place, now)  # somebody else has its place now
        assert DEVICE in server.sessions

    run(recorder, body)
