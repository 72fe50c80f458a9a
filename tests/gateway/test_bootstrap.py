"""A gateway as it is wired: real store, local bus, HTTP and MQTT over real sockets; other services are only events."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from services.gateway.bootstrap import Gateway, GatewayPart, build
from shared.bus.client import AsyncBus
from shared.bus.open import open_bus, open_transport
from shared.bus.transport import Transport
from shared.context import Context
from shared.errors import FlotillaError, NotServed, Refused
from shared.events import devices as d
from shared.events import gateway as g
from shared.events import orgs as o
from shared.events.contracts import CONTRACTS
from shared.ids import digest
from shared.settings import Settings
from shared.store.port import EventStore, Only, Position

Happen = Callable[..., Position]
Events = Callable[[str], list[object]]

ACCOUNT, ORG, TOKEN, DEVICE = "a" * 24, "b" * 24, "d" * 24, "e" * 24
BEARER, DEVICE_TOKEN = "f" * 40, "device-token-of-thirty-two-chars"
FAR = datetime(2100, 1, 1, tzinfo=UTC)


@pytest.fixture
def transport() -> Any:
    opened = open_transport("local:", name="test")
    opened.start()
    yield opened
    opened.stop()


@pytest.fixture(params=["local", pytest.param("amqp", marks=pytest.mark.broker)])
def bus_source(request: pytest.FixtureRequest) -> Any:
    """What gateways are given as their bus: a transport of this process, or a broker's address."""
    return request.getfixturevalue("transport" if request.param == "local" else "amqp_url")


@pytest.fixture
def fleet(happen: Happen) -> None:
    """A product with one device, and somebody who may see it."""
    happen(
        o.AccountCreated(ACCOUNT, "ada@example.org", "hash", "", "", ""),
        o.OrganizationCreated(ORG, "Acme", "acme", "monthly", ACCOUNT, "ada@example.org"),
        o.MemberJoined(ORG, ACCOUNT, "ada@example.org", "administrator"),
        o.TokenIssued(TOKEN, ACCOUNT, "particle", digest(BEARER), "9" * 64, "ffff", None, FAR),
        o.ProductCreated(1000, ORG, "acme", "Lamp", "lamp", "", "mqtt", 65535, "Consumer", ""),
        d.DeviceImported(DEVICE, 1000, False),
        d.DeviceTokenReplaced(DEVICE, 1000, digest(DEVICE_TOKEN)),
    )


ANY_PORT = {"mqtt_port": 0, "particle_tcp_port": 0, "particle_udp_port": -1}


def settings(tmp_path: Path, gateway: str = "a") -> Settings:
    return Settings.load({}, data=tmp_path, gateway=gateway, http_port=0, **ANY_PORT, lease_s=3)


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(15):
            await scenario()

    asyncio.run(bounded())


@asynccontextmanager
async def running(gateway: Gateway) -> AsyncIterator[httpx.AsyncClient]:
    await gateway.start()
    url = f"http://127.0.0.1:{gateway.http_port}"
    headers = {"Authorization": f"Bearer {BEARER}"}
    try:
        async with httpx.AsyncClient(base_url=url, headers=headers, trust_env=False, timeout=20) as client:
            yield client
    finally:
        await gateway.stop()


def text(value: str) -> bytes:
    return len(value.encode()).to_bytes(2, "big") + value.encode()


def packet(kind: int, body: bytes) -> bytes:
    assert len(body) < 128
    return bytes([kind, len(body)]) + body


class Device:
    """Just enough MQTT 3.1.1 to connect and to publish."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def connect(cls, port: int, token: str = DEVICE_TOKEN) -> Device:
        device = cls(*await asyncio.open_connection("127.0.0.1", port))
        body = text("MQTT") + bytes([4, 0x82]) + (60).to_bytes(2, "big") + text("lamp") + text(token)
        device.writer.write(packet(0x10, body))
        assert await device.reader.readexactly(4) == b"\x20\x02\x00\x00"
        return device

    async def publish(self, topic: str, value: object) -> None:
        """Returns when it is acknowledged."""
        self.writer.write(packet(0x32, text(topic) + b"\x00\x01" + json.dumps(value).encode()))
        assert await self.reader.readexactly(4) == b"\x40\x02\x00\x01"

    async def listen_to_calls(self) -> None:
        """Returns when it is subscribed to them, with QoS 0."""
        self.writer.write(packet(0x82, b"\x00\x02" + text("v1/devices/me/rpc/request/+") + b"\x00"))
        assert await self.reader.readexactly(5) == b"\x90\x03\x00\x02\x00"

    async def answer_call(self, answer: object) -> object:
        """Answer the next call; what it asks."""
        kind, size = await self.reader.readexactly(2)
        assert kind == 0x30
        body = await self.reader.readexactly(size)
        end = 2 + int.from_bytes(body[:2], "big")
        reply_to = body[2:end].decode().replace("request", "response")
        self.writer.write(packet(0x30, text(reply_to) + json.dumps(answer).encode()))
        return json.loads(body[end:])

    async def close(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()


async def telemetry(response: httpx.Response) -> AsyncIterator[object]:
    """What devices measured, as a reader of the event stream hears it."""
    name = ""
    async for line in response.aiter_lines():
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: ") and name == "telemetry":
            yield json.loads(json.loads(line.removeprefix("data: "))["data"])


@pytest.mark.usefixtures("fleet")
def test_readers_hear_the_devices_of_every_gateway(store: EventStore, bus_source: Any, tmp_path: Path) -> None:
    async def scenario() -> None:
        one, two = (build(settings(tmp_path, name), store, bus_source) for name in ("a", "b"))
        async with running(one) as client, running(two), client.stream("GET", "/v1/products/lamp/events") as response:
            assert response.status_code == 200
            heard = telemetry(response)
            for number, gateway in enumerate((one, two)):
                device = await Device.connect(gateway.port("mqtt"))
                await device.publish("v1/devices/me/telemetry", {"number": number})
                assert await anext(heard) == {"number": number}
                await device.close()

    run(scenario)


@asynccontextmanager
async def presence(bus_source: Any, gateway: Callable[[], str | None]) -> AsyncIterator[None]:
    """The devices service, as far as it says where the device is and what it is called."""

    async def locate(context: Context, device_id: str) -> dict[str, Any]:
        return {"online": gateway() is not None, "gateway": gateway(), "epoch": 1, "session": 1, "product_id": 1000}

    async def get_device(context: Context, product_id: int, device_id: str) -> dict[str, Any]:
        return {"name": "cellar", "last_handshake_at": None, "last_heard": None}

    bus = open_bus(bus_source, name="devices")
    await bus.start()
    try:
        await bus.serve("devices", {"locate": locate, "get_device": get_device})
        yield
    finally:
        await bus.stop()


@pytest.mark.usefixtures("fleet")
def test_a_question_over_http_reaches_the_device_on_the_gateway_that_holds_it(
    store: EventStore, bus_source: Any, tmp_path: Path
) -> None:  # DEV-9
    def called() -> list[g.FunctionCalled]:
        found = store.read_all(None, only=Only(types=frozenset({g.FunctionCalled.__name__}))).events
        return [cast(g.FunctionCalled, CONTRACTS.decode(event)) for event in found]

    async def scenario() -> None:
        where: list[str | None] = [None]
        one, two = (build(settings(tmp_path, name), store, bus_source) for name in ("a", "b"))
        async with running(one) as client, running(two), presence(bus_source, lambda: where[-1]):
            url = f"/v1/products/lamp/devices/{DEVICE}"
            assert (await client.put(url + "/ping")).json() == {"ok": True, "online": False}
            assert (await client.put(url, json={"signal": "1"})).json()["error"] == "device_offline"
            device = await Device.connect(two.port("mqtt"))
            where.append("b")
            assert (await client.put(url + "/ping")).json() == {"ok": True, "online": True}
            answer = await client.put(url, json={"signal": "1"})
            assert answer.json()["error"] == "not_supported"  # what MQTT sessions say, and none other
            await device.listen_to_calls()
            for below in ("/v1/products/lamp/devices", "/v1/devices"):
                asking = asyncio.create_task(client.post(f"{below}/{DEVICE}/led", json={"args": "on"}))
                assert await device.answer_call(7) == {"method": "led", "params": "on"}
                assert (await asking).json()["return_value"] == 7
            served = two.status()["calls"]
            assert (served["service"], served["answered"]) == ("gateway-b", 3)
            await two.stop()
            assert (await client.put(url, json={"signal": "1"})).json()["error"] == "device_offline"
            await device.close()

    run(scenario)
    assert [(fact.function, fact.outcome, fact.caller) for fact in called()] == [("led", "answered", ACCOUNT)] * 2


async def answers(bus: AsyncBus) -> bool:
    """Whether somebody goes by the name of gateway a."""
    try:
        await bus.call("gateway-a", "ping", Context.new("system:test", "test"))
    except NotServed:
        return False
    return True


@pytest.mark.usefixtures("fleet")
def test_a_gateway_whose_name_another_process_took_answers_no_calls_in_its_stead(
    store: EventStore, bus_source: Any, tmp_path: Path
) -> None:
    async def scenario() -> None:
        bus = open_bus(bus_source, name="another")
        await bus.start()
        first, second = (build(settings(tmp_path / place), store, bus_source) for place in ("here", "there"))
        try:
            async with running(first):
                async with running(second):
                    assert await answers(bus)
                while await answers(bus):  # until the first has looked at its life
                    await asyncio.sleep(0.05)
                assert first.status()["epoch"]["state"] == "superseded"
        finally:
            await bus.stop()

    run(scenario)


@pytest.mark.usefixtures("fleet")
def test_a_gateway_that_stops_leaves_every_session_and_its_epoch_ended(
    store: EventStore, transport: Transport, tmp_path: Path, events_of: Events
) -> None:
    async def scenario() -> None:
        gateway = build(settings(tmp_path), store, transport)
        async with running(gateway) as client:
            health = await client.get("/health")
            assert health.status_code == 200, health.text
            assert health.json()["epoch"]["epoch"] == 1
            device = await Device.connect(gateway.port("mqtt"))
        assert await device.reader.read() == b""
        await device.close()
        await gateway.stop()

    run(scenario)
    streams = {recorded.stream for recorded in store.read_all().events if recorded.stream.startswith("connection-a.1-")}
    facts = [event for stream in sorted(streams) for event in events_of(stream)]
    assert [type(event) for event in facts] == [g.DeviceConnected, g.DeviceDisconnected, g.UsageCounted]
    assert events_of("gateway-a")[-1] == g.GatewayStopped("a", 1)
    assert store.read_all().events[-1].type == "GatewayStopped"


@pytest.mark.parametrize("setting", ["mqtt_ws_port", "particle_udp_port"])
def test_a_port_that_somebody_has_is_named_with_its_setting(
    store: EventStore, transport: Transport, tmp_path: Path, setting: str
) -> None:
    kind = socket.SOCK_DGRAM if "udp" in setting else socket.SOCK_STREAM

    async def scenario() -> None:
        with socket.socket(type=kind) as taken:
            taken.bind(("127.0.0.1", 0))
            port = taken.getsockname()[1]
            gateway = build(replace(settings(tmp_path), **{setting: port}), store, transport)
            with pytest.raises(
                FlotillaError, match=rf"cannot listen on 127.0.0.1:{port} \(FLOTILLA_{setting.upper()}\)"
            ):
                await gateway.start()

    run(scenario)


def test_a_gateway_without_its_port_does_not_start_and_leaves_nothing_running(
    store: EventStore, transport: Transport, tmp_path: Path, events_of: Events
) -> None:
    async def scenario() -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            wanted = Settings.load({}, data=tmp_path, http_port=taken.getsockname()[1], **ANY_PORT)
            gateway = build(wanted, store, transport)
            with pytest.raises(FlotillaError, match="cannot listen"):
                await gateway.start()
        assert (gateway.http_port, gateway.port("mqtt")) == (-1, -1)
        assert events_of("gateway-a")[-1] == g.GatewayStopped("a", 1)
        again = build(settings(tmp_path), store, transport)
        await again.start()
        await again.stop()

    run(scenario)


def test_a_gateway_runs_in_a_thread_of_its_own_as_a_part(
    store: EventStore, transport: Transport, tmp_path: Path, events_of: Events
) -> None:
    part = GatewayPart(settings(tmp_path), store, transport)
    part.stop()
    part.start()
    try:
        answer = httpx.get(f"http://127.0.0.1:{part.http_port}/health", trust_env=False, timeout=20)
        assert (answer.status_code, answer.json()["gateway"]) == (200, "a")
        assert part.port("mqtt") > 0
    finally:
        part.stop()
    part.stop()
    assert (part.http_port, part.port("mqtt")) == (-1, -1)
    assert events_of("gateway-a")[-1] == g.GatewayStopped("a", 1)


def test_a_part_that_cannot_start_says_why(store: EventStore, transport: Transport, tmp_path: Path) -> None:
    broken = Settings.load({}, data=tmp_path, http_port=0, **ANY_PORT, blobs="ftp://nowhere")
    part = GatewayPart(broken, store, transport)
    with pytest.raises(FlotillaError, match="not at ftp:"):
        part.start()
    part.stop()


def test_devices_connect_with_tls_where_a_certificate_is_given(
    store: EventStore, transport: Transport, tmp_path: Path
) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subject = ["-subj", "/CN=localhost", "-days", "2", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    command = ["openssl", "req", "-x509", "-nodes", *subject, "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True, timeout=30)

    async def scenario() -> None:
        secured = replace(settings(tmp_path), mqtts_port=0, tls_certificate=str(certificate), tls_key=str(key))
        gateway = build(secured, store, transport)
        async with running(gateway):
            assert gateway.port("mqtts") not in (-1, gateway.port("mqtt"))
            trusting = ssl.create_default_context(cafile=str(certificate))
            trusting.check_hostname = False
            _, writer = await asyncio.open_connection("127.0.0.1", gateway.port("mqtts"), ssl=trusting)
            assert writer.get_extra_info("ssl_object").version() == "TLSv1.3"
            writer.close()
            await writer.wait_closed()

    run(scenario)


@pytest.mark.parametrize("certificate", ["", "no-such-file.pem"])
def test_tls_without_a_certificate_is_refused(
    store: EventStore, transport: Transport, tmp_path: Path, certificate: str
) -> None:
    async def scenario() -> None:
        unsecured = replace(settings(tmp_path), mqtts_port=0, tls_certificate=certificate)
        with pytest.raises(Refused, match=r"TLS|certificate"):
            await build(unsecured, store, transport).start()

    run(scenario)
