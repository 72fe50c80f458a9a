"""Messages from one device: topic aliases, ids of QoS 2, and acknowledgements in the order of the messages. Pure."""

from __future__ import annotations

from collections import deque

from services.gateway.devices.effects import Ack
from services.gateway.devices.mqtt.limits import MqttLimits
from services.gateway.devices.mqtt.packets import PUBACK, PUBCOMP, PUBREC, V5, Publish
from services.gateway.devices.mqtt.violations import (
    BAD_ALIAS,
    BAD_QOS,
    PROTOCOL_ERROR,
    TOO_MANY_UNACKNOWLEDGED,
    Violation,
)
from services.gateway.devices.mqtt.writer import acknowledgement


class Inbox:
    """Of one connection; what is seldom needed is made when it is."""

    __slots__ = ("_acks", "_aliases", "_explain", "_level", "_limits", "_unreleased")

    def __init__(self, level: int, explain: bool, limits: MqttLimits) -> None:
        self._level = level
        self._explain = explain
        self._limits = limits
        self._acks: deque[Ack] | None = None
        self._aliases: dict[int, str] | None = None
        self._unreleased: set[int] | None = None

    @property
    def full(self) -> bool:
        """Whether so many messages wait for their acknowledgement that no more is to be read."""
        return self._acks is not None and len(self._acks) >= self._limits.unacknowledged_up

    def receive(self, packet: Publish) -> tuple[str, bool]:
        """The topic, and whether it is a repeat of a message of QoS 2 that is stored already. Raises ``Violation``
        for an alias that is none, more messages at once than Receive Maximum, and QoS 2 where it is not offered."""
        topic = self._topic(packet) if packet.alias else packet.topic
        if packet.qos and self._level == V5:
            if packet.qos == 2:
                raise Violation("QoS 2 is not offered", BAD_QOS)
            if self.full:
                raise Violation("more unacknowledged messages than Receive Maximum", TOO_MANY_UNACKNOWLEDGED)
        return topic, packet.qos == 2 and self._repeated(packet.packet_id)

    def _topic(self, packet: Publish) -> str:
        if packet.alias > self._limits.topic_aliases:
            raise Violation(f"topic alias {packet.alias}", BAD_ALIAS)
        if self._aliases is None:
            self._aliases = {}
        if packet.topic:
            self._aliases[packet.alias] = packet.topic
        topic = self._aliases.get(packet.alias)
        if topic is None:
            raise Violation(f"topic alias {packet.alias} is not known", BAD_ALIAS)
        return topic

    def _repeated(self, packet_id: int) -> bool:
        if self._unreleased is None:
            self._unreleased = set()
        if packet_id in self._unreleased:
            return True
        if len(self._unreleased) >= self._limits.unacknowledged_up:
            raise Violation("too many messages of QoS 2 that were not released", PROTOCOL_ERROR)
        self._unreleased.add(packet_id)
        return False

    def released(self, packet_id: int) -> bytes:
        """PUBREL came: the answer."""
        if self._unreleased is not None:
            self._unreleased.discard(packet_id)
        return acknowledgement(self._level, PUBCOMP, packet_id)

    def acknowledge(self, packet: Publish, waiting: int, reason: int, text: str) -> Ack | None:
        """The message is to be acknowledged when so many events are durable. None with QoS 0."""
        if not packet.qos:
            return None
        kind = PUBACK if packet.qos == 1 else PUBREC
        made = acknowledgement(self._level, kind, packet.packet_id, reason, text if self._explain else "")
        ack = Ack(made, waiting)
        if self._acks is None:
            self._acks = deque()
        self._acks.append(ack)
        return ack

    def ready(self) -> bytes:
        """The acknowledgements that may go now."""
        acks = self._acks
        if not acks or acks[0].waiting:
            return b""
        ready = bytearray()
        while acks and not acks[0].waiting:
            ready += acks.popleft().packet
        if not acks:
            self._acks = None
        return bytes(ready)
