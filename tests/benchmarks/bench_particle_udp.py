"""A fleet of Particle devices on UDP at one gateway that is wired as in production, without HTTP: all come at once, all
publish, the gateway is started anew, and all go on.

The devices are sockets in this process, spread over addresses of 127.0.0.0/8 as no host may begin more than so many
handshakes a second. Measured for each of the three: how many a second until the last acknowledgement, and the CPU time
of the gateway's process. Shown, not asserted.
"""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast
from uuid import uuid4

import psutil
import uvloop
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from rich.console import Console
from rich.table import Table

from services.gateway.bootstrap import GatewayPart
from services.gateway.devices.particle import coap, device_messages, keys
from services.gateway.devices.particle.coap import ACK, Message
from services.gateway.devices.particle.dtls.client import NEW, DeviceClient
from services.gateway.devices.particle.dtls.entropy import SystemSource
from services.gateway.devices.particle.events import Event
from services.gateway.devices.particle.exchange import Exchange
from services.gateway.devices.particle.hello import Hello
from services.gateway.devices.particle.server_keys import load_or_make
from shared.bus.open import open_transport
from shared.context import Context
from shared.events.contracts import CONTRACTS
from shared.events.devices import DeviceImported, DeviceKeySet
from shared.settings import Settings
from shared.store.open import open_store
from shared.store.port import NO_STREAM, Append
from tests.benchmarks.bench_connect import cpu_s, settled

DEVICES = int(os.environ.get("DEVICES", "2000"))
PRODUCT = 1000
HOSTS = 100
START_S = 120.0
STEP_S = 180.0
TICK_S = 0.1


def settings(folder: Path, port: int) -> Settings:
    return Settings.load(
        {}, data=folder, http_port=-1, mqtt_port=-1, particle_tcp_port=-1, particle_udp_port=port, drain_s=1.0
    )


def import_devices(folder: Path, fleet: Sequence[EllipticCurvePrivateKey]) -> None:
    """Every device a member of one product, with its key on record."""
    store = open_store(settings(folder, 0).store)
    for first in range(0, len(fleet), 500):
        appends = []
        for number, key in enumerate(fleet[first : first + 500], first):
            device_id = f"{number:024x}"
            context = Context.new("system:benchmark", "benchmark", uuid4())
            der = b64encode(keys.public_der(key.public_key())).decode()
            events = (
                DeviceImported(device_id, PRODUCT, forced=True),
                DeviceKeySet(device_id, PRODUCT, "ecc", der, first_use=False),
            )
            new = [CONTRACTS.encode(event, index, context) for index, event in enumerate(events)]
            appends.append(Append(f"device-{device_id}", NO_STREAM, new))
        for outcome in store.append_many(appends):
            if isinstance(outcome, Exception):
                raise outcome
    store.close()


def serve(folder: Path, port: int) -> None:
    """The gateway's process: says its port, and ends when its input does."""
    chosen = settings(folder, port)
    store = open_store(chosen.store)
    transport = open_transport("local:", name="benchmark")
    transport.start()
    gateway = GatewayPart(chosen, store, transport)
    gateway.start()
    print(gateway.port("particle-udp"), flush=True)
    sys.stdin.read()
    gateway.stop()
    transport.stop()
    store.close()


class Device(asyncio.DatagramProtocol):
    """Says one confirmable message at a time and repeats it until it is acknowledged."""

    def __init__(self, number: int, key: EllipticCurvePrivateKey, server_key: bytes) -> None:
        self.device_id = f"{number:024x}"
        self.host = f"127.0.1.{number % HOSTS + 1}"
        self.done: asyncio.Future[None] | None = None
        self._client = DeviceClient(
            key, server_key, SystemSource(), device_id=bytes.fromhex(self.device_id), firmware=NEW
        )
        self._exchange = Exchange()
        self._loop = asyncio.get_running_loop()
        self._ids = 0
        self._awaited = -1

    @property
    def id(self) -> int:
        self._ids += 1
        return self._ids

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def connect(self) -> None:
        """Shake hands and say Hello."""
        self.done = self._loop.create_future()
        self._out(self._client.connect(self._loop.time()))

    def say(self, message: Message) -> None:
        """Done when it is acknowledged."""
        self.done = self.done if self.done is not None and not self.done.done() else self._loop.create_future()
        self._awaited = message.id
        data = coap.encode(message)
        self._exchange.send(data, 0.0, self._loop.time())
        self._out([self._client.seal(data)])

    def tick(self) -> None:
        now = self._loop.time()
        self._out(self._client.tick(now))
        if self._client.session is not None:
            self._out([self._client.seal(data) for data in self._exchange.tick(now)])

    def datagram_received(self, data: bytes, addr: object) -> None:
        now, shaking = self._loop.time(), self._client.session is None
        heard = self._client.receive(data, now)
        self._out(heard.datagrams)
        if shaking and self._client.session is not None:
            hello = Hello(PRODUCT, 1, 0x36, 10, self.device_id)
            self.say(device_messages.hello(self.id, hello, confirmable=True))
        for content in heard.contents:
            self._exchange.receive(content, now)
            message = coap.decode(content)
            if message.type == ACK and message.id == self._awaited and self.done is not None and not self.done.done():
                self.done.set_result(None)

    def error_received(self, exc: Exception) -> None:
        """The gateway is being started anew."""

    def _out(self, datagrams: list[bytes]) -> None:
        for datagram in datagrams:
            self._transport.sendto(datagram)


class Gateway:
    """The gateway's process."""

    def __init__(self, folder: Path, port: int) -> None:
        command = [sys.executable, "-m", "tests.benchmarks.bench_particle_udp", "serve", str(folder), str(port)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        self.process = psutil.Process(self._process.pid)

    def stop(self) -> None:
        self._process.communicate(timeout=START_S)


async def step(
    what: str, fleet: Sequence[Device], gateway: Gateway, say: Callable[[Device], None]
) -> list[tuple[str, float]]:
    """All devices do it at once; the numbers of it."""
    before, memory, since = cpu_s(gateway.process), gateway.process.memory_info().rss, time.perf_counter()
    for number, device in enumerate(fleet):
        say(device)
        if number % 50 == 49:
            await asyncio.sleep(0)
    async with asyncio.timeout(STEP_S):
        while waiting := [device for device in fleet if device.done is not None and not device.done.done()]:
            await asyncio.wait([device.done for device in waiting if device.done], timeout=TICK_S)
            for device in waiting:
                device.tick()
    took_s = time.perf_counter() - since
    used_s = await settled(gateway.process) - before
    grown = gateway.process.memory_info().rss - memory
    return [
        (f"{what} a second", len(fleet) / took_s),
        (f"CPU ms of the gateway for each of the {what}", used_s / len(fleet) * 1_000),
        (f"KB of memory for each of the {what}", grown / len(fleet) / 1_024),
    ]


async def life(folder: Path, known: Sequence[EllipticCurvePrivateKey], server_key: bytes) -> list[tuple[str, float]]:
    loop = asyncio.get_running_loop()
    fleet = [Device(number, key, server_key) for number, key in enumerate(known)]
    gateway = Gateway(folder, 0)
    try:
        for device in fleet:
            await loop.create_datagram_endpoint(
                lambda device=device: device, remote_addr=("127.0.0.1", gateway.port), local_addr=(device.host, 0)
            )
        found = await step("handshakes", fleet, gateway, Device.connect)
        event = Event("temperature", b"21.5")
        found += await step(
            "events", fleet, gateway, lambda device: device.say(device_messages.event(device.id, event, True))
        )
        gateway.stop()
        gateway = Gateway(folder, gateway.port)
        found += await step(
            "sessions that go on", fleet, gateway, lambda device: device.say(device_messages.ping(device.id))
        )
    finally:
        gateway.stop()
    return found


def main() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DEVICES + 1_000
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
    known = [keys.new_ec() for _ in range(DEVICES)]
    with tempfile.TemporaryDirectory() as name:
        import_devices(Path(name), known)
        server = load_or_make(Path(settings(Path(name), 0).device_keys)).ec.public_key()
        found = uvloop.run(life(Path(name), known, keys.public_der(server)))
    table = Table(title=f"{DEVICES:,} Particle devices on UDP at one gateway")
    table.add_column("")
    table.add_column("", justify="right")
    for what, number in found:
        table.add_row(what, f"{number:,.2f}" if number < 100 else f"{number:,.0f}")
    Console(width=100).print(table)


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        main()
