"""A fleet that comes back at once and then publishes: one gateway, wired as in production but without HTTP, beside a
bare server with the same codec and no logic, and mosquitto for scale.

The devices are raw sockets with packets written beforehand, in this process; each server is a process of its own.
Measured of a server: its CPU time for each connect and for each QoS 1 publish (with all that follows: facts and
messages appended, directory kept), connections a second (from the first SYN to the last CONNACK), and memory for each
connection that stays. Goals: at most twice the CPU of the bare server, at most 5 KB a connection. Shown, not asserted.
"""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast
from uuid import uuid4

import psutil
import uvloop
from rich.console import Console
from rich.table import Table

from deploy.process import collect_seldom
from services.gateway.bootstrap import GatewayPart
from services.gateway.devices.mqtt import writer
from services.gateway.devices.mqtt.packets import Connect, Publish, decode, decode_connect
from services.gateway.devices.mqtt.reader import FrameReader
from shared.bus.open import open_transport
from shared.context import Context
from shared.events.contracts import CONTRACTS
from shared.events.devices import DeviceImported, DeviceTokenReplaced
from shared.ids import digest
from shared.settings import Settings
from shared.store.open import open_store
from shared.store.port import NO_STREAM, Append

OPEN_FILES = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
SPARE_FILES = 500
DEVICES = min(int(os.environ.get("DEVICES", "20000")), OPEN_FILES - SPARE_FILES)
PUBLISHES = int(os.environ.get("PUBLISHES", "5"))
"""Of each device, one after another."""
ROUNDS = int(os.environ.get("ROUNDS", "1"))
PRODUCT = 1000
CONNACK = b"\x20\x02\x00\x00"
PACKET_BYTES = 65_536
DIALLED_AT_ONCE = 1_000
SETTLE_S = 1.0
START_S = 120.0
STORM_S = 300.0
GOAL_RATIO = 2.0
GOAL_KB = 5.0
CONNECT_CPU, PUBLISH_CPU, MEMORY = "CPU µs a connect", "CPU µs a publish", "KB a connection"


def token(number: int) -> str:
    return f"token-of-the-device-{number:08}"


def text(value: str) -> bytes:
    return len(value).to_bytes(2, "big") + value.encode()


def connect_packet(number: int) -> bytes:
    """CONNECT of 3.1.1 as the Arduino SDK writes it: the token is client id and user name."""
    body = b"\x00\x04MQTT\x04\x82\x00\x78" + 2 * text(token(number))
    return bytes((0x10, len(body))) + body


def publish_packet(packet_id: int) -> bytes:
    """Two values, QoS 1."""
    body = text("v1/devices/me/telemetry") + packet_id.to_bytes(2, "big") + b'{"temperature":21.5,"humidity":40}'
    return bytes((0x32, len(body))) + body


# -- servers --------------------------------------------------------------------------------------------------------


def settings(folder: Path) -> Settings:
    return Settings.load(
        {}, data=folder, http_port=-1, mqtt_port=0, particle_tcp_port=-1, particle_udp_port=-1, drain_s=1.0
    )


def import_devices(folder: Path) -> None:
    """Every device a member of one product, with a token of its own."""
    store = open_store(settings(folder).store)
    for first in range(0, DEVICES, 500):
        appends = []
        for number in range(first, min(first + 500, DEVICES)):
            device_id = f"{number:024x}"
            context = Context.new("system:benchmark", "benchmark", uuid4())
            events = (
                DeviceImported(device_id, PRODUCT, forced=False),
                DeviceTokenReplaced(device_id, PRODUCT, digest(token(number))),
            )
            new = [CONTRACTS.encode(event, index, context) for index, event in enumerate(events)]
            appends.append(Append(f"device-{device_id}", NO_STREAM, new))
        for outcome in store.append_many(appends):
            if isinstance(outcome, Exception):
                raise outcome
    store.close()


def serve(folder: Path) -> None:
    """The gateway's process: says its port, and ends when its input does."""
    chosen = settings(folder)
    store = open_store(chosen.store)
    transport = open_transport("local:", name="benchmark")
    transport.start()
    gateway = GatewayPart(chosen, store, transport)
    gateway.start()
    collect_seldom()  # as every process of the platform does
    print(gateway.port("mqtt"), flush=True)
    sys.stdin.read()
    gateway.stop()
    transport.stop()
    store.close()


class Bare(asyncio.Protocol):
    """The codec and nothing else: every CONNECT and every PUBLISH is acknowledged at once."""

    def __init__(self) -> None:
        self._reader = FrameReader(PACKET_BYTES)
        self._connected = False
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._reader.feed(memoryview(data))
        while frame := self._reader.take():
            packet = decode(frame, 4) if self._connected else decode_connect(frame)
            if isinstance(packet, Connect):
                self._connected = True
                self._transport.write(writer.connack(4, 0))
            elif isinstance(packet, Publish):
                self._transport.write(writer.puback(4, packet.packet_id or 0, 0))


async def serve_bare() -> None:
    """The process of the reference, as ``serve``."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Bare, "127.0.0.1", 0, backlog=4_096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.close()


@contextmanager
def own_process(*arguments: str) -> Iterator[tuple[int, psutil.Process]]:
    """This file as a server, and its port."""
    command = [sys.executable, __file__, *arguments]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline()), psutil.Process(process.pid)
    finally:
        process.communicate(timeout=START_S)


@contextmanager
def gateway() -> Iterator[tuple[int, psutil.Process]]:
    with tempfile.TemporaryDirectory() as name:
        import_devices(Path(name))
        with own_process("serve", name) as served:
            yield served


@contextmanager
def bare() -> Iterator[tuple[int, psutil.Process]]:
    with own_process("bare") as served:
        yield served


@contextmanager
def mosquitto() -> Iterator[tuple[int, psutil.Process]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as name:
        config = Path(name) / "mosquitto.conf"
        config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nuser root\nlog_type none\n")
        command = [mosquitto_path() or "", "-c", str(config)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            until = time.monotonic() + START_S
            while time.monotonic() < until:
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.05)
            yield port, psutil.Process(process.pid)
        finally:
            process.terminate()
            process.wait(START_S)


def mosquitto_path() -> str | None:
    return shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin")


# -- devices --------------------------------------------------------------------------------------------------------


class Device(asyncio.Protocol):
    """Writes its CONNECT and waits for CONNACK; publishes when it is told to; stays connected."""

    def __init__(self, packet: bytes) -> None:
        loop = asyncio.get_running_loop()
        self.connected: asyncio.Future[bytes] = loop.create_future()
        self.published: asyncio.Future[None] = loop.create_future()
        self.transport: asyncio.Transport
        self._packet = packet
        self._acknowledged = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(self._packet)

    def publish(self) -> None:
        self.transport.write(publish_packet(self._acknowledged + 1))

    def data_received(self, data: bytes) -> None:
        if not self.connected.done():
            self.connected.set_result(data)
            return
        self._acknowledged += 1
        if self._acknowledged < PUBLISHES:
            self.publish()
        elif not self.published.done():
            self.published.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        for awaited in (self.connected, self.published):
            if not awaited.done():
                awaited.set_exception(ConnectionError(f"closed: {exc}"))
                awaited.exception()


async def measure(port: int, server: psutil.Process) -> dict[str, float]:
    """All devices at once; then all of them publish; the numbers for each of them."""
    loop, at_once = asyncio.get_running_loop(), asyncio.Semaphore(DIALLED_AT_ONCE)
    devices = [Device(connect_packet(number)) for number in range(DEVICES)]

    async def dial(device: Device) -> None:
        async with at_once:
            await loop.create_connection(lambda: device, "127.0.0.1", port)

    memory, before = server.memory_info().rss, await settled(server)
    since = time.perf_counter()
    async with asyncio.timeout(STORM_S):
        await asyncio.gather(*map(dial, devices))
        answers = await asyncio.gather(*(device.connected for device in devices))
    took_s = time.perf_counter() - since
    if (let_in := sum(answer == CONNACK for answer in answers)) != DEVICES:
        raise RuntimeError(f"only {let_in} of {DEVICES} devices were let in")
    connected = await settled(server)
    grown = server.memory_info().rss - memory
    for device in devices:
        device.publish()
    since = time.perf_counter()
    async with asyncio.timeout(STORM_S):
        await asyncio.gather(*(device.published for device in devices))
    published_s = time.perf_counter() - since
    published = await settled(server)
    for device in devices:
        device.transport.close()
    return {
        "connects a second": DEVICES / took_s,
        CONNECT_CPU: (connected - before) / DEVICES * 1e6,
        "publishes a second": DEVICES * PUBLISHES / published_s,
        PUBLISH_CPU: (published - connected) / DEVICES / PUBLISHES * 1e6,
        MEMORY: grown / DEVICES / 1_024,
    }


async def settled(server: psutil.Process) -> float:
    """The CPU time of a server when it has nothing more to do."""
    last = cpu_s(server)
    for _ in range(60):
        await asyncio.sleep(SETTLE_S)
        now = cpu_s(server)
        if now - last < 0.02 * SETTLE_S:
            return now
        last = now
    return last


def cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


# -- the table ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Contender:
    name: str
    server: Callable[[], object]
    rounds: list[dict[str, float]]

    def median(self, what: str) -> float:
        return statistics.median(found[what] for found in self.rounds)


def main() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))
    contenders = [Contender("gateway", gateway, []), Contender("bare server", bare, [])]
    if mosquitto_path() is not None:
        contenders.append(Contender("mosquitto", mosquitto, []))
    for _ in range(ROUNDS):
        for contender in contenders:
            with contender.server() as (port, process):  # type: ignore[attr-defined]
                contender.rounds.append(uvloop.run(measure(port, process)))
    show(contenders)


def show(contenders: list[Contender]) -> None:
    ours, reference = contenders[:2]
    table = Table(title=f"{DEVICES:,} devices connect at once, then publish {PUBLISHES} times each")
    for heading in ("", *(contender.name for contender in contenders), "ratio", "goal", ""):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    for what in ours.rounds[0]:
        ratio, goal = ours.median(what) / max(reference.median(what), 1e-9), goal_of(what)
        reached = ours.median(MEMORY) if what == MEMORY else ratio
        table.add_row(
            what,
            *(f"{contender.median(what):,.1f}" for contender in contenders),
            f"{ratio:.2f}",
            "" if goal is None else f"≤ {goal:g}",
            "" if goal is None else "met" if reached <= goal else "MISSED",
        )
    Console(width=120).print(table)


def goal_of(what: str) -> float | None:
    """The most that is wanted: KB, or times the reference."""
    return {CONNECT_CPU: GOAL_RATIO, PUBLISH_CPU: GOAL_RATIO, MEMORY: GOAL_KB}.get(what)


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(Path(sys.argv[2]))
    elif sys.argv[1:2] == ["bare"]:
        uvloop.run(serve_bare())
    else:
        main()
