"""The update of one session's device: when it begins, and what its sender wants done (protocol section 7, FW-3, FW-4).
Does no I/O."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from services.gateway.devices.effects import Now, Record
from services.gateway.devices.particle import coap, sending, system_events, update_messages
from services.gateway.devices.particle.effects import Effect, Fetch, Once
from services.gateway.devices.particle.hello import UPDATE_EVENTS, UPDATES_V3
from services.gateway.devices.particle.sender import Sender, sender_of
from services.gateway.devices.particle.sending import Delivered, Failed, Need, Plan, Progressed, Refused
from services.gateway.devices.updates import Wanted
from services.gateway.entries import FlashEntry, ImageEntry
from shared import errors

if TYPE_CHECKING:
    from services.gateway.devices.particle.session import Session


class _Told(NamedTuple):
    """What the device was told of updates."""

    pending: bool = False
    forced: bool = False


class Updating:
    """Of one session."""

    __slots__ = ("_ask_at", "_begin_at", "_fetch", "_sender", "_sha256", "_tell", "_tell_at", "_told", "_wanted")

    def __init__(self) -> None:
        self._sender: Sender | None = None
        self._wanted: Wanted | None = None
        self._sha256 = ""
        self._fetch: tuple[float, Fetch] | None = None
        self._begin_at: float | None = None
        self._ask_at: float | None = None
        self._told = self._tell = _Told()
        self._tell_at: float | None = None

    @property
    def busy(self) -> bool:
        """Whether the device handles nothing but update messages now."""
        return self._sender is not None and not self._sender.over

    def refusal(self, session: Session, flash: FlashEntry) -> errors.Refused | None:
        """Why this file cannot be flashed to the device now."""
        member, most = session.firmware.entry.membership, session.most_binary_bytes
        if self.busy or session.memory.updates.running:
            return errors.Refused("busy", "The device is being updated.")
        if not session.firmware.takes_updates:
            return errors.Refused("updates_disabled", "The device's application does not let it be updated now.")
        if most is not None and flash.size_bytes > most:
            text = f"The file has {flash.size_bytes} bytes; this device takes {most}."
            return errors.Refused("too_large_for_device", text)
        if member.quarantined or member.denied:
            return errors.Refused("device_quarantined", "The device is in quarantine; approve it before you flash it.")
        if member.product_id != flash.product_id:
            return errors.Refused("product_mismatch", f"The device is not in product {flash.product_id}.")
        return None

    def plan(self, session: Session, ready_at: float) -> None:
        """Work out anew when an update may begin, when the device asks for its turn in a roll-out, and what it is to
        be told of what waits for it: at ``ready_at`` at the earliest."""
        firmware = session.firmware
        at, ask_at = firmware.may_bring_from(), firmware.ask_from()
        self._begin_at = max(at, ready_at) if at is not None and not self.busy else None
        self._ask_at = max(ask_at, ready_at) if ask_at is not None and not self.busy else None
        self._tell_at = None
        if session.hello.has(UPDATE_EVENTS):
            self._tell = _Told(firmware.is_put_off, firmware.overruled)
            self._tell_at = None if self._tell == self._told or self.busy else ready_at

    def wake_at(self) -> float | None:
        """When ``tick`` has something to do."""
        moments = (
            None if self._sender is None else self._sender.wake_at(),
            None if self._fetch is None else self._fetch[0],
            self._begin_at,
            self._ask_at,
            self._tell_at,
        )
        return min((moment for moment in moments if moment is not None), default=None)

    def tick(self, session: Session, now: Now) -> list[Effect]:
        """Begin, or go on, if it is time."""
        effects: list[Effect] = []
        if self._sender is not None and not self._sender.over:
            effects += self._do(session, self._sender.tick(now.s), now)
        if self._fetch is not None and now.s >= self._fetch[0]:
            effects.append(self._fetch[1])
            self._fetch = None
        if self._tell_at is not None and now.s >= self._tell_at:
            effects += self._tells(session)
        if self._ask_at is not None and now.s >= self._ask_at:
            self._ask_at = None
            asked = session.firmware.ask(now.s)
            session.memory.caused(len(asked), now.s)
            effects += [Record(event) for event in asked]
        if self._begin_at is not None and now.s >= self._begin_at:
            self._begin_at = None
            effects += self._begin(session, now)
        return effects

    def _tells(self, session: Session) -> list[Effect]:
        before, told = self._told, self._tell
        self._told, self._tell_at = told, None
        named = (("pending", before.pending, told.pending), ("forced", before.forced, told.forced))
        return [session.down(system_events.updates_told(what, now)) for what, was, now in named if was != now]

    def receive(self, session: Session, message: coap.Message, now: Now) -> list[Effect] | None:
        """A message of the device; None if the update has nothing to do with it."""
        if self._sender is None:
            return None
        done = self._sender.receive(message, now.s)
        return None if done is None else self._do(session, done, now)

    def supply(self, session: Session, offset: int, data: bytes | memoryview | None, now: Now) -> list[Effect]:
        """Bytes of the image, or None if it cannot be read."""
        if self._sender is None:
            return []
        return self._do(session, self._sender.supply(offset, data, now.s), now)

    def given_up(self, session: Session, now: Now) -> list[Effect]:
        """Stop sending if the attempt is over, as the target was withdrawn or it took too long."""
        sender = self._sender
        if sender is None or session.memory.updates.running:
            return []
        self._sender = self._fetch = None
        effects = [] if sender.over else self._do(session, sender.cancel(now.s), now)
        session.around.transfers.leave(session.device_id, now.s)
        return effects

    def ended(self, session: Session, now: Now) -> None:
        """The session is over: another device may have the turn."""
        session.around.transfers.leave(session.device_id, now.s)

    def _begin(self, session: Session, now: Now) -> list[Effect]:
        effects: list[Effect] = [Record(event) for event in session.firmware.refresh(now.s)]
        at, wanted, image = session.firmware.may_bring_from(), session.firmware.wanted(), session.firmware.image()
        if at is None or at > now.s or wanted is None or image is None:
            return effects
        first = session.firmware.comes_first(now.s)
        if not session.around.transfers.enter(session.device_id, now.s, first=first):
            return effects  # it is told by news when its turn has come
        updates = session.memory.updates
        effects += [Record(event) for event in updates.begin(wanted, now.s)]
        most = session.most_binary_bytes
        if most is not None and image.size_bytes > most:
            session.around.transfers.leave(session.device_id, now.s)
            text = f"the image has {image.size_bytes} bytes, the device takes {most}"
            return effects + [Record(event) for event in updates.failed("device_refused", text, now.s)]
        self._wanted, self._sha256 = wanted, image.sha256
        self._sender = sender_of(self._plan_of(session, image), session.requests)
        return effects + self._do(session, self._sender.start(now.s), now)

    def _plan_of(self, session: Session, image: ImageEntry) -> Plan:
        system = session.hello.system
        chunk_bytes = session.told.chunk_bytes or (system.chunk_bytes if system else 0) or update_messages.CHUNK_BYTES
        return Plan(
            image.sha256,
            image.size_bytes,
            chunk_bytes,
            session.limits.message_bytes,
            session.reliable,
            session.hello.has(UPDATES_V3),
        )

    def _do(self, session: Session, wanted: Iterable[sending.Effect], now: Now) -> list[Effect]:
        effects: list[Effect] = []
        updates = session.memory.updates
        for one in wanted:
            match one:
                case coap.Message():
                    data = coap.encode(one)
                    effects.append(data if session.reliable else Once(data))
                case Need():
                    effects += self._fetched(session, Fetch(self._sha256, one.offset, one.length), now)
                case Progressed():
                    if self._wanted is not None and updates.running:
                        effects += [Record(event) for event in updates.chunk(self._wanted, one.sent_bytes, now.s)]
                case Delivered():
                    session.around.transfers.done(session.device_id, now.s)
                    effects += [Record(event) for event in updates.delivered(now.s)]
                case Refused():
                    session.around.transfers.done(session.device_id, now.s)
                    effects += [Record(event) for event in updates.failed("device_refused", one.text, now.s)]
                case Failed():
                    session.around.transfers.done(session.device_id, now.s)
                    effects += [Record(event) for event in updates.failed(one.reason, one.text, now.s)]
        return effects

    def _fetched(self, session: Session, fetch: Fetch, now: Now) -> list[Effect]:
        """Bytes of the image, now or when the rates of the gateway allow it."""
        at = session.around.transfers.reserve(session.device_id, fetch.length, now.s)
        if at <= now.s:
            return [fetch]
        self._fetch = (at, fetch)
        return []
