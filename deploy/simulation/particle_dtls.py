"""The UDP side of a simulated Particle device: DTLS around its session, and the timer of both (protocol section 8).

A link that is to go half-open goes on from another port instead: on UDP there is nothing else to be half of.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, cast

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from deploy.simulation.device import Endpoint
from deploy.simulation.particle_session import End, ParticleSession
from services.gateway.devices.particle import coap
from services.gateway.devices.particle.coap import Message
from services.gateway.devices.particle.dtls.client import DeviceClient
from services.gateway.devices.particle.dtls.entropy import SystemSource

if TYPE_CHECKING:
    from deploy.simulation.particle import Dial, ParticleDevice

HANDSHAKE_S = 45.0
"""After so long a handshake that nobody answers is begun anew."""
FIRST_ID = 1
SOURCE = SystemSource()


class DtlsLink(asyncio.DatagramProtocol):
    """One DTLS session. The device hears of its end once."""

    __slots__ = (
        "_client",
        "_device",
        "_endpoint",
        "_loop",
        "_moving",
        "_over_told",
        "_timer",
        "_transport",
        "_until",
        "_welcomed",
        "session",
    )

    def __init__(self, device: ParticleDevice, endpoint: Endpoint, client: DeviceClient) -> None:
        self.session: ParticleSession | None = None
        self._device = device
        self._endpoint = endpoint
        self._client = client
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.DatagramTransport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._moving: asyncio.Task[None] | None = None
        self._until = self._loop.time() + HANDSHAKE_S
        self._welcomed = self._over_told = False

    # -- called by the transport --------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """There is a socket: a handshake, or the session goes on."""
        self._transport = cast(asyncio.DatagramTransport, transport)
        now = self._loop.time()
        if self._over_told:
            self._transport.close()
        elif self.session is None:
            self._device.linked(self)
            self._write(self._client.connect(now))
            self._look_again(now)
        else:
            self._client.move()
            self._send(self.session.carry_on(now))

    def datagram_received(self, data: bytes, addr: object) -> None:
        """One datagram of the server."""
        if self._over_told:
            return
        now = self._loop.time()
        heard = self._client.receive(data, now)
        self._write(heard.datagrams)
        if self.session is None and self._client.session is not None:
            self.session = self._device.session(FIRST_ID, reliable=False)
            self._send(self.session.start(now))
        for content in heard.contents:
            if self.session is not None and not self._over_told:
                self._send(self.session.receive(content, now))
        if self._client.failed:
            self._end(End("lost", self._client.failed, meant=False))
        self._look_again(now)

    def error_received(self, exc: Exception) -> None:
        """The host says that nobody listens there. A session outlives that: repetitions will show."""
        if self.session is None:
            self._end(End("lost", getattr(exc, "strerror", "") or type(exc).__name__, meant=False))

    # -- for the device -----------------------------------------------------------------------------------------------

    def cut(self) -> None:
        """See ``Link``."""
        self._over_told = True
        self._stop_timer()
        if self._transport is not None:
            self._transport.close()
        if self._moving is not None:
            self._moving.cancel()

    def leave(self) -> None:
        """See ``Link``."""
        if self._client.session is not None and not self._over_told:
            self._write([self._client.close()])
        self.cut()

    def fall_silent(self) -> None:
        """See ``Link``: a socket that nobody reads is as good as none."""
        self.cut()

    # -- its own ------------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        self._timer = None
        now = self._loop.time()
        if self.session is None:
            self._write(self._client.tick(now))
            if now >= self._until:
                self._end(End("lost", "no answer to the handshake", meant=False))
        elif now >= self.session.wake_at():
            self._send(self.session.tick(now))
        self._look_again(now)

    def _send(self, said: Iterable[Message]) -> None:
        """Write it, and see what became of the session."""
        session = self.session
        assert session is not None
        if self._client.session is not None:
            self._write(self._client.seal(coap.encode(message)) for message in said)
        if session.online and not self._welcomed:
            self._welcomed = True
            self._device.welcomed()
        if session.end is None:
            return
        if session.end.kind == "goes half-open":
            self._move()
        else:
            self._end(session.end)

    def _write(self, datagrams: Iterable[bytes]) -> None:
        if self._transport is not None:
            for datagram in datagrams:
                self._transport.sendto(datagram)

    def _move(self) -> None:
        if self._moving is None and self._transport is not None:
            self._transport.close()
            self._transport = None
            self._device.moved()
            self._moving = self._loop.create_task(self._moved())

    async def _moved(self) -> None:
        try:
            await self._loop.create_datagram_endpoint(lambda: self, remote_addr=self._endpoint)
        except OSError as problem:
            self._end(End("lost", problem.strerror or type(problem).__name__, meant=False))
        finally:
            self._moving = None
        self._look_again(self._loop.time())

    def _look_again(self, now: float) -> None:
        """Set the timer."""
        if self._over_told or self._moving is not None:
            return
        at = min(self._until, self._client.wake_at()) if self.session is None else self.session.wake_at()
        if self._timer is None or at < self._timer.when():
            self._stop_timer()
            self._timer = self._loop.call_at(max(at, now), self._tick)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end(self, end: End) -> None:
        if self._over_told:
            return
        self.cut()
        if self._welcomed:
            self._device.over(self, end)
        else:
            self._device.refused(self, end.reason)


def dial_dtls(server_key: bytes, key_of: Callable[[str], EllipticCurvePrivateKey]) -> Dial:
    """Links over DTLS to the server that has this key (DER)."""

    async def dial(device: ParticleDevice, endpoint: Endpoint) -> None:
        firmware = device.unit.generation.dtls
        key, device_id = key_of(device.device_id), bytes.fromhex(device.device_id)
        client = DeviceClient(key, server_key, SOURCE, device_id=device_id, firmware=firmware)
        link = DtlsLink(device, endpoint, client)
        await asyncio.get_running_loop().create_datagram_endpoint(lambda: link, remote_addr=endpoint)

    return dial
