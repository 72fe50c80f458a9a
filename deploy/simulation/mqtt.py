"""Simulated MQTT devices: real clients on real sockets that report, publish, and take firmware as the SDKs do.

Each device speaks one of the two topic generations (``v1/devices/me/…`` or the short ``v2/…``) and one protocol level
(3.1.1 or 5.0), so that a simulated fleet exercises all of them. A device keeps its version over a "reboot". Longer than
most modules because the library wants one task that does all.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import socket
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

import aiomqtt

from deploy.simulation.conditions import BREAKS_AFTER_S, HALF_OPEN_S, OUT_S, Conditions, UpdateFate
from deploy.simulation.counts import Counts, note
from deploy.simulation.device import FIRST_PAUSE_S, LONGEST_PAUSE_S, Endpoint

log = logging.getLogger(__name__)

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
    fate: UpdateFate = "succeeds"
    dies_at_bytes: int = 0
    asked_at: float = 0.0
    tries: int = 0


class Rebooting(Exception):
    """The device leaves to start anew, and is out for ``out_s``."""

    def __init__(self, out_s: float | None = None) -> None:
        super().__init__()
        self.out_s = out_s


class Broken(Exception):
    """The link broke, as it was to."""


class MqttDevice:
    """See ``deploy.simulation.device.Device``."""

    protocol = "mqtt"

    def __init__(
        self,
        device_id: str,
        token: str,
        product_id: int,
        version: int,
        endpoints: Sequence[Endpoint],
        dialect: Dialect,
        conditions: Conditions | None = None,
        counts: Counts | None = None,
    ) -> None:
        self.device_id = device_id
        self.product_id = product_id
        self.version = version
        self.online = False
        self.connections = 0
        self.published = 0
        self.updates = 0
        self.trouble = ""
        self._powered = asyncio.Event()
        self._powered.set()
        self._token = token
        self._endpoints = cycle(endpoints)
        self._dialect = dialect
        self._conditions = conditions or Conditions()
        self._counts = counts or Counts()
        self._chance = self._conditions.chance_of(device_id)
        self._download: Download | None = None
        self._updated = False
        self._requests = 0
        self._at_once = False
        self._reboot_at: float | None = None
        self._running: asyncio.Task[None] | None = None
        self._session: asyncio.Task[bool] | None = None
        self._cutting: asyncio.Task[None] | None = None

    def start(self) -> None:
        """See ``Device``."""
        self._running = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """See ``Device``."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])

    async def power_cycle(self, off_s: float) -> None:
        """See ``Device``."""
        self._powered.clear()
        if self._session is not None:
            await _unplug(self._session)
        await asyncio.sleep(off_s)
        self._powered.set()

    def reconnect(self) -> None:
        """See ``Device``."""
        if self._session is not None and self.online:
            self._at_once = True
            note(self._counts.meant, "a storm")
            self._cutting = asyncio.create_task(_unplug(self._session))

    async def _run(self) -> None:
        """Connect, live, and connect again with back-off, for ever."""
        pause_s = FIRST_PAUSE_S
        while True:
            await self._powered.wait()
            self._session = asyncio.create_task(self._connected())
            try:
                in_order = await asyncio.shield(self._session)
                pause_s = FIRST_PAUSE_S if in_order else min(pause_s * 2, LONGEST_PAUSE_S)
            except asyncio.CancelledError:
                if not self._session.cancelled():
                    await _unplug(self._session)
                    raise
            finally:
                self.online = False
            if not self._at_once:
                await asyncio.sleep(pause_s * self._chance.uniform(0.5, 1.5))
            self._at_once = False

    async def _connected(self) -> bool:
        """Live through one connection; whether it ended by the device's own will."""
        host, port = next(self._endpoints)
        dialect = self._dialect
        client = aiomqtt.Client(host, port, username=self._token, protocol=dialect.protocol, keepalive=30, timeout=10)
        self._download = None
        out_s: float | None = None
        inside = False
        try:
            async with client:
                inside = self.online = True
                self.connections += 1
                self._counts.connections += 1
                await self._introduce(client)
                await _until_one_fails(
                    self._publish(client),
                    self._repeat_chunks(client),
                    self._listen(client),
                    self._reboot(),
                    self._break(client),
                )
        except Rebooting as rebooting:
            out_s = self._conditions.restart_s if rebooting.out_s is None else rebooting.out_s
        except Broken:
            out_s = 0.0
        except aiomqtt.MqttError as lost:
            log.debug("%s: %s", self.device_id, lost)
            note(self._counts.lost if inside else self._counts.refused, str(lost))
            if self._download is not None:
                self.trouble = f"interrupted: {lost}"
        self.online = False
        if out_s:
            await asyncio.sleep(out_s)
        return out_s is not None

    async def _reboot(self) -> None:
        if self._conditions.reboot_every_s is not None:
            now = asyncio.get_running_loop().time()
            if self._reboot_at is None:
                self._reboot_at = now + self._conditions.around(self._conditions.reboot_every_s, self._chance)
            await asyncio.sleep(self._reboot_at - now)
            self._reboot_at = None
            note(self._counts.meant, "restarts")
            raise Rebooting

    async def _break(self, client: aiomqtt.Client) -> None:
        fate = self._conditions.link_fate(self._chance)
        if fate == "holds":
            return
        await asyncio.sleep(self._chance.uniform(*BREAKS_AFTER_S))
        found = client._client.socket()
        if found is not None:
            _cut(found.fileno(), HALF_OPEN_S if fate == "goes half-open" else 0.0)
        note(self._counts.meant, "a flaky link")
        raise Broken

    async def _introduce(self, client: aiomqtt.Client) -> None:
        dialect = self._dialect
        topics = [(dialect.attributes, 1), (dialect.attributes_response + "+", 1), ("v2/fw/response/+", 0)]
        await client.subscribe(topics)
        await self._report(client, "IDLE")
        if self._updated:
            self._updated = False
            self.updates += 1
            self.trouble = ""
            self._counts.updates_done += 1
        if dialect.asks_for_firmware:
            self._requests += 1
            wish = json.dumps({"sharedKeys": FIRMWARE_KEYS})
            await client.publish(f"{dialect.attributes_request}{self._requests}", wish, qos=1)

    async def _report(self, client: aiomqtt.Client, state: str, error: str = "") -> None:
        report = {
            "current_fw_title": str(self.product_id),
            "current_fw_version": str(self.version),
            "fw_state": state,
            "fw_error": error,
        }
        await client.publish(self._dialect.telemetry, json.dumps([report]), qos=1)

    async def _publish(self, client: aiomqtt.Client) -> None:
        while True:
            await asyncio.sleep(self._conditions.around(self._conditions.telemetry_every_s, self._chance))
            reading = {"temperature": round(self._chance.uniform(19, 23), 2)}
            await client.publish(self._dialect.telemetry, json.dumps(reading), qos=1)
            self.published += 1
            self._counts.events_sent += 1

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
        self._counts.updates_begun += 1
        fate = self._conditions.update_fate(self._chance)
        if fate == "refused":
            self._failed_on_purpose(fate)
            await self._report(client, "FAILED", "this device takes no firmware today")
            return
        self.trouble = ""
        dies_at_bytes = self._chance.below(offer.size_bytes)
        self._download = Download(offer, self._requests, fate=fate, dies_at_bytes=dies_at_bytes)
        await self._report(client, "DOWNLOADING")
        await self._ask(client, self._download)

    def _failed_on_purpose(self, fate: UpdateFate) -> None:
        self.trouble = ""
        self._counts.failed_on_purpose[fate] += 1

    async def _failed(self, client: aiomqtt.Client, reason: str) -> None:
        self.trouble = reason
        note(self._counts.failed, reason)
        await self._report(client, "FAILED", reason)

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
        if download.fate == "dies" and len(download.data) > download.dies_at_bytes:
            self._failed_on_purpose(download.fate)
            raise Rebooting(OUT_S)
        if len(download.data) < download.offer.size_bytes:
            await self._ask(client, download)
        else:
            await self._install(client, download)

    async def _install(self, client: aiomqtt.Client, download: Download) -> None:
        self._download = None
        if hashlib.sha256(download.data).hexdigest() != download.offer.sha256:
            await self._failed(client, "the image has another checksum")
            return
        for state in ("DOWNLOADED", "VERIFIED", "UPDATING"):
            await self._report(client, state)
        if download.fate == "old version":
            self._failed_on_purpose(download.fate)
        else:
            self.version = download.offer.version
            self._updated = True
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
                await self._failed(client, "a chunk never came")
                continue
            await self._ask(client, download)


def _cut(descriptor: int, silent_s: float) -> None:
    """The socket behind this descriptor breaks: at once, or it stays open for a while and nobody reads it."""
    loop = asyncio.get_running_loop()
    loop.remove_reader(descriptor)
    loop.remove_writer(descriptor)
    if silent_s:
        loop.call_later(silent_s, os.close, os.dup(descriptor))
    ours, nobodys = socket.socketpair()
    nobodys.close()
    os.dup2(ours.fileno(), descriptor)  # the library goes on with a socket that is closed at the other end
    ours.close()


async def _until_one_fails(*lives: Coroutine[Any, Any, None]) -> None:
    """Run all until one raises, which is raised here, and end the others. Not a ``TaskGroup``: that tells each only
    once to end (see ``_unplug``), and would wait for one that forgot it."""
    tasks = [asyncio.create_task(life) for life in lives]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        try:
            await _unplug(*tasks)
        finally:  # all are looked at, or the loop complains of those that are not
            failures = [task.exception() for task in tasks if not task.cancelled()]
    for failure in failures:
        if failure is not None:
            raise failure


async def _unplug(*tasks: asyncio.Task[Any]) -> None:
    """End tasks that speak MQTT, even if told to end meanwhile. They are told again until they do: ``asyncio.wait_for``
    in the MQTT library forgets a cancellation that comes together with what it waited for (before 3.12)."""
    told = False
    while going := [task for task in tasks if not task.done()]:
        for task in going:
            task.cancel()
        try:
            await asyncio.wait(going, timeout=CANCEL_AGAIN_S)
        except asyncio.CancelledError:
            told = True
    if told:
        raise asyncio.CancelledError
