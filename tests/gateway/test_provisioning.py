"""What a gateway asks the devices service to let a device in, and when it says so."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest

from services.gateway.provisioning import Provisioner
from shared.context import Context
from shared.errors import NotFound, Unknown
from shared.store.port import Position

DEVICE = "0123456789abcdef01234567"


class Bus:
    """Answers in this order; errors are raised."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.commands: list[UUID] = []
        self.asked: list[dict[str, Any]] = []

    async def call(
        self, service: str, method: str, context: Context, *, timeout_s: float = 10.0, **arguments: Any
    ) -> Any:
        assert (service, method, context.actor) == ("devices", "provision", "system:gateway")
        self.commands.append(context.command_id)
        self.asked.append(arguments)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


class Directory:
    """Notes what was waited for."""

    def __init__(self) -> None:
        self.waited: list[Position | None] = []

    async def wait_for(self, position: Position | None, timeout_s: float) -> bool:
        self.waited.append(position)
        return True


def provision(answers: Sequence[Any]) -> tuple[Any, Bus, Directory]:
    bus, directory = Bus(*answers), Directory()
    provisioner = Provisioner("a", bus, directory)
    try:
        outcome: Any = asyncio.run(provisioner.provision(1000, "Pump", "d" * 64, None, True))
    except Exception as error:  # noqa: BLE001 - the outcome
        outcome = error
    return outcome, bus, directory


def test_a_device_is_let_in_when_the_directory_knows_it() -> None:
    outcome, bus, directory = provision([{"device_id": DEVICE, "position": 7}])
    assert (outcome, directory.waited) == (DEVICE, [Position(7)])
    assert bus.asked == [
        {"product_id": 1000, "device_name": "Pump", "token_digest": "d" * 64, "fingerprint": None, "create": True}
    ]


def test_an_answer_that_does_not_come_is_asked_for_once_more_with_the_same_command() -> None:
    outcome, bus, _ = provision([Unknown("no answer"), {"device_id": DEVICE, "position": 7}])
    assert outcome == DEVICE
    assert bus.commands[0] == bus.commands[1]
    outcome, bus, directory = provision([Unknown("no answer"), Unknown("no answer")])
    assert isinstance(outcome, Unknown)
    assert directory.waited == []


@pytest.mark.parametrize("refusal", [NotFound("no such device")])
def test_a_refusal_is_raised_at_once(refusal: Exception) -> None:
    outcome, bus, _ = provision([refusal])
    assert outcome is refusal
    assert len(bus.commands) == 1
