"""Particle devices on UDP at gateways as they are wired: real store, local bus, sessions on disk."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from services.gateway.bootstrap import Gateway, build
from services.gateway.devices.particle import device_messages, keys
from services.gateway.devices.particle.dtls.client import NEW
from services.gateway.devices.particle.server_keys import UDP_FILE
from shared.bus.open import open_transport
from shared.bus.relay import Relay
from shared.bus.transport import Transport
from shared.events import devices as d
from shared.events import gateway as g
from shared.events import orgs as o
from shared.events.contracts import CONTRACTS
from shared.projections.database import Database
from shared.settings import Settings
from shared.store.port import EventStore, Only, Position
from tests.gateway.devices.particle.desk import DEVICE
from tests.gateway.devices.particle.udp_device import DEVICE_EC_DER, UdpDevice
from tests.gateway.devices.particle.vectors import SERVER_EC

Happen = Callable[..., Position]

ACCOUNT, ORG = "a" * 24, "b" * 24
KEY = b64encode(DEVICE_EC_DER).decode()
PRESENCE = (g.DeviceConnected, g.SessionReplaced, g.DeviceDisconnected)


@pytest.fixture
def transport() -> Iterator[Transport]:
    opened = open_transport("local:", name="test")
    opened.start()
    yield opened
    opened.stop()


@pytest.fixture
def relay(store: EventStore, transport: Transport, tmp_path: Path) -> Iterator[None]:
    """Tells the gateways what the others recorded, as the devices service does."""
    database = Database(f"sqlite:///{tmp_path / 'relay'}", "devices")
    database.prepare(())
    telling = Relay(
        "devices",
        store,
        transport,
        database.checkpoints(),
        CONTRACTS.of_service("gateway"),
        source="gateway",
        contracts=CONTRACTS,
    )
    telling.start()
    yield
    telling.stop()
    database.close()


@pytest.fixture
def fleet(happen: Happen) -> None:
    """A product with one device whose key is on record."""
    happen(
        o.OrganizationCreated(ORG, "Acme", "acme", "monthly", ACCOUNT, "ada@example.org"),
        o.MemberJoined(ORG, ACCOUNT, "ada@example.org", "administrator"),
        o.ProductCreated(1000, ORG, "acme", "Lamp", "lamp", "", "Electron", 10, "Consumer", ""),
        d.DeviceImported(DEVICE, 1000, False),
        d.DeviceKeySet(DEVICE, 1000, "ecc", KEY, False),
    )


@pytest.fixture
def make_gateway(store: EventStore, transport: Transport, tmp_path: Path) -> Callable[..., Gateway]:
    folder = tmp_path / "device-keys"
    folder.mkdir()
    (folder / UDP_FILE).write_text(keys.private_pem(SERVER_EC))

    def make(name: str = "a", port: int = 0) -> Gateway:
        settings = Settings.load(
            {},
            data=tmp_path,
            gateway=name,
            http_port=-1,
            mqtt_port=-1,
            particle_tcp_port=-1,
            particle_udp_port=port,
            device_keys=str(folder),
            lease_s=3,
            drain_s=0.1,
        )
        return build(settings, store, transport)

    return make


@asynccontextmanager
async def running(*gateways: Gateway) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack, asyncio.timeout(60):
        for gateway in gateways:
            stack.push_async_callback(gateway.stop)
            await gateway.start()
        yield


def run(body: Callable[[], object]) -> None:
    async def closing() -> None:
        try:
            await body()  # type: ignore[misc]
        finally:
            UdpDevice.close_all()

    asyncio.run(closing())


async def ping(device: UdpDevice) -> None:
    number = device.id
    device.say(device_messages.ping(number))
    await device.acknowledged(number)


def presence(store: EventStore) -> list[tuple[str, str]]:
    """How the device came and went, and at which gateway."""
    only = Only(types=frozenset(kind.__name__ for kind in PRESENCE))
    facts = [CONTRACTS.decode(event) for event in store.read_all(None, only=only).events]
    return [(type(fact).__name__, fact.gateway) for fact in facts if isinstance(fact, PRESENCE)]


@pytest.mark.usefixtures("fleet")
def test_a_session_goes_on_at_the_restarted_gateway(make_gateway: Callable[..., Gateway], store: EventStore) -> None:
    async def scenario() -> None:
        gateway = make_gateway()
        async with running(gateway):
            port = gateway.port("particle-udp")
            device = await UdpDevice.online(port, firmware=NEW)
            session = device.client.session
        assert gateway.port("particle-udp") == -1
        async with running(make_gateway(port=port)):
            device.client.move()
            await device.reach(port)
            await ping(device)
        assert device.client.session is session

    run(scenario)
    assert presence(store) == [("DeviceConnected", "a"), ("DeviceDisconnected", "a")] * 2


@pytest.mark.usefixtures("fleet", "relay")
def test_a_gateway_forgets_the_session_of_a_device_that_begins_anew_at_another(
    make_gateway: Callable[..., Gateway], store: EventStore
) -> None:
    async def scenario() -> None:
        a, b = make_gateway("a"), make_gateway("b")
        async with running(a, b):
            device = await UdpDevice.online(a.port("particle-udp"), firmware=NEW)
            device.client.move()
            await device.reach(b.port("particle-udp"))
            device.say(device_messages.ping(device.id))  # answered with silence
            await device.shake()
            await device.greet()
            kept = a._protocols.kept_sessions
            assert kept is not None
            async with asyncio.timeout(10):
                while kept.of_device(bytes.fromhex(DEVICE)) is not None:
                    await asyncio.sleep(0.01)
            server = a.device_server
            assert server is not None
            assert DEVICE not in server.sessions

    run(scenario)
    assert presence(store)[:2] == [("DeviceConnected", "a"), ("DeviceConnected", "b")]
