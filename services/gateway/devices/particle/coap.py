"""CoAP messages (RFC 7252), as Particle devices use them (protocol section 4). Pure; raises only ``BadMessage``.

One liberty is taken: a payload marker with nothing behind it is read as an empty payload, where the RFC calls it an
error, because firmware sends exactly that for an event with empty data and for a variable that is an empty string.
"""

from __future__ import annotations

from struct import Struct

import msgspec

from services.gateway.devices.particle.violations import BadMessage
from shared.errors import Misuse

CON, NON, ACK, RST = 0, 1, 2, 3

EMPTY = 0x00
GET, POST, PUT, DELETE = 0x01, 0x02, 0x03, 0x04
CREATED = 0x41
CHANGED = 0x44
CONTENT = 0x45
BAD_REQUEST = 0x80
NOT_FOUND = 0x84
INTERNAL_ERROR = 0xA0
UNAVAILABLE = 0xA3

ETAG = 4
URI_PATH = 11
MAX_AGE = 14
URI_QUERY = 15
BLOCK2 = 23
BLOCK1 = 27
NO_RESPONSE = 258

HEADER_BYTES = 4
MAX_TOKEN_BYTES = 8
MAX_MESSAGE_BYTES = 2_048
"""The longest message that is read: more than any device sends, and what a frame may hold."""
MAX_OPTIONS = 32
"""Options of one message; devices send at most five."""
MAX_OPTION_NUMBER = 65_535
UINT_BYTES = 4
"""Bytes of the longest number in an option."""
_MARKER = 0xFF
_HEADER = Struct(">BBH")
_BYTES = [bytes((number,)) for number in range(256)]

Options = tuple[tuple[int, bytes], ...]


class Message(msgspec.Struct, frozen=True, gc=False):
    """One message; options in rising order of their numbers. ``payload`` is None where there is no payload marker."""

    type: int
    code: int
    id: int
    token: bytes = b""
    options: Options = ()
    payload: bytes | None = None


def decode(data: bytes) -> Message:
    """The message that these bytes are, all of them."""
    if not HEADER_BYTES <= len(data) <= MAX_MESSAGE_BYTES:
        raise BadMessage(f"message of {len(data)} bytes")
    first = data[0]
    if first >> 6 != 1:
        raise BadMessage(f"version {first >> 6} of CoAP")
    start = HEADER_BYTES + (first & 0x0F)
    if first & 0x0F > MAX_TOKEN_BYTES:
        raise BadMessage(f"token of {first & 0x0F} bytes")
    if start > len(data):
        raise BadMessage("message ends in its token")
    options, end = _options(data, start)
    payload = None if end == len(data) else data[end + 1 :]
    return Message(first >> 4 & 3, data[1], data[2] << 8 | data[3], data[HEADER_BYTES:start], options, payload)


def _options(data: bytes, at: int) -> tuple[Options, int]:
    """All options, and where the payload marker or the end is."""
    found: list[tuple[int, bytes]] = []
    number, end = 0, len(data)
    while at < end and data[at] != _MARKER:
        if len(found) == MAX_OPTIONS:
            raise BadMessage(f"more than {MAX_OPTIONS} options")
        delta, size = data[at] >> 4, data[at] & 0x0F
        at += 1
        if delta > 12:
            delta, at = _extended(data, delta, at)
        if size > 12:
            size, at = _extended(data, size, at)
        number += delta
        if number > MAX_OPTION_NUMBER or at + size > end:
            raise BadMessage(f"option {number} of {size} bytes, {max(0, end - at)} are left")
        found.append((number, data[at : at + size]))
        at += size
    return tuple(found), at


def _extended(data: bytes, nibble: int, at: int) -> tuple[int, int]:
    if nibble == 15:
        raise BadMessage("reserved nibble 15 in an option")
    size = nibble - 12
    if at + size > len(data):
        raise BadMessage("message ends in the head of an option")
    return int.from_bytes(data[at : at + size], "big") + (13 if size == 1 else 269), at + size


def encode(message: Message) -> bytes:
    """The bytes of a message; what ``decode`` would not take is a ``Misuse``."""
    token, options, payload = message.token, message.options, message.payload
    if len(token) > MAX_TOKEN_BYTES or len(options) > MAX_OPTIONS:
        raise Misuse(f"a token of {len(token)} bytes, {len(options)} options")
    parts = [_HEADER.pack(0x40 | message.type << 4 | len(token), message.code, message.id), token]
    before = 0
    for number, value in options:
        if not before <= number <= MAX_OPTION_NUMBER:
            raise Misuse(f"option {number} after option {before}")
        parts += (_option_head(number - before, len(value)), value)
        before = number
    if payload is not None:
        parts += (b"\xff", payload)
    data = b"".join(parts)
    if len(data) > MAX_MESSAGE_BYTES:
        raise Misuse(f"a message of {len(data)} bytes, at most {MAX_MESSAGE_BYTES}")
    return data


def _option_head(delta: int, size: int) -> bytes:
    if delta < 13 and size < 13:
        return _BYTES[delta << 4 | size]
    (delta_nibble, delta_more), (size_nibble, size_more) = _nibble(delta), _nibble(size)
    return _BYTES[delta_nibble << 4 | size_nibble] + delta_more + size_more


def _nibble(value: int) -> tuple[int, bytes]:
    if value < 13:
        return value, b""
    if value < 269:
        return 13, bytes((value - 13,))
    return 14, (value - 269).to_bytes(2, "big")


def values(message: Message, number: int) -> tuple[bytes, ...]:
    """The values of every option of this number."""
    return tuple(value for found, value in message.options if found == number)


def option(message: Message, number: int) -> bytes | None:
    """The value of the first option of this number."""
    return next((value for found, value in message.options if found == number), None)


def path(message: Message) -> tuple[bytes, ...]:
    """The segments of the path: the kind, then the name."""
    return values(message, URI_PATH)


def queries(message: Message) -> tuple[bytes, ...]:
    """The Uri-Query options: arguments, flags, CRCs."""
    return values(message, URI_QUERY)


def is_request(message: Message) -> bool:
    """Whether it is a GET, POST, PUT or another method."""
    return 0 < message.code < 0x20


def is_answer(message: Message) -> bool:
    """Whether it is a success or an error of one of our requests."""
    return message.code >> 5 in (2, 4, 5)


def code_text(code: int) -> str:
    """A code as the RFC writes it, such as 4.04."""
    return f"{code >> 5}.{code & 0x1F:02}"


def uint(value: int) -> bytes:
    """A number as an option: big-endian, as short as it can be, nothing for 0."""
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def read_uint(value: bytes, kind: str) -> int:
    """The number in an option; a longer one than four bytes is a ``BadMessage`` of that kind."""
    if len(value) > UINT_BYTES:
        raise BadMessage(f"a number of {len(value)} bytes", kind)
    return int.from_bytes(value, "big")
