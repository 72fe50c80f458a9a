"""Packets that a client sends, decoded: MQTT 3.1 (level 3), 3.1.1 (4) and 5.0 (5). Pure; raises only ``Violation``."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from services.gateway.devices.mqtt import properties as p
from services.gateway.devices.mqtt.properties import Cursor
from services.gateway.devices.mqtt.reader import Frame
from services.gateway.devices.mqtt.violations import (
    BAD_ALIAS,
    MALFORMED,
    NO_SUBSCRIPTION_IDS,
    NORMAL,
    PROTOCOL_ERROR,
    UnsupportedLevel,
    Violation,
)

CONNECT, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = 1, 3, 4, 5, 6, 7
SUBSCRIBE, UNSUBSCRIBE, PINGREQ, DISCONNECT, AUTH = 8, 10, 12, 14, 15

V5 = 5
_LEVELS = {("MQTT", 4), ("MQTT", 5), ("MQIsdp", 3)}
_FLAGS = {PUBREL: 2, SUBSCRIBE: 2, UNSUBSCRIBE: 2}
LARGEST = 268_435_460
"""Bytes of the largest packet that MQTT can express."""


@dataclass(frozen=True, slots=True)
class Will:
    """What is handled as published when the connection ends in disorder."""

    topic: str
    payload: bytes
    qos: int


class Connect(msgspec.Struct, frozen=True, gc=False):
    """The first packet. ``receive_maximum`` and ``packet_bytes`` are what the client takes."""

    level: int
    client_id: str
    clean: bool
    keep_alive_s: int
    username: str | None
    password: bytes | None
    will: Will | None
    receive_maximum: int = 65_535
    packet_bytes: int = LARGEST
    problem_information: bool = True
    authentication_method: bool = False


class Publish(msgspec.Struct, frozen=True, gc=False):
    """A message; ``packet_id`` is 0 with QoS 0, ``alias`` 0 without one."""

    topic: str
    payload: bytes
    qos: int = 0
    packet_id: int = 0
    duplicate: bool = False
    alias: int = 0


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """PUBACK, PUBREC, PUBREL or PUBCOMP."""

    type: int
    packet_id: int
    reason: int = NORMAL


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Filters with the QoS asked for, in order."""

    packet_id: int
    filters: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """Filters, in order."""

    packet_id: int
    filters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ping:
    """PINGREQ."""


@dataclass(frozen=True, slots=True)
class Disconnect:
    """The client ends the connection; with reason 04 it wants its will handled."""

    reason: int = NORMAL


Packet = Connect | Publish | Acknowledgement | Subscribe | Unsubscribe | Ping | Disconnect


def decode(frame: Frame, level: int) -> Packet:
    """Any packet but CONNECT, of a connection of this level."""
    kind, flags = frame.first >> 4, frame.first & 0x0F
    if kind == PUBLISH:
        return _publish(frame.body, flags, level)
    if kind not in _FLAGS and kind not in (PUBACK, PUBREC, PUBCOMP, PINGREQ, DISCONNECT):
        raise Violation(f"unexpected packet of type {kind}", PROTOCOL_ERROR, "unexpected_packet")
    if flags != _FLAGS.get(kind, 0):
        raise Violation(f"flags {flags} in a packet of type {kind}")
    cursor = Cursor(frame.body)
    match kind:
        case 8:
            return _subscribe(cursor, level)
        case 10:
            return _unsubscribe(cursor, level)
        case 12:
            cursor.end()
            return Ping()
        case 14:
            return _disconnect(cursor, level)
    return _acknowledgement(kind, cursor, level)


def decode_connect(frame: Frame) -> Connect:
    """The first packet of a connection. Raises ``UnsupportedLevel`` for a level that is not served."""
    if frame.first >> 4 != CONNECT:
        raise Violation(f"first packet of type {frame.first >> 4}", PROTOCOL_ERROR, "unexpected_packet")
    if frame.first & 0x0F:
        raise Violation("flags in CONNECT")
    cursor = Cursor(frame.body)
    name, level = cursor.text(), cursor.number(1)
    if name not in ("MQTT", "MQIsdp"):
        raise Violation("not MQTT")
    if (name, level) not in _LEVELS:
        raise UnsupportedLevel(level)
    flags, keep_alive_s = cursor.number(1), cursor.number(2)
    if flags & 1:
        raise Violation("reserved flag of CONNECT is set")
    found = p.read(cursor, p.IN_CONNECT) if level == V5 else {}
    if 0 in (found.get(p.RECEIVE_MAXIMUM), found.get(p.MAXIMUM_PACKET_SIZE)):
        raise Violation("a maximum of 0", PROTOCOL_ERROR)
    client_id = cursor.text()
    will = _will(cursor, flags, level)
    has_name, has_password = bool(flags & 0x80), bool(flags & 0x40)
    if has_password and not has_name and level < V5:
        raise Violation("password without user name")
    username = cursor.text() if has_name else None
    password = cursor.binary() if has_password else None
    cursor.end()
    return Connect(
        level,
        client_id,
        bool(flags & 2),
        keep_alive_s,
        username,
        password,
        will,
        int(found.get(p.RECEIVE_MAXIMUM, 65_535)),
        int(found.get(p.MAXIMUM_PACKET_SIZE, LARGEST)),
        found.get(p.PROBLEM_INFORMATION, 1) == 1,
        p.AUTHENTICATION_METHOD in found,
    )


def _will(cursor: Cursor, flags: int, level: int) -> Will | None:
    qos = flags >> 3 & 3
    if not flags & 4:
        if flags & 0x38:
            raise Violation("flags of a will without a will")
        return None
    if qos == 3:
        raise Violation("will with QoS 3")
    if level == V5:
        p.read(cursor, p.IN_WILL)
    return Will(cursor.text(), cursor.binary(), qos)


def check_topic(topic: str) -> None:
    """A topic to publish to: not empty and without wildcards."""
    if not topic:
        raise Violation("empty topic")
    if "+" in topic or "#" in topic:
        raise Violation("topic with a wildcard")


def _publish(body: bytes, flags: int, level: int) -> Publish:
    qos = flags >> 1 & 3
    if qos == 3:
        raise Violation("QoS 3")
    cursor = Cursor(body)
    topic = cursor.text()
    packet_id = _packet_id(cursor) if qos else 0
    alias = 0
    if level == V5:
        found = p.read(cursor, p.IN_PUBLISH)
        alias = int(found.get(p.TOPIC_ALIAS, 0))
        if not alias and p.TOPIC_ALIAS in found:
            raise Violation("topic alias 0", BAD_ALIAS)
    if topic or not alias:
        check_topic(topic)
    return Publish(topic, body[cursor.at :], qos, packet_id, bool(flags & 8), alias)


def _packet_id(cursor: Cursor) -> int:
    packet_id = cursor.number(2)
    if not packet_id:
        raise Violation("packet id 0", PROTOCOL_ERROR)
    return packet_id


def _acknowledgement(kind: int, cursor: Cursor, level: int) -> Acknowledgement:
    packet_id = _packet_id(cursor)
    reason = NORMAL
    if level == V5 and cursor.left:
        reason = cursor.number(1)
        if cursor.left:
            p.read(cursor, p.IN_ACKNOWLEDGEMENT)
    cursor.end()
    return Acknowledgement(kind, packet_id, reason)


def _subscribe(cursor: Cursor, level: int) -> Subscribe:
    packet_id = _packet_id(cursor)
    if level == V5 and p.SUBSCRIPTION_ID in p.read(cursor, p.IN_SUBSCRIBE):
        raise Violation("subscription identifiers are not available", NO_SUBSCRIPTION_IDS)
    filters: list[tuple[str, int]] = []
    while cursor.left:
        text, options = cursor.text(), cursor.number(1)
        if options & (0xC0 if level == V5 else 0xFC) or options & 3 == 3 or options & 0x30 == 0x30:
            raise Violation(f"subscription options {options:#04x}", MALFORMED)
        if not text:
            raise Violation("empty filter")
        filters.append((text, options & 3))
    if not filters:
        raise Violation("SUBSCRIBE without filters", PROTOCOL_ERROR)
    return Subscribe(packet_id, tuple(filters))


def _unsubscribe(cursor: Cursor, level: int) -> Unsubscribe:
    packet_id = _packet_id(cursor)
    if level == V5:
        p.read(cursor, p.IN_UNSUBSCRIBE)
    filters: list[str] = []
    while cursor.left:
        filters.append(cursor.text())
    if not filters:
        raise Violation("UNSUBSCRIBE without filters", PROTOCOL_ERROR)
    return Unsubscribe(packet_id, tuple(filters))


def _disconnect(cursor: Cursor, level: int) -> Disconnect:
    reason = NORMAL
    if level == V5 and cursor.left:
        reason = cursor.number(1)
        if cursor.left:
            p.read(cursor, p.IN_DISCONNECT)
    cursor.end()
    return Disconnect(reason)
