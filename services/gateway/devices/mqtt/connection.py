"""One socket: reads, feeds the session, does what it wants done, and is closed in time. Decides nothing else.

There is no task and no timer of its own: a connection waits in the listener's wheel, and all connections read into one
buffer. Work is bounded per turn of the loop, so that no device keeps the others waiting (MQL-4). Longer than most
modules because the reasons to hold, to wake and to close belong to each other.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Iterable
from functools import partial
from math import inf
from typing import TYPE_CHECKING, TypeVar, cast

from services.gateway.devices.calls import Question
from services.gateway.devices.effects import Ack, Answer, Close, Ending, Now, Record, Store
from services.gateway.devices.mqtt.admission import RETURN_CODES, Form, Refusal, Surface, admit
from services.gateway.devices.mqtt.effects import Effect, Provision, Serve, WrongSecret
from services.gateway.devices.mqtt.outflow import Outflow
from services.gateway.devices.mqtt.packets import V5, Connect, decode_connect
from services.gateway.devices.mqtt.provisioning import Provisioning
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
from services.gateway.devices.ports import Stored
from services.gateway.devices.sessions import Dismissal, Place
from services.gateway.devices.stream_listener import LINGER_S
from shared.errors import FlotillaError, Unavailable

if TYPE_CHECKING:
    from services.gateway.devices.mqtt.listener import MqttListener

log = logging.getLogger(__name__)

LOOKS = 6
"""How often a connection that does not read is looked at before it is closed."""

TOKEN_BYTES = 24
"""Random ones of a token that is made here: 32 characters."""

Machine = TypeVar("Machine", bound=Session | Provisioning)

_TURN, _PACE, _WRITING, _STREAMING, _CROWD = 1, 2, 4, 8, 16
"""Why nothing is read from a connection now."""


class Connection(asyncio.BufferedProtocol):
    """See the module."""

    __slots__ = (
        "_holds",
        "_listener",
        "_machine",
        "_out",
        "_over",
        "_reader",
        "_resume_at",
        "_transport",
        "address",
        "bucket",
        "proven",
    )

    def __init__(self, listener: MqttListener, address: str) -> None:
        self._listener = listener
        self._reader = FrameReader(listener.limits.connect_bytes)
        self._transport: asyncio.Transport
        self._out: Outflow
        self._holds = 0
        self._over = False
        self._resume_at = inf
        self.address = address
        self.bucket: int | None = None
        self.proven = False
        """Whether it is known which device it is."""
        self._machine: Session | Provisioning | None = None

    @property
    def session(self) -> Session | None:
        """The session of the device that is connected."""
        return self._machine if isinstance(self._machine, Session) else None

    # -- called by the transport ----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A device, or somebody else, is there."""
        listener = self._listener
        self._transport = cast(asyncio.Transport, transport)
        self._out = Outflow(self._transport, listener, self._streamed)
        now = listener.now()
        if not listener.welcomes(self):
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
        if self._machine is not None:
            self._machine.resumed(self._listener.now().s)
        self._transport.resume_reading()
        self._listener.loop.call_soon(self._work)

    def _streamed(self) -> None:
        self._release(_STREAMING)

    def _work(self) -> None:
        """Take packets until there is no whole one, something holds, or the turn is over."""
        now, limits = self._listener.now(), self._listener.limits
        packets = taken_bytes = 0
        while not self._holds and not self._over:
            if self._machine is not None and self._paced(self._machine, now):
                break
            try:
                if self._machine is None:
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
        if self._machine is not None:
            self._listener.wheel.wake_by(self, self._machine.wake_at())

    def _paced(self, machine: Session | Provisioning, now: Now) -> bool:
        until = machine.hold_until(now.s)
        if until is None:
            return False
        self._resume_at = until
        self._hold(_PACE)
        if until != inf:
            self._listener.wheel.wake_by(self, until)
        return True

    def _take(self, frame: Frame, now: Now) -> None:
        if self._machine is not None:
            self._guarded(self._machine, lambda machine: machine.receive(frame, now), now)
        elif not self._listener.server.admissions.turns.do(partial(self._introduce, frame)):
            self._hold(_CROWD)

    def _introduce(self, frame: Frame) -> None:
        """Who it is, in a turn of the loop that has room for that."""
        if self._over:
            return
        self._release(_CROWD)
        now = self._listener.now()
        try:
            self._admit(decode_connect(frame), frame.size_bytes, now)
        except UnsupportedLevel as unsupported:
            self._refuse(Refusal(RETURN_CODES["level"], unsupported.reason), min(unsupported.level, V5), now)
        except Violation as violation:
            self._broken(violation, now)

    def _broken(self, violation: Violation, now: Now) -> None:
        if self._machine is not None:
            self._act(self._machine, lambda machine: machine.broken(violation, b"", now), now)
        else:
            self._listener.around.counts["unauthenticated_" + violation.kind] += 1
            self._close(b"", now)

    def _admit(self, connect: Connect, size_bytes: int, now: Now) -> None:
        listener = self._listener
        if listener.server.draining:
            self._refuse(Refusal(RETURN_CODES["unavailable"], OTHER_SERVER), connect.level, now)
            return
        place: Place | None = None
        try:
            surface = self._surface()
            admitted = admit(connect, surface, listener.around.directory, listener.around.authorities, now.at)
            if isinstance(admitted, Refusal):
                listener.refused(connect, self.address, now)
                self._refuse(admitted, connect.level, now)
                return
            if isinstance(admitted, Form):
                self._provision(connect, surface.secure, now)
                return
            place = listener.server.sessions.join(self, admitted.entry.device_id, now)
            if place is None:
                self._refuse(Refusal(RETURN_CODES["unavailable"], CONNECTION_RATE), connect.level, now)
                return
            session = self._machine = Session(
                listener.around, connect, admitted, place.memory, place.number, self.address, surface.secure, now
            )
            session.bytes_in = size_bytes
            effects = session.start(connect, place.replaced_address, now)
        except Unavailable as error:
            listener.server.sessions.failed(self, place, now)
            listener.server.cannot_admit(error, now)
            self._refuse(Refusal(RETURN_CODES["unavailable"], UNAVAILABLE), connect.level, now)
            return
        except Exception:
            log.exception("a device could not be admitted")
            listener.server.sessions.failed(self, place, now)
            self._refuse(Refusal(RETURN_CODES["unavailable"], UNAVAILABLE), connect.level, now)
            return
        self._reader.limit_bytes = listener.limits.packet_bytes
        self.proven = True
        listener.server.admissions.proven(self.address)
        self.act(lambda _: effects, now)

    def _surface(self) -> Surface:
        tls = self._transport.get_extra_info("ssl_object")
        return Surface(False) if tls is None else Surface(True, tls.getpeercert(True))

    def _provision(self, connect: Connect, secure: bool, now: Now) -> None:
        listener = self._listener
        assigned_id = listener.provisioning_begins(self.address)
        if assigned_id is None:
            self._refuse(Refusal(RETURN_CODES["unavailable"], CONNECTION_RATE), connect.level, now)
            return
        made = Provisioning(connect, listener.around.directory, listener.limits, _new_token, secure, now)
        self._machine = made
        self._act(made, lambda machine: machine.start(connect, assigned_id), now)

    def _refuse(self, refusal: Refusal, level: int, now: Now) -> None:
        self._listener.around.counts["refused_connects"] += 1
        self._close(refusal.packet(level), now)

    # -- effects --------------------------------------------------------------------------------------------------

    def act(self, step: Callable[[Session], Iterable[Effect]], now: Now) -> None:
        """Do what the session says to this step, in order; nothing if it is over. An error of ours ends the connection
        and no other (MQE-10)."""
        session = self.session
        if session is not None:
            self._act(session, step, now)

    def _act(self, machine: Machine, step: Callable[[Machine], Iterable[Effect]], now: Now) -> None:
        self._guarded(machine, step, now)
        if self._machine is not None:
            self._listener.wheel.wake_by(self, self._machine.wake_at())

    def _guarded(self, machine: Machine, step: Callable[[Machine], Iterable[Effect]], now: Now) -> None:
        """The same for a step behind which the connection is woken no earlier, or the caller sees to that."""
        try:
            self._do(machine, step(machine), now)
        except Exception:
            log.exception("device %s: an error of ours", machine.device_id)
            self._listener.around.counts["our_errors"] += 1
            self._finish(machine.fault(), now)

    def _do(self, machine: Session | Provisioning, effects: Iterable[Effect], now: Now) -> None:
        ready = bytearray()
        for effect in effects:
            match effect:
                case bytes():
                    ready += effect
                case Record() | Store():
                    self._store(machine.device_id, effect)
                case Answer():
                    self._listener.server.answered(machine.device_id, effect)
                case Provision():
                    self._listener.spawn(self._ask_for_access(effect))
                case WrongSecret():
                    self._listener.guard.refused(self.address, now.s)
                case Serve():
                    self._out.send(ready)
                    ready = bytearray()
                    self._out.serve(effect, partial(self._listener.wait_s, machine.device_id))
                    if self._out.busy:
                        self._hold(_STREAMING)
                case Close():
                    self._out.send(ready)
                    self._finish(effect, now)
                    return
        self._out.send(ready)

    async def _ask_for_access(self, wanted: Provision) -> None:
        known_as: str | None = None
        try:
            known_as = await self._listener.provision(wanted)
        except FlotillaError as error:
            log.info("a device of product %s was not provisioned: %s", wanted.product_id, error)
        finally:
            if isinstance(self._machine, Provisioning):
                now = self._listener.now()
                self._act(self._machine, lambda machine: machine.provisioned(known_as, now), now)
                self._released(now)

    def _store(self, device_id: str, effect: Record | Store) -> None:
        vital = isinstance(effect, Record) and effect.vital
        self._listener.server.store(device_id, effect).add_done_callback(partial(self._stored, effect.ack, vital))

    def _stored(self, ack: Ack | None, vital: bool, done: Stored) -> None:
        lost = done.cancelled() or done.exception() is not None
        session = self.session
        if session is None or (ack is None and not (lost and vital)):
            return
        now = self._listener.now()
        if lost or ack is None:
            self._act(session, lambda session: session.not_stored(), now)
        else:
            self._guarded(session, lambda session: session.stored(ack), now)
        self._released(now)

    def _released(self, now: Now) -> None:
        if self._holds & _PACE and self._machine is not None and self._machine.hold_until(now.s) is None:
            self._release(_PACE)

    def _finish(self, close: Close, now: Now) -> None:
        self._end(close.ending, now)
        self._close(close.packet, now)

    def _end(self, ending: Ending, now: Now) -> None:
        """The session is over; the socket may live on for a moment."""
        session, self._machine = self._machine, None
        if isinstance(session, Provisioning):
            self._listener.provisioning_ends(self.address)
            return
        if session is None or not self._listener.server.sessions.leave(self, session):
            return
        session.bytes_out = self._out.bytes_out
        try:
            for effect in session.end(ending, now):
                self._store(session.device_id, effect)
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

    def dismiss(self, ending: Dismissal, text: str) -> None:
        """The gateway ends this connection."""
        now = self._listener.now()
        if self._machine is not None:
            self._act(self._machine, lambda machine: machine.dismiss(ending, text), now)
        else:
            self._close(b"", now)

    def replaced(self, now: Now) -> None:
        """A newer connection of the device takes over."""
        self.act(lambda session: session.replaced(now), now)

    def news(self, now: Now) -> None:
        """The directory has news of the device or of its product."""
        self.act(lambda session: session.directory_changed(now), now)

    def ask(self, number: int, question: Question, now: Now) -> None:
        """Ask the device."""
        self.act(lambda session: session.ask(number, question, now), now)

    def unask(self, number: int) -> None:
        """Nobody waits for this answer any more."""
        if self.session is not None:
            self.session.unask(number)

    # -- time -----------------------------------------------------------------------------------------------------

    def wake(self, now: Now) -> None:
        """The moment that it waited for in the wheel has come."""
        machine = self._machine
        if self._over or machine is None:
            if not self._over:
                self._listener.around.counts["connect_timeouts"] += 1
            self._over = True
            self._transport.abort()
            return
        self._released(now)
        if self._out.stuck_s(now.s) >= self._listener.limits.standing_still_s:
            self._broken(Violation("does not read", UNSPECIFIED, "slow_reader"), now)
            return
        self._act(machine, lambda machine: machine.tick(bool(self._holds), now), now)
        if self._machine is None:
            return
        wake_at = machine.wake_at()
        if self._holds & _PACE:
            wake_at = min(wake_at, self._resume_at)
        if self._out.paused:
            wake_at = min(wake_at, now.s + self._listener.limits.standing_still_s / LOOKS)
        self._listener.wheel.schedule(self, wake_at)


def _new_token() -> str:
    return secrets.token_urlsafe(TOKEN_BYTES)
