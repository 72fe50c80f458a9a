"""What one session's device publishes: how fast it may, what goes into the log, and when that is acknowledged (protocol
sections 5.6 and 6, DEV-4). Does no I/O."""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Literal

from services.gateway.devices import errors
from services.gateway.devices.effects import Ack, Now, Record, Store
from services.gateway.devices.errors import Error
from services.gateway.devices.limits import Bucket
from services.gateway.devices.particle import coap, system_events
from services.gateway.devices.particle.coap import CON, Message
from services.gateway.devices.particle.effects import Effect
from services.gateway.devices.particle.events import Event
from services.gateway.devices.particle.inbox import Inbox
from services.gateway.devices.subscriptions import reserved
from shared.events.gateway import DevicePublished

if TYPE_CHECKING:
    from services.gateway.devices.particle.session import Session


class Publishing:
    """Of one session; what a silent device does not need is made when it is needed."""

    __slots__ = ("_bucket", "_flooding", "_inbox")

    def __init__(self) -> None:
        self._bucket: Bucket | None = None
        self._flooding = False
        self._inbox: Inbox | None = None

    def event(self, session: Session, message: Message, event: Event, now: Now) -> list[Effect]:
        """The device publishes; a flood is noted once, when it begins."""
        if not self._may_publish(session, message, now):
            effects = [] if self._flooding else session.note("too_fast", "publishes faster than it may", b"", now)
            self._flooding = True
            return [*effects, *self._refused(session, message)]
        self._flooding = False
        if reserved(event.name):
            heard = system_events.hear(session, event, now)
            facts = [*heard.facts, *_erred(session, heard.error, now)]
            return self._stored_before(session, message, facts, heard.log, heard.down, now)
        if session.firmware.counted is None:  # DEV-4: it cannot act for a product
            session.count("events_of_no_product")
        return self._stored_before(session, message, _erred(session, _error(event), now), [event], [], now)

    def stored(self, session: Session, ack: Ack) -> list[Effect]:
        """One of the events that an acknowledgement waits for is durable."""
        ack.waiting -= 1
        return [] if ack.waiting else self._ready(session)

    def not_stored(self, session: Session, ack: Ack) -> list[Effect]:
        """One of them could not be stored."""
        Inbox.lost(ack)
        return self.stored(session, ack)

    def _may_publish(self, session: Session, message: Message, now: Now) -> bool:
        limits = session.around.limits
        if self._bucket is None:
            self._bucket = Bucket(limits.events_a_second, limits.events_burst, now.s)
        waiting = 0 if self._inbox is None else len(self._inbox)
        full = message.type == CON and waiting >= limits.waiting_events
        if (
            full
            or session.memory.may_cause_facts_from(now.s) is not None
            or self._bucket.empty_until(now.s) is not None
        ):
            return False
        self._bucket.take(now.s)
        return True

    def _refused(self, session: Session, message: Message) -> list[Effect]:
        if message.type != CON:
            return []
        self._acknowledge(message, 0, coap.BAD_REQUEST)
        return self._ready(session)

    def _stored_before(
        self, session: Session, message: Message, facts: list[object], log: list[Event], down: list[Event], now: Now
    ) -> list[Effect]:
        """Facts and events that have to be durable before the message is acknowledged, then events for the device."""
        published = [made for event in log if (made := _published(session, event, now)) is not None]
        ack = self._acknowledge(message, len(facts) + len(published)) if message.type == CON else None
        effects: list[Effect] = [Record(fact, ack) for fact in facts]
        effects += [Store(made, ack) for made in published]
        return [*effects, *(session.down(event) for event in down), *self._ready(session)]

    def _acknowledge(self, message: Message, waiting: int, code: int = coap.EMPTY) -> Ack:
        if self._inbox is None:
            self._inbox = Inbox()
        return self._inbox.acknowledge(message.id, waiting, code)

    def _ready(self, session: Session) -> list[Effect]:
        if self._inbox is None:
            return []
        ready = self._inbox.ready()
        if not self._inbox:
            self._inbox = None
        session.messages_out += len(ready)
        return [*ready]


def _error(event: Event) -> Error | None:
    """What an event of the application reports, if it is named as an error."""
    if not event.name.startswith(errors.REPORTED):
        return None
    return errors.published(event.name, (event.data or b"").decode(errors="replace"))


def _erred(session: Session, error: Error | None, now: Now) -> list[object]:
    """The fact of an error that the device reports, if it counts as a product and it is time for one (DEV-4)."""
    product_id, version = session.firmware.counted, session.firmware.identity.version
    if error is None or product_id is None:
        return []
    fact = session.memory.conduct.erred(session.device_id, product_id, error, version, session.name, now.s)
    return [] if fact is None else [fact]


def _published(session: Session, event: Event, now: Now) -> DevicePublished | None:
    product_id = session.firmware.counted
    if product_id is None:
        return None
    data, encoding = _text(event.data)
    return DevicePublished(
        session.device_id,
        product_id,
        event.name,
        data,
        encoding,
        event.ttl_s,
        event.public,
        now.at,
        None,
        session.firmware.identity.version,
    )


def _text(data: bytes | None) -> tuple[str | None, Literal["text", "base64"]]:
    """Data as an event holds it; no data is not the same as empty data."""
    if data is None:
        return None, "text"
    try:
        return data.decode(), "text"
    except UnicodeDecodeError:
        return b64encode(data).decode(), "base64"


def data_of(published: DevicePublished) -> bytes | None:
    """The data of an event as its publisher sent it."""
    if published.data is None:
        return None
    return b64decode(published.data) if published.encoding == "base64" else published.data.encode(errors="replace")
