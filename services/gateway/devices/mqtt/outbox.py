"""Messages to one device: subscriptions, QoS, packet ids, and the queue behind what it has not acknowledged. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from sys import intern
from typing import Literal, NamedTuple

from services.gateway.devices.mqtt import topics
from services.gateway.devices.mqtt.limits import MqttLimits
from services.gateway.devices.mqtt.packets import V5, Connect, Subscribe, Unsubscribe
from services.gateway.devices.mqtt.violations import BAD_FILTER, QUOTA
from services.gateway.devices.mqtt.writer import publish, publish_bytes, suback, unsuback

_REFUSED_OLD = 0x80
_NO_SUBSCRIPTION = 0x11


class Tag(NamedTuple):
    """What a message is to whoever sent it: a call or a probe of this number, or an update of the attributes that
    changed behind this revision."""

    kind: Literal["call", "probe", "update"]
    number: int


class _Queued(NamedTuple):
    topic: str
    payload: bytes
    tag: Tag | None


class Outbox:
    """What a connection may be sent, and how."""

    __slots__ = (
        "_filters",
        "_inflight",
        "_last_id",
        "_level",
        "_limits",
        "_most_inflight",
        "_packet_bytes",
        "_queue",
        "_tags",
    )

    def __init__(self, connect: Connect, limits: MqttLimits) -> None:
        self._level = connect.level
        self._packet_bytes = connect.packet_bytes
        old = limits.unacknowledged_down_old
        self._most_inflight = min(connect.receive_maximum, limits.unacknowledged_down) if connect.level == V5 else old
        self._limits = limits
        self._filters: dict[str, int] = {}
        self._inflight: set[int] = set()
        self._queue: deque[_Queued] | None = None
        self._tags: dict[int, Tag] | None = None
        """Of messages that the client has not acknowledged, by packet id."""
        self._last_id = 0

    def subscribe(self, packet: Subscribe) -> bytes:
        """The SUBACK (section 5); a refused filter never ends the connection."""
        return suback(self._level, packet.packet_id, bytes(self._grant(*entry) for entry in packet.filters))

    def _grant(self, filter_: str, qos: int) -> int:
        full = filter_ not in self._filters and len(self._filters) >= self._limits.subscriptions
        if full or len(filter_.encode()) > self._limits.filter_bytes:
            return QUOTA if self._level == V5 else _REFUSED_OLD
        if not topics.grantable(filter_):
            return BAD_FILTER if self._level == V5 else _REFUSED_OLD
        granted = min(qos, 1)
        self._filters[intern(filter_)] = granted
        return granted

    def unsubscribe(self, packet: Unsubscribe) -> bytes:
        """The UNSUBACK."""
        codes = bytearray()
        for filter_ in packet.filters:
            codes.append(0 if self._filters.pop(filter_, None) is not None else _NO_SUBSCRIPTION)
        return unsuback(self._level, packet.packet_id, bytes(codes))

    def granted(self, topic: str) -> int | None:
        """The highest QoS of the filters that match this topic; None if none does."""
        found = [qos for filter_, qos in self._filters.items() if topics.matches(filter_, topic)]
        return max(found) if found else None

    def attributes_topic(self) -> str | None:
        """The form in which the device listens to unasked-for attributes, if it does (MQD-2)."""
        return self._listens(topics.ATTRIBUTES_LONG, topics.ATTRIBUTES_SHORT)

    def call_topic(self, number: int) -> str | None:
        """The same for the call of this number."""
        return self._listens(*topics.call_topics(number))

    def _listens(self, *forms: str) -> str | None:
        return next((topic for topic in forms if self.granted(topic) is not None), None)

    def fits(self, topic: str, payload_bytes: int) -> bool:
        """Whether the client takes a message of that size (MQD-4)."""
        return publish_bytes(self._level, topic, payload_bytes, 1) <= self._packet_bytes

    def message(self, topic: str, payload: bytes, tag: Tag | None = None) -> bytes:
        """The message, to be sent now; empty if it has to wait for acknowledgements, or the client would not take
        it. Whoever publishes without a subscription being there has been asked (MQD-1)."""
        if not self.fits(topic, len(payload)):
            return b""
        qos, packet_id = self.delivery(topic)
        if qos and not packet_id:
            self._enqueue(_Queued(topic, payload, tag))
            return b""
        return self._publish(topic, payload, qos, packet_id, tag)

    def _enqueue(self, queued: _Queued) -> None:
        if self._queue is None:
            self._queue = deque()
        room = self._limits.queued_down_bytes - len(queued.payload)
        while len(self._queue) >= self._limits.queued_down or sum(len(one.payload) for one in self._queue) > room:
            if not self._make_room():
                break
        self._queue.append(queued)

    def _publish(self, topic: str, payload: bytes, qos: int, packet_id: int, tag: Tag | None) -> bytes:
        if packet_id and tag is not None:
            if self._tags is None:
                self._tags = {}
            self._tags[packet_id] = tag
        return publish(self._level, topic, payload, qos, packet_id)

    def delivery(self, topic: str) -> tuple[int, int]:
        """QoS and packet id for a message that is sent now; packet id 0 with QoS 1 means that there is no room."""
        granted = self.granted(topic)
        qos = 1 if granted is None else granted  # MQD-3
        if not qos:
            return 0, 0
        if self._queue or len(self._inflight) >= self._most_inflight:
            return 1, 0
        return 1, self._next_id()

    def acknowledged(self, packet_id: int) -> tuple[bytes, Tag | None]:
        """A PUBACK came; the messages that may go now, and what it was for."""
        self._inflight.discard(packet_id)
        tag = None if self._tags is None else self._tags.pop(packet_id, None)
        if not self._tags:
            self._tags = None
        ready = bytearray()
        while self._queue and len(self._inflight) < self._most_inflight:
            topic, payload, next_tag = self._queue.popleft()
            ready += self._publish(topic, payload, 1, self._next_id(), next_tag)
        return bytes(ready), tag

    def withdraw(self, tag: Tag) -> None:
        """What waits under this tag is not sent any more."""
        if self._queue:
            self._queue = deque(queued for queued in self._queue if queued.tag != tag)

    def updates(self) -> Iterable[int]:
        """The numbers of the attribute updates that the client has not acknowledged."""
        tags = [queued.tag for queued in self._queue or ()] + list((self._tags or {}).values())
        return [tag.number for tag in tags if tag is not None and tag.kind == "update"]

    def _next_id(self) -> int:
        while True:
            self._last_id = self._last_id % 65_535 + 1
            if self._last_id not in self._inflight:
                self._inflight.add(self._last_id)
                return self._last_id

    def _make_room(self) -> bool:
        """Drop the oldest attribute update, else the oldest answer, for a device that does not acknowledge asks again;
        calls never (section 1), of which only so many wait. Whether there was one to drop."""
        assert self._queue is not None
        unasked = (topics.ATTRIBUTES_LONG, topics.ATTRIBUTES_SHORT)
        updates = (n for n, queued in enumerate(self._queue) if queued.topic in unasked)
        answers = (n for n, queued in enumerate(self._queue) if queued.tag is None or queued.tag.kind != "call")
        index = next(updates, next(answers, None))
        if index is not None:
            del self._queue[index]
        return index is not None
