"""Devices that let themselves in, with a real gateway, the real devices service and a real store."""

from __future__ import annotations

import asyncio
import json
import queue
from collections.abc import Callable
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest

from services.devices.bootstrap import build as build_devices
from services.gateway.bootstrap import build
from shared.bus.open import open_transport
from shared.events import orgs as o
from shared.ids import digest
from shared.settings import Settings
from shared.store.port import EventStore, Position

ORG, ACCOUNT, DEVICE = "b" * 24, "a" * 24, "e" * 24
KEY, SECRET = "key-of-the-product", "secret-of-the-product"
WAIT_S = 10.0


@pytest.fixture
def transport() -> Any:
    opened = open_transport("local:", name="test")
    opened.start()
    yield opened
    opened.stop()


class Client:
    """A client over WebSocket."""

    def __init__(self, username: str) -> None:
        connected: queue.Queue[int] = queue.Queue()
        messages: queue.Queue[bytes] = queue.Queue()
        self.mqtt = paho.Client(
            paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5, transport="websockets", reconnect_on_failure=False
        )
        self.mqtt.username_pw_set(username)
        self.mqtt.on_connect = lambda c, u, f, reason, p: connected.put(reason.value)
        self.mqtt.on_message = lambda c, u, message: messages.put(message.payload)
        self.connected, self.messages = connected, messages

    async def reaches(self, port: int) -> int:
        await asyncio.to_thread(self.mqtt.connect, "127.0.0.1", port)
        self.mqtt.loop_start()
        return await asyncio.to_thread(self.connected.get, True, WAIT_S)

    async def asks(self, **members: Any) -> dict[str, Any]:
        whole = {"provisionDeviceKey": KEY, "provisionDeviceSecret": SECRET, **members}
        self.mqtt.publish("/provision/request", json.dumps(whole), 0)
        answer: dict[str, Any] = json.loads(await asyncio.to_thread(self.messages.get, True, WAIT_S))
        return answer

    async def end(self) -> None:
        self.mqtt.disconnect()
        await asyncio.to_thread(self.mqtt.loop_stop)


def test_a_device_provisions_itself_over_websocket_and_is_let_in_at_once(
    store: EventStore, happen: Callable[..., Position], transport: Any, tmp_path: Path
) -> None:
    happen(
        o.OrganizationCreated(ORG, "Acme", "acme", "monthly", ACCOUNT, "ada@example.org"),
        o.MemberJoined(ORG, ACCOUNT, "ada@example.org", "administrator"),
        o.ProductCreated(1000, ORG, "acme", "Lamp", "lamp", "", "mqtt", 65535, "Consumer", ""),
        o.DeviceAccessConfigured(1000, False, False, "create", False, "1000", 0),
        o.ProvisioningKeyIssued(1000, KEY, digest(SECRET)),
    )
    ports = {"mqtt_port": -1, "mqtt_ws_port": 0, "particle_tcp_port": -1, "particle_udp_port": -1, "http_port": -1}
    settings = Settings.load({}, data=tmp_path, **ports)
    service = build_devices(settings, transport, store)

    async def scenario() -> None:
        gateway = build(settings, store, transport)
        await asyncio.to_thread(service.start)
        await gateway.start()
        try:
            stranger = Client("provision")
            assert await stranger.reaches(gateway.port("mqtt-ws")) == 0
            made = await stranger.asks(deviceName=DEVICE)
            assert made["status"] == "SUCCESS"
            device = Client(made["credentialsValue"])
            assert await device.reaches(gateway.port("mqtt-ws")) == 0
            assert gateway.device_server is not None
            assert list(gateway.device_server.sessions) == [DEVICE]
            again = await stranger.asks(deviceName=DEVICE)
            assert again["status"] == "FAILURE"  # it has something to authenticate with
            await device.end()
            await stranger.end()
        finally:
            await gateway.stop()
            await asyncio.to_thread(service.stop)

    async def bounded() -> None:
        async with asyncio.timeout(60):
            await scenario()

    asyncio.run(bounded())
