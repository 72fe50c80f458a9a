"""The TCP side of a simulated Particle device: handshake, frames, and the timer of its session (protocol 2 and 3)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

from deploy.simulation.conditions import HALF_OPEN_S
from deploy.simulation.device import Endpoint
from deploy.simulation.particle_session import End, ParticleSession
from services.gateway.devices.particle import coap
from services.gateway.devices.particle.coap import Message
from services.gateway.devices.particle.device_handshake import open_reply, seal_hello
from services.gateway.devices.particle.frames import FrameReader, FrameWriter
from services.gateway.devices.particle.handshake import NONCE_BYTES, REPLY_BYTES, session_keys
from services.gateway.devices.particle.keys import public_der
from services.gateway.devices.particle.violations import BadMessage

if TYPE_CHECKING:
    from deploy.simulation.particle import Dial, ParticleDevice

STEP_S = 20.0
"""How long a device waits for the nonce, and for the credentials."""


class TcpLink(asyncio.Protocol):
    """One connection. The device hears of its end once."""

    __slots__ = (
        "_device",
        "_key",
        "_loop",
        "_pending",
        "_reader",
        "_server_key",
        "_shown",
        "_silent",
        "_timer",
        "_told",
        "_transport",
        "_welcomed",
        "_writer",
        "session",
    )

    def __init__(self, device: ParticleDevice, key: RSAPrivateKey, server_key: RSAPublicKey) -> None:
        self.session: ParticleSession | None = None
        self._device = device
        self._key = key
        self._server_key = server_key
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._pending = b""
        self._shown = False  # our hello is out
        self._welcomed = False
        self._reader: FrameReader | None = None
        self._writer: FrameWriter | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._told = self._silent = False

    # -- called by the transport --------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The server accepted; its nonce comes first."""
        self._transport = cast(asyncio.Transport, transport)
        self._device.linked(self)
        self._wake_in(STEP_S, "no nonce")

    def data_received(self, data: bytes) -> None:
        """Part of the handshake, or frames."""
        if self._told or self._silent:
            return
        if self._reader is None:
            self._shake(data)
        else:
            self._frames(self._reader, data)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed."""
        self._stop_timer()
        if self._silent:
            self._device.half_open_over(self)
        elif self._welcomed:
            self._over(End("lost", "closed by the server" if exc is None else "reset", meant=False))
        elif self._reader is not None:
            self._refused("closed after our Hello")
        else:
            self._refused("closed in the handshake")

    # -- for the device -----------------------------------------------------------------------------------------------

    def cut(self) -> None:
        """See ``Link``."""
        self._told = True
        self._stop_timer()
        self._transport.close()

    def leave(self) -> None:
        """See ``Link``: TCP tells."""
        self.cut()

    def fall_silent(self) -> None:
        """See ``Link``."""
        self._silent = True
        self._stop_timer()
        self._timer = self._loop.call_later(HALF_OPEN_S, self._transport.abort)

    # -- its own ------------------------------------------------------------------------------------------------------

    def _shake(self, data: bytes) -> None:
        self._pending += data
        if not self._shown:
            if len(self._pending) < NONCE_BYTES:
                return
            nonce, self._pending, self._shown = self._pending[:NONCE_BYTES], self._pending[NONCE_BYTES:], True
            shown = public_der(self._key.public_key())
            self._transport.write(seal_hello(self._server_key, nonce, self._device.device_id, shown))
            self._wake_in(STEP_S, "no credentials")
        if len(self._pending) >= REPLY_BYTES:
            reply, rest = self._pending[:REPLY_BYTES], self._pending[REPLY_BYTES:]
            self._pending = b""
            self._begin(reply)
            if rest and self._reader is not None:
                self._frames(self._reader, rest)

    def _begin(self, reply: bytes) -> None:
        try:
            keys = session_keys(open_reply(self._key, self._server_key, reply))
        except BadMessage as bad:
            self._refused(str(bad))
            return
        self._stop_timer()
        self._reader, self._writer = FrameReader(keys.key, keys.iv), FrameWriter(keys.key, keys.iv)
        self.session = session = self._device.session(keys.first_id, reliable=True)
        self._send(session.start(self._loop.time()))

    def _frames(self, reader: FrameReader, data: bytes) -> None:
        assert self.session is not None
        try:
            reader.feed(data)
            while (message := reader.take()) is not None:
                self._send(self.session.receive(message, self._loop.time()))
                if self._told:
                    return
        except BadMessage as bad:
            self._over(End("lost", f"the server sent {bad}", meant=False))

    def _tick(self) -> None:
        self._timer = None
        assert self.session is not None
        self._send(self.session.tick(self._loop.time()))

    def _send(self, said: list[Message]) -> None:
        """Write it, see what became of the session, and set the timer."""
        session, writer = self.session, self._writer
        assert session is not None
        assert writer is not None
        if said:
            self._transport.write(b"".join([writer.write(coap.encode(message)) for message in said]))
        if session.online and not self._welcomed:
            self._welcomed = True
            self._device.welcomed()
        if session.end is not None:
            self._over(session.end) if self._welcomed else self._refused(session.end.reason)
            return
        at = session.wake_at()
        if self._timer is None or at < self._timer.when():
            self._stop_timer()
            self._timer = self._loop.call_at(at, self._tick)

    def _wake_in(self, seconds: float, reason: str) -> None:
        self._stop_timer()
        self._timer = self._loop.call_later(seconds, self._refused, reason)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _over(self, end: End) -> None:
        if not self._told:
            self._stop_timer()
            self._told = end.kind != "goes half-open"
            self._device.over(self, end)

    def _refused(self, reason: str) -> None:
        if not self._told:
            self._told = True
            self._stop_timer()
            self._transport.abort()
            self._device.refused(self, reason)


def dial_tcp(server_key: RSAPublicKey, key_of: Callable[[str], RSAPrivateKey]) -> Dial:
    """Links over TCP to the server that has this key."""

    async def dial(device: ParticleDevice, endpoint: Endpoint) -> None:
        link = TcpLink(device, key_of(device.device_id), server_key)
        await asyncio.get_running_loop().create_connection(lambda: link, *endpoint)

    return dial
