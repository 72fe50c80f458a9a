"""What the session of a device says done, in order, whatever carries its messages."""

from __future__ import annotations

import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from functools import partial

from services.gateway.devices.calls import Question
from services.gateway.devices.effects import Ack, Answer, Close, Ending, Now, Record, Store
from services.gateway.devices.particle.admission import Admitted, Refusal
from services.gateway.devices.particle.describing_fact import Remembered
from services.gateway.devices.particle.effects import Effect, Fetch, Listen, Once
from services.gateway.devices.particle.limits import ParticleLimits
from services.gateway.devices.particle.loading import Loads
from services.gateway.devices.particle.session import Session, Surroundings
from services.gateway.devices.ports import Stored
from services.gateway.devices.server import DeviceServer
from services.gateway.devices.sessions import Dismissal
from shared.events.gateway import DevicePublished

log = logging.getLogger(__name__)


class Acting(ABC):
    """A connection with a session, as ``sessions.Connection`` and ``subscriptions.Reader`` have it."""

    __slots__ = ("_fetch", "_loads", "_server", "session")

    def __init__(self, server: DeviceServer, loads: Loads) -> None:
        self._server = server
        self._loads = loads
        self._fetch: Fetch | None = None
        self.session: Session | None = None

    # -- what carries it ------------------------------------------------------------------------------------------

    @abstractmethod
    def _send(self, session: Session, ready: list[bytes | Once], now: Now) -> None:
        """Messages to the device."""

    @abstractmethod
    def _finish(self, close: Close, now: Now) -> None:
        """The session ends; ``_end`` is to be called."""

    def _may_fetch(self) -> bool:
        """Whether bytes of an image can be taken now."""
        return True

    @abstractmethod
    def _wait(self, session: Session) -> None:
        """Be woken when the session wants to be."""

    # -- effects --------------------------------------------------------------------------------------------------

    def act(self, step: Callable[[Session], Iterable[Effect]], now: Now) -> None:
        """Do what the session says to this step; nothing if it is over. An error of ours ends it and no other."""
        session = self.session
        if session is None:
            return
        try:
            self._do(session, step(session), now)
        except Exception:
            log.exception("device %s: an error of ours", session.device_id)
            self._server.note("our_errors")
            self._finish(session.fault(), now)
            return
        if self.session is session:
            self._wait(session)

    def _do(self, session: Session, effects: Iterable[Effect], now: Now) -> None:
        ready: list[bytes | Once] = []
        for effect in effects:
            match effect:
                case bytes() | Once():
                    ready.append(effect)
                case Record() | Store():
                    self._store(session, effect)
                case Answer():
                    self._server.answered(session.device_id, effect)
                case Fetch():
                    self._fetch = effect
                case Listen():
                    self._server.subscriptions.listen(self, effect.wanted)
                case Close():
                    self._send(session, ready, now)
                    self._finish(effect, now)
                    return
        self._send(session, ready, now)
        if self._fetch is not None and self._may_fetch():
            self._server.soon(self._serve)

    def _store(self, session: Session, effect: Record | Store) -> None:
        vital = isinstance(effect, Record) and effect.vital
        stored = partial(self._stored, session, effect.ack, vital)
        self._server.store(session.device_id, effect).add_done_callback(stored)

    def _stored(self, session: Session, ack: Ack | None, vital: bool, done: Stored) -> None:
        lost = done.cancelled() or done.exception() is not None
        if self.session is not session or (ack is None and not (lost and vital)):
            return
        now = self._server.now()
        if ack is None:
            self.act(lambda session: [session.fault()], now)
        elif lost:
            self.act(lambda session: session.not_stored(ack), now)
        else:
            self.act(lambda session: session.stored(ack), now)

    def _serve(self) -> None:
        """The bytes of an image that the session asked for."""
        fetch = self._fetch
        if fetch is None or self.session is None or not self._may_fetch():
            return
        self._fetch = None
        piece = self._server.images.piece(fetch.sha256, fetch.offset, fetch.length)
        if piece:
            self.supply(fetch, piece)
        else:
            self._loads.load(self, fetch)

    def supply(self, fetch: Fetch, piece: bytes | memoryview | None) -> None:
        """Here they are, or they cannot be read."""
        now = self._server.now()
        self.act(lambda session: session.supply(fetch.offset, piece, now), now)

    def _end(self, ending: Ending, now: Now) -> None:
        """The session is over, and the device offline unless it has another one."""
        session, self.session = self.session, None
        if session is None:
            return
        self._server.subscriptions.listen(self, frozenset())
        if not self._server.sessions.leave(self, session):
            return
        try:
            for effect in session.end(ending, now):
                self._store(session, effect)
        except Exception:
            log.exception("device %s: its end was not recorded", session.device_id)
            self._server.note("our_errors")

    # -- for the sessions of all protocols ------------------------------------------------------------------------

    @abstractmethod
    def dismiss(self, ending: Dismissal, text: str) -> None:
        """The gateway ends it."""

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

    def deliver(self, event: DevicePublished) -> None:
        """An event that it subscribed to."""
        now = self._server.now()
        self.act(lambda session: session.deliver(event, now), now)


def in_time(server: DeviceServer, found: Admitted | Refusal, now: Now) -> Admitted | Refusal:
    """The same, unless too many devices that nobody knows have come to the product that it reports."""
    if isinstance(found, Refusal) or found.entry.membership.product_id is not None or found.entry.key_der is not None:
        return found
    memory = server.sessions.remembered(found.device_id)
    is_new = memory is None or memory.pinned_key is None
    return Refusal("too_many") if is_new and not server.newcomers.take(found.hello.product_id, now.s) else found


def tell_team(server: DeviceServer, refusal: Refusal, device_id: str, now: Now) -> None:
    """Somebody showed a key that is not the device's: its team hears of it."""
    if refusal.kind != "wrong_key" or refusal.entry is None:
        return
    memory = server.sessions.memory(device_id)
    product_id = refusal.entry.membership.product_id
    text = "somebody with another key claims to be the device"
    event = memory.conduct.noted(device_id, product_id, "wrong_key", text, b"", now.s)
    if event is not None:
        server.record(event)


def surroundings(server: DeviceServer, limits: ParticleLimits, remembered: Remembered | None) -> Surroundings:
    """What the sessions of one listener share. ``remembered`` outlives it, if there is one."""
    return Surroundings(
        server.directory,
        limits,
        server.gateway,
        server.epoch,
        os.urandom,
        server.counts,
        remembered or Remembered(),
        server.transfers,
    )
