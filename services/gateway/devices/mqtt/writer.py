"""Packets that the gateway sends, as bytes. Pure. ``level`` is the connection's protocol level."""

from __future__ import annotations

from services.gateway.devices.mqtt import properties as p
from services.gateway.devices.mqtt.packets import PUBACK, PUBREL, V5
from services.gateway.devices.mqtt.violations import NORMAL, REASON_TEXT_BYTES

PINGRESP = b"\xd0\x00"
_PUBACK_HEAD = b"\x40\x02"


def _packet(first: int, body: bytes) -> bytes:
    return bytes((first,)) + p.varint(len(body)) + body


def _reason(text: str) -> p.Properties:
    """A Reason String, cut to what a client has to bear."""
    cut = text.encode(errors="replace")[:REASON_TEXT_BYTES].decode(errors="ignore").replace("\0", " ")
    return {p.REASON_STRING: cut} if cut else {}


def connack(level: int, code: int, properties: p.Properties | None = None) -> bytes:
    """A return code of 3.1.1 or a reason code of 5.0; session present is always 0."""
    body = bytes((0, code))
    return _packet(0x20, body + p.write(properties or {}) if level == V5 else body)


def publish_head(level: int, topic: str, payload_bytes: int, qos: int, packet_id: int) -> bytes:
    """All of a PUBLISH up to its payload."""
    name = topic.encode()
    body = len(name).to_bytes(2, "big") + name
    if qos:
        body += packet_id.to_bytes(2, "big")
    if level == V5:
        body += b"\x00"
    return bytes((0x30 | qos << 1,)) + p.varint(len(body) + payload_bytes) + body


def publish_bytes(level: int, topic: str, payload_bytes: int, qos: int) -> int:
    """The size of that PUBLISH with its payload."""
    return len(publish_head(level, topic, payload_bytes, qos, 1)) + payload_bytes


def publish(level: int, topic: str, payload: bytes, qos: int = 0, packet_id: int = 0) -> bytes:
    """A whole PUBLISH."""
    return publish_head(level, topic, len(payload), qos, packet_id) + payload


def acknowledgement(level: int, kind: int, packet_id: int, reason: int = NORMAL, text: str = "") -> bytes:
    """PUBACK, PUBREC or PUBCOMP; 3.1.1 has no way to be told the reason."""
    body = packet_id.to_bytes(2, "big")
    if kind == PUBACK and not reason:
        return _PUBACK_HEAD + body  # of every message
    if level == V5 and reason:
        body += bytes((reason,)) + (p.write(_reason(text)) if text else b"")
    return _packet(kind << 4 | (2 if kind == PUBREL else 0), body)


def puback(level: int, packet_id: int, reason: int = NORMAL, text: str = "") -> bytes:
    """The answer to a PUBLISH with QoS 1."""
    return acknowledgement(level, PUBACK, packet_id, reason, text)


def suback(level: int, packet_id: int, codes: bytes) -> bytes:
    """One code for each filter."""
    return _packet(0x90, packet_id.to_bytes(2, "big") + (b"\x00" if level == V5 else b"") + codes)


def unsuback(level: int, packet_id: int, codes: bytes) -> bytes:
    """One code for each filter, in 5.0."""
    return _packet(0xB0, packet_id.to_bytes(2, "big") + (b"\x00" + codes if level == V5 else b""))


def disconnect(level: int, reason: int, text: str = "") -> bytes:
    """Why the gateway ends the connection; nothing for 3.1.1, which has no such packet."""
    if level != V5:
        return b""
    return _packet(0xE0, bytes((reason,)) + (p.write(_reason(text)) if text else b""))
