"""Particle devices at gateways as they are wired: real store, local bus, both gateways with one key."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from services.gateway.bootstrap import Gateway, build
from services.gateway.devices.particle import device_messages, keys
from services.gateway.devices.particle.events import Event, Subscription
from services.gateway.devices.particle.server_keys import TCP_FILE
from shared.bus.open import open_transport
from shared.bus.transport import Transport
from shared.events import devices as d
from shared.events import orgs as o
from shared.settings import Settings
from shared.store.port import EventStore, Position
from tests.gateway.devices.particle.tcp_device import TcpDevice
from tests.gateway.devices.particle.vectors import DEVICE_KEY, SERVER_KEY

Happen = Callable[..., Position]

ACCOUNT, ORG = "a" * 24, "b" * 24
ONE, TWO = "1" * 24, "2" * 24
KEY = b64encode(keys.public_der(DEVICE_KEY.public_key())).decode()


@pytest.fixture
def transport() -> Iterator[Transport]:
    opened = open_transport("local:", name="test")
    opened.start()
    yield opened
    opened.stop()


@pytest.fixture
def fleet(happen: Happen) -> None:
    """A product with two devices whose keys are on record."""
    happen(
        o.OrganizationCreated(ORG, "Acme", "acme", "monthly", ACCOUNT, "ada@example.org"),
        o.MemberJoined(ORG, ACCOUNT, "ada@example.org", "administrator"),
        o.ProductCreated(1000, ORG, "acme", "Lamp", "lamp", "", "Photon", 6, "Consumer", ""),
        *(d.DeviceImported(device_id, 1000, False) for device_id in (ONE, TWO)),
        *(d.DeviceKeySet(device_id, 1000, "rsa", KEY, False) for device_id in (ONE, TWO)),
    )


@pytest.fixture
def make_gateway(store: EventStore, transport: Transport, tmp_path: Path) -> Callable[[str], Gateway]:
    folder = tmp_path / "device-keys"
    folder.mkdir()
    (folder / TCP_FILE).write_text(keys.private_pem(SERVER_KEY))

    def make(name: str) -> Gateway:
        settings = Settings.load(
            {},
            data=tmp_path,
            gateway=name,
            http_port=-1,
            mqtt_port=-1,
            particle_tcp_port=0,
            particle_udp_port=-1,
            device_keys=str(folder),
            lease_s=3,
        )
        return build(settings, store, transport)

    return make


@asynccontextmanager
async def running(*gateways: Gateway) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack, asyncio.timeout(60):
        for gateway in gateways:
            stack.push_async_callback(gateway.stop)
            await gateway.start()
        try:
            yield
        finally:
            await TcpDevice.close_all()


@pytest.mark.usefixtures("fleet")
def test_an_event_reaches_a_device_that_subscribed_at_another_gateway(make_gateway: Callable[[str], Gateway]) -> None:
    async def scenario() -> None:
        a, b = make_gateway("a"), make_gateway("b")
        async with running(a, b):
            one, two = (
                await TcpDevice.online(a.port("particle-tcp"), ONE),
                await TcpDevice.online(b.port("particle-tcp"), TWO),
            )
            two.say(device_messages.subscription(7, Subscription("fleet")))
            while (await two.hear()).id != 7:  # its acknowledgement
                continue
            one.say(device_messages.event(8, Event("fleet/alert", b"now", public=True), confirmable=True))
            _, heard = await two.hears(Event)
            assert heard == Event("fleet/alert", b"now", public=True)

    asyncio.run(scenario())


@pytest.mark.usefixtures("fleet")
def test_a_key_that_is_replaced_ends_the_session_of_the_old_one(
    make_gateway: Callable[[str], Gateway], happen: Happen
) -> None:
    other = b64encode(keys.public_der(keys.new_rsa(keys.DEVICE_RSA_BITS).public_key())).decode()

    async def scenario() -> None:
        gateway = make_gateway("a")
        async with running(gateway):
            device = await TcpDevice.online(gateway.port("particle-tcp"), ONE)
            await asyncio.to_thread(happen, d.DeviceKeySet(ONE, 1000, "rsa", other, False))
            await device.closed()
            assert gateway.status()["epoch"]["devices"]["sessions"] == 0

    asyncio.run(scenario())


def test_particle_can_be_switched_off(store: EventStore, transport: Transport, tmp_path: Path) -> None:
    async def scenario() -> None:
        ports = {"http_port": -1, "mqtt_port": 0, "particle_tcp_port": -1, "particle_udp_port": -1}
        gateway = build(Settings.load({}, data=tmp_path, **ports), store, transport)
        async with running(gateway):
            assert gateway.port("particle-tcp") == -1
            assert not (tmp_path / "device-keys").exists()

    asyncio.run(scenario())
