"""A fleet that comes back at once: devices connecting to one gateway, which is wired as in production, without HTTP.

The devices are raw sockets with packets written beforehand, in a process of their own. Measured: connections a second
(from the first SYN to the last CONNACK), CPU time of the gateway's process for each connection, and for all that
follows from it (facts appended, directory kept), and memory for each connection that stays. Shown, not asserted.
"""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import cast
from uuid import uuid4

import psutil
import uvloop
from rich.console import Console
from rich.table import Table

from services.gateway.bootstrap import GatewayPart
from shared.bus.open import open_transport
from shared.context import Context
from shared.events.contracts import CONTRACTS
from shared.events.devices import DeviceImported, DeviceTokenReplaced
from shared.ids import digest
from shared.settings import Settings
from shared.store.open import open_store
from shared.store.port import NO_STREAM, Append

DEVICES = int(os.environ.get("DEVICES", "5000"))
PRODUCT = 1000
CONNACK = b"\x20\x02\x00\x00"
SETTLE_S = 1.0
START_S = 120.0
CONNECT_S = 120.0


def token(number: int) -> str:
    return f"token-of-the-device-{number:08}"


def connect_packet(number: int) -> bytes:
    """CONNECT of 3.1.1 as the Arduino SDK writes it: the token is client id and user name."""
    secret = token(number).encode()
    field = len(secret).to_bytes(2, "big") + secret
    body = b"\x00\x04MQTT\x04\x82\x00\x78" + field + field
    return bytes((0x10, len(body))) + body


def settings(folder: Path) -> Settings:
    return Settings.load({}, data=folder, http_port=-1, mqtt_port=0)


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
    print(gateway.mqtt_port, flush=True)
    sys.stdin.read()
    gateway.stop()
    transport.stop()
    store.close()


class Device(asyncio.Protocol):
    """Writes its CONNECT and waits for CONNACK; stays connected."""

    def __init__(self, packet: bytes, answered: asyncio.Future[bytes]) -> None:
        self._packet = packet
        self._answered = answered

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).write(self._packet)

    def data_received(self, data: bytes) -> None:
        if not self._answered.done():
            self._answered.set_result(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._answered.done():
            self._answered.set_exception(ConnectionError(f"closed before CONNACK: {exc}"))


async def storm(port: int, gateway: psutil.Process) -> dict[str, float]:
    """All devices at once; the numbers for each of them."""
    loop = asyncio.get_running_loop()
    packets = [connect_packet(number) for number in range(DEVICES)]
    before, memory = cpu_s(gateway), gateway.memory_info().rss
    answers = [loop.create_future() for _ in packets]
    since = time.perf_counter()
    made = await asyncio.gather(
        *(
            loop.create_connection(lambda packet=packet, answer=answer: Device(packet, answer), "127.0.0.1", port)
            for packet, answer in zip(packets, answers, strict=True)
        )
    )
    async with asyncio.timeout(CONNECT_S):
        accepted = sum(answer == CONNACK for answer in await asyncio.gather(*answers))
    took_s, cpu_answered_s = time.perf_counter() - since, cpu_s(gateway) - before
    if accepted != DEVICES:
        raise RuntimeError(f"only {accepted} of {DEVICES} devices were let in")
    cpu_all_s = await settled(gateway) - before
    grown = gateway.memory_info().rss - memory
    for transport, _ in made:
        transport.close()
    return {
        "connects a second": DEVICES / took_s,
        "CPU ms a connect, until the last CONNACK": cpu_answered_s / DEVICES * 1_000,
        "CPU ms a connect, with all that follows": cpu_all_s / DEVICES * 1_000,
        "KB a connection": grown / DEVICES / 1_024,
    }


async def settled(gateway: psutil.Process) -> float:
    """The CPU time of the gateway when it has nothing more to do."""
    last = cpu_s(gateway)
    for _ in range(60):
        await asyncio.sleep(SETTLE_S)
        now = cpu_s(gateway)
        if now - last < 0.02 * SETTLE_S:
            return now
        last = now
    return last


def cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def main() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DEVICES + 1_000
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
    with tempfile.TemporaryDirectory() as name:
        import_devices(Path(name))
        command = [sys.executable, __file__, "serve", name]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            found = uvloop.run(storm(port, psutil.Process(process.pid)))
        finally:
            process.communicate(timeout=START_S)
    table = Table(title=f"{DEVICES:,} devices connect to one gateway at once")
    table.add_column("")
    table.add_column("", justify="right")
    for what, number in found.items():
        table.add_row(what, f"{number:,.2f}" if number < 100 else f"{number:,.0f}")
    Console(width=100).print(table)


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(Path(sys.argv[2]))
    else:
        main()
