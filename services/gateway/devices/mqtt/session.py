"""One connected device: packets and moments in, effects out. Does no I/O; knows no socket, task or clock.

An acknowledgement goes out when the events that its message caused are durable, behind the acknowledgements of the
messages before it (MQC-7, MQP-2).
Longer than most modules because it is one machine: whatever can be said without it is in the modules that it imports.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from math import inf
from typing import Literal

from services.gateway.devices.calls import Question
from services.gateway.devices.conduct import HOUR_S, TOLD_EVERY_S
from services.gateway.devices.effects import Ack, Answer, Close, Ending, Now, Record, SessionName, Store
from services.gateway.devices.memory import DeviceMemory
from services.gateway.devices.mqtt import asking, messages, writer
from services.gateway.devices.mqtt.admission import Admitted, Proof, granted, still_admitted
from services.gateway.devices.mqtt.asking import Asking
from services.gateway.devices.mqtt.certificates import Authorities, Certificate
from services.gateway.devices.mqtt.desired import Desired
from services.gateway.devices.mqtt.effects import Effect
from services.gateway.devices.mqtt.firmware import MqttFirmware
from services.gateway.devices.mqtt.inbox import Inbox
from services.gateway.devices.mqtt.limits import MqttLimits
from services.gateway.devices.mqtt.outbox import Outbox
from services.gateway.devices.mqtt.pace import Pace
from services.gateway.devices.mqtt.packets import (
    PUBACK,
    PUBREL,
    V5,
    Acknowledgement,
    Connect,
    Disconnect,
    Packet,
    Ping,
    Publish,
    Subscribe,
    Unsubscribe,
    Will,
    decode,
)
from services.gateway.devices.mqtt.payloads import Item, JsonObject, compact
from services.gateway.devices.mqtt.reader import Frame
from services.gateway.devices.mqtt.topics import CLAIM
from services.gateway.devices.mqtt.values import Known, remembered
from services.gateway.devices.mqtt.violations import (
    BAD_PAYLOAD,
    BUSY,
    DRAINING,
    KEEP_ALIVE,
    KICKED,
    NORMAL,
    OUR_ERROR,
    PROTOCOL_ERROR,
    QUOTA,
    TAKEN_OVER,
    Rejected,
    Violation,
)
from services.gateway.devices.ports import Directory, Latest
from services.gateway.devices.sessions import Dismissal
from services.gateway.devices.transfers import Transfers
from shared.events.gateway import (
    AttributesReported,
    DescriptionReported,
    DeviceConnected,
    DeviceDisconnected,
    SessionReplaced,
)

PROTOCOLS: dict[int, Literal["mqtt/3.1", "mqtt/3.1.1", "mqtt/5.0"]] = {3: "mqtt/3.1", 4: "mqtt/3.1.1", 5: "mqtt/5.0"}
_DISMISSALS: dict[Dismissal, int] = {"kicked": KICKED, "draining": DRAINING}
CLIENT_ID_CHARACTERS = 256
ADDRESS_CHARACTERS = 64
VITAL = (AttributesReported, DescriptionReported)
"""Facts that the connection ends without: only changes are recorded, so none of them may be missed."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all sessions of a listener share."""

    directory: Directory
    limits: MqttLimits
    gateway: str
    epoch: int
    authorities: Authorities
    counts: Counter[str] = field(default_factory=Counter)
    latest: Latest | None = None
    """Where values that earlier connections published are found."""
    transfers: Transfers = field(default_factory=Transfers)


class Session:
    """See the module. Every method that returns effects may be called until ``end``; none raises for what the device
    sent."""

    __slots__ = (
        "_around",
        "_ask_at",
        "_explain",
        "_heard_at",
        "_inbox",
        "_latest",
        "_offer_at",
        "_outbox",
        "_pace",
        "_proof",
        "_silence_s",
        "_will",
        "address",
        "asking",
        "bytes_in",
        "bytes_out",
        "connected_at",
        "desired",
        "device_id",
        "firmware",
        "level",
        "memory",
        "messages_in",
        "messages_out",
        "name",
        "secure",
        "started_at",
    )

    def __init__(
        self,
        around: Surroundings,
        connect: Connect,
        admitted: Admitted,
        memory: DeviceMemory,
        number: int,
        address: str,
        secure: bool,
        now: Now,
    ) -> None:
        entry, limits = admitted.entry, around.limits
        self._around = around
        self.level = connect.level
        self.device_id = entry.device_id
        self.memory = memory
        self.name = SessionName(around.gateway, around.epoch, number)
        self.address = address[:ADDRESS_CHARACTERS]
        self.secure = secure
        self.started_at = now.s
        self.bytes_in = self.bytes_out = self.messages_in = self.messages_out = 0
        self.connected_at: datetime = now.at
        self._proof: Proof = admitted.proof
        self._explain = connect.problem_information
        self._will: Will | None = connect.will
        self._outbox = Outbox(connect, limits)
        self._inbox = Inbox(connect.level, connect.problem_information, limits)
        self._pace = Pace(limits, memory, now.s)
        self._heard_at = now.s
        self._silence_s = 1.5 * (connect.keep_alive_s or limits.keep_alive_s)
        if connect.level == V5:
            self._silence_s = min(self._silence_s, 1.5 * limits.keep_alive_s)
        self._ask_at: float | None = None
        self._offer_at: float | None = None
        self.asking: Asking | None = None
        self.desired: Desired | None = None
        self._latest: Known | None = None
        self.firmware = MqttFirmware(entry, memory.updates, around.directory, limits, self.name, now.s)

    # -- beginning and end ----------------------------------------------------------------------------------------

    def start(self, connect: Connect, replaced_address: str | None, now: Now) -> list[Effect]:
        """The device is online: CONNACK and the fact."""
        product_id = self.memory.product_id = self.firmware.entry.membership.product_id
        self.memory.version = self.firmware.identity.version
        self.memory.updates.know(self.firmware.entry, now.s)
        self.memory.updates.connected()
        self._plan()
        if self.memory.reported is not None and self.memory.reported.settled(now.s):
            self.memory.reported = None  # another gateway may have heard newer ones
        about = (self.device_id, product_id, *self.name, self.connected_at, PROTOCOLS[self.level], self.address)
        client_id = connect.client_id[:CLIENT_ID_CHARACTERS]
        fact: object
        if replaced_address is None:
            fact = DeviceConnected(*about, self.secure, client_id)
        else:
            fact = SessionReplaced(*about, self.secure, client_id, replaced_address)
        greeting = writer.connack(
            self.level, NORMAL, granted(connect, self._around.limits, "-".join(map(str, self.name)))
        )
        effects: list[Effect] = [greeting, Record(fact, vital=True)]
        if self.memory.updates.running:
            effects += [Record(event) for event in self.firmware.refresh(now.s)]
        if self._will is not None and not messages.may_publish(self._will.topic):
            self._will = None
            self._note(effects, "bad_will", "will of a topic that is none of the device's", b"", now)
        return effects

    def replaced(self, now: Now) -> list[Effect]:
        """A newer connection of the device takes over: no will, and no going offline (MQS-2)."""
        self._will = None
        if self.desired is not None:
            self.memory.untold_from = self.desired.untold_from
        events = self.memory.updates.lost(now.s)
        return [*(Record(event) for event in events), self._bye(TAKEN_OVER, "kicked", "a newer connection took over")]

    def end(self, ending: Ending, now: Now) -> list[Record | Store]:
        """The connection is over: the will, what became of an attempt, and the fact."""
        effects: list[Record | Store] = []
        self.memory.untold_from = None
        if self._will is not None:
            effects += self._last_will(self._will, now)
        for event in self.memory.updates.lost(now.s):
            effects.append(Record(event))
        entry = self.firmware.entry
        duration_s = max(0, int(now.s - self.started_at))
        effects.append(
            Record(
                DeviceDisconnected(
                    self.device_id,
                    entry.membership.product_id,
                    *self.name,
                    ending,
                    duration_s,
                    self.bytes_in,
                    self.bytes_out,
                    self.messages_in,
                    self.messages_out,
                )
            )
        )
        return effects

    def _last_will(self, will: Will, now: Now) -> list[Record | Store]:
        self._will = None
        try:
            outcome = messages.handle(self, will.topic, will.payload, now)
        except Rejected:
            self._around.counts["refused_wills"] += 1
            return []
        return [*(Record(event) for event in outcome.facts), *(Store(event) for event in outcome.published)]

    def _bye(self, reason: int, ending: Ending, text: str = "") -> Close:
        return Close(writer.disconnect(self.level, reason, text if self._explain else ""), ending)

    def dismiss(self, ending: Dismissal, text: str) -> list[Close]:
        """The gateway ends it."""
        return [self._bye(_DISMISSALS[ending], ending, text)]

    def not_stored(self) -> list[Close]:
        """What the device sent could not be made durable: no acknowledgement, the client will send it again (MQP-2)."""
        self.memory.reported = None
        return [self._bye(BUSY, "kicked", "what was published could not be stored")]

    def fault(self) -> Close:
        """An error of ours (MQE-10)."""
        return self._bye(OUR_ERROR, "kicked", "an error of the gateway")

    # -- packets --------------------------------------------------------------------------------------------------

    def receive(self, frame: Frame, now: Now) -> list[Effect]:
        """One packet."""
        self._heard_at = now.s
        self.bytes_in += frame.size_bytes
        try:
            return self._handle(decode(frame, self.level), now)
        except Violation as violation:
            return self.broken(violation, frame.body, now)

    def broken(self, violation: Violation, sent: bytes, now: Now) -> list[Effect]:
        """The device broke the protocol."""
        effects: list[Effect] = []
        self._note(effects, violation.kind, str(violation), sent, now)
        effects.append(self._bye(violation.reason, "misbehaved", str(violation)))
        return effects

    def _note(self, effects: list[Effect], kind: str, text: str, sent: bytes, now: Now) -> None:
        self._around.counts[kind] += 1
        every_s = HOUR_S if kind == "too_fast" else TOLD_EVERY_S
        about = (self.device_id, self.memory.product_id)
        event = self.memory.conduct.noted(*about, kind, text, sent, now.s, every_s, self.memory.version)
        if event is not None:
            effects.append(Record(event))

    def _handle(self, packet: Packet, now: Now) -> list[Effect]:
        match packet:
            case Publish():
                return self._publish(packet, now)
            case Ping():
                return [writer.PINGRESP]
            case Acknowledgement():
                return self._acknowledged(packet)
            case Subscribe():
                answer = self._outbox.subscribe(packet)
                return [answer, *self._listening(now)]
            case Unsubscribe():
                answer = self._outbox.unsubscribe(packet)
                return [answer, *self._listening(now)]
            case Disconnect():
                if packet.reason == NORMAL:
                    self._will = None
                return [Close(b"", "disconnected")]
            case Connect():
                raise AssertionError("decode makes none")

    def _acknowledged(self, packet: Acknowledgement) -> list[Effect]:
        if packet.type == PUBACK:
            ready, tag = self._outbox.acknowledged(packet.packet_id)
            alive = [Answer(tag.number, True)] if tag is not None and tag.kind == "probe" else []
            return [*self._sent(ready), *alive]
        if packet.type == PUBREL and self.level != V5:
            return [self._inbox.released(packet.packet_id)]
        raise Violation("acknowledgement of QoS 2", PROTOCOL_ERROR, "unexpected_packet")

    def _sent(self, data: bytes) -> list[Effect]:
        if not data:
            return []
        self.messages_out += 1
        return [data]

    def _publish(self, packet: Publish, now: Now) -> list[Effect]:
        self.messages_in += 1
        if packet.duplicate:
            self._around.counts["duplicates"] += 1  # MQP-4
        topic, repeated = self._inbox.receive(packet)
        effects: list[Effect] = []
        if repeated:
            return self._refuse(packet, NORMAL, "", effects)
        if self._refused_for_pace(topic, effects, now):
            return self._refuse(packet, QUOTA, "too fast", effects)
        downloading = self.memory.updates.downloading
        try:
            outcome = messages.handle(self, topic, packet.payload, now)
        except Rejected as rejected:
            if self._rejected(rejected, topic, packet.payload, effects, now):
                too_many = Violation("too many bad messages", BAD_PAYLOAD, "too_many_bad_messages")
                return effects + self.broken(too_many, b"", now)
            return self._refuse(packet, rejected.reason, rejected.text, effects)
        if outcome.facts:
            self.memory.caused(len(outcome.facts), now.s)
        ack = self._inbox.acknowledge(packet, len(outcome.facts) + len(outcome.published), outcome.reason, "")
        effects += [Record(event, ack, isinstance(event, VITAL)) for event in outcome.facts]
        effects += [Store(event, ack) for event in outcome.published]
        if downloading and not self.memory.updates.downloading:
            self._around.transfers.done(self.device_id, now.s)
        if outcome.replan:
            self._plan()
        self.messages_out += len(outcome.down)
        return [*effects, *outcome.down, self._inbox.ready(), *self._changes(now, only_held=True)]

    def _refuse(self, packet: Publish, reason: int, text: str, effects: list[Effect]) -> list[Effect]:
        self._inbox.acknowledge(packet, 0, reason, text)
        return [*effects, self._inbox.ready()]

    def _refused_for_pace(self, topic: str, effects: list[Effect], now: Now) -> bool:
        verdict = self._pace.published(messages.is_chunk(topic), self.level == V5, now.s)
        if verdict == "told":
            self._note(effects, "too_fast", "publishes faster than it may", b"", now)
        return verdict != "taken"

    def _rejected(self, rejected: Rejected, topic: str, payload: bytes, effects: list[Effect], now: Now) -> bool:
        """Note it; whether it was one bad message too many (MQE-8)."""
        if rejected.kind is None:
            return False
        shown = rejected.kind == "bad_payload" and topic != CLAIM  # that may hold a secret
        sent = payload if shown else topic.encode()
        self._note(effects, rejected.kind, rejected.text, sent, now)
        return self.memory.conduct.bad_messages(now.s) > self._around.limits.bad_messages_a_minute

    def stored(self, ack: Ack) -> list[Effect]:
        """One of the events that an acknowledgement waits for is durable."""
        ack.waiting -= 1
        return [] if ack.waiting else [self._inbox.ready()]

    # -- time and news --------------------------------------------------------------------------------------------

    def resumed(self, now: float) -> None:
        """The device can be heard again after nothing was read from it: keep-alive begins anew (MQS-4)."""
        self._heard_at = now

    def hold_until(self, now: float) -> float | None:
        """Until when no packet is to be taken from this device: ``inf`` for until an acknowledgement has gone out."""
        if self.level != V5 and self._inbox.full:
            return inf
        return self._pace.hold_until(now)

    def _listening(self, now: Now) -> list[Effect]:
        """The subscriptions have changed."""
        listening = self._outbox.attributes_topic() is not None
        self.firmware.listens(listening, now.s)
        self._plan()
        if listening and self.desired is None:
            told, self.memory.untold_from = self.memory.untold_from, None
            if told is None:  # not repeated at connection: the device asks (MQX-3)
                told = self._around.directory.desired_revision(self.device_id)
            self.desired = Desired(self.device_id, self._around.directory, self._outbox, told)
        calls = [] if self.asking is None else self.asking.listens()
        self.messages_out += len(calls)
        return [*calls, *self._changes(now)]

    def _changes(self, now: Now, *, only_held: bool = False) -> list[Effect]:
        """Desired attributes that the device is to hear of now."""
        desired = self.desired
        if desired is None or (only_held and desired.held_until is None):
            return []
        effects = desired.changes(self.firmware.quiet_until(now.s), now.s)
        self.messages_out += len(effects)
        return effects

    def wake_at(self) -> float:
        """When ``tick`` is to be called, if nothing happens before."""
        at = self._heard_at + self._silence_s
        held_until = None if self.desired is None else self.desired.held_until
        unheard_at = None if self.asking is None else self.asking.due_at()
        for moment in (self._offer_at, self._ask_at, self.memory.updates.due_at(), held_until, unheard_at):
            if moment is not None and moment < at:
                at = moment
        return at

    def tick(self, held: bool, now: Now) -> list[Effect]:
        """What is due; ``held`` says that nothing is being read from the device, so that it cannot be heard."""
        if held:
            self._heard_at = now.s
        if now.s >= self._heard_at + self._silence_s:
            return [self._bye(KEEP_ALIVE, "keepalive", "silent for 1.5 times its keep-alive")]
        effects: list[Effect] = [Record(event) for event in self.memory.updates.due(now.s)]
        if effects:
            self._plan()
        if self.asking is not None:
            effects += self.asking.due(now.s)
        effects += self._changes(now, only_held=True)
        if self._ask_at is not None and now.s >= self._ask_at:
            asked = self.firmware.ask(now.s)
            self.memory.caused(len(asked), now.s)
            effects += [Record(event) for event in asked]
            self._plan()
        if self._offer_at is not None and now.s >= self._offer_at:
            effects += self._offer(now)
        return effects

    def _plan(self) -> None:
        """Work out anew when the device is offered its target, and when it asks for its turn in a roll-out."""
        self._offer_at, self._ask_at = self.firmware.offer_at(), self.firmware.ask_at()

    def _offer(self, now: Now) -> list[Effect]:
        effects: list[Effect] = [Record(event) for event in self.firmware.refresh(now.s)]
        offer_at, topic = self.firmware.offer_at(), self._outbox.attributes_topic()
        if offer_at is not None and offer_at <= now.s and topic is not None:
            first = self.firmware.comes_first(now.s)
            if not self._around.transfers.enter(self.device_id, now.s, first=first):
                self._offer_at = None  # the directory's news come when it is its turn
                return effects
            attributes = self.firmware.offer(now.s)
            if attributes:
                effects += self.answer(topic, attributes)
        self._plan()
        return effects

    def tell_target(self, now: Now) -> list[Effect]:
        """Offer the device its target whatever it was told before: it asks for the image of something else."""
        topic = self._outbox.attributes_topic()
        return [] if topic is None else self.answer(topic, self.firmware.offer(now.s))

    def answer(self, topic: str, value: JsonObject) -> list[Effect]:
        """A JSON object to this topic, now or when there is room."""
        return self._sent(self._outbox.message(topic, compact(value)))

    def directory_changed(self, now: Now) -> list[Effect]:
        """The directory has news of the device or of its product."""
        around = self._around
        entry = still_admitted(self._proof, self.device_id, self.secure, around.directory, around.authorities)
        if entry is None:
            self._will = None
            self.memory.reported = None  # gone with the membership (DEV-8)
            return [self._bye(KICKED, "kicked", "what let the device in is not valid any more")]  # MQS-6
        effects: list[Effect] = [Record(event) for event in self.firmware.directory_changed(now.s)]
        self.memory.product_id = self.firmware.entry.membership.product_id
        self._plan()
        return [*effects, *self._changes(now)]

    @property
    def certified(self) -> bool:
        """Whether it is by a certificate that the device is in."""
        return isinstance(self._proof, Certificate)

    # -- questions ------------------------------------------------------------------------------------------------

    def ask(self, number: int, question: Question, now: Now) -> list[Effect]:
        """The platform asks the device."""
        effects = asking.ask(self, number, question, now)
        self.messages_out += sum(isinstance(effect, bytes) for effect in effects)
        return effects

    def unask(self, number: int) -> None:
        """Nobody waits for this answer any more."""
        if self.asking is not None:
            self.asking.forget(number)

    # -- for what it is made of -----------------------------------------------------------------------------------

    @property
    def around(self) -> Surroundings:
        """What all sessions share."""
        return self._around

    @property
    def outbox(self) -> Outbox:
        """What the device may be sent."""
        return self._outbox

    @property
    def latest(self) -> Known | None:
        """The latest values in what this connection published as telemetry."""
        return self._latest

    def remember(self, item: Item, now: Now) -> None:
        """Telemetry was published."""
        self._latest = remembered(self._latest, item, now)
