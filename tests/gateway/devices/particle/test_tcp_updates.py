"""Firmware over the air over real sockets: whole images, devices that read slowly, images that cannot be read."""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop

from services.gateway.devices.particle import device_messages, keys
from services.gateway.devices.particle.device_updates import Habits, Receiver
from services.gateway.devices.particle.hello import Hello
from services.gateway.devices.particle.limits import ParticleLimits
from services.gateway.devices.particle.listener import ParticleListener
from services.gateway.devices.server import DeviceServer
from services.gateway.devices.transfers import TransferLimits
from services.gateway.entries import ImageEntry
from services.gateway.epochs import Port
from shared.clock import system_clock
from shared.events.gateway import UpdateFailed
from tests.gateway.devices.particle.desk import DEVICE, NEW, OLD, PRODUCT, ParticleDirectory
from tests.gateway.devices.particle.tcp_device import TcpDevice
from tests.gateway.devices.particle.vectors import DEVICE_KEY, SERVER_KEY

IMAGE = hashlib.sha256(b"seed").digest() * 20_000
"""640,000 bytes: three blocks of the cache, 1,250 chunks."""
DER = keys.public_der(DEVICE_KEY.public_key())
WAIT_S = 20.0


class Place:
    """A server with one version released for every device."""

    def __init__(self, directory: ParticleDirectory, recorder: Any, blobs: Any) -> None:
        self.directory = directory
        self.recorder = recorder
        self.blobs = blobs
        sha256 = hashlib.sha256(IMAGE).hexdigest()
        directory.images[PRODUCT, 7] = ImageEntry(PRODUCT, 7, "seven", len(IMAGE), sha256)

    def add(self, device_id: str) -> None:
        self.directory.add(device_id, key_der=DER, released_version=7)

    @asynccontextmanager
    async def serve(self, transfers: TransferLimits | None = None) -> AsyncIterator[tuple[ParticleListener, int]]:
        server = DeviceServer(
            directory=self.directory,  # type: ignore[arg-type]  # as on the desk
            facts=self.recorder,
            log=self.recorder,
            blobs=self.blobs,
            gateway="a",
            epoch=3,
            clock=system_clock,
            transfer_limits=transfers,
        )
        limits = ParticleLimits(tick_s=0.02, patience_s=0.05)
        listener = ParticleListener(server, SERVER_KEY, limits)
        server.serve({"particle-tcp": listener})
        try:
            yield listener, await server.start("127.0.0.1", Port("particle-tcp", 0))
        finally:
            await server.stop()
            await TcpDevice.close_all()

    def run(self, body: Any) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(WAIT_S * 2):
                await body()

        uvloop.run(bounded())  # as in production


@pytest.fixture
def place(directory: ParticleDirectory, recorder: Any, blobs: Any) -> Place:
    made = Place(directory, recorder, blobs)
    made.add(DEVICE)
    blobs.put(IMAGE)
    return made


async def updated(device: TcpDevice, habits: Habits) -> bytes:
    """What the device applies in the end."""
    receiver = Receiver(habits, first_id=30_000)
    async with asyncio.timeout(WAIT_S):
        while receiver.image is None:
            device.say(*receiver.receive(await device.hear(), 0.0))
    return receiver.image


@pytest.mark.parametrize(
    ("hello", "habits"),
    [(OLD, Habits("self_finishing")), (OLD, Habits("waiting", fast=False)), (NEW, Habits("waiting"))],
    ids=["old", "slow", "new"],
)
def test_a_release_is_brought_to_a_device_and_proven_by_its_next_hello(
    place: Place, recorder: Any, hello: Hello, habits: Habits
) -> None:
    async def body() -> None:
        async with place.serve() as (_, port):
            device = await TcpDevice.online(port, hello=hello)
            assert await updated(device, habits) == IMAGE
            await recorder.until(lambda r: getattr(r.facts[-1], "state", "") == "applying")
            assert "UpdateSucceeded" not in recorder.kinds()
            device.close()
            await recorder.until(lambda r: r.kinds()[-1] == "DeviceDisconnected")
            again = Hello(PRODUCT, 7, hello.flags | 1, 6)
            await TcpDevice.online(port, hello=again)
            await recorder.until(lambda r: "UpdateSucceeded" in r.kinds())

    place.run(body)


async def agrees(device: TcpDevice, receiver: Receiver) -> None:
    """The device hears the offer and is ready."""
    while len(answers := receiver.receive(await device.hear(), 0.0)) < 2:
        device.say(*answers)
    device.say(*answers)


def test_a_device_that_does_not_read_is_not_sent_the_whole_image(place: Place) -> None:
    async def body() -> None:
        async with place.serve() as (listener, port):
            device = await TcpDevice.online(port)
            receiver = Receiver(Habits("self_finishing"), first_id=30_000)
            device.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8_192)
            transport: Any = device.writer.transport
            await agrees(device, receiver)
            transport.pause_reading()
            [connection] = listener.connections
            async with asyncio.timeout(WAIT_S):
                while not connection._paused:
                    await asyncio.sleep(0)
            assert connection.session is not None
            assert connection.session.bytes_out < len(IMAGE) / 2
            transport.resume_reading()
            async with asyncio.timeout(WAIT_S):
                while receiver.image is None:
                    device.say(*receiver.receive(await device.hear(), 0.0))
            assert receiver.image == IMAGE

    place.run(body)


def test_devices_are_updated_one_after_the_other_if_so_many_may_be(place: Place) -> None:
    devices = [f"{number:024x}" for number in range(5)]
    for device_id in devices:
        place.add(device_id)

    async def body() -> None:
        async with place.serve(TransferLimits(at_once=2)) as (listener, port):
            online = [await TcpDevice.online(port, device_id) for device_id in devices]
            most = 0

            async def one(device: TcpDevice) -> bytes:
                nonlocal most
                image = await updated(device, Habits("self_finishing"))
                most = max(most, listener.server.transfers.status()["running"])
                return image

            assert await asyncio.gather(*map(one, online)) == [IMAGE] * len(devices)
            assert most <= 2

    place.run(body)


def test_an_image_that_cannot_be_read_is_a_failure_that_says_so(place: Place, recorder: Any, blobs: Any) -> None:
    blobs.data.clear()

    async def body() -> None:
        async with place.serve() as (_, port):
            device = await TcpDevice.online(port)
            await agrees(device, Receiver(Habits("waiting"), first_id=30_000))
            await recorder.until(lambda r: "UpdateFailed" in r.kinds())
            assert next(fact.reason for fact in recorder.facts if isinstance(fact, UpdateFailed)) == "image_unreadable"
            device.say(device_messages.ping(9))  # the session lives on
            while (await device.hear()) != device_messages.acknowledgement(9):
                pass

    place.run(body)
