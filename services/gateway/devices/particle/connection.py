"""One TCP connection of a Particle device: its handshake, then frames into its session, and what that says done.

Decides nothing about messages; it reads, holds, writes and wakes. A connection has no task and no timer of its own; all
share one buffer. Longer than most modules because the reasons to hold, to wake and to close belong to each other.

============  ============================================================  ==================================
step          what is awaited                                               for how long
============  ============================================================  ==================================
``waiting``   a place among the handshakes that go on                       ``nonce_wait_s``
``hello``     256 bytes, after the nonce was sent                           ``handshake_s`` for this
``opening``   a thread, which opens them and then seals the credentials     and this
``first``     the first frame: the device's Hello                           and this
``session``   whatever comes                                                ``Session.wake_at``
============  ============================================================  ==================================

Every refusal looks the same: the connection is closed and nothing is sent. Who has read our nonce gets credentials
whoever it claims to be, sealed with the key that it shows; only behind the Hello, when it has proved that it holds that
key, is it looked at whether it is the device's, by what the directory says then. So nobody learns which devices exist,
and nobody comes in by what was true when its handshake began.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import TYPE_CHECKING, Literal, cast

from services.gateway.devices.effects import Close, Now
from services.gateway.devices.particle import admission, coap, handshake, messages
from services.gateway.devices.particle.acting import Acting, in_time, tell_team
from services.gateway.devices.particle.admission import Admitted, Claimed, Refusal
from services.gateway.devices.particle.effects import Once
from services.gateway.devices.particle.frames import FrameReader, FrameWriter
from services.gateway.devices.particle.handshake import HELLO_BYTES, HandshakeHello
from services.gateway.devices.particle.hello import Hello
from services.gateway.devices.particle.keys import device_rsa
from services.gateway.devices.particle.session import Session
from services.gateway.devices.particle.violations import BAD_HELLO, BadMessage
from services.gateway.devices.sessions import Dismissal, Place
from services.gateway.devices.stream_listener import LINGER_S
from shared.errors import Refused, Unavailable
from shared.events.gateway import DevicePublished

if TYPE_CHECKING:
    from services.gateway.devices.particle.listener import ParticleListener

log = logging.getLogger(__name__)

LOOKS = 6
"""How often a device that does not read is looked at before it is closed."""

Step = Literal["waiting", "hello", "opening", "first", "session", "over"]


class Connection(Acting, asyncio.BufferedProtocol):
    """See the module."""

    __slots__ = (
        "_key_der",
        "_listener",
        "_paused",
        "_reader",
        "_sealed",
        "_secret",
        "_stated",
        "_step",
        "_stuck",
        "_transport",
        "_turn",
        "_writer",
        "address",
        "bucket",
        "proven",
    )

    def __init__(self, listener: ParticleListener, address: str) -> None:
        super().__init__(listener.server, listener.loads)
        self._listener = listener
        self._transport: asyncio.Transport
        self._step: Step = "waiting"
        self._secret = b""  # the nonce, then the credentials
        self._sealed: bytearray | None = None
        self._stated: HandshakeHello | None = None
        self._key_der = b""  # what the credentials were sealed with
        self._reader: FrameReader | None = None
        self._writer: FrameWriter | None = None
        self._turn = False
        self._paused = False
        self._stuck: tuple[int, float] = (0, 0.0)
        self.address = address
        self.proven = False
        self.bucket: int | None = None

    # -- called by the transport ----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A device, or somebody else, is there."""
        listener = self._listener
        self._transport = cast(asyncio.Transport, transport)
        now = listener.now()
        if not listener.welcomes(self):
            self._step = "over"
            self._transport.abort()
            return
        self._transport.set_write_buffer_limits(high=listener.limits.write_buffer_bytes)
        connected: socket.socket = transport.get_extra_info("socket")
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, listener.limits.socket_buffer_bytes)
        listener.wheel.schedule(self, now.s + listener.limits.nonce_wait_s)
        if listener.handshakes.enter(self):
            self.begin(now)

    def begin(self, now: Now) -> None:
        """There is room for its handshake: the nonce."""
        self._step, self._sealed = "hello", bytearray()
        self._secret = self._listener.around.entropy(handshake.NONCE_BYTES)
        self._listener.wheel.schedule(self, now.s + self._listener.limits.handshake_s)
        self._transport.write(self._secret)

    def get_buffer(self, sizehint: int) -> memoryview:
        """The shared buffer, cut to what may be read."""
        if self._reader is not None:
            return self._listener.buffer[: self._reader.room]
        return self._listener.buffer[: HELLO_BYTES - len(self._sealed or b"")]

    def buffer_updated(self, nbytes: int) -> None:
        """So many bytes came."""
        data = self._listener.buffer[:nbytes]
        match self._step:
            case "first" | "session":
                assert self._reader is not None
                self._reader.feed(data)
                self._work()
            case "hello":
                assert self._sealed is not None
                self._sealed += data
                if len(self._sealed) == HELLO_BYTES:
                    self._open(bytes(self._sealed))
            case "waiting" | "opening":
                self._refuse("spoke_too_early")
            case "over":
                return

    def eof_received(self) -> bool:
        """The device will send no more: that is the end of the connection."""
        return False

    def pause_writing(self) -> None:
        """The device does not read as fast as it is written to."""
        self._paused = True
        now = self._listener.now()
        self._stuck = (self._transport.get_write_buffer_size(), now.s)
        self._listener.wheel.wake_by(self, now.s + self._listener.limits.standing_still_s / LOOKS)

    def resume_writing(self) -> None:
        """The device has read."""
        self._paused = False
        if self._fetch is not None:
            self._serve()

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed."""
        self._leave_handshake()
        self._step = "over"
        self._reader = None
        self._listener.gone(self)
        self._end("connection_lost", self._listener.now())

    # -- handshake ------------------------------------------------------------------------------------------------

    def _open(self, sealed: bytes) -> None:
        listener = self._listener
        self._step, self._sealed = "opening", None
        self._transport.pause_reading()
        listener.in_thread(handshake.open_hello, listener.key, self._secret, sealed).add_done_callback(self._opened)

    def _opened(self, opened: asyncio.Future[HandshakeHello]) -> None:
        """A thread has opened the hello, or could not."""
        error = None if opened.cancelled() else opened.exception()  # looked at in any case
        if self._step != "opening" or opened.cancelled():
            return
        if error is not None:
            if not isinstance(error, BadMessage):
                log.error("a hello could not be opened", exc_info=error)
            self._refuse(error.kind if isinstance(error, BadMessage) else "our_errors")
            return
        self._claimed(opened.result())

    def _claimed(self, hello: HandshakeHello) -> None:
        listener = self._listener
        try:
            claim = self._claim(hello)
            if hello.public_key_der is not None:
                self._key_der = hello.public_key_der
            elif isinstance(claim, Claimed):
                self._key_der = claim.key_der
            else:
                self._key_der = listener.nobodys_key(hello.device_id)
            key = device_rsa(self._key_der)
        except Unavailable as error:
            listener.server.cannot_admit(error, listener.now())
            self._drop()
            return
        except Refused:
            self._refuse("unfit_keys")
            return
        self._stated, self._secret = hello, listener.around.entropy(handshake.CREDENTIALS_BYTES)
        listener.in_thread(handshake.reply, listener.key, key, self._secret).add_done_callback(self._replied)

    def _claim(self, hello: HandshakeHello) -> Claimed | Refusal:
        listener = self._listener
        memory = listener.known(hello.device_id)
        return admission.claimed(hello.device_id, hello.public_key_der, "rsa", listener.directory, memory)

    def _replied(self, reply: asyncio.Future[bytes]) -> None:
        """A thread has sealed and signed the credentials."""
        error = None if reply.cancelled() else reply.exception()
        if self._step != "opening" or reply.cancelled():
            return
        if error is not None:
            log.error("credentials could not be made", exc_info=error)
            self._refuse("our_errors")
            return
        known, self._secret = handshake.session_keys(self._secret), b""
        self._reader = FrameReader(known.key, known.iv)
        self._writer = FrameWriter(known.key, known.iv)
        self._step = "first"
        self._transport.write(reply.result())
        self._transport.resume_reading()

    def _admit(self, data: bytes, now: Now) -> None:
        """The first frame has come, which has to be the Hello: whoever can write it has the key."""
        listener, stated = self._listener, self._stated
        assert stated is not None
        place: Place | None = None
        try:
            message = coap.decode(data)
            hello = messages.read(message)
            if not isinstance(hello, Hello):
                raise BadMessage("another message before the Hello", BAD_HELLO)
            found = in_time(listener.server, self._found(stated, hello), now)
            if isinstance(found, Refusal):
                self._deny(found, stated.device_id, now)
                return
            place = None if listener.server.draining else listener.server.sessions.join(self, found.device_id, now)
            if place is None:
                self._drop()
                return
            self._stated, self._key_der = None, b""
            session = self.session = Session(
                listener.around, found, place.memory, place.number, self.address, True, now
            )
            session.bytes_in = len(data)
            effects = session.start(message, place.replaced_address, now)
        except BadMessage as bad:
            self._refuse(bad.kind)
            return
        except Unavailable as error:
            listener.server.sessions.failed(self, place, now)
            listener.server.cannot_admit(error, now)
            self._drop()
            return
        except Exception:
            log.exception("a device could not be admitted")
            listener.server.sessions.failed(self, place, now)
            self._refuse("our_errors")
            return
        self._step, self.proven = "session", True
        self._leave_handshake()
        listener.server.admissions.proven(self.address)
        self.act(lambda _: effects, now)

    def _found(self, stated: HandshakeHello, hello: Hello) -> Admitted | Refusal:
        claim = self._claim(stated)
        if isinstance(claim, Claimed) and claim.key_der != self._key_der:  # it has another key on record by now
            claim = Refusal("wrong_key", claim.entry)
        if isinstance(claim, Refusal):
            return claim
        return admission.admitted(claim, "rsa", hello, self._listener.directory)

    def _deny(self, refusal: Refusal, device_id: str, now: Now) -> None:
        """Its team is told of a key that is not the device's; the peer of nothing."""
        tell_team(self._server, refusal, device_id, now)
        self._refuse(refusal.kind)

    def _refuse(self, kind: str) -> None:
        """Close, and say nothing."""
        listener = self._listener
        listener.around.counts["refused_handshakes"] += 1
        listener.around.counts["handshake_" + kind] += 1
        listener.guard.refused(self.address, listener.now().s)
        self._drop()

    def _drop(self) -> None:
        self._close(self._listener.now())

    def _leave_handshake(self) -> None:
        self._listener.shaken(self)

    # -- frames ---------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        """Take frames until there is no whole one, or the turn is over."""
        now, listener, taken = self._listener.now(), self._listener, 0
        while not self._turn and self._reader is not None:
            try:
                data = self._reader.take()
            except BadMessage as bad:
                self._broken(bad.kind, str(bad), now)
                return
            if data is None:
                break
            taken += 1
            self._take(data, now)
            if taken >= listener.limits.turn_messages and self._reader is not None and self._reader.held_bytes:
                self._turn = True
                self._transport.pause_reading()
                listener.loop.call_soon(self._next_turn)

    def _next_turn(self) -> None:
        self._turn = False
        if self._step == "session":
            self._transport.resume_reading()
            self._work()

    def _take(self, data: bytes, now: Now) -> None:
        session = self.session
        if session is None:
            self._admit(data, now)
            return
        session.bytes_in += len(data)
        self.act(lambda session: session.receive(data, now), now)

    def _broken(self, kind: str, text: str, now: Now) -> None:
        if self.session is not None:
            self.act(lambda session: session.broken(kind, text, b"", now), now)
        else:
            self._refuse(kind)

    # -- effects --------------------------------------------------------------------------------------------------

    def _send(self, session: Session, ready: list[bytes | Once], now: Now) -> None:
        if not ready or self._writer is None:
            return
        frames = b"".join(self._writer.write(one if isinstance(one, bytes) else one.data) for one in ready)
        session.bytes_out += len(frames)
        self._transport.write(frames)

    def _may_fetch(self) -> bool:
        """Not while the device does not read."""
        return not self._paused

    def _wait(self, session: Session) -> None:
        self._listener.wheel.wake_by(self, session.wake_at())

    def _finish(self, close: Close, now: Now) -> None:
        self._end(close.ending, now)
        if close.packet and self._writer is not None and self._step == "session":
            self._transport.write(self._writer.write(close.packet))
        self._close(now)

    def _close(self, now: Now) -> None:
        if self._step == "over":
            return
        self._leave_handshake()
        self._step = "over"
        self._reader = self._fetch = self._stated = None
        self._transport.close()
        self._listener.wheel.schedule(self, now.s + LINGER_S)

    # -- for the sessions of all protocols ------------------------------------------------------------------------

    def dismiss(self, ending: Dismissal, text: str) -> None:
        """The gateway ends this connection."""
        now = self._listener.now()
        if self.session is not None:
            self.act(lambda session: session.dismiss(ending, text), now)
        else:
            self._close(now)

    def deliver(self, event: DevicePublished) -> None:
        """An event that it subscribed to; left out while the device does not read."""
        if self._paused:
            self._listener.around.counts["undeliverable_events"] += 1
            return
        now = self._listener.now()
        self.act(lambda session: session.deliver(event, now), now)

    # -- time -----------------------------------------------------------------------------------------------------

    def wake(self, now: Now) -> None:
        """The moment that it waited for in the wheel has come."""
        limits = self._listener.limits
        if self._step == "over":
            self._transport.abort()
            return
        if self.session is None:
            self._refuse("timeouts" if self._step != "waiting" else "never_begun")
            self._transport.abort()
            return
        if self._paused and self._stuck_s(now.s) >= limits.standing_still_s:
            self._broken("slow_reader", "does not read", now)
            return
        self.act(lambda session: session.tick(now), now)
        if self.session is None:
            return
        wake_at = self.session.wake_at()
        if self._paused:
            wake_at = min(wake_at, now.s + limits.standing_still_s / LOOKS)
        self._listener.wheel.schedule(self, wake_at)

    def _stuck_s(self, now: float) -> float:
        left_bytes = self._transport.get_write_buffer_size()
        if left_bytes != self._stuck[0]:
            self._stuck = (left_bytes, now)
        return now - self._stuck[1]
