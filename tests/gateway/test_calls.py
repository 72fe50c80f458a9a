"""Questions find the gateway that holds the device; two gateways are played, the bus and what they hold are fakes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from services.gateway.calls import LOCATE_S, MARGIN_S, MOST_NAME, Calls
from services.gateway.devices.calls import (
    LONGEST_TIMEOUT_S,
    FlashFile,
    FunctionCall,
    Probe,
    Question,
    Signal,
    VariableRead,
)
from services.gateway.entries import FlashEntry
from shared.context import Context
from shared.errors import FlotillaError, NotFound, NotServed, Refused, Unavailable, Unknown

DEVICE = "0123456789abcdef01234567"
CONTEXT = Context.new("account:" + "1" * 24, "test")
OFFLINE: dict[str, Any] = {"online": False, "gateway": None, "epoch": None, "session": None, "product_id": None}
LED = FunctionCall("led", "on")


@dataclass
class FakeDevices:
    """What is connected to one gateway, and what it answers."""

    sessions: set[str] = field(default_factory=set)
    answer: Any = 7
    asked: list[tuple[str, Question, float, Context]] = field(default_factory=list)

    async def ask(self, device_id: str, question: Question, timeout_s: float, *, context: Context) -> Any:
        self.asked.append((device_id, question, timeout_s, context))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class World:
    """Gateways a and b, and presence, which says where the device is each time that it is asked."""

    def __init__(self, *places: str | None) -> None:
        self.places = list(places)
        self.devices = {"a": FakeDevices(), "b": FakeDevices()}
        self.gateways = {name: Calls(name, self, self._devices_of(name)) for name in "ab"}
        self.served = dict(self.gateways)
        self.timeouts: list[tuple[str, float]] = []
        self.locating: FlotillaError | None = None
        self.calling: FlotillaError | None = None

    def _devices_of(self, name: str) -> Callable[[], FakeDevices]:
        return lambda: self.devices[name]

    async def call(
        self, service: str, method: str, context: Context, *, timeout_s: float = 10.0, **arguments: Any
    ) -> Any:
        self.timeouts.append((method, timeout_s))
        if (service, method) == ("devices", "locate"):
            assert arguments == {"device_id": DEVICE}
            if self.locating is not None:
                raise self.locating
            place = self.places.pop(0)
            return OFFLINE if place is None else {**OFFLINE, "online": True, "gateway": place, "product_id": 1000}
        if self.calling is not None:
            raise self.calling
        gateway = self.served.get(service.removeprefix("gateway-"))
        if gateway is None:
            raise NotServed(service)
        return await gateway.methods()[method](context, **arguments)

    def ask(self, question: Question = LED, timeout_s: float = 5.0) -> Any:
        return asyncio.run(self.gateways["a"].ask(DEVICE, question, timeout_s, CONTEXT))


def test_a_device_that_is_here_is_asked_here() -> None:
    world = World()
    world.devices["a"].sessions.add(DEVICE)
    assert world.ask() == 7
    assert world.devices["a"].asked == [(DEVICE, LED, 5.0, CONTEXT)]
    assert world.timeouts == []


QUESTIONS = [
    LED,
    FunctionCall("set", {"colour": [1, 2]}),
    VariableRead("temp"),
    VariableRead("temp", fresh=True),
    Probe(),
    Signal(True),
    Signal(False),
    FlashFile(FlashEntry("1" * 24, 1000, 9, 40_960, "0" * 64), "kettle.bin"),
]


@pytest.mark.parametrize("question", QUESTIONS, ids=str)
def test_a_device_on_another_gateway_is_asked_there_for_the_same_account(question: Question) -> None:
    world = World("b")
    world.devices["b"].sessions.add(DEVICE)
    world.devices["b"].answer = {"value": 21.5, "at": None}
    assert world.ask(question) == {"value": 21.5, "at": None}
    assert world.devices["b"].asked == [(DEVICE, question, 5.0, CONTEXT)]
    assert world.timeouts == [("locate", LOCATE_S), ("call_device", 5.0 + MARGIN_S)]


def refusal(world: World, **options: Any) -> str:
    with pytest.raises(Refused) as refused:
        world.ask(**options)
    return refused.value.code


def test_a_device_that_is_nowhere_is_offline() -> None:
    assert refusal(World(None)) == "device_offline"
    unknown = World()
    unknown.locating = NotFound("Device not found.")
    assert refusal(unknown) == "device_offline"


def test_what_the_device_refuses_comes_through_from_another_gateway() -> None:
    world = World("b")
    world.devices["b"].sessions.add(DEVICE)
    world.devices["b"].answer = Refused("unknown_function", "Function led not found")
    assert refusal(world) == "unknown_function"
    assert len(world.devices["b"].asked) == 1


def test_a_device_that_moved_meanwhile_is_looked_for_once_more() -> None:
    world = World("b", "c")
    world.devices["c"] = FakeDevices({DEVICE}, answer=9)
    world.served["c"] = Calls("c", world, world._devices_of("c"))
    assert world.ask() == 9
    assert world.devices["b"].asked == []


def test_a_device_that_moved_here_meanwhile_is_asked_here() -> None:
    world = World("b")
    here = world.devices["a"]

    class Moving(set[str]):
        def __contains__(self, device_id: object) -> bool:
            here.sessions.add(DEVICE)
            return False

    world.devices["b"].sessions = Moving()
    assert world.ask() == 7
    assert world.devices["a"].asked == [(DEVICE, LED, 5.0, CONTEXT)]


def test_a_device_that_keeps_moving_is_offline() -> None:
    world = World("b", "b")
    assert refusal(world) == "device_offline"
    assert world.places == []


def test_a_device_whose_gateway_has_gone_is_offline_at_once() -> None:
    world = World("b", "b")
    del world.served["b"]
    assert refusal(world) == "device_offline"


def test_a_device_whose_session_here_has_just_ended_is_offline_though_presence_does_not_know_yet() -> None:
    world = World("a", "a")
    assert refusal(world) == "device_offline"
    assert [method for method, _ in world.timeouts] == ["locate", "locate"]


def test_a_gateway_that_gives_no_answer_is_a_timeout_and_is_not_asked_again() -> None:
    world = World("b", "b")
    world.calling = Unknown("no answer in 7 s")
    assert refusal(world) == "timeout"
    assert world.places == ["b"]


def test_a_bus_that_is_away_is_not_taken_for_a_device_that_is_offline() -> None:
    for world, part in ((World("b"), "calling"), (World("b"), "locating")):
        setattr(world, part, Unavailable("no connection to the broker"))
        with pytest.raises(Unavailable):
            world.ask()


def test_online_is_what_is_here_or_what_presence_says() -> None:
    world = World("b", None)
    online = [asyncio.run(world.gateways["a"].is_online(DEVICE, CONTEXT)) for _ in range(2)]
    world.devices["a"].sessions.add(DEVICE)
    assert [*online, asyncio.run(world.gateways["a"].is_online(DEVICE, CONTEXT))] == [True, False, True]


def test_a_gateway_that_serves_no_devices_holds_none() -> None:
    calls = Calls("a", World(), lambda: None)
    with pytest.raises(Refused) as refused:
        asyncio.run(calls.call_device(CONTEXT, DEVICE, "probe", 1.0))
    assert refused.value.code == "not_here"
    assert asyncio.run(calls.ping(CONTEXT)) == {"gateway": "a"}


BAD: list[dict[str, Any]] = [
    {"kind": "reboot"},
    {"kind": ["probe"]},
    {"kind": "function"},
    {"kind": "flash"},
    {"kind": "flash", "file": {"flash": {"flash_id": "1"}, "file_name": "kettle.bin"}},
    {"kind": "function", "name": "n" * (MOST_NAME + 1)},
    {"kind": "variable", "name": 7},
    {"kind": "probe", "wait_s": 0},
    {"kind": "probe", "wait_s": "soon"},
    {"kind": "probe", "wait_s": float("nan")},
    {"kind": "probe", "wait_s": True},
]


@pytest.mark.parametrize("arguments", BAD, ids=str)
def test_what_is_no_question_is_refused(arguments: dict[str, Any]) -> None:
    world = World()
    world.devices["a"].sessions.add(DEVICE)
    with pytest.raises(Refused) as refused:
        asyncio.run(world.gateways["a"].call_device(CONTEXT, DEVICE, **{"wait_s": 1.0, **arguments}))
    assert refused.value.code == "invalid_request"
    assert world.devices["a"].asked == []


def test_another_gateway_cannot_make_a_device_wait_longer_than_the_longest_timeout() -> None:
    world = World()
    world.devices["a"].sessions.add(DEVICE)
    asyncio.run(world.gateways["a"].call_device(CONTEXT, DEVICE, "probe", 1e9))
    assert world.devices["a"].asked[0][2] == LONGEST_TIMEOUT_S
