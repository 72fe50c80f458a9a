"""Listeners of one gateway on real sockets, with a directory, facts, log and blobs in memory, for simulated fleets."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from deploy.simulation.application import Unit
from deploy.simulation.conditions import Conditions
from deploy.simulation.counts import Counts
from deploy.simulation.fleet import SimulatedFleet, mqtt_devices
from deploy.simulation.generations import NEW, NEW_GEN_3, OLD, Generation
from deploy.simulation.keys import SimulatedKeys
from deploy.simulation.particle import Dial, ParticleDevice, Surroundings
from deploy.simulation.particle_dtls import dial_dtls
from deploy.simulation.particle_tcp import dial_tcp
from services.gateway.devices.mqtt.listener import MqttListener
from services.gateway.devices.particle import keys
from services.gateway.devices.particle.listener import ParticleListener
from services.gateway.devices.particle.session_store import SessionStore
from services.gateway.devices.particle.udp import ParticleUdpListener
from services.gateway.devices.server import DeviceServer
from services.gateway.entries import DeviceEntry
from services.gateway.epochs import Port
from shared.clock import system_clock
from tests.gateway.devices.conftest import PRODUCT, FakeBlobs, FakeDirectory, Recorder
from tests.gateway.devices.particle.vectors import DEVICE_KEY, SERVER_EC, SERVER_KEY

LIMIT_S = 20.0
PHOTON, ELECTRON = 6, 10


class Directory(FakeDirectory):
    """Knows devices by their keys, too."""

    def device_by_key(self, key_digest: str) -> DeviceEntry | None:
        known = (one for one in self.devices.values() if one.key_der is not None)
        return next((one for one in known if hashlib.sha256(one.key_der or b"").hexdigest() == key_digest), None)


@dataclass
class World:
    """A device server that listens for MQTT and Particle's protocol, and fleets that connect to it."""

    folder: Path
    directory: Directory = field(default_factory=Directory)
    blobs: FakeBlobs = field(default_factory=FakeBlobs)
    recorder: Recorder = field(default_factory=Recorder)
    counts: Counts = field(default_factory=Counts)
    mqtt_port: int = 0
    tcp_port: int = 0
    udp_port: int = 0
    server: Any = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        server = DeviceServer(
            directory=self.directory,  # type: ignore[arg-type]
            facts=self.recorder,  # type: ignore[arg-type]
            log=self.recorder,  # type: ignore[arg-type]
            blobs=self.blobs,  # type: ignore[arg-type]
            gateway="a",
            epoch=1,
            clock=system_clock,
        )
        particle = ParticleListener(server, SERVER_KEY)
        store = SessionStore(self.folder / "sessions.db", SERVER_EC)
        udp = ParticleUdpListener(server, SERVER_EC, store)
        server.serve({"mqtt": MqttListener(server), "particle-tcp": particle, "particle-udp": udp})
        self.server = server
        try:
            self.mqtt_port = await server.start("127.0.0.1", Port("mqtt", 0))
            self.tcp_port = await server.start("127.0.0.1", Port("particle-tcp", 0))
            self.udp_port = await server.start("127.0.0.1", Port("particle-udp", 0))
            yield
        finally:
            await server.stop()
            store.close()

    def mqtt(self, count: int, conditions: Conditions) -> list[Any]:
        ids = [f"{number:024x}" for number in range(1, count + 1)]
        for device_id in ids:
            self.directory.add(device_id, f"token-of-{device_id}")
        tokens = {device_id: f"token-of-{device_id}" for device_id in ids}
        endpoints = [("127.0.0.1", self.mqtt_port)]
        return list(mqtt_devices(tokens, PRODUCT, 1, endpoints, conditions, self.counts))

    def particle(
        self, count: int, conditions: Conditions, generations: Sequence[Generation] = (OLD, NEW)
    ) -> list[ParticleDevice]:
        dial: Dial = dial_tcp(SERVER_KEY.public_key(), lambda _: DEVICE_KEY)
        around = Surroundings("particle", [("127.0.0.1", self.tcp_port)], conditions, self.counts, dial)
        devices = []
        for number in range(1, count + 1):
            device_id = f"{number:023x}f"
            entry = {"key_der": keys.public_der(DEVICE_KEY.public_key()), "key_algorithm": "rsa"}
            self.directory.add(device_id, f"none-of-{device_id}", **entry)
            unit = Unit(device_id, PRODUCT, 1, PHOTON, generations[number % len(generations)])
            devices.append(ParticleDevice(unit, around))
        return devices

    def electrons(self, count: int, conditions: Conditions) -> list[ParticleDevice]:
        """Of all generations, over UDP."""
        made = SimulatedKeys(self.folder / "keys")
        dial = dial_dtls(keys.public_der(SERVER_EC.public_key()), made.ec)
        around = Surroundings("particle-dtls", [("127.0.0.1", self.udp_port)], conditions, self.counts, dial)
        devices = []
        for number in range(1, count + 1):
            device_id = f"{number:023x}e"
            key_der = keys.public_der(made.ec(device_id).public_key())
            self.directory.add(device_id, f"none-of-{device_id}", key_der=key_der, key_algorithm="ecc")
            generation = (OLD, NEW, NEW_GEN_3)[number % 3]
            devices.append(ParticleDevice(Unit(device_id, PRODUCT, 1, ELECTRON, generation), around))
        return devices

    def release(self, version: int, image: bytes) -> None:
        """Every device is to run this version from now on."""
        self.blobs.put(image)
        self.directory.put_image(version, image)
        for device_id in self.directory.devices:
            self.directory.change(device_id, member={"locked_version": version, "flash_pending": True})

    def kinds(self) -> Counter[str]:
        return Counter(self.recorder.kinds())


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(LIMIT_S):
            await scenario()

    asyncio.run(bounded())


@asynccontextmanager
async def living(fleet: SimulatedFleet, **options: Any) -> AsyncIterator[None]:
    """The fleet, while the test looks on."""
    ended = asyncio.Event()

    async def until() -> None:
        await ended.wait()

    life = asyncio.create_task(fleet.run(until, per_second=500, **options))
    try:
        yield
    finally:
        ended.set()
        await life


async def becomes_true(condition: Callable[[], bool]) -> None:
    """Looks at what has no signal of its own, until the scenario's time is up."""
    while not condition():
        await asyncio.sleep(0.01)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)
