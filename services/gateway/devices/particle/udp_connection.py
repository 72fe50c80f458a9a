"""One DTLS session of a Particle device: its message layer and its session machine on top, and what both say done.

Decides nothing about messages or records. Has no task, timer or socket of its own. Longer than most modules because
what comes in, what may go out and what is stored have to agree. What becomes of it:

=====================================  ================================  ==============================================
what happens                           the device is                     its DTLS session
=====================================  ================================  ==============================================
silence, an unanswered message,        offline                           is stored; goes on with the next record that
goodbye, the gateway stops                                               verifies, in this process or another
close_notify of the device             offline                           is forgotten
kicked, misbehaved                     offline                           is closed and forgotten
it has a newer session or connection   online there                      is forgotten
=====================================  ================================  ==============================================
"""

from __future__ import annotations

import logging
import random
from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from services.gateway.devices.effects import Close, Ending, Now
from services.gateway.devices.particle import admission, coap, continuing, messages
from services.gateway.devices.particle.acting import Acting, in_time
from services.gateway.devices.particle.admission import Admitted, Refusal
from services.gateway.devices.particle.continuing import Continuation
from services.gateway.devices.particle.dtls.cookies import Address
from services.gateway.devices.particle.dtls.records import MAX_SEQUENCE
from services.gateway.devices.particle.dtls.session import SEND_JUMP
from services.gateway.devices.particle.dtls.session import Session as DtlsSession
from services.gateway.devices.particle.effects import Effect, Once
from services.gateway.devices.particle.exchange import Exchange
from services.gateway.devices.particle.hello import Hello
from services.gateway.devices.particle.session import Kept, Session
from services.gateway.devices.particle.violations import BadMessage
from services.gateway.devices.sessions import Dismissal, Place
from shared.errors import Unavailable

if TYPE_CHECKING:
    import asyncio

    from services.gateway.devices.particle.udp import ParticleUdpListener

log = logging.getLogger(__name__)

STAYS: frozenset[Ending] = frozenset(("keepalive", "connection_lost", "disconnected", "draining"))
"""Endings after which the stored session can go on."""


class UdpConnection(Acting):
    """See the module. ``dtls`` is None once that session is gone."""

    __slots__ = ("_exchange", "_held", "_listener", "address", "bucket", "dtls", "saving")

    def __init__(self, listener: ParticleUdpListener, dtls: DtlsSession, address: Address) -> None:
        super().__init__(listener.server, listener.loads)
        self.dtls: DtlsSession | None = dtls
        self.address = address
        self.bucket: int | None = None
        self._listener = listener
        self._exchange = Exchange()
        self._held: deque[bytes] | None = None
        self.saving: asyncio.Future[None] | None = None
        """Done when what was exported last is on disk."""

    # -- what comes in --------------------------------------------------------------------------------------------

    def receive(self, content: bytes, now: Now) -> None:
        """One message."""
        session = self.session
        if session is None:
            if self.dtls is not None:
                self._admit(content, now)
            return
        session.bytes_in += len(content)
        heard = self._exchange.receive(content, now.s)
        if not heard.fresh:
            for data in heard.again:
                self._emit(data)
            return
        self.act(lambda session: session.receive(content, now), now)

    def moved(self, address: Address) -> None:
        """The device has another address."""
        self.address = address
        if self.session is not None:
            self.session.address = address[0]

    def _admit(self, content: bytes, now: Now) -> None:
        """The first message has to be the Hello; one that overtook it is not heard."""
        listener, dtls = self._listener, self.dtls
        assert dtls is not None
        place: Place | None = None
        try:
            message = coap.decode(content)
            hello = messages.read(message)
            if not isinstance(hello, Hello):
                listener.server.note("early_messages")
                return
            device_id = hello.device_id or listener.owner_of(dtls.public_key)
            if not device_id:
                listener.refuse(self, "no_device_id", now)
                return
            found = self._found(device_id, hello, now)
            place = None if found is None else self._join(device_id, now)
            if found is None or place is None:
                return
            listener.bind(self, device_id, now)
            session = self._begin(found, place, now)
            session.bytes_in = len(content)
            self._exchange.receive(content, now.s)
            effects = session.start(message, place.replaced_address, now)
        except BadMessage as bad:
            listener.refuse(self, bad.kind, now)
            return
        except Unavailable as error:
            listener.server.sessions.failed(self, place, now)
            listener.server.cannot_admit(error, now)
            self._give_up(now)
            return
        except Exception:
            log.exception("a device could not be admitted")
            listener.server.sessions.failed(self, place, now)
            listener.refuse(self, "our_errors", now)
            self._give_up(now)
            return
        self._online(effects, now)

    def _give_up(self, now: Now) -> None:
        self._listener.drop(self)
        self._end("kicked", now)

    def resume(self, now: Now) -> None:
        """The stored session goes on; a device that may not come in any more has none."""
        listener, dtls = self._listener, self.dtls
        assert dtls is not None
        device_id, kept = dtls.device_id.hex(), continuing.decode(dtls.extra)
        dtls.sends_before = dtls.send_sequence  # nothing before it is stored again
        if kept is None:
            listener.store.forget(dtls.device_id)
            listener.refuse(self, "outdated_session", now)
            return
        place: Place | None = None
        try:
            found = self._found(device_id, kept.hello, now)
            if found is None:
                listener.store.forget(dtls.device_id)
                return
            place = self._join(device_id, now)
            if place is None:
                return
            session = self._begin(found, place, now)
            self._exchange.restore(kept.answered, now.s)
            continuing.tell_again(session.told, kept.told)
            known = Kept(kept.last_id, kept.subscriptions, kept.description)
            effects = session.resume(known, place.replaced_address, now)
        except Unavailable as error:
            listener.server.sessions.failed(self, place, now)
            listener.server.cannot_admit(error, now)
            self._give_up(now)
            return
        except Exception:
            log.exception("a session could not go on")
            listener.server.sessions.failed(self, place, now)
            listener.refuse(self, "our_errors", now)
            self._give_up(now)
            return
        self._online(effects, now)

    def _found(self, device_id: str, hello: Hello, now: Now) -> Admitted | None:
        """The device, if it may come in with the key that it has proved. Raises ``Unavailable``."""
        listener, dtls = self._listener, self.dtls
        assert dtls is not None
        memory = listener.server.sessions.remembered(device_id)
        claim = admission.claimed(device_id, dtls.public_key, "ecc", listener.directory, memory)
        found = claim if isinstance(claim, Refusal) else admission.admitted(claim, "ecc", hello, listener.directory)
        found = in_time(listener.server, found, now)
        if isinstance(found, Admitted):
            return found
        listener.deny(self, found, device_id, now)
        return None

    def _join(self, device_id: str, now: Now) -> Place | None:
        """A place among the sessions; an older one of the device is over then."""
        listener = self._listener
        place = None if listener.server.draining else listener.server.sessions.join(self, device_id, now)
        if place is None:
            listener.drop(self)
        return place

    def _begin(self, found: Admitted, place: Place, now: Now) -> Session:
        around = self._listener.around
        self.session = Session(around, found, place.memory, place.number, self.address[0], False, now)
        return self.session

    def _online(self, effects: list[Effect], now: Now) -> None:
        """It is stored at once, so that it outlives the gateway from here on."""
        self.act(lambda _: effects, now)
        self._listener.save(self, now)

    # -- what goes out --------------------------------------------------------------------------------------------

    def _send(self, session: Session, ready: list[bytes | Once], now: Now) -> None:
        for message in ready:
            data, once = (message.data, True) if isinstance(message, Once) else (message, False)
            if not self._exchange.send(data, random.random(), now.s, once):  # noqa: S311 - spreads, hides nothing
                self._server.note("unsent_messages")
                continue
            session.bytes_out += len(data)
            self._emit(data)

    def _emit(self, data: bytes) -> None:
        """Send it, or keep it until the session is stored."""
        if self.dtls is None:
            return
        if self.may_send and not self._held:
            self._listener.send(self.dtls, data)
            return
        if self._held is None:
            self._held = deque()
        if len(self._held) >= self._listener.udp_limits.held_messages:
            self._server.note("unsent_messages")
            return
        self._held.append(data)

    @property
    def may_send(self) -> bool:
        """Whether the next send number is one that a session restored from what is on disk would not use again."""
        return self.dtls is not None and self.dtls.may_send

    def exported(self, send_sequence: int, saved: asyncio.Future[None]) -> None:
        """The session is being stored with this send number."""
        upto = send_sequence + SEND_JUMP
        if self.dtls is not None and self.dtls.sends_before == MAX_SEQUENCE:
            self.dtls.sends_before = upto
        self.saving = saved
        saved.add_done_callback(partial(self._saved, upto))

    def _saved(self, upto: int, saved: asyncio.Future[None]) -> None:
        if self.saving is saved:
            self.saving = None
        if saved.cancelled() or self.dtls is None:
            return
        self.dtls.sends_before = max(self.dtls.sends_before, upto)
        while self._held and self.dtls is not None and self.may_send:
            self._listener.send(self.dtls, self._held.popleft())
        if not self._held:
            self._held = None

    def continuation(self, session: Session, now: Now) -> bytes:
        """What is stored beside the keys."""
        kept = session.kept()
        return continuing.encode(
            Continuation(
                session.hello,
                kept.last_id,
                kept.subscriptions,
                kept.description,
                continuing.told_values(session.told),
                self._exchange.answered(now.s),
            )
        )

    # -- end ------------------------------------------------------------------------------------------------------

    def dismiss(self, ending: Dismissal, text: str) -> None:
        """The gateway ends it."""
        now = self._server.now()
        if self.session is not None:
            self.act(lambda session: session.dismiss(ending, text), now)
        else:
            self._listener.drop(self)

    def replaced(self, now: Now) -> None:
        """A newer connection of the device takes over; the device has keys for that one only."""
        dtls = self.dtls
        if dtls is not None:
            self._listener.drop(self)
            self._listener.store.forget(dtls.device_id)
        super().replaced(now)

    def closed(self, reason: str, now: Now) -> None:
        """The DTLS session is gone (``listener.gone``)."""
        if self.session is None:
            if reason == "unbound":
                self._listener.refuse(self, "no_hello", now)
            return
        self._listener.store.forget(bytes.fromhex(self.session.device_id))
        if reason == "replaced":  # at its own address; the device says Hello in the newer one
            self._listener.wheel.schedule(self, now.s + self._listener.endpoint.limits.bind_s)
        else:
            self._end("disconnected" if reason == "close_notify" else "connection_lost", now)

    def _finish(self, close: Close, now: Now) -> None:
        dtls, stays = self.dtls, close.ending in STAYS
        if stays:
            self._listener.save(self, now, last=True)
        self._end(close.ending, now)
        if dtls is None:
            self._listener.gone(self, None)
        elif stays:
            self._listener.drop(self)
        else:
            self._listener.close(self)
            self._listener.store.forget(dtls.device_id)

    # -- time -----------------------------------------------------------------------------------------------------

    def wake(self, now: Now) -> None:
        """The moment that it waited for in the wheel has come."""
        if self.dtls is None or self.session is None:
            self._end("connection_lost", now)
            return
        for data in self._exchange.tick(now.s):
            self._emit(data)
        if self._exchange.lost:
            self._finish(Close(b"", "connection_lost"), now)
            return
        self.act(lambda session: session.tick(now), now)

    def _wait(self, session: Session) -> None:
        if self.dtls is None:
            return
        again_at, wake_at = self._exchange.wake_at(), session.wake_at()
        self._listener.wake_by(self, wake_at if again_at is None else min(again_at, wake_at))
