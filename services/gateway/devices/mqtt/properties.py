"""The properties of MQTT 5.0 packets: which there are, of which type, and where they may stand. Pure."""

from __future__ import annotations

from services.gateway.devices.mqtt.violations import MALFORMED, PROTOCOL_ERROR, Violation

SESSION_EXPIRY = 0x11
ASSIGNED_CLIENT_ID = 0x12
SERVER_KEEP_ALIVE = 0x13
AUTHENTICATION_METHOD = 0x15
PROBLEM_INFORMATION = 0x17
REASON_STRING = 0x1F
RECEIVE_MAXIMUM = 0x21
TOPIC_ALIAS_MAXIMUM = 0x22
TOPIC_ALIAS = 0x23
MAXIMUM_QOS = 0x24
RETAIN_AVAILABLE = 0x25
USER_PROPERTY = 0x26
MAXIMUM_PACKET_SIZE = 0x27
SUBSCRIPTION_IDS_AVAILABLE = 0x29
SHARED_SUBSCRIPTIONS_AVAILABLE = 0x2A
SUBSCRIPTION_ID = 0x0B

Value = int | str | bytes
Properties = dict[int, Value]

_SIZES = {
    **dict.fromkeys((0x01, 0x17, 0x19, 0x24, 0x25, 0x28, 0x29, 0x2A), 1),
    **dict.fromkeys((0x13, 0x21, 0x22, 0x23), 2),
    **dict.fromkeys((0x02, 0x11, 0x18, 0x27), 4),
}
_TEXTS = frozenset({0x03, 0x08, 0x12, 0x15, 0x1A, 0x1C, 0x1F})
_BINARIES = frozenset({0x09, 0x16})
_BITS = frozenset({0x01, 0x17, 0x19})

IN_CONNECT = frozenset({0x11, 0x15, 0x16, 0x17, 0x19, 0x21, 0x22, 0x26, 0x27})
IN_WILL = frozenset({0x01, 0x02, 0x03, 0x08, 0x09, 0x18, 0x26})
IN_PUBLISH = frozenset({0x01, 0x02, 0x03, 0x08, 0x09, 0x23, 0x26})
IN_SUBSCRIBE = frozenset({0x0B, 0x26})
IN_UNSUBSCRIBE = frozenset({0x26})
IN_ACKNOWLEDGEMENT = frozenset({0x1F, 0x26})
IN_DISCONNECT = frozenset({0x11, 0x1C, 0x1F, 0x26})


class Cursor:
    """Reads fields from a packet's body; whatever is not there or not right is a ``Violation``."""

    __slots__ = ("at", "body")

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.at = 0

    @property
    def left(self) -> int:
        """Bytes that were not read yet."""
        return len(self.body) - self.at

    def take(self, size_bytes: int) -> bytes:
        """The next bytes."""
        end = self.at + size_bytes
        if end > len(self.body):
            raise Violation(f"packet ends {end - len(self.body)} bytes early")
        taken = self.body[self.at : end]
        self.at = end
        return taken

    def number(self, size_bytes: int) -> int:
        """An unsigned integer, high byte first."""
        return int.from_bytes(self.take(size_bytes), "big")

    def binary(self) -> bytes:
        """Bytes behind a length of two bytes."""
        start = self.at + 2
        end = start + int.from_bytes(self.body[self.at : start], "big")
        if end > len(self.body) or start > len(self.body):
            return self.take(self.number(2))  # which says what is missing
        self.at = end
        return self.body[start:end]

    def text(self) -> str:
        """UTF-8 behind a length of two bytes, without NUL."""
        try:
            text = self.binary().decode()
        except UnicodeDecodeError as error:
            raise Violation(f"text is not UTF-8: {error.reason}") from None
        if "\0" in text:
            raise Violation("text with a NUL")
        return text

    def varint(self) -> int:
        """A length of one to four bytes."""
        value = 0
        for shift in (0, 7, 14, 21):
            byte = self.number(1)
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise Violation("variable byte integer of more than four bytes")

    def end(self) -> None:
        """Nothing may be left."""
        if self.left:
            raise Violation(f"{self.left} bytes left over")


def read(cursor: Cursor, allowed: frozenset[int]) -> Properties:
    """The properties at the cursor, user properties left out."""
    size_bytes = cursor.varint()
    if not size_bytes:
        return {}
    inner = Cursor(cursor.take(size_bytes))
    found: Properties = {}
    while inner.left:
        identifier = inner.varint()
        if identifier not in allowed:
            raise Violation(f"property {identifier:#04x} does not belong here", MALFORMED)
        if identifier == USER_PROPERTY:
            inner.text()
            inner.text()
            continue
        if identifier in found:
            raise Violation(f"property {identifier:#04x} twice", PROTOCOL_ERROR)
        found[identifier] = _value(inner, identifier)
    return found


def _value(cursor: Cursor, identifier: int) -> Value:
    if identifier in _TEXTS:
        return cursor.text()
    if identifier in _BINARIES:
        return cursor.binary()
    if identifier == SUBSCRIPTION_ID:
        return cursor.varint()
    number = cursor.number(_SIZES[identifier])
    if identifier in _BITS and number > 1:
        raise Violation(f"property {identifier:#04x} is {number}", PROTOCOL_ERROR)
    return number


def write(properties: Properties) -> bytes:
    """As they stand in a packet, with their length."""
    parts = bytearray()
    for identifier, value in properties.items():
        parts.append(identifier)
        if isinstance(value, int):
            parts += value.to_bytes(_SIZES[identifier], "big")
        else:
            data = value.encode() if isinstance(value, str) else value
            parts += len(data).to_bytes(2, "big") + data
    return varint(len(parts)) + bytes(parts)


def varint(value: int) -> bytes:
    """A length as one to four bytes."""
    made = bytearray()
    while True:
        value, low = divmod(value, 128)
        made.append(low | (0x80 if value else 0))
        if not value:
            return bytes(made)
