"""Recorded conversations with real firmware, fed through the session: what the device said in, its acknowledgements
out."""

from __future__ import annotations

from typing import Any

import pytest

from services.gateway.devices.calls import FunctionCall
from services.gateway.devices.particle import coap, messages
from services.gateway.devices.particle.coap import ACK, CON, Message
from services.gateway.devices.particle.hello import Hello
from tests.gateway.devices.particle.desk import Desk, ParticleDirectory
from tests.gateway.devices.particle.vectors import SESSIONS

TOURS = SESSIONS[:3]
"""Those without an update: the sender's tests replay the others."""


def said(session: dict[str, Any], who: str) -> list[Message]:
    return [coap.decode(bytes.fromhex(one["coap"])) for one in session["messages"] if one["from"] == who]


def connected(session: dict[str, Any], directory: ParticleDirectory) -> tuple[Desk, list[Message]]:
    hello, *others = said(session, "device")
    read = messages.read(hello)
    assert isinstance(read, Hello)
    desk = Desk(directory)
    directory.change(member={"forced": True})  # the recorded devices report products of their own
    return desk.connect(read, message=hello), others


@pytest.mark.parametrize("session", TOURS, ids=lambda session: session["title"][:40])
def test_what_a_real_device_wants_acknowledged_is_acknowledged_as_the_recorded_server_did(
    session: dict[str, Any], directory: ParticleDirectory
) -> None:
    desk, others = connected(session, directory)
    recorded = {message.id: message for message in said(session, "server") if message.type == ACK}
    for message in others:
        answers = desk.say(message)
        if message.type != CON:
            continue
        acknowledged = [answer for answer in answers if answer.type == ACK and answer.id == message.id]
        assert len(acknowledged) == 1, message
        expected = recorded[message.id]
        assert (acknowledged[0].code, acknowledged[0].token) == (expected.code, expected.token)
    assert all(kind != "DeviceMisbehaved" for kind in desk.kinds())


def test_the_old_device_is_known_by_what_it_says(directory: ParticleDirectory) -> None:
    desk, others = connected(TOURS[0], directory)
    asked = desk.sent[-1]
    for message in others:
        read = messages.read(message)
        if isinstance(read, messages.Answer) and b'{"f"' in (read.payload or b""):
            message = Message(ACK, message.code, asked.id, asked.token, message.options, message.payload)
        desk.say(message)
    assert desk.session.description.functions[:2] == ("echo", "setint")
    assert [event.name for event in desk.published][:4] == ["temp/in", "temp/out", "boot", "acked"]
    assert (desk.session.told.max_binary_bytes, desk.session.told.chunk_bytes) == (1_048_576, 512)
    assert "ClaimPresented" in desk.kinds()
    assert len(desk.ask(FunctionCall("ECHO", "hello"))) == 1


def test_the_new_device_says_goodbye_and_its_64_functions_come_in_blocks(directory: ParticleDirectory) -> None:
    desk, others = connected(TOURS[1], directory)
    for message in others:
        desk.say(message)
    assert desk.closed is not None
    assert desk.closed.ending == "disconnected"
    desk, others = connected(TOURS[2], ParticleDirectoryWithDevice())
    for message in others:
        desk.say(message)
    assert len(desk.session.description.functions) == 64


class ParticleDirectoryWithDevice(ParticleDirectory):
    def __init__(self) -> None:
        super().__init__()
        self.add()
