"""Crowds and hostile peers over real sockets: whoever comes late or behaves badly costs nobody else anything."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import uvloop
from cryptography.hazmat.primitives.asymmetric import rsa

from services.gateway.batch import Attempt, Batcher, BatchLimits, Storing
from services.gateway.devices.mqtt.limits import MqttLimits
from services.gateway.devices.mqtt.listener import MqttListener
from services.gateway.devices.particle.limits import ParticleLimits
from services.gateway.devices.particle.listener import ParticleListener
from services.gateway.devices.server import DeviceServer
from services.gateway.devices.throttle import AdmissionLimits
from services.gateway.epochs import Port
from shared.clock import system_clock
from shared.context import Context
from shared.events.gateway import DeviceConnected
from tests.gateway.devices import herd

HERD = 2_000
ACKNOWLEDGED_MEANWHILE = 4
"""Into how many parts acknowledgements to somebody inside divide the coming of the herd, at the least."""
WHOLE_S = 60.0
HOSTILE_ADDRESS = "127.0.0.66"
OTHER = "ffffffffffffffffffffffff"
OTHER_TOKEN = "token-of-the-hostile-device"
NEWCOMER = "eeeeeeeeeeeeeeeeeeeeeeee"
NEWCOMER_TOKEN = "token-of-somebody-honest"
PUBLISHES = 30
HOSTILE_LIMITS = MqttLimits(tick_s=0.02, connect_s=0.3, standing_still_s=0.5, connections=200)
HOSTILE_ADMISSIONS = AdmissionLimits(unproven_an_address=50, waiting=300, connections_an_address=400)


class Platform:
    """A device server with an MQTT listener, and what it takes."""

    def __init__(self, directory: Any, facts: Any, blobs: Any, **parts: Any) -> None:
        self._parts = {"directory": directory, "facts": facts, "log": facts, "blobs": blobs, **parts}

    @asynccontextmanager
    async def serving_both(self, key: rsa.RSAPrivateKey) -> AsyncIterator[tuple[DeviceServer, int, int]]:
        """MQTT and Particle's protocol."""
        async with self.serving(0, HOSTILE_LIMITS, HOSTILE_ADMISSIONS) as (server, port):
            limits = ParticleLimits(tick_s=0.02, handshake_s=0.3, nonce_wait_s=0.5, connections=200)
            server.serve({"particle-tcp": ParticleListener(server, key, limits)})
            yield server, port, await server.start("127.0.0.1", Port("particle-tcp", 0))

    @asynccontextmanager
    async def serving(
        self, port: int = 0, limits: MqttLimits | None = None, admissions: AdmissionLimits | None = None
    ) -> AsyncIterator[tuple[DeviceServer, int]]:
        server = DeviceServer(**self._parts, gateway="a", epoch=1, clock=system_clock, admission_limits=admissions)
        server.serve({"mqtt": MqttListener(server, limits)})
        bound = await server.start("127.0.0.1", Port("mqtt", port))
        try:
            yield server, bound
        finally:
            await server.stop()


@pytest.fixture(scope="module")
def server_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65_537, 2_048)


@pytest.fixture
def platform(directory: Any, recorder: Any, blobs: Any) -> Platform:
    return Platform(directory, recorder, blobs)


class Honest:
    """A device that publishes, waits for the acknowledgement, and publishes again."""

    def __init__(self, wire: Any, port: int, token: str) -> None:
        self._wire, self._port, self._token = wire, port, token
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter

    async def connect(self) -> Honest:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writer.write(self._wire.connect(self._token))
        assert await self._reader.readexactly(4) == b"\x20\x02\x00\x00"
        return self

    async def publish(self, number: int) -> None:
        packet_id = number % 60_000 + 1
        self._writer.write(self._wire.publish("v1/devices/me/telemetry", b'{"a":1}', 1, packet_id))
        assert await self._reader.readexactly(4) == b"\x40\x02" + packet_id.to_bytes(2, "big")

    async def close(self) -> None:
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()


def run(body: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(WHOLE_S):
            await body()

    uvloop.run(bounded())


@asynccontextmanager
async def devices(port: int, number: int) -> AsyncIterator[Callable[[], Awaitable[dict[str, int]]]]:
    """The herd; answers each time that all of it is connected. Not a subprocess of the loop: uvloop forks."""
    command = [sys.executable, herd.__file__, str(port), str(number)]
    root = str(Path(__file__).parents[3])
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=root)
    stdin, stdout = process.stdin, process.stdout
    assert stdin is not None
    assert stdout is not None

    async def together() -> dict[str, int]:
        found: dict[str, int] = json.loads(await asyncio.to_thread(stdout.readline))
        return found

    try:
        yield together
    finally:
        stdin.close()
        await asyncio.to_thread(process.wait)
        stdout.close()


def test_after_a_restart_all_devices_come_back_none_refused_and_those_inside_are_acknowledged_meanwhile(
    platform: Platform, directory: Any, wire: Any
) -> None:  # MQL-4, MQX-5
    for number in range(HERD):
        directory.add(herd.device_id(number), herd.token(number))

    async def body() -> None:
        async with platform.serving() as (server, port), devices(port, HERD) as together:
            assert (await together())["return_code_0"] == HERD
            await server.stop()
            async with platform.serving(port) as (restarted, _):
                honest = await Honest(wire, port, "token-of-the-first-device").connect()
                back, meanwhile = asyncio.ensure_future(together()), []
                while not back.done():
                    before = restarted.status()["admissions"]["let_in"]
                    await honest.publish(len(meanwhile))
                    meanwhile.append(restarted.status()["admissions"]["let_in"] - before)
                outcomes = back.result()
                seen = restarted.status()
                await honest.close()
        assert set(outcomes) <= {"return_code_0", "closed_without_answer"}  # closed: by the gateway that stopped
        assert outcomes["return_code_0"] == 2 * HERD
        assert seen["admissions"]["waiting"] == seen["admissions"]["unproven"] == 0
        assert (seen["counts"].get("sent_away", 0), seen["counts"].get("refused_connects", 0)) == (0, 0)
        # Never did an acknowledgement wait for the whole crowd, however short of processors the machine was.
        assert len([let_in for let_in in meanwhile if let_in]) >= ACKNOWLEDGED_MEANWHILE

    run(body)


class SlowStore:
    """Facts in a store that takes ten of them in 20 ms, and refuses those for which there is no room to wait."""

    def __init__(self) -> None:
        limits = BatchLimits(collect_s=0.001, batch_items=10, waiting_items=200)
        self.batcher: Batcher[object] = Batcher("facts", self._begin, limits)
        self.stored: list[object] = []
        self._pace = threading.Event()

    def record(self, event: object, *, actor: str, context: Context | None = None) -> Storing:
        return self.batcher.put(event, 1)

    def _begin(self, events: Sequence[object]) -> Attempt:
        def attempt() -> Sequence[Exception | None]:
            self._pace.wait(0.02)  # never set: this is how slow the disk is
            self.stored += events
            return [None] * len(events)

        return attempt


def test_devices_come_no_faster_than_their_facts_are_stored_so_that_none_is_told_an_untruth(
    directory: Any, recorder: Any, blobs: Any
) -> None:  # MQX-5
    for number in range(600):
        directory.add(herd.device_id(number), herd.token(number))

    async def body() -> None:
        facts = SlowStore()
        facts.batcher.start()
        platform = Platform(directory, facts, blobs, log=recorder, behind=lambda: facts.batcher.behind_s)
        # No more than half of the room for facts is let in without having said a word yet.
        serving = platform.serving(admissions=AdmissionLimits(behind_s=0.05, unproven_an_address=100))
        async with serving as (server, port), devices(port, 600) as together:
            assert await together() == {"return_code_0": 600}
            assert len(server.sessions) == 600
            assert facts.batcher.failed == 0
        await facts.batcher.stop()
        assert sum(isinstance(fact, DeviceConnected) for fact in facts.stored) == 600

    run(body)


# -- hostile peers --------------------------------------------------------------------------------------------------


async def opened(port: int, number: int) -> list[socket.socket]:
    """Connections from the hostile address, as many as are to be had."""
    loop, made = asyncio.get_running_loop(), []
    for _ in range(number):
        one = socket.socket()
        one.setblocking(False)
        one.bind((HOSTILE_ADDRESS, 0))
        await loop.sock_connect(one, ("127.0.0.1", port))
        made.append(one)
    return made


async def sent(sockets: list[socket.socket], data: bytes) -> None:
    """To all of them, whatever becomes of it."""
    loop = asyncio.get_running_loop()
    for one in sockets:
        with suppress(OSError):
            await loop.sock_sendall(one, data)


def closed(sockets: list[socket.socket]) -> None:
    for one in sockets:
        one.close()


async def half_open(port: int, wire: Any) -> None:
    """Connects and says nothing."""
    sockets = await opened(port, 250)
    await asyncio.sleep(0.6)
    closed(sockets)


async def slowloris(port: int, wire: Any) -> None:
    """A byte of CONNECT now and then."""
    sockets = await opened(port, 100)
    for byte in wire.connect(OTHER_TOKEN)[:20]:
        await sent(sockets, bytes([byte]))
        await asyncio.sleep(0.03)
    closed(sockets)


async def beyond_the_limit(port: int, wire: Any) -> None:
    """More connections than are taken, idle."""
    sockets = await opened(port, 600)
    await asyncio.sleep(0.3)
    closed(sockets)


async def garbage(port: int, wire: Any) -> None:
    """Something else than MQTT."""
    for number in range(10):
        sockets = await opened(port, 20)
        await sent(sockets, bytes((number * 37 + index * 11) % 256 for index in range(5_000)))
        closed(sockets)


async def oversize(port: int, wire: Any) -> None:
    """Packets that announce 256 MB."""
    for _ in range(10):
        sockets = await opened(port, 20)
        await sent(sockets, b"\x10\xff\xff\xff\x7f" + bytes(4_096))
        closed(sockets)


async def replayed(port: int, wire: Any) -> None:
    """One CONNECT that is good, over and over."""
    for _ in range(10):
        sockets = await opened(port, 20)
        await sent(sockets, wire.connect(OTHER_TOKEN))
        await asyncio.sleep(0.02)
        closed(sockets)


async def guessing(port: int, wire: Any) -> None:
    """Tokens that nobody has."""
    for number in range(15):
        sockets = await opened(port, 20)
        await sent(sockets, wire.connect(f"no-token-of-anybody-{number:04}"))
        await asyncio.sleep(0.02)
        closed(sockets)


async def reset(port: int, wire: Any) -> None:
    """Connections that are reset at once."""
    for _ in range(10):
        for one in await opened(port, 40):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            one.close()


async def deaf(port: int, wire: Any) -> None:
    """Asks for ever and never reads."""
    (one,) = await opened(port, 1)
    await sent([one], wire.connect(OTHER_TOKEN) + wire.subscribe("v1/devices/me/attributes/response/+"))
    question = wire.publish("v1/devices/me/attributes/request/1", b'{"sharedKeys":"fw_title,fw_version"}')
    with suppress(TimeoutError):
        async with asyncio.timeout(1.0):
            await sent([one], question * 20_000)
    closed([one])


async def flooding(port: int, wire: Any) -> None:
    """Publishes as fast as it can, each of them nonsense."""
    (one,) = await opened(port, 1)
    nonsense = wire.publish("v1/devices/me/telemetry", b"[" * 2_000, 1)
    await sent([one], wire.connect(OTHER_TOKEN))
    with suppress(TimeoutError):
        async with asyncio.timeout(1.0):
            await sent([one], nonsense * 2_000)
    closed([one])


@pytest.mark.parametrize(
    "hostile",
    [
        half_open,
        slowloris,
        beyond_the_limit,
        garbage,
        oversize,
        replayed,
        guessing,
        reset,
        deaf,
        flooding,
    ],
)
def test_hostile_peers_cost_only_themselves(
    hostile: Callable[[int, Any], Awaitable[None]], platform: Platform, directory: Any, wire: Any
) -> None:
    directory.add(OTHER, OTHER_TOKEN)
    directory.add(NEWCOMER, NEWCOMER_TOKEN)

    async def body() -> None:
        async with platform.serving(0, HOSTILE_LIMITS, HOSTILE_ADMISSIONS) as (server, port):
            honest = await Honest(wire, port, "token-of-the-first-device").connect()
            acting = asyncio.ensure_future(hostile(port, wire))
            published, highest = 0, {"connections": 0, "waiting": 0, "unproven": 0}
            while not acting.done() or published < PUBLISHES:
                await honest.publish(published)
                published += 1
                seen = server.status()
                held = {"connections": seen["mqtt"]["connections"], **seen["admissions"]}
                highest = {name: max(number, held[name]) for name, number in highest.items()}
            await acting
            newcomer = await Honest(wire, port, NEWCOMER_TOKEN).connect()  # in spite of whatever is left of it
            await newcomer.publish(1)
            await honest.publish(published)
            await newcomer.close()
            await honest.close()
        assert highest["connections"] <= HOSTILE_LIMITS.connections
        assert highest["waiting"] <= HOSTILE_ADMISSIONS.waiting
        assert highest["unproven"] <= HOSTILE_ADMISSIONS.unproven_an_address + 1
        assert server.counts["our_errors"] == 0
        assert server.status()["admissions"]["addresses"] == 0  # nothing is left of anybody

    run(body)


async def hellos(port: int, wire: Any) -> None:
    """Particle's protocol: handshakes of the right size that nobody can open, the same ones over and over."""
    for _ in range(5):
        sockets = await opened(port, 20)
        await sent(sockets, bytes(index % 251 for index in range(256)))
        await asyncio.sleep(0.05)
        closed(sockets)


@pytest.mark.parametrize(
    "hostile",
    [half_open, slowloris, beyond_the_limit, garbage, oversize, reset, hellos],
    ids=lambda peer: peer.__name__,
)
def test_hostile_peers_of_particles_protocol_cost_devices_of_another_nothing(
    hostile: Callable[[int, Any], Awaitable[None]], platform: Platform, wire: Any, server_key: rsa.RSAPrivateKey
) -> None:
    async def body() -> None:
        async with platform.serving_both(server_key) as (server, port, particle_port):
            honest = await Honest(wire, port, "token-of-the-first-device").connect()
            acting = asyncio.ensure_future(hostile(particle_port, wire))
            published, unproven, connections = 0, 0, 0
            while not acting.done() or published < PUBLISHES:
                await honest.publish(published)
                published += 1
                seen = server.status()
                unproven = max(unproven, seen["admissions"]["unproven"])
                connections = max(connections, seen["particle-tcp"]["connections"])
            await acting
            await honest.close()
        assert unproven <= HOSTILE_ADMISSIONS.unproven_an_address
        assert connections <= 200
        assert server.counts["our_errors"] == 0
        assert server.status()["admissions"]["addresses"] == 0

    run(body)


def test_an_honest_newcomer_is_let_in_though_a_flood_of_silent_ones_came_before(platform: Platform, wire: Any) -> None:
    async def body() -> None:
        limits = MqttLimits(connect_s=60.0)
        async with platform.serving(0, limits, HOSTILE_ADMISSIONS) as (server, port):
            silent = await opened(port, 250)
            honest = await Honest(wire, port, "token-of-the-first-device").connect()
            await honest.publish(1)
            seen = server.status()["admissions"]
            assert seen["unproven"] == HOSTILE_ADMISSIONS.unproven_an_address
            assert seen["waiting"] == 250 - HOSTILE_ADMISSIONS.unproven_an_address
            closed(silent)
            await honest.close()

    run(body)


def test_whoever_waits_when_the_gateway_stops_is_closed_without_an_answer(platform: Platform, wire: Any) -> None:
    async def body() -> None:
        admissions = AdmissionLimits(unproven_an_address=1)
        async with platform.serving(0, MqttLimits(), admissions) as (server, port):
            silent, waiting = await opened(port, 2)
            await sent([waiting], wire.connect())
            await server.drain(0.0)
            loop = asyncio.get_running_loop()
            with suppress(ConnectionResetError):
                assert await loop.sock_recv(waiting, 100) == b""
            closed([silent, waiting])
            assert server.status()["admissions"]["waiting"] == 0

    run(body)
