"""One socket: reads, feeds the session, does what it wants done, and is closed in time. Decides nothing else.

There is no task and no timer of its own: a connection waits in the listener's wheel, and all connections read into one
buffer. Work is bounded per turn of the loop, so that no device keeps the others waiting (MQL-4). Longer than most
modules because the reasons to hold, to wake and to close belong to each other.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from functools import partial
from math import inf
from typing import TYPE_CHECKING, cast

from services.gateway.devices.mqtt.admission import RETURN_CODES, Refusal, admit
from services.gateway.devices.mqtt.effects import Ack, Close, Effect, Ending, Now, Record, Serve, Store
from services.gateway.devices.mqtt.outflow import Outflow
from services.gateway.devices.mqtt.packets import V5, Connect, decode_connect
from services.gateway.devices.mqtt.reader import Frame, FrameReader
from services.gateway.devices.mqtt.session import Session
from services.gateway.devices.mqtt.violations import (
    CONNECTION_RATE,
    OTHER_SERVER,
    UNAVAILABLE,
    UNSPECIFIED,
    UnsupportedLevel,
    Violation,
)
from shared.errors import Unavailable

if TYPE_CHECKING:
    from services.gateway.devices.mqtt.listener import MqttListener

log = logging.getLogger(__name__)

LINGER_S = 1.0
"""A connection that was ended is aborted after this, whatever the peer does (MQS-6)."""
LOOKS = 6
"""How often a connection that does not read is looked at before it is closed."""

_TURN, _PACE, _WRITING, _STREAMING = 1, 2, 4, 8
"""Why nothing is read from a connection now."""


class Connection(asyncio.BufferedProtocol):
    """See the module."""

    __slots__ = (
        "_holds",
        "_listener",
        "_out",
        "_over",
        "_reader",
        "_resume_at",
        "_transport",
        "address",
        "bucket",
        "session",
    )

    def __init__(self, listener: MqttListener) -> None:
        self._listener = listener
        self._reader = FrameReader(listener.limits.connect_bytes)
        self._transport: asyncio.Transport
        self._out: Outflow
        self._holds = 0
        self._over = False
        self._resume_at = inf
        self.address = ""
        self.bucket: int | None = None
        self.session: Session | None = None

    # -- called by the transport ----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A device, or somebody else, is there."""
        listener = self._listener
        self._transport = cast(asyncio.Transport, transport)
        self._out = Outflow(self._transport, listener, self._streamed)
        peer = transport.get_extra_info("peername")
        self.address = str(peer[0]) if peer else ""
        now = listener.now()
        if not listener.welcomes(self, now):
            self._over = True
            self._transport.abort()
            return
        self._transport.set_write_buffer_limits(high=listener.limits.write_buffer_bytes)
        listener.wheel.schedule(self, now.s + listener.limits.connect_s)

    def get_buffer(self, sizehint: int) -> memoryview:
        """The shared buffer, cut to what the reader may be fed."""
        return self._listener.buffer[: self._reader.room]

    def buffer_updated(self, nbytes: int) -> None:
        """So many bytes came."""
        if self._over:
            return
        self._reader.feed(self._listener.buffer[:nbytes])
        self._work()

    def eof_received(self) -> bool:
        """The device will send no more: that is the end of the connection."""
        return False

    def pause_writing(self) -> None:
        """The device does not read as fast as it is written to: nothing is read from it until it does."""
        self._hold(_WRITING)
        if not self._over:
            now = self._listener.now().s
            self._out.pause(now)
            self._listener.wheel.wake_by(self, now + self._listener.limits.standing_still_s / LOOKS)

    def resume_writing(self) -> None:
        """The device has read."""
        self._out.resume()
        self._release(_WRITING)

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed."""
        self._over = True
        self._out.forget()
        self._reader.clear()
        self._listener.gone(self)
        self._end("connection_lost", self._listener.now())

    # -- reading --------------------------------------------------------------------------------------------------

    def _hold(self, why: int) -> None:
        if not self._holds and not self._over:
            self._transport.pause_reading()
        self._holds |= why

    def _release(self, why: int) -> None:
        if not self._holds & why:
            return
        self._holds &= ~why
        if self._holds or self._over:
            return
        if self.session is not None:
            self.session.resumed(self._listener.now().s)
        self._transport.resume_reading()
        self._listener.loop.call_soon(self._work)

    def _streamed(self) -> None:
        self._release(_STREAMING)

    def _work(self) -> None:
        """Take packets until there is no whole one, something holds, or the turn is over."""
        now, limits = self._listener.now(), self._listener.limits
        packets = taken_bytes = 0
        while not self._holds and not self._over:
            if self.session is not None and self._paced(self.session, now):
                break
            try:
                if self.session is None:
                    self._reader.expect_connect()
                frame = self._reader.take()
            except Violation as violation:
                self._broken(violation, now)
                break
            if frame is None:
                break
            packets += 1
            taken_bytes += frame.size_bytes
            self._take(frame, now)
            if (packets >= limits.turn_packets or taken_bytes >= limits.turn_bytes) and self._reader.held_bytes:
                self._hold(_TURN)
                self._listener.loop.call_soon(self._release, _TURN)
        if self.session is not None:
            self._listener.wheel.wake_by(self, self.session.wake_at())

    def _paced(self, session: Session, now: Now) -> bool:
        until = session.hold_until(now.s)
        if until is None:
            return False
        self._resume_at = until
        self._hold(_PACE)
        if until != inf:
            self._listener.wheel.wake_by(self, until)
        return True

    def _take(self, frame: Frame, now: Now) -> None:
        if self.session is not None:
            self.ask(lambda session: session.receive(frame, now), now)
            return
        try:
            self._admit(decode_connect(frame), frame.size_bytes, now)
        except UnsupportedLevel as unsupported:
            self._refuse(Refusal(RETURN_CODES["level"], unsupported.reason), min(unsupported.level, V5), now)
        except Violation as violation:
            self._broken(violation, now)

    def _broken(self, violation: Violation, now: Now) -> None:
        if self.session is not None:
            self.ask(lambda session: session.broken(violation, b"", now), now)
        else:
            self._listener.around.counts["unauthenticated_" + violation.kind] += 1
            self._close(b"", now)

    def _admit(self, connect: Connect, size_bytes: int, now: Now) -> None:
        listener = self._listener
        if listener.draining:
            self._refuse(Refusal(RETURN_CODES["unavailable"], OTHER_SERVER), connect.level, now)
            return
        try:
            admitted = admit(connect, listener.around.directory)
            if isinstance(admitted, Refusal):
                listener.guard.refused(self.address, now.s)
                self._refuse(admitted, connect.level, now)
                return
            secure = self._transport.get_extra_info("sslcontext") is not None
            effects = listener.sessions.join(self, connect, size_bytes, admitted, secure, now)
        except Unavailable as error:
            listener.cannot_admit(error, now)
            self._refuse(Refusal(RETURN_CODES["unavailable"], UNAVAILABLE), connect.level, now)
            return
        except Exception:
            log.exception("a device could not be admitted")
            self._refuse(Refusal(RETURN_CODES["unavailable"], UNAVAILABLE), connect.level, now)
            return
        if effects is None:
            self._refuse(Refusal(RETURN_CODES["unavailable"], CONNECTION_RATE), connect.level, now)
            return
        self._reader.limit_bytes = listener.limits.packet_bytes
        self.ask(lambda _: effects, now)

    def _refuse(self, refusal: Refusal, level: int, now: Now) -> None:
        self._listener.around.counts["refused_connects"] += 1
        self._close(refusal.packet(level), now)

    # -- effects --------------------------------------------------------------------------------------------------

    def ask(self, question: Callable[[Session], Iterable[Effect]], now: Now) -> None:
        """Do what the session says to this, in order; nothing if it is over. An error of ours ends the connection and
        no other (MQE-10)."""
        session = self.session
        if session is None:
            return
        try:
            self._do(session, question(session), now)
        except Exception:
            log.exception("device %s: an error of ours", session.device_id)
            self._listener.around.counts["our_errors"] += 1
            self._finish(session.fault(), now)
            return
        if self.session is not None:
            self._listener.wheel.wake_by(self, session.wake_at())

    def _do(self, session: Session, effects: Iterable[Effect], now: Now) -> None:
        ready = bytearray()
        for effect in effects:
            match effect:
                case bytes():
                    ready += effect
                case Record() | Store():
                    self._store(session, effect)
                case Serve():
                    self._out.send(ready)
                    ready = bytearray()
                    self._out.serve(effect)
                    if self._out.busy:
                        self._hold(_STREAMING)
                case Close():
                    self._out.send(ready)
                    self._finish(effect, now)
                    return
        self._out.send(ready)

    def _store(self, session: Session, effect: Record | Store) -> None:
        listener = self._listener
        if isinstance(effect, Store):
            done, vital = listener.log.publish(effect.event), False
        else:
            done = listener.facts.record(effect.event, actor=f"device:{session.device_id}")
            vital = effect.vital
        done.add_done_callback(partial(self._stored, effect.ack, vital))

    def _stored(self, ack: Ack | None, vital: bool, done: asyncio.Future[None]) -> None:
        lost = done.cancelled() or done.exception() is not None
        if lost:
            self._listener.around.counts["lost_events"] += 1
        if self.session is None or (ack is None and not (lost and vital)):
            return
        now = self._listener.now()
        if lost or ack is None:
            self.ask(lambda session: session.not_stored(), now)
        else:
            self.ask(lambda session: session.stored(ack), now)
        self._released(now)

    def _released(self, now: Now) -> None:
        if self._holds & _PACE and self.session is not None and self.session.hold_until(now.s) is None:
            self._release(_PACE)

    def _finish(self, close: Close, now: Now) -> None:
        self._end(close.ending, now)
        self._close(close.packet, now)

    def _end(self, ending: Ending, now: Now) -> None:
        """The session is over; the socket may live on for a moment."""
        session, self.session = self.session, None
        if session is None or not self._listener.sessions.leave(self, session):
            return
        session.bytes_out = self._out.bytes_out
        try:
            for effect in session.end(ending, now):
                self._store(session, effect)
        except Exception:
            log.exception("device %s: its end was not recorded", session.device_id)
            self._listener.around.counts["our_errors"] += 1

    def _close(self, packet: bytes, now: Now) -> None:
        if self._over:
            return
        self._over = True
        self._reader.clear()
        self._out.close(packet)
        self._listener.wheel.schedule(self, now.s + LINGER_S)

    def dismiss(self, reason: int, ending: Ending, text: str) -> None:
        """The gateway ends this connection."""
        now = self._listener.now()
        if self.session is not None:
            self.ask(lambda session: session.dismiss(reason, ending, text), now)
        else:
            self._close(b"", now)

    # -- time -----------------------------------------------------------------------------------------------------

    def wake(self, now: Now) -> None:
        """The moment that it waited for in the wheel has come."""
        if self._over or self.session is None:
            if not self._over:
                self._listener.around.counts["connect_timeouts"] += 1
            self._over = True
            self._transport.abort()
            return
        self._released(now)
        if self._out.stuck_s(now.s) >= self._listener.limits.standing_still_s:
            self._broken(Violation("does not read", UNSPECIFIED, "slow_reader"), now)
            return
        self.ask(lambda session: session.tick(bool(self._holds), now), now)
        if self.session is None:
            return
        wake_at = self.session.wake_at()
        if self._holds & _PACE:
            wake_at = min(wake_at, self._resume_at)
        if self._out.paused:
            wake_at = min(wake_at, now.s + self._listener.limits.standing_still_s / LOOKS)
        self._listener.wheel.schedule(self, wake_at)
