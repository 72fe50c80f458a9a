"""One connected Particle device, on TCP or UDP: CoAP messages and moments in, effects out. Does no I/O; knows no
socket, task or clock.

A session begins with the Hello of a device that was admitted, or goes on from what was kept of it (``resume``, UDP). An
event that the device wants acknowledged is, when it is durable, behind those before it. Longer than most modules
because it is one machine: whatever can be said without it is in the modules that it imports.
"""

from __future__ import annotations

from base64 import b64encode
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from services.gateway.devices.calls import FlashFile, FunctionCall, Question, VariableRead
from services.gateway.devices.conduct import HOUR_S, TOLD_EVERY_S
from services.gateway.devices.effects import Ack, Answer, Close, Ending, Now, Record, SessionName, Store
from services.gateway.devices.firmware import SETTING_UP, Firmware
from services.gateway.devices.identity import Identity
from services.gateway.devices.memory import DeviceMemory
from services.gateway.devices.particle import asking, coap, events, messages, server_messages, system_events
from services.gateway.devices.particle.admission import Admitted
from services.gateway.devices.particle.coap import CON, Message
from services.gateway.devices.particle.describe import Description
from services.gateway.devices.particle.describing import Ask, Describing
from services.gateway.devices.particle.describing_fact import Remembered, described
from services.gateway.devices.particle.device_limits import Limits, limits_of
from services.gateway.devices.particle.effects import Effect, Listen
from services.gateway.devices.particle.events import Event, Subscription
from services.gateway.devices.particle.goodbye import Goodbye
from services.gateway.devices.particle.hello import POSTS_DESCRIBE, UNDEFINED, Hello
from services.gateway.devices.particle.limits import ParticleLimits
from services.gateway.devices.particle.publishing import Publishing, data_of
from services.gateway.devices.particle.questions import Questions
from services.gateway.devices.particle.requests import Called, Described, ReadVariable, Requests, Signalled
from services.gateway.devices.particle.subscribing import Subscriptions
from services.gateway.devices.particle.told import Told
from services.gateway.devices.particle.updating import Updating
from services.gateway.devices.particle.violations import BAD_REQUEST, BadMessage
from services.gateway.devices.ports import Directory
from services.gateway.devices.sessions import Dismissal
from services.gateway.devices.transfers import Transfers
from services.gateway.entries import DeviceEntry, FlashEntry
from shared.errors import Refused
from shared.events.gateway import (
    DeviceConnected,
    DeviceDisconnected,
    DevicePublished,
    KeyPresented,
    SessionReplaced,
)

ADDRESS_CHARACTERS = 64


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all sessions of a listener share. ``entropy`` makes so many random bytes."""

    directory: Directory
    limits: ParticleLimits
    gateway: str
    epoch: int
    entropy: Callable[[int], bytes]
    counts: Counter[str] = field(default_factory=Counter)
    remembered: Remembered = field(default_factory=Remembered)
    transfers: Transfers = field(default_factory=Transfers)


@dataclass(frozen=True, slots=True)
class Kept:
    """What a UDP session goes on from, after a restart of the gateway or with another address (section 8.5)."""

    last_id: int
    subscriptions: tuple[Subscription, ...]
    description: Description


class Session:
    """See the module. Every method that returns effects may be called until ``end``; none raises for what the device
    sent."""

    __slots__ = (
        "_around",
        "_described",
        "_describing",
        "_heard_at",
        "_hello_at",
        "_key_der",
        "_publishing",
        "_questions",
        "_subscriptions",
        "_untold_key",
        "_updating",
        "_was_member",
        "address",
        "algorithm",
        "bytes_in",
        "bytes_out",
        "connected_at",
        "device_id",
        "firmware",
        "goodbye",
        "hello",
        "limits",
        "memory",
        "messages_in",
        "messages_out",
        "name",
        "reliable",
        "requests",
        "started_at",
        "told",
    )

    def __init__(
        self,
        around: Surroundings,
        admitted: Admitted,
        memory: DeviceMemory,
        number: int,
        address: str,
        reliable: bool,
        now: Now,
    ) -> None:
        entry = admitted.entry
        self._around = around
        self.device_id = admitted.device_id
        self.memory = memory
        self.name = SessionName(around.gateway, around.epoch, number)
        self.address = address[:ADDRESS_CHARACTERS]
        self.reliable = reliable
        self.started_at = now.s
        self.connected_at: datetime = now.at
        self.hello = admitted.hello
        self.limits: Limits = limits_of(admitted.hello)
        self.algorithm = admitted.algorithm
        self.told = Told()
        self.goodbye: Goodbye | None = None
        self.requests = Requests()
        self.firmware = Firmware(entry, memory.updates, around.directory, self.name, now.s)
        self.bytes_in = self.bytes_out = self.messages_in = self.messages_out = 0
        self._key_der = admitted.key_der
        self._untold_key = entry.key_der is None and not memory.key_told
        self._was_member = entry.membership.product_id is not None
        self._publishing = Publishing()
        self._subscriptions = Subscriptions()
        self._describing = Describing(admitted.hello.has(POSTS_DESCRIBE), around.limits.describe_s)
        self._described = False
        self._questions: Questions | None = None
        self._updating = Updating()
        self._hello_at = self._heard_at = now.s

    # -- beginning and end ----------------------------------------------------------------------------------------

    def start(self, message: Message, replaced_address: str | None, now: Now) -> list[Effect]:
        """The device is online: its Hello is answered, and the fact recorded."""
        self.messages_in += 1
        effects: list[Effect] = [*self._greeting(message), *self._online(replaced_address)]
        if self._untold_key:
            self.memory.pin(self._key_der, now.s)
        effects += [*self._key_told(), *self._reported(now)]
        effects += self._describe(self._describing.begin(now.s))
        self.may_have_changed()
        return effects

    def resume(self, kept: Kept, replaced_address: str | None, now: Now) -> list[Effect]:
        """The device is online without a Hello: its session goes on, and it is in the state of its last Hello."""
        self.requests = Requests(kept.last_id)
        self._subscriptions = Subscriptions(kept.subscriptions)
        self._describing.restore(kept.description)
        self._described = True
        self.firmware.goes_on()
        if self._untold_key:
            self.memory.pin(self._key_der, now.s)
        effects: list[Effect] = [*self._online(replaced_address), *self._key_told(), *self._reported(now)]
        effects += self._listen()
        self.may_have_changed()
        return effects

    def kept(self) -> Kept:
        """What the session can go on from."""
        return Kept(self.requests.last_id, self._subscriptions.all, self._describing.description)

    def _greeting(self, message: Message) -> list[Effect]:
        hello = self._send(server_messages.hello(self.requests.message_id()))
        return [*self._acknowledged(message), hello]

    def _online(self, replaced_address: str | None) -> list[Effect]:
        product_id = self.memory.product_id = self.firmware.entry.membership.product_id
        protocol: Literal["particle/tcp", "particle/dtls"] = "particle/tcp" if self.reliable else "particle/dtls"
        about = (self.device_id, product_id, *self.name, self.connected_at, protocol, self.address, True, "")
        replaced = replaced_address is not None
        fact = SessionReplaced(*about, replaced_address) if replaced else DeviceConnected(*about)  # type: ignore[arg-type]
        return [Record(fact, vital=True)]

    def _key_told(self) -> list[Effect]:
        """A key that is trusted at first use is recorded as soon as the device is a full member: one in quarantine has
        to be approved first (DEV-4). Until then only this gateway knows it, and takes no other."""
        member = self.firmware.entry.membership
        product_id = member.product_id
        if not self._untold_key or product_id is None or member.quarantined:
            return []
        self._untold_key, self.memory.key_told = False, True
        key = b64encode(self._key_der).decode()
        return [Record(KeyPresented(self.device_id, product_id, self.algorithm, key, *self.name), vital=True)]

    def _reported(self, now: Now) -> list[Effect]:
        """What the Hello says of the firmware."""
        updates = self.memory.updates
        updates.know(self.firmware.entry, now.s)
        updates.connected()
        product, version = _defined(self.hello.product_id), _defined(self.hello.product_version)
        told = Identity(product, version, "", "" if version is None else str(version), True)
        events = self.firmware.told(told, now.s)
        self.memory.version = version
        return [Record(event) for event in events]

    def replaced(self, now: Now) -> list[Effect]:
        """A newer connection of the device takes over: no going offline."""
        self._updating.ended(self, now)
        return [*(Record(event) for event in self.memory.updates.lost(now.s)), Close(b"", "kicked")]

    def end(self, ending: Ending, now: Now) -> list[Record | Store]:
        """The connection is over: what became of an attempt, and the fact."""
        self._updating.ended(self, now)
        over = DeviceDisconnected(
            self.device_id,
            self.firmware.entry.membership.product_id,
            *self.name,
            ending,
            max(0, int(now.s - self.started_at)),
            self.bytes_in,
            self.bytes_out,
            self.messages_in,
            self.messages_out,
        )
        return [*(Record(event) for event in self.memory.updates.lost(now.s)), Record(over)]

    def dismiss(self, ending: Dismissal, _text: str) -> list[Close]:
        """The gateway ends it; the protocol has no words for that."""
        return [Close(b"", ending)]

    def fault(self) -> Close:
        """An error of ours, or a vital fact that could not be recorded: its key is told anew next time."""
        self.memory.key_told = False
        return Close(b"", "kicked")

    # -- messages -------------------------------------------------------------------------------------------------

    def receive(self, data: bytes, now: Now) -> list[Effect]:
        """One CoAP message."""
        self._heard_at = now.s
        self.messages_in += 1
        message: Message | None = None
        try:
            message = coap.decode(data)
            effects = self._handle(message, now)
            self.memory.caused(sum(isinstance(effect, Record) for effect in effects), now.s)
        except BadMessage as bad:
            effects = self._bad(bad, message, data, now)
        return [*effects, *self._released(now)]

    def _handle(self, message: Message, now: Now) -> list[Effect]:
        if coap.is_answer(message) and (request := self.requests.close(message.token)) is not None:
            return self._answered(request, message, now)
        done = self._updating.receive(self, message, now)
        if done is not None:
            self.may_have_changed()
            return done
        match messages.read(message):
            case Event() as event:
                return self._publishing.event(self, message, event, now)
            case Subscription() as wanted:
                return self._subscribe(message, wanted, now)
            case messages.DescribePost() as post:
                self._may_cause_facts(now)
                self._describing.posted(post)
                return [*self._acknowledged(message, coap.CHANGED, message.token), *self._said()]
            case messages.TimeRequest() as asked:
                return [self._time(message, asked, now)]
            case Hello() as hello:
                return self._hello_again(message, hello, now)
            case Goodbye() as goodbye:
                self.goodbye = goodbye
                return [*self._acknowledged(message), Close(b"", "disconnected")]
            case messages.Ping():
                return self._acknowledged(message)
            case messages.Acknowledged() | messages.Rejected():
                return [] if self._questions is None else [*self._questions.probed()]
            case messages.Answer():
                self.count("unawaited_answers")
                return self._acknowledged(message)
            case messages.Unknown():
                self.count("unknown_requests")
                return self._acknowledged(message, coap.NOT_FOUND)
            case _:  # of an update that is over
                return self._acknowledged(message)

    def _bad(self, bad: BadMessage, message: Message | None, data: bytes, now: Now) -> list[Effect]:
        """One message is refused, or the session ends."""
        if bad.fatal:
            return self.broken(bad.kind, str(bad), data, now)
        effects = self.note(bad.kind, str(bad), data, now)
        if self.memory.conduct.bad_messages(now.s) > self._around.limits.bad_messages_a_minute:
            return effects + self.broken("too_many_bad_messages", "too many bad messages", b"", now)
        if message is None:
            return effects
        request = coap.is_request(message)
        return [*effects, *self._acknowledged(message, coap.BAD_REQUEST if request else coap.EMPTY)]

    def broken(self, kind: str, text: str, sent: bytes, now: Now) -> list[Effect]:
        """The device broke the protocol."""
        return [*self.note(kind, text, sent, now), Close(b"", "misbehaved")]

    def note(self, kind: str, text: str, sent: bytes, now: Now) -> list[Effect]:
        """The device did what it may not: counted, and recorded now and then."""
        self.count(kind)
        every_s = HOUR_S if kind == "too_fast" else TOLD_EVERY_S
        about = (self.device_id, self.memory.product_id)
        event = self.memory.conduct.noted(*about, kind, text, sent, now.s, every_s, self.memory.version)
        return [] if event is None else [Record(event)]

    def _may_cause_facts(self, now: Now) -> None:
        if self.memory.may_cause_facts_from(now.s) is not None:
            raise BadMessage("reports about itself faster than it may", "too_fast")

    def _acknowledged(self, message: Message, code: int = coap.EMPTY, token: bytes = b"") -> list[Effect]:
        """The answer to a confirmable message; nothing to any other."""
        if message.type != CON:
            return []
        return [self._send(server_messages.acknowledgement(message.id, code, token))]

    def _send(self, message: Message) -> bytes:
        self.messages_out += 1
        return coap.encode(message)

    def _hello_again(self, message: Message, hello: Hello, now: Now) -> list[Effect]:
        """On UDP a device says Hello anew in the session that it has; its state may be another one."""
        if hello.device_id and hello.device_id != self.device_id:
            return self.broken("wrong_device", "says Hello as another device", b"", now)
        self._may_cause_facts(now)
        self.hello, self.limits = hello, limits_of(hello)
        self._describing = Describing(hello.has(POSTS_DESCRIBE), self._around.limits.describe_s)
        self._described = False
        self._hello_at = now.s
        self.firmware.connects_anew(now.s)
        effects: list[Effect] = [*self._greeting(message), *self._reported(now)]
        effects += self._describe(self._describing.begin(now.s))
        self.may_have_changed()
        return effects

    def _time(self, message: Message, request: messages.TimeRequest, now: Now) -> Effect:
        if len(request.token) != 1 or message.type != CON:
            raise BadMessage("a request for the time that cannot be answered", BAD_REQUEST)
        return self._send(server_messages.time(message.id, request.token, int(now.at.timestamp())))

    # -- events of the device -------------------------------------------------------------------------------------

    def stored(self, ack: Ack) -> list[Effect]:
        """One of the events that an acknowledgement waits for is durable."""
        return self._publishing.stored(self, ack)

    def not_stored(self, ack: Ack) -> list[Effect]:
        """One of them could not be stored."""
        return self._publishing.not_stored(self, ack)

    # -- events for the device ------------------------------------------------------------------------------------

    def _subscribe(self, message: Message, wanted: Subscription, now: Now) -> list[Effect]:
        if not self._subscriptions.add(wanted, self._around.limits.subscriptions):
            effects = self.note("too_many_subscriptions", f"wants {wanted.prefix!r}, too", b"", now)
            return [*effects, *self._acknowledged(message, coap.BAD_REQUEST)]
        return [*self._acknowledged(message), *self._listen()]

    def _listen(self) -> list[Effect]:
        if not self._subscriptions.all:
            return []
        entry = self.firmware.entry
        product_id = entry.membership.product_id
        product = None if product_id is None else self._around.directory.product(str(product_id))
        return [Listen(self._subscriptions.wanted(entry, None if product is None else product.org_id))]

    def deliver(self, published: DevicePublished, now: Now) -> list[Effect]:
        """An event that the device subscribed to; what it has no room for is left out."""
        data = data_of(published)
        name_bytes = len(published.name.encode())
        too_large = name_bytes > events.MAX_NAME_BYTES or len(data or b"") > self.limits.event_bytes
        if self._updating.busy or too_large or self._setting_up(now):
            self.count("undeliverable_events")
            return []
        ttl_s = min(published.ttl_s, events.MAX_TTL_S)
        return [self.down(Event(published.name, data, ttl_s, published.public))]

    def _setting_up(self, now: Now) -> bool:
        return self.firmware.takes_updates and self.firmware.comes_first(now.s)

    def down(self, event: Event) -> bytes:
        """The message that gives the device an event."""
        return self._send(server_messages.event(self.requests.message_id(), event, confirmable=not self.reliable))

    # -- description ----------------------------------------------------------------------------------------------

    def _describe(self, ask: Ask | None) -> list[Effect]:
        if ask is None:
            return []
        token = self.requests.open(Described(ask.flags))
        return [self._send(server_messages.describe_request(self.requests.message_id(), token, ask.flags, ask.block))]

    def _said(self) -> list[Effect]:
        """The fact, if the device describes itself otherwise than before."""
        if not self._describing.over:
            return []
        description, product_id = self._describing.description, self.memory.product_id
        if description == Description():
            return []
        fact = described(self.device_id, product_id, description, self.hello.platform_id, self.name)
        return [Record(fact)] if self._around.remembered.changed(self.device_id, fact) else []

    # -- questions ------------------------------------------------------------------------------------------------

    def ask(self, number: int, question: Question, now: Now) -> list[Effect]:
        """The platform asks the device."""
        if isinstance(question, FlashFile):
            return [Answer(number, self._flash(question.flash, now))]
        if self._updating.busy:
            return [Answer(number, Refused("busy", "The device is being updated."))]
        if isinstance(question, FunctionCall | VariableRead) and self._setting_up(now):
            return [Answer(number, Refused("busy", SETTING_UP))]
        if self._questions is None:
            self._questions = Questions()
        if isinstance(question, FunctionCall | VariableRead) and not self._describing.over:
            return [*self._questions.hold(number, question, self._around.limits.held_questions)]
        self.messages_out += 1
        try:
            return [self._questions.message(number, question, self.description.application, self.limits, self.requests)]
        except Refused as refused:
            return [Answer(number, refused)]

    def _flash(self, flash: FlashEntry, now: Now) -> Refused | bool:
        """Whether that is new: the device is to be sent this file now; or why it is not."""
        flashing = self.memory.updates.flashing
        if flashing.knows(flash.flash_id):
            return False
        refused = self._updating.refusal(self, flash)
        if refused is not None:
            return refused
        flashing.ask(flash, now.s)
        self.may_have_changed()
        return True

    def unask(self, number: int) -> None:
        """Nobody waits for this answer any more."""
        self.requests.forget(number)
        if self._questions is not None:
            self._questions.forget(number)

    def _answered(
        self, request: Called | ReadVariable | Signalled | Described, message: Message, now: Now
    ) -> list[Effect]:
        read = messages.read(message)
        assert isinstance(read, messages.Answer)
        effects = self._acknowledged(message)
        if not isinstance(request, Described):
            return [*effects, Answer(request.number, asking.outcome(request, read))]
        try:
            ask = self._describing.answered(request.flags, read, now.s)
        except BadMessage as bad:
            effects += self.note(bad.kind, str(bad), message.payload or b"", now)
            ask = self._describing.next(request.flags)
        return [*effects, *self._describe(ask), *self._said()]

    def _released(self, now: Now) -> list[Effect]:
        """What waited for the description, now that there is one or none will come."""
        if not self._describing.over or self._described:
            return []
        self._described = True
        self.may_have_changed()
        held = [] if self._questions is None else self._questions.released()
        return [effect for number, question in held for effect in self.ask(number, question, now)]

    # -- time and news --------------------------------------------------------------------------------------------

    def may_have_changed(self) -> None:
        """Work out anew when an update may begin."""
        wait_s = 0.0 if self._describing.over else self._around.limits.patience_s
        self._updating.plan(self, self._hello_at + wait_s)

    def wake_at(self) -> float:
        """When ``tick`` is to be called, if nothing happens before."""
        moments = (
            self._silent_at(),
            self._describing.due_at(),
            self._updating.wake_at(),
            self.memory.updates.due_at(),
        )
        return min(moment for moment in moments if moment is not None)

    def _silent_at(self) -> float:
        limits = self._around.limits
        if not self.reliable:
            return self._heard_at + limits.udp_silence_s
        return self._heard_at + (limits.updating_silence_s if self._updating.busy else limits.silence_s)

    def tick(self, now: Now) -> list[Effect]:
        """What is due."""
        if now.s >= self._silent_at():
            return [Close(b"", "keepalive")]
        due = self.memory.updates.due(now.s)
        effects: list[Effect] = [Record(event) for event in due]
        effects += self._describe(self._describing.due(now.s))
        effects += self._released(now)
        if due:
            effects += self._updating.given_up(self, now)
            self.may_have_changed()
        ticked = self._updating.tick(self, now)
        if ticked:
            self.may_have_changed()
        return effects + ticked

    def supply(self, offset: int, data: bytes | memoryview | None, now: Now) -> list[Effect]:
        """Bytes of the image that a ``Fetch`` asked for; None if it cannot be read. On TCP that is a sign of life: the
        socket took those before, and a device has no reason to ping while it is being sent to."""
        if self.reliable:
            self._heard_at = now.s
        effects = self._updating.supply(self, offset, data, now)
        self.may_have_changed()
        return effects

    def directory_changed(self, now: Now) -> list[Effect]:
        """The directory has news of the device or of its product."""
        entry = self._around.directory.device(self.device_id)
        if entry is not None:
            member = entry.membership
            removed = self._was_member and member.product_id is None
            other_key = entry.key_der is not None and entry.key_der != self._key_der
            if removed:
                self.memory.unpin()  # gone with the membership (DEV-8)
            if member.denied or removed or other_key or not self._is_trusted(entry):
                return [Close(b"", "kicked")]
            self._was_member = member.product_id is not None
            if entry.key_der is not None:
                self.memory.unpin()
                self._untold_key = False
        effects: list[Effect] = [Record(event) for event in self.firmware.directory_changed(now.s)]
        effects += self._key_told()
        self.memory.product_id = self.firmware.entry.membership.product_id
        if self.told.claim_shown and self.firmware.entry.owner_id is not None:
            effects.append(self.down(system_events.claimed(self)))
        effects += self._updating.given_up(self, now)
        self.may_have_changed()
        return [*effects, *self._listen()]

    def _is_trusted(self, entry: DeviceEntry) -> bool:
        """Whether its key is on record, or the product that it is in now trusts the first one: it may have come in by
        the trust of another."""
        product_id = entry.membership.product_id
        if entry.key_der is not None or product_id is None:
            return True
        product = self._around.directory.product(str(product_id))
        return product is not None and product.trust_first_key

    # -- for the modules that it is made of -----------------------------------------------------------------------

    @property
    def around(self) -> Surroundings:
        """What all sessions share."""
        return self._around

    @property
    def description(self) -> Description:
        """What the device offers, as far as it has said so."""
        return self._describing.description

    @property
    def most_binary_bytes(self) -> int | None:
        """The largest image that the device takes; None if it did not say."""
        system = self.hello.system
        return self.told.max_binary_bytes or (system.binary_bytes if system else None) or None

    def count(self, kind: str) -> None:
        """Count it."""
        self._around.counts[kind] += 1


def _defined(number: int) -> int | None:
    return None if number == UNDEFINED else number
