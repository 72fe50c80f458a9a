"""The UDP listener of Particle's protocol: datagrams through the DTLS endpoint to sessions, one timer for all.

Work is bounded: so many datagrams a turn of the loop, handshakes begun a second in all and for each host, look-ups of
unknown sessions a second (``DtlsLimits``). A host whose devices were refused too often is not heard with new handshakes
for a while. What cannot be sent is counted and lost, as any datagram may be. There is no task for each session.

A session that goes on from another address needs nothing said: its device is online, and stays so. If it is offline
here, after a long silence or in another process, the first record that verifies makes it online.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from itertools import islice
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from services.gateway.devices.effects import Now
from services.gateway.devices.limits import LoginGuard
from services.gateway.devices.particle.acting import surroundings, tell_team
from services.gateway.devices.particle.admission import Refusal
from services.gateway.devices.particle.describing_fact import Remembered
from services.gateway.devices.particle.dtls.cookies import Address
from services.gateway.devices.particle.dtls.endpoint import Endpoint
from services.gateway.devices.particle.dtls.entropy import Source, SystemSource
from services.gateway.devices.particle.dtls.events import (
    Closed,
    Established,
    Moved,
    Output,
    Received,
    Restored,
    SaveDue,
)
from services.gateway.devices.particle.dtls.limits import DtlsLimits
from services.gateway.devices.particle.dtls.session import Session as DtlsSession
from services.gateway.devices.particle.known_sessions import KnownSessions
from services.gateway.devices.particle.limits import ParticleLimits
from services.gateway.devices.particle.loading import Loads
from services.gateway.devices.particle.session_store import SessionStore
from services.gateway.devices.particle.udp_connection import UdpConnection
from services.gateway.devices.particle.udp_limits import UdpLimits
from services.gateway.devices.particle.udp_sockets import UdpSockets
from services.gateway.devices.server import DeviceServer
from services.gateway.devices.timers import Wheel
from services.gateway.epochs import Port
from shared.errors import Unavailable

log = logging.getLogger(__name__)


class ParticleUdpListener:
    """Serves Particle's protocol over UDP for one epoch of one gateway, everything in the running loop's thread. The
    store outlives it."""

    def __init__(
        self,
        server: DeviceServer,
        key: EllipticCurvePrivateKey,
        store: SessionStore,
        limits: ParticleLimits | None = None,
        *,
        udp_limits: UdpLimits | None = None,
        dtls_limits: DtlsLimits | None = None,
        remembered: Remembered | None = None,
        source: Source | None = None,
    ) -> None:
        self.server = server
        self.directory = server.directory
        self.store = store
        self.limits = limits or ParticleLimits()
        self.udp_limits = udp_limits or UdpLimits()
        self.around = surroundings(server, self.limits, remembered)
        self.guard = LoginGuard(self.limits.refused_logins, self.limits.refused_logins_s)
        self.loads = Loads(server)
        self.loop = server.loop
        now = self.loop.time()
        self.wheel: Wheel[UdpConnection] = Wheel(self.udp_limits.step_s, now)
        known = KnownSessions(server, store)
        hears = self._hears
        self.endpoint = Endpoint(key, source or SystemSource(), now, store=known, hears=hears, limits=dtls_limits)
        self._connections: dict[DtlsSession, UdpConnection] = {}
        self._changed: dict[UdpConnection, None] = {}
        self._save_at = now + self.udp_limits.save_s
        self.sockets = UdpSockets(self.loop, self.udp_limits, self._received, server.note)
        self._ticking: asyncio.TimerHandle | None = None
        self._tick_at = 0.0

    # -- life -----------------------------------------------------------------------------------------------------

    async def start(self, host: str, port: Port) -> int:
        """Listen. Raises ``OSError`` when the address is not to be had."""
        number = await self.sockets.open(host, port.number)
        if self._ticking is None:
            self._tick_by(self.loop.time() + self.udp_limits.tick_s)
        return number

    def stop_accepting(self) -> None:
        """No new handshakes and no stored sessions; those that are there go on (``server.draining``)."""

    async def stop(self) -> None:
        """End everything and have the sessions on disk; safe to call twice and before start."""
        for connection in list(self._connections.values()):
            connection.dismiss("draining", "the gateway is being stopped")
        self.sockets.close()
        if self._ticking is not None:
            self._ticking.cancel()
            self._ticking = None
        await self.loads.stop()
        try:
            await self.store.flush()
        except Unavailable as error:
            log.error("%s; devices on UDP begin new sessions", error)

    def status(self) -> dict[str, Any]:
        """Numbers for operators."""
        return {
            "connections": len(self._connections),
            "handshakes": self.endpoint.handshakes,
            "ignored": dict(self.endpoint.refusals),
            "store": self.store.status(),
        }

    def now(self) -> Now:
        """The present moment."""
        return self.server.now()

    # -- datagrams ------------------------------------------------------------------------------------------------

    def _received(self, data: bytes, address: Address) -> None:
        now = self.now()
        try:
            self._do(self.endpoint.receive(data, address, now.s), now)
        except Exception:
            log.exception("a datagram could not be handled")
            self.server.note("our_errors")

    def _hears(self, address: Address) -> bool:
        """Whether a new handshake of this host is heard now."""
        refused = self.server.draining or self.server.admissions.behind
        heard = not refused and not self.guard.unheard(address[0], self.loop.time())
        if not heard:
            self.server.note("unheard_datagrams")
        return heard

    def _do(self, output: Output, now: Now) -> None:
        for data, address in output.datagrams:
            self.sockets.send(data, address)
        over = {event.session: self._cut(event.session) for event in output.events if isinstance(event, Closed)}
        for event in output.events:
            match event:
                case Established(session, _, address):
                    self._connections[session] = UdpConnection(self, session, address)
                case Restored(session, address):
                    self._connections[session] = restored = UdpConnection(self, session, address)
                    restored.resume(now)
                case Closed(session, reason):
                    if (closed := over[session]) is not None:
                        closed.closed(reason, now)
                case _:
                    connection = self._connections.get(event.session) or over.get(event.session)
                    if connection is not None:
                        self._told(connection, event, now)

    def _cut(self, session: DtlsSession) -> UdpConnection | None:
        """Nothing can be sent in a session that is closed, not even about what was received before."""
        connection = self._connections.get(session)
        if connection is not None:
            self.gone(connection, session)
        return connection

    def _told(self, connection: UdpConnection, event: Received | Moved | SaveDue, now: Now) -> None:
        match event:
            case Received():
                self._changed[connection] = None
                connection.receive(event.content, now)
            case Moved():
                self._changed[connection] = None
                connection.moved(event.new)
            case SaveDue():
                self.save(connection, now)

    # -- for connections ------------------------------------------------------------------------------------------

    def send(self, session: DtlsSession, data: bytes) -> None:
        """One message to the session's device."""
        self._do(self.endpoint.send(session, data), self.now())

    def bind(self, connection: UdpConnection, device_id: str, now: Now) -> None:
        """The session is this device's, whose older one is gone."""
        if connection.dtls is not None:
            self._do(self.endpoint.bind(connection.dtls, bytes.fromhex(device_id)), now)

    def save(self, connection: UdpConnection, now: Now, *, last: bool = False) -> None:
        """Store the session as it is now; if it is being stored already, when that is done, unless it is the ``last``
        time."""
        self._changed.pop(connection, None)
        dtls, session = connection.dtls, connection.session
        if dtls is None or session is None:
            return
        if connection.saving is not None and not last:
            self._changed[connection] = None
            return
        dtls.extra = connection.continuation(session, now)
        exported = dtls.export()
        connection.exported(exported.send_sequence, self.store.save(exported))

    def drop(self, connection: UdpConnection) -> None:
        """Take the session out of memory and say nothing; if it is stored it can go on."""
        dtls = connection.dtls
        if dtls is not None:
            self.endpoint.forget(dtls)
        self.gone(connection, dtls)

    def close(self, connection: UdpConnection) -> None:
        """End the session and tell the device."""
        dtls = connection.dtls
        if dtls is not None and connection.may_send:
            self._do(self.endpoint.close(dtls), self.now())
        self.drop(connection)

    def gone(self, connection: UdpConnection, dtls: DtlsSession | None) -> None:
        """The session is not in memory any more."""
        connection.dtls = None
        self.wheel.cancel(connection)
        self._changed.pop(connection, None)
        if dtls is not None:
            self._connections.pop(dtls, None)

    def wake_by(self, connection: UdpConnection, at: float) -> None:
        """Wake it at this moment, if it would not be woken before."""
        self.wheel.wake_by(connection, at)
        if at < self._tick_at and self._ticking is not None:
            self._tick_by(self.wheel.next_at(self._tick_at))

    def owner_of(self, public_key: bytes) -> str | None:
        """The device that this key is on record for, and for no other."""
        entry = self.directory.device_by_key(hashlib.sha256(public_key).hexdigest())
        return None if entry is None else entry.device_id

    def deny(self, connection: UdpConnection, refusal: Refusal, device_id: str, now: Now) -> None:
        """Its team is told of a key that is not the device's; the peer of nothing."""
        tell_team(self.server, refusal, device_id, now)
        self.refuse(connection, refusal.kind, now)

    def refuse(self, connection: UdpConnection, kind: str, now: Now) -> None:
        """Forget the session, and say nothing: the device begins anew when nothing answers."""
        self.server.note("refused_handshakes")
        self.server.note("handshake_" + kind)
        self.guard.refused(connection.address[0], now.s)
        self.drop(connection)

    # -- time -----------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        now = self.now()
        self._tick_at = now.s  # nobody makes it sooner before all who are due were woken
        try:
            self._do(self.endpoint.tick(now.s), now)
            self._save_changed(now)
        except Exception:
            log.exception("what was due could not be done")
            self.server.note("our_errors")
        due = self.wheel.due(now.s, self.udp_limits.woken_at_once)
        for connection in due:
            connection.wake(now)
        full = len(due) == self.udp_limits.woken_at_once
        self._tick_by(now.s if full else self.wheel.next_at(now.s + self.udp_limits.tick_s))

    def _tick_by(self, at: float) -> None:
        if self._ticking is not None:
            self._ticking.cancel()
        self._tick_at, self._ticking = at, self.loop.call_at(at, self._tick)

    def _save_changed(self, now: Now) -> None:
        if now.s < self._save_at:
            return
        for connection in list(islice(self._changed, self.udp_limits.saves_at_once)):
            self.save(connection, now)
        if not self._changed:
            self._save_at = now.s + self.udp_limits.save_s
