"""Simulated devices: real MQTT clients on real sockets that report, publish, and take firmware as the SDKs do.

Each device speaks one of the two topic generations (``v1/devices/me/…`` or the short ``v2/…``) and one protocol level
(3.1.1 or 5.0), so that a simulated fleet exercises all of them. A device keeps its version over a "reboot".
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

import aiomqtt

log = logging.getLogger(__name__)

Endpoint = tuple[str, int]
"""Host and port of a gateway's MQTT listener."""

FIRMWARE_KEYS = "fw_checksum,fw_checksum_algorithm,fw_size,fw_title,fw_version"
CHUNK_TIMEOUT_S = 5.0
CHUNK_TRIES = 12
"""As the Arduino SDK: a chunk is asked for again after 5 s, twelve times."""
CANCEL_AGAIN_S = 0.5


@dataclass(frozen=True, slots=True)
class Dialect:
    """Which of the specified ways a device speaks."""

    protocol: aiomqtt.ProtocolVersion
    telemetry: str
    attributes: str
    attributes_request: str
    attributes_response: str
    asks_for_firmware: bool
    chunk_bytes: int


LONG = Dialect(
    aiomqtt.ProtocolVersion.V5,
    "v1/devices/me/telemetry",
    "v1/devices/me/attributes",
    "v1/devices/me/attributes/request/",
    "v1/devices/me/attributes/response/",
    asks_for_firmware=True,
    chunk_bytes=16_384,
)
SHORT = Dialect(
    aiomqtt.ProtocolVersion.V311,
    "v2/t",
    "v2/a",
    "v2/a/req/",
    "v2/a/res/",
    asks_for_firmware=False,
    chunk_bytes=4_096,
)


@dataclass(frozen=True, slots=True)
class Offer:
    """A firmware that the platform has told the device of."""

    title: str
    version: int
    size_bytes: int
    sha256: str

    @classmethod
    def read(cls, attributes: dict[str, object]) -> Offer | None:
        """From the five attributes, or None if they are not all there."""
        if not all(attributes.get(key) is not None for key in FIRMWARE_KEYS.split(",")):
            return None
        return cls(
            str(attributes["fw_title"]),
            int(str(attributes["fw_version"])),
            int(str(attributes["fw_size"])),
            str(attributes["fw_checksum"]),
        )


@dataclass(slots=True)
class Download:
    """One running download: whole chunks in order."""

    offer: Offer
    request: int
    data: bytearray = field(default_factory=bytearray)
    asked_at: float = 0.0
    tries: int = 0


class Rebooting(Exception):
    """The device leaves to start the firmware it has taken."""


class SimulatedDevice:
    """One device; ``run`` keeps it connected until it is cancelled."""

    def __init__(
        self,
        device_id: str,
        token: str,
        product_id: int,
        version: int,
        endpoints: Sequence[Endpoint],
        dialect: Dialect,
        *,
        publish_every_s: float = 2.0,
        reboot_s: float = 0.3,
        seed: int = 0,
    ) -> None:
        self.device_id = device_id
        self.product_id = product_id
        self.version = version
        self.connections = 0
        self.published = 0
        self.updates = 0
        self.powered = asyncio.Event()
        self.powered.set()
        self._token = token
        self._endpoints = cycle(endpoints)
        self._dialect = dialect
        self._publish_every_s = publish_every_s
        self._reboot_s = reboot_s
        self._random = random.Random(f"{device_id}/{seed}")  # noqa: S311 - weather, not secrets
        self._download: Download | None = None
        self._requests = 0
        self._session: asyncio.Task[bool] | None = None

    async def run(self) -> None:
        """Connect, live, and connect again with back-off, for ever."""
        pause_s = 0.2
        while True:
            await self.powered.wait()
            self._session = asyncio.create_task(self._connected())
            try:
                in_order = await asyncio.shield(self._session)
                pause_s = 0.2 if in_order else min(pause_s * 2, 5.0)
            except asyncio.CancelledError:
                if not self._session.cancelled():
                    await _unplug(self._session)
                    raise
            await asyncio.sleep(pause_s * self._random.uniform(0.5, 1.5))

    async def power_cycle(self, off_s: float) -> None:
        """Pull the plug: the connection ends without a goodbye; come back after ``off_s``."""
        self.powered.clear()
        if self._session is not None:
            await _unplug(self._session)
        await asyncio.sleep(off_s)
        self.powered.set()

    async def _connected(self) -> bool:
        """Live through one connection; whether it ended by the device's own will."""
        host, port = next(self._endpoints)
        dialect = self._dialect
        client = aiomqtt.Client(host, port, username=self._token, protocol=dialect.protocol, keepalive=30, timeout=10)
        self._download = None
        in_order = rebooting = False
        try:
            async with client:
                self.connections += 1
                await self._introduce(client)
                await _until_one_fails(self._publish(client), self._repeat_chunks(client), self._listen(client))
        except Rebooting:
            in_order = rebooting = True
        except aiomqtt.MqttError as lost:
            log.debug("%s: %s", self.device_id, lost)
        if rebooting:
            await asyncio.sleep(self._reboot_s)
        return in_order

    async def _introduce(self, client: aiomqtt.Client) -> None:
        dialect = self._dialect
        topics = [(dialect.attributes, 1), (dialect.attributes_response + "+", 1), ("v2/fw/response/+", 0)]
        await client.subscribe(topics)
        await self._report(client, "IDLE")
        if dialect.asks_for_firmware:
            self._requests += 1
            wish = json.dumps({"sharedKeys": FIRMWARE_KEYS})
            await client.publish(f"{dialect.attributes_request}{self._requests}", wish, qos=1)

    async def _report(self, client: aiomqtt.Client, state: str) -> None:
        report = {
            "current_fw_title": str(self.product_id),
            "current_fw_version": str(self.version),
            "fw_state": state,
            "fw_error": "",
        }
        await client.publish(self._dialect.telemetry, json.dumps([report]), qos=1)

    async def _publish(self, client: aiomqtt.Client) -> None:
        while True:
            await asyncio.sleep(self._publish_every_s * self._random.uniform(0.5, 1.5))
            reading = {"temperature": round(self._random.gauss(21, 2), 2)}
            await client.publish(self._dialect.telemetry, json.dumps(reading), qos=1)
            self.published += 1

    async def _listen(self, client: aiomqtt.Client) -> None:
        async for message in client.messages:
            topic = str(message.topic)
            payload = bytes(message.payload) if isinstance(message.payload, bytes | bytearray) else b""
            if topic == self._dialect.attributes:
                await self._offered(client, json.loads(payload))
            elif topic.startswith(self._dialect.attributes_response):
                await self._offered(client, json.loads(payload).get("shared", {}))
            elif topic.startswith("v2/fw/response/"):
                await self._chunk(client, topic, payload)

    async def _offered(self, client: aiomqtt.Client, attributes: dict[str, object]) -> None:
        offer = Offer.read(attributes)
        if offer is None or offer.title != str(self.product_id) or offer.version == self.version:
            return
        if self._download is not None and self._download.offer == offer:
            return
        self._requests += 1
        self._download = Download(offer, self._requests)
        await self._report(client, "DOWNLOADING")
        await self._ask(client, self._download)

    async def _ask(self, client: aiomqtt.Client, download: Download) -> None:
        number = len(download.data) // self._dialect.chunk_bytes
        download.asked_at = asyncio.get_running_loop().time()
        download.tries += 1
        topic = f"v2/fw/request/{download.request}/chunk/{number}"
        await client.publish(topic, str(self._dialect.chunk_bytes), qos=1)

    async def _chunk(self, client: aiomqtt.Client, topic: str, payload: bytes) -> None:
        download = self._download
        if download is None:
            return
        number = len(download.data) // self._dialect.chunk_bytes
        if topic != f"v2/fw/response/{download.request}/chunk/{number}":
            return  # late, or of an earlier request
        download.data += payload
        download.tries = 0
        if len(download.data) < download.offer.size_bytes:
            await self._ask(client, download)
        else:
            await self._install(client, download)

    async def _install(self, client: aiomqtt.Client, download: Download) -> None:
        self._download = None
        if hashlib.sha256(download.data).hexdigest() != download.offer.sha256:
            await self._report(client, "FAILED")
            return
        for state in ("DOWNLOADED", "VERIFIED", "UPDATING"):
            await self._report(client, state)
        self.version = download.offer.version
        self.updates += 1
        raise Rebooting

    async def _repeat_chunks(self, client: aiomqtt.Client) -> None:
        while True:
            await asyncio.sleep(1.0)
            download = self._download
            now = asyncio.get_running_loop().time()
            if download is None or now - download.asked_at < CHUNK_TIMEOUT_S:
                continue
            if download.tries >= CHUNK_TRIES:
                self._download = None
                await self._report(client, "FAILED")
                continue
            await self._ask(client, download)


class SimulatedFleet:
    """Many devices in this process, alternating between the dialects."""

    def __init__(
        self,
        tokens: dict[str, str],
        product_id: int,
        version: int,
        endpoints: Sequence[Endpoint],
        *,
        publish_every_s: float = 2.0,
    ) -> None:
        self.devices = [
            SimulatedDevice(
                device_id,
                token,
                product_id,
                version,
                [*endpoints[index % len(endpoints) :], *endpoints[: index % len(endpoints)]],
                LONG if index % 2 else SHORT,
                publish_every_s=publish_every_s,
            )
            for index, (device_id, token) in enumerate(tokens.items())
        ]

    async def run(self, until: Callable[[], Awaitable[None]], *, per_second: int = 200) -> None:
        """Start all devices, at most ``per_second``, and keep them running until ``until`` returns."""
        asyncio.get_running_loop().set_exception_handler(_unheard)
        logging.getLogger("mqtt").setLevel(logging.CRITICAL)  # the library's word on each broken connection
        running: list[asyncio.Task[None]] = []
        starter = asyncio.create_task(self._start(running, per_second))
        try:
            await until()
        finally:
            for task in (starter, *running):
                task.cancel()
            await asyncio.gather(starter, *running, return_exceptions=True)

    async def _start(self, running: list[asyncio.Task[None]], per_second: int) -> None:
        for device in self.devices:
            running.append(asyncio.create_task(device.run()))
            await asyncio.sleep(1 / per_second)


async def _until_one_fails(*lives: Coroutine[Any, Any, None]) -> None:
    """Run all until one raises, which is raised here, and end the others. Not a ``TaskGroup``: that tells each only
    once to end (see ``_unplug``), and would wait for one that forgot it."""
    tasks = [asyncio.create_task(life) for life in lives]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        await asyncio.shield(asyncio.gather(*map(_unplug, tasks)))
    for task in tasks:
        if not task.cancelled():
            task.result()


async def _unplug(task: asyncio.Task[Any]) -> None:
    """End a task that speaks MQTT. Told again until it does: ``asyncio.wait_for``, which the MQTT library uses, forgets
    a cancellation that comes together with what it waited for (before Python 3.12)."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=CANCEL_AGAIN_S)


def _unheard(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A connection that breaks leaves a future in the MQTT library that nobody asks; the device has noticed anyway."""
    if not isinstance(context.get("exception"), aiomqtt.MqttError):
        loop.default_exception_handler(context)
