"""What devices of all protocols share."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

import pytest
import uvloop

from services.gateway.devices import server as module
from services.gateway.devices.effects import Record
from services.gateway.devices.mqtt.listener import MqttListener
from services.gateway.devices.server import DeviceServer
from services.gateway.epochs import Port
from shared.clock import system_clock
from shared.events.gateway import DeviceConnected, DeviceDisconnected, DeviceUsage, UsageCounted

DEVICE = "0123456789abcdef01234567"
WAIT_S = 10.0


def today() -> datetime:
    return system_clock().replace(hour=0, minute=0, second=0, microsecond=0)


def ended(session: int) -> DeviceDisconnected:
    return DeviceDisconnected(DEVICE, 1000, "a", 1, session, "connection_lost", 10, 0, 0, 0, 0)


def test_the_end_of_a_session_that_could_not_be_stored_is_recorded_again(
    directory: Any, recorder: Any, blobs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SWEEP_S", 0.02)

    async def body() -> None:
        server = DeviceServer(
            directory=directory, facts=recorder, log=recorder, blobs=blobs, gateway="a", epoch=1, clock=system_clock
        )
        server.serve({"mqtt": MqttListener(server)})
        await server.start("127.0.0.1", Port("mqtt", 0))
        recorder.fails = True
        server.store(DEVICE, Record(ended(1)))
        server.store(
            DEVICE, Record(DeviceConnected(DEVICE, 1000, "a", 1, 2, system_clock(), "mqtt/5.0", "", False, ""))
        )
        await recorder.until(lambda r: len(r.facts) >= 4)  # it is tried as long as it takes
        recorder.fails, before = False, len(recorder.facts)
        await recorder.until(lambda r: len(r.facts) > before)
        server.store(DEVICE, Record(ended(3)))
        await asyncio.sleep(0)
        await server.stop()
        assert {fact.session for fact in recorder.facts[2 : before + 1]} == {1}
        assert [fact.session for fact in recorder.facts[before:]] == [1, 3]  # and then no more
        assert recorder.usage == [UsageCounted(1000, today(), [DeviceUsage(DEVICE, None, 0, 0, 0, 1, 0)], "a", 1)]

    async def bounded() -> None:
        async with asyncio.timeout(WAIT_S):
            await body()

    uvloop.run(bounded())
