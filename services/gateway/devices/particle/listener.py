"""The TCP listener of Particle's protocol: the threads of the private key, whose turn it is, and what all share."""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from services.gateway.devices.accepting import Kind
from services.gateway.devices.memory import DeviceMemory
from services.gateway.devices.particle.acting import surroundings
from services.gateway.devices.particle.connection import Connection
from services.gateway.devices.particle.describing_fact import Remembered
from services.gateway.devices.particle.frames import LENGTH_BYTES, MAX_CIPHERTEXT_BYTES
from services.gateway.devices.particle.handshakes import Handshakes
from services.gateway.devices.particle.keys import nobodys_rsa
from services.gateway.devices.particle.limits import ParticleLimits
from services.gateway.devices.particle.loading import Loads
from services.gateway.devices.server import DeviceServer
from services.gateway.devices.stream_listener import StreamListener
from services.gateway.epochs import Port

log = logging.getLogger(__name__)

R = TypeVar("R")


class ParticleListener(StreamListener[Connection]):
    """Serves Particle's protocol over TCP for one epoch of one gateway; everything in the running loop's thread but the
    operations with the private key."""

    def __init__(
        self,
        server: DeviceServer,
        key: RSAPrivateKey,
        limits: ParticleLimits | None = None,
        remembered: Remembered | None = None,
    ) -> None:
        self.limits = limits or ParticleLimits()
        super().__init__(server, self.limits)
        self.directory = server.directory
        self.key = key
        self.around = surroundings(server, self.limits, remembered)
        self.handshakes: Handshakes[Connection] = Handshakes(self.limits.handshakes, self.limits.handshakes_an_address)
        self.buffer = memoryview(bytearray(LENGTH_BYTES + MAX_CIPHERTEXT_BYTES))
        self.loads: Loads = Loads(server)
        self._threads = ThreadPoolExecutor(self.limits.key_threads, thread_name_prefix="particle-key")
        self._letting_in = False
        private = key.private_numbers().d.to_bytes(key.key_size // 8, "big")
        self._decoys = hmac.digest(private, b"flotilla particle: keys that nobody holds", "sha256")

    async def start(self, host: str, port: Port) -> int:
        """Listen on one more port. Raises ``OSError`` when the address is not to be had."""
        return await self._listen(host, port.number, Kind(partial(Connection, self), self._hears))

    async def stop(self) -> None:
        """End everything within two seconds or so; safe to call twice and before start."""
        await super().stop()
        await self.loads.stop()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def status(self) -> dict[str, Any]:
        """Numbers for operators."""
        return {
            "connections": len(self.connections),
            "handshakes": self.handshakes.going,
            "waiting_for_handshake": self.handshakes.waiting,
        }

    # -- for connections ------------------------------------------------------------------------------------------

    def known(self, device_id: str) -> DeviceMemory | None:
        """What is remembered of the device, if anything is."""
        return self.server.sessions.remembered(device_id)

    def nobodys_key(self, device_id: str) -> bytes:
        """What to seal credentials with for one that shows no key and has none; the same on every gateway."""
        return nobodys_rsa(self._decoys, device_id)

    def in_thread(self, work: Callable[..., R], *arguments: Any) -> asyncio.Future[R]:
        """Operations with the private key, which would hold the loop up; no more wait than handshakes go on."""
        return self.loop.run_in_executor(self._threads, work, *arguments)

    def shaken(self, connection: Connection) -> None:
        """The handshake of a connection is over; others may begin theirs in the next turn of the loop."""
        self.handshakes.leave(connection)
        if not self._letting_in and self.handshakes.waiting:
            self._letting_in = True
            self.loop.call_soon(self._let_in)

    def _let_in(self) -> None:
        self._letting_in = False
        now = self.now()
        while (connection := self.handshakes.next()) is not None:
            connection.begin(now)
