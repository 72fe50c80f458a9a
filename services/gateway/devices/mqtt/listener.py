"""The MQTT listener: what all connections share, and whose certificates are taken."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import Counter
from collections.abc import Coroutine
from functools import partial
from itertools import count
from typing import Any

from services.gateway.devices.accepting import Kind
from services.gateway.devices.effects import Now
from services.gateway.devices.images import Images
from services.gateway.devices.limits import network_of
from services.gateway.devices.mqtt.certificates import Authorities
from services.gateway.devices.mqtt.connection import Connection
from services.gateway.devices.mqtt.effects import Provision
from services.gateway.devices.mqtt.limits import MqttLimits
from services.gateway.devices.mqtt.packets import Connect
from services.gateway.devices.mqtt.refusals import Refusals
from services.gateway.devices.mqtt.session import Surroundings
from services.gateway.devices.mqtt.websocket import WebSocket
from services.gateway.devices.ports import Provisioner
from services.gateway.devices.server import DeviceServer
from services.gateway.devices.stream_listener import LINGER_S, StreamListener
from services.gateway.epochs import Port
from shared.errors import Unavailable

log = logging.getLogger(__name__)

WEBSOCKET = frozenset({"mqtt-ws", "mqtt-wss"})
"""Kinds of ports that speak MQTT over WebSocket; all others speak plain MQTT, with TLS or without."""


class MqttListener(StreamListener[Connection]):
    """Serves MQTT for one epoch of one gateway; everything in the running loop's thread."""

    def __init__(
        self, server: DeviceServer, limits: MqttLimits | None = None, provisioner: Provisioner | None = None
    ) -> None:
        self.limits = limits or MqttLimits()
        super().__init__(server, self.limits)
        self._provisioner = provisioner
        self.around = Surroundings(
            server.directory,
            self.limits,
            server.gateway,
            server.epoch,
            Authorities(server.directory),
            server.counts,
            server.latest,
            server.transfers,
        )
        self.refusals = Refusals(server.directory)
        self.buffer = memoryview(bytearray(max(self.limits.packet_bytes, self.limits.connect_bytes)))
        self._contexts: list[ssl.SSLContext] = []
        self._provisioning: Counter[str] = Counter()
        self._provisioned = count(1)
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def images(self) -> Images:
        """Firmware images in memory."""
        return self.server.images

    async def start(self, host: str, port: Port) -> int:
        """Listen on one more port, with TLS or without. Raises ``OSError`` when the address is not to be had."""
        if port.ssl is not None:
            self._contexts.append(port.ssl)
            trust(port.ssl, self.around.authorities.certificates)
        self._authorities()
        kind = Kind(
            self._websocket if port.kind in WEBSOCKET else partial(Connection, self),
            self._hears,
            port.ssl,
            self.limits.connect_s,
        )
        return await self._listen(host, port.number, kind)

    async def stop(self) -> None:
        """End everything within two seconds or so; safe to call twice and before start."""
        await super().stop()
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=LINGER_S)

    def status(self) -> dict[str, Any]:
        """Numbers for operators."""
        return {"connections": len(self.connections), "provisioning": self._provisioning.total()}

    # -- for connections ------------------------------------------------------------------------------------------

    def _websocket(self, address: str) -> WebSocket:
        return WebSocket(self, Connection(self, address))

    def provisioning_begins(self, address: str) -> str | None:
        """One more connection for provisioning: the client id that it is given, or None for one too many."""
        limits, address = self.limits, network_of(address)
        if self._provisioning.total() >= limits.provisioning:
            self.around.counts["provisioning_above_limit"] += 1
            return None
        if self._provisioning[address] >= limits.provisioning_an_address:
            self.around.counts["provisioning_above_limit"] += 1
            return None
        self._provisioning[address] += 1
        return f"{self.server.gateway}-{self.server.epoch}-p{next(self._provisioned)}"

    def provisioning_ends(self, address: str) -> None:
        """One of them is over."""
        address = network_of(address)
        self._provisioning[address] -= 1
        if not self._provisioning[address]:
            del self._provisioning[address]

    async def provision(self, wanted: Provision) -> str:
        """The ID of the device that is let in. Raises ``FlotillaError``."""
        if self._provisioner is None:
            raise Unavailable("nobody lets devices in here")
        return await self._provisioner.provision(
            wanted.product_id, wanted.device_name, wanted.token_digest, wanted.fingerprint, wanted.create
        )

    def refused(self, connect: Connect, address: str, now: Now) -> None:
        """A log-in was refused. Raises what the directory raises."""
        self.guard.refused(address, now.s)
        event = self.refusals.refused(connect, address, now.s)
        if event is not None:
            self.server.record(event)

    def wait_s(self, device_id: str, size_bytes: int) -> float:
        """How long so many bytes of an image have to wait for the rates of the gateway and of the device."""
        now = self.loop.time()
        return self.server.transfers.reserve(device_id, size_bytes, now) - now

    def unreadable_image(self) -> None:
        """An image could not be read."""
        self.around.counts["unreadable_images"] += 1

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run it, and hold it until it is done."""
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("serving an image failed", exc_info=task.exception())
            self.around.counts["our_errors"] += 1

    def _authorities(self) -> None:
        """If others sign devices' certificates now, look again at who is in with one, and take new ones in handshakes.
        One that was withdrawn stays known to OpenSSL; who comes with its certificates is refused behind the handshake,
        as is who resumes an older session."""
        try:
            if not self.around.authorities.refresh():
                return
        except Unavailable as error:
            log.warning("the authorities of device certificates are not known: %s", error)
            return
        for context in self._contexts:
            trust(context, self.around.authorities.certificates)
        now = self.now()
        for connection in list(self.connections):
            if connection.session is not None and connection.session.certified:
                connection.news(now)

    def _tick(self) -> None:
        self._authorities()
        super()._tick()


def trust(context: ssl.SSLContext, certificates: list[str]) -> None:
    """Ask clients for a certificate, which one of these has signed if there is one (MQC-6). Some may be intermediate
    ones. Nobody is told their names, of which there may be many."""
    context.verify_mode = ssl.CERT_OPTIONAL
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    for certificate in certificates:
        try:
            context.load_verify_locations(cadata=certificate)
        except ssl.SSLError as error:
            log.warning("a device authority cannot be used: %s", error)
