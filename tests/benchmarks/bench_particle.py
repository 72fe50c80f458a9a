"""A fleet of Particle devices that comes back at once over TCP: handshake, Hello, answer, at one gateway that is wired
as in production, without HTTP.

The reference is what no server can leave out: the two operations with its private key and the frames of one Hello and
its answer, in a loop with the same library, before and after each round. Measured of the gateway's process, all
threads, user and system: CPU time for each device from accept until all is settled: admission, session, its facts
stored and followed by the directory; and which threads it was spent in. Beside that the handshake alone, of devices
that hang up when they have the server's answer, before they say Hello. Each round has new devices, in a process of
their own; they are raw sockets and share one key pair, which the gateway does not notice. Then memory for each
connection that stays, of as many as this machine lets one process have open. Goals: at most 1.5 times the reference, at
most 12 KB. Shown, not asserted.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import cast
from uuid import uuid4

import psutil
import uvloop
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from rich.console import Console
from rich.table import Table

from deploy.process import allow_open_files, collect_seldom
from services.gateway.bootstrap import GatewayPart
from services.gateway.devices.particle import coap, device_messages, handshake, keys, server_messages
from services.gateway.devices.particle.device_handshake import open_reply, seal_hello
from services.gateway.devices.particle.frames import FrameReader, FrameWriter
from services.gateway.devices.particle.hello import Hello
from services.gateway.devices.particle.server_keys import load_or_make
from shared.bus.open import open_transport
from shared.context import Context
from shared.events.contracts import CONTRACTS
from shared.events.devices import DeviceImported, DeviceKeySet
from shared.settings import Settings
from shared.store.open import open_store
from shared.store.port import NO_STREAM, Append

SPARE_FILES = 500
DEVICES = min(int(os.environ.get("DEVICES", "20000")), resource.getrlimit(resource.RLIMIT_NOFILE)[1] - SPARE_FILES)
ROUNDS = int(os.environ.get("ROUNDS", "5"))
A_ROUND = min(int(os.environ.get("A_ROUND", "3000")), DEVICES // ROUNDS)
A_PROCESS = 5_000
"""Connections of one process of devices."""
AN_ADDRESS = 250
DIALLED_AT_ONCE = 1_000
PRODUCT = 1000
PING_S = 12.0
SETTLE_S = 1.0
SETTLED_S = 60.0
START_S = 120.0
REFERENCE_HANDSHAKES = 400
GOAL_RATIO = 1.5
GOAL_KB = 12.0
HELLO = Hello(PRODUCT, 1, 0x36, 6)
"""Of firmware that describes itself: nothing is asked of it at once."""
DEVICE_KEY = "device.pem"
PARTS = {
    "gateway ": "the event loop",
    "particle-key": "the private key's threads",
    "facts-": "facts are appended",
    "projector directory": "the directory follows",
}
"""What threads do, by the beginning of their names."""
REST = "the rest"


# -- the reference --------------------------------------------------------------------------------------------------


def reference_ms(key: RSAPrivateKey, server_key: RSAPrivateKey) -> float:
    """CPU time of the cryptography of one handshake, the server's half of it."""
    device_key, credentials, nonce = key.public_key(), os.urandom(handshake.CREDENTIALS_BYTES), os.urandom(40)
    sealed = seal_hello(server_key.public_key(), nonce, "0" * 24, keys.public_der(device_key))
    known = handshake.session_keys(credentials)
    said = FrameWriter(known.key, known.iv).write(coap.encode(device_messages.hello(1, HELLO)))
    answer = coap.encode(server_messages.hello(1))
    since = time.process_time()
    for _ in range(REFERENCE_HANDSHAKES):
        handshake.open_hello(server_key, nonce, sealed)
        handshake.reply(server_key, device_key, credentials)
        reader = FrameReader(known.key, known.iv)
        reader.feed(said)
        reader.take()
        FrameWriter(known.key, known.iv).write(answer)
    return (time.process_time() - since) / REFERENCE_HANDSHAKES * 1_000


# -- the gateway ----------------------------------------------------------------------------------------------------


def settings(folder: Path) -> Settings:
    return Settings.load(
        {}, data=folder, http_port=-1, mqtt_port=-1, particle_tcp_port=0, particle_udp_port=-1, drain_s=1.0
    )


def import_devices(folder: Path, public_key: str) -> None:
    """Every device a member of one product, with its key on record."""
    store = open_store(settings(folder).store)
    for first in range(0, DEVICES, 500):
        appends = []
        for number in range(first, min(first + 500, DEVICES)):
            device_id = f"{number:024x}"
            context = Context.new("system:benchmark", "benchmark", uuid4())
            events = (
                DeviceImported(device_id, PRODUCT, forced=True),
                DeviceKeySet(device_id, PRODUCT, "rsa", public_key, first_use=False),
            )
            new = [CONTRACTS.encode(event, index, context) for index, event in enumerate(events)]
            appends.append(Append(f"device-{device_id}", NO_STREAM, new))
        for outcome in store.append_many(appends):
            if isinstance(outcome, Exception):
                raise outcome
    store.close()


def serve(folder: Path) -> None:
    """The gateway's process: says its port, at every line what its threads are called, ends when its input does."""
    allow_open_files()
    chosen = settings(folder)
    store = open_store(chosen.store)
    transport = open_transport("local:", name="benchmark")
    transport.start()
    gateway = GatewayPart(chosen, store, transport)
    gateway.start()
    collect_seldom()  # as every process of the platform does
    print(gateway.port("particle-tcp"), flush=True)
    for _ in sys.stdin:
        print(json.dumps({str(thread.native_id): thread.name for thread in threading.enumerate()}), flush=True)
    gateway.stop()
    transport.stop()
    store.close()


class Served:
    """A gateway in a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.port = int(self._heard())
        self._measured = psutil.Process(process.pid)

    def _heard(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def cpu_s(self) -> float:
        times = self._measured.cpu_times()
        return float(times.user + times.system)

    def parts_s(self) -> Counter[str]:
        """CPU time by what threads do."""
        assert self._process.stdin is not None
        print("threads", file=self._process.stdin, flush=True)
        names = json.loads(self._heard())
        parts: Counter[str] = Counter()  # of seconds
        for thread in self._measured.threads():
            name = names.get(str(thread.id), "")
            part = next((part for start, part in PARTS.items() if name.startswith(start)), REST)
            parts[part] += thread.user_time + thread.system_time
        return parts

    def memory_kb(self) -> float:
        return cast(int, self._measured.memory_info().rss) / 1_024

    def settled(self) -> None:
        """Wait until it has nothing more to do."""
        last, until = self.cpu_s(), time.monotonic() + SETTLED_S
        while time.monotonic() < until:
            time.sleep(SETTLE_S)
            now = self.cpu_s()
            if now - last < 0.03 * SETTLE_S:
                return
            last = now


@contextmanager
def process(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """This file in another process, which ends when its input does."""
    command = [sys.executable, __file__, *arguments]
    started = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield started
    finally:
        started.communicate(timeout=START_S)


# -- devices --------------------------------------------------------------------------------------------------------


class Device(asyncio.Protocol):
    """Shakes hands, says Hello and waits for the server's; stays connected. Answers with how long that took. If it has
    nothing to say it hangs up instead."""

    def __init__(self, device_id: str, key: RSAPrivateKey, server_key: RSAPublicKey, says_hello: bool) -> None:
        self.answered: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._device_id = device_id
        self._key = key
        self._server_key = server_key
        self._says_hello = says_hello
        self._heard = bytearray()
        self._in: FrameReader | None = None
        self._out: FrameWriter | None = None
        self._id = 0
        self._said_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._in is not None:
            self._in.feed(data)
            while self._in.take() is not None:
                if not self.answered.done():
                    self.answered.set_result(time.perf_counter() - self._said_at)
            return
        self._heard += data
        if len(self._heard) == handshake.NONCE_BYTES:
            der = keys.public_der(self._key.public_key())
            self._transport.write(seal_hello(self._server_key, bytes(self._heard), self._device_id, der))
        elif len(self._heard) == handshake.NONCE_BYTES + handshake.REPLY_BYTES:
            self._begin(bytes(self._heard[handshake.NONCE_BYTES :]))

    def _begin(self, reply: bytes) -> None:
        known = handshake.session_keys(open_reply(self._key, self._server_key, reply))
        if not self._says_hello:
            self._transport.close()
            self.answered.set_result(0.0)
            return
        self._in, self._out = FrameReader(known.key, known.iv), FrameWriter(known.key, known.iv)
        self._id = known.first_id
        self._said_at = time.perf_counter()
        self._transport.write(self._out.write(coap.encode(device_messages.hello(self._id, HELLO))))

    def ping(self) -> None:
        assert self._out is not None
        self._id = self._id + 1 & 0xFFFF
        self._transport.write(self._out.write(coap.encode(device_messages.ping(self._id))))

    def close(self) -> None:
        self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.answered.done():
            self.answered.set_exception(ConnectionError(f"closed before the server's Hello: {exc}"))


async def connect(folder: Path, port: int, first: int, count: int, says_hello: bool) -> None:
    """The process of some devices: all of them at once when it is told to; says how long they waited, and keeps them
    connected until its input ends."""
    key, server_key = device_key(folder), load_or_make(Path(settings(folder).device_keys)).rsa.public_key()
    loop, at_once = asyncio.get_running_loop(), asyncio.Semaphore(DIALLED_AT_ONCE)
    devices = [Device(f"{number:024x}", key, server_key, says_hello) for number in range(first, first + count)]

    async def dial(number: int, device: Device) -> float:
        place = (first + number) // AN_ADDRESS
        async with at_once:
            local = (f"127.0.{1 + place // 250}.{1 + place % 250}", 0)
            await loop.create_connection(lambda: device, "127.0.0.1", port, local_addr=local)
        return await device.answered

    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    since = time.perf_counter()
    waited = sorted(await asyncio.gather(*(dial(number, device) for number, device in enumerate(devices))))
    took_s = time.perf_counter() - since
    print(json.dumps({"took_s": took_s, "median": waited[count // 2], "p99": waited[count * 99 // 100]}), flush=True)
    told = asyncio.ensure_future(asyncio.to_thread(sys.stdin.read))
    while not (await asyncio.wait((told,), timeout=PING_S))[0]:
        for device in devices if says_hello else ():
            device.ping()
    for device in devices:
        device.close()


def device_key(folder: Path) -> RSAPrivateKey:
    found = load_pem_private_key((folder / DEVICE_KEY).read_bytes(), password=None)
    assert isinstance(found, RSAPrivateKey)
    return found


@contextmanager
def connected(folder: Path, port: int, first: int, count: int, kind: str = "devices") -> Iterator[dict[str, float]]:
    """So many devices are connected, or were; how long that took."""
    with process(kind, str(folder), str(port), str(first), str(count)) as devices:
        assert devices.stdin is not None
        assert devices.stdout is not None
        devices.stdout.readline()
        print("go", file=devices.stdin, flush=True)
        yield json.loads(devices.stdout.readline())


# -- what is measured -----------------------------------------------------------------------------------------------


def storms(folder: Path, key: RSAPrivateKey, server_key: RSAPrivateKey) -> list[dict[str, float]]:
    """The numbers of each round, in ms a device."""
    found = []
    with process("serve", str(folder)) as server:
        gateway = Served(server)
        for number in range(ROUNDS):
            before_ms = reference_ms(key, server_key)
            gateway.settled()
            since = gateway.cpu_s()
            with connected(folder, gateway.port, number * A_ROUND, A_ROUND, "shakers"):
                gateway.settled()
                shaken = gateway.cpu_s() - since
            parts, since = gateway.parts_s(), gateway.cpu_s()
            with connected(folder, gateway.port, number * A_ROUND, A_ROUND) as waits:
                gateway.settled()
                spent = gateway.cpu_s() - since
                parts = gateway.parts_s() - parts
            after_ms = reference_ms(key, server_key)
            found.append(
                {
                    "reference": (before_ms + after_ms) / 2,
                    "shaken": shaken / A_ROUND * 1_000,
                    "all": spent / A_ROUND * 1_000,
                    "rate": A_ROUND / waits["took_s"],
                    "median": waits["median"] * 1_000,
                    "p99": waits["p99"] * 1_000,
                    **{part: parts[part] / A_ROUND * 1_000 for part in (*PARTS.values(), REST)},
                }
            )
    return found


def memory_kb(folder: Path) -> float:
    """Of each of all devices, connected to a gateway that was started for that."""
    with process("serve", str(folder)) as server, ExitStack() as processes:
        gateway = Served(server)
        gateway.settled()
        before_kb = gateway.memory_kb()
        for first in range(0, DEVICES, A_PROCESS):
            processes.enter_context(connected(folder, gateway.port, first, min(A_PROCESS, DEVICES - first)))
        return (gateway.memory_kb() - before_kb) / DEVICES


def show(rounds: list[dict[str, float]], kb: float) -> None:
    table = Table(title=f"Particle devices connect at once, {len(rounds)} times {A_ROUND:,}; then {DEVICES:,}")
    for heading in ("", "", "ratio", "goal", ""):
        table.add_column(heading, justify="right" if table.columns else "left", no_wrap=True)

    def add(name: str, what: str, unit: str, *more: str) -> None:
        number = statistics.median(found[what] for found in rounds)
        table.add_row(name, f"{number:,.2f} {unit}" if number < 10 else f"{number:,.0f} {unit}", *more)

    def judged(reached: float, goal: float) -> tuple[str, str]:
        return f"≤ {goal:g}", "met" if reached <= goal else "MISSED"

    def compared(name: str, what: str, goal: float | None = None) -> None:
        ratio = statistics.median(found[what] / found["reference"] for found in rounds)
        add(name, what, "ms", f"{ratio:.2f}", *(() if goal is None else judged(ratio, goal)))

    add("CPU time a device: the cryptography alone", "reference", "ms")
    compared("the gateway, the handshake alone", "shaken", GOAL_RATIO)
    compared("the gateway, with session and facts", "all", GOAL_RATIO)
    for part in (*PARTS.values(), REST):
        compared(f"  of it: {part}", part)
    add("devices a second", "rate", "")
    add("from a device's Hello to the server's, median", "median", "ms")
    add("from a device's Hello to the server's, p99", "p99", "ms")
    table.add_row("memory a connection", f"{kb:.1f} KB", "", *judged(kb, GOAL_KB))
    Console(width=110).print(table)


def main() -> None:
    allow_open_files()
    key = keys.new_rsa(keys.DEVICE_RSA_BITS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / DEVICE_KEY).write_text(keys.private_pem(key))
        import_devices(folder, b64encode(keys.public_der(key.public_key())).decode())
        server_key = load_or_make(Path(settings(folder).device_keys)).rsa
        rounds = storms(folder, key, server_key)
        show(rounds, memory_kb(folder))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", folder]:
            serve(Path(folder))
        case ["devices" | "shakers" as kind, folder, port, first, count]:
            allow_open_files()
            uvloop.run(connect(Path(folder), int(port), int(first), int(count), kind == "devices"))
        case _:
            main()
