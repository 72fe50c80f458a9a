"""Datagrams to records and back, before anything is decrypted.

::

    type(1) FE FD epoch(2) sequence(6) [connection id(8)] length(2) | fragment

The connection id is there for the types 25 and 253, which differ in nothing else. A datagram that begins with type 254
continues a session from another address: after its last record follow the device id (12 bytes) and ``0C``. Both marks
are undone here: a ``Record`` has the type that was authenticated. Device protocol, 8.2, 8.4 and 8.5.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from services.gateway.devices.particle.dtls.refusals import Discarded

CHANGE_CIPHER_SPEC = 20
ALERT = 21
HANDSHAKE = 22
APPLICATION_DATA = 23
WITH_CONNECTION_ID = 25
RECONNECTED = 253
"""As 25; firmware 4.x marks its first records after a reconnect so."""
MOVED = 254
"""As 23, with the device id behind the record; firmware up to 2.x marks its first records after a reconnect so."""

VERSION = b"\xfe\xfd"
VERSION_NUMBER = 0xFEFD
FIRST_VERSION_NUMBER = 0xFEFF
"""DTLS 1.0, which a record of epoch 0 may carry while the version is not agreed on."""

HEADER_BYTES = 13
CONNECTION_ID_BYTES = 8
DEVICE_ID_BYTES = 12
TRAILER_BYTES = DEVICE_ID_BYTES + 1
MAX_DATAGRAM_BYTES = 2_048
"""A device's buffers are below 1 KiB; a longer datagram is none of its."""
MAX_RECORDS = 8
"""In one datagram; a device sends at most five."""
MAX_SEQUENCE = (1 << 48) - 1

_HEADER = Struct(">BHHHLH")
_HEADER_WITH_ID = Struct(">BHHHL8sH")
_NUMBER = Struct(">HHL")
_ORDINARY = frozenset((CHANGE_CIPHER_SPEC, ALERT, HANDSHAKE, APPLICATION_DATA))


class Record(NamedTuple):
    """``number`` is epoch and sequence as on the wire; ``connection_id`` is empty for ordinary records."""

    content_type: int
    epoch: int
    sequence: int
    number: bytes
    connection_id: bytes
    fragment: bytes


class Datagram(NamedTuple):
    """``device_id`` is empty unless the datagram continues a session from another address (type 254)."""

    device_id: bytes
    records: list[Record]


def parse(datagram: bytes) -> Datagram:
    """All records of a datagram. Raises ``Discarded`` if one of them is none: then nothing of it counts."""
    end = len(datagram)
    if not HEADER_BYTES <= end <= MAX_DATAGRAM_BYTES:
        raise Discarded("size")
    device_id = b""
    if datagram[0] == MOVED:
        end -= TRAILER_BYTES
        if end < HEADER_BYTES or datagram[-1] != DEVICE_ID_BYTES:
            raise Discarded("trailer")
        device_id = datagram[end:-1]
    records: list[Record] = []
    at = 0
    while at < end:
        if len(records) == MAX_RECORDS:
            raise Discarded("too_many_records")
        record, at = _record(datagram, at, end)
        records.append(record)
    return Datagram(device_id, records)


def _record(datagram: bytes, at: int, end: int) -> tuple[Record, int]:
    content_type = datagram[at]
    connection_id = b""
    if content_type in (WITH_CONNECTION_ID, RECONNECTED):
        start = at + HEADER_BYTES + CONNECTION_ID_BYTES
        if start > end:
            raise Discarded("truncated")
        _, version, epoch, high, low, connection_id, length = _HEADER_WITH_ID.unpack_from(datagram, at)
        content_type = WITH_CONNECTION_ID
    else:
        start = at + HEADER_BYTES
        if start > end:
            raise Discarded("truncated")
        _, version, epoch, high, low, length = _HEADER.unpack_from(datagram, at)
        if content_type == MOVED and datagram[0] == MOVED:
            content_type = APPLICATION_DATA
        elif content_type not in _ORDINARY:
            raise Discarded("content_type")
    if version != VERSION_NUMBER and (version != FIRST_VERSION_NUMBER or epoch):
        raise Discarded("version")
    stop: int = start + length
    if stop > end:
        raise Discarded("truncated")
    number = datagram[at + 3 : at + 11]
    return Record(content_type, epoch, high << 32 | low, number, connection_id, datagram[start:stop]), stop


def number_of(epoch: int, sequence: int) -> bytes:
    """Epoch and sequence as on the wire."""
    return _NUMBER.pack(epoch, sequence >> 32, sequence & 0xFFFFFFFF)


def encode(content_type: int, number: bytes, fragment: bytes, version: bytes = VERSION) -> bytes:
    """An ordinary record."""
    return bytes((content_type,)) + version + number + len(fragment).to_bytes(2, "big") + fragment


def encode_with_id(number: bytes, connection_id: bytes, fragment: bytes) -> bytes:
    """A record with a connection id, whose own type is inside."""
    length = len(fragment).to_bytes(2, "big")
    return bytes((WITH_CONNECTION_ID,)) + VERSION + number + connection_id + length + fragment


def mark_moved(datagram: bytes, device_id: bytes) -> bytes:
    """An application record marked as firmware up to 2.x does after a reconnect (the device's side)."""
    return bytes((MOVED,)) + datagram[1:] + device_id + bytes((len(device_id),))


def mark_reconnected(datagram: bytes) -> bytes:
    """A record with connection id marked as firmware 4.x does after a reconnect (the device's side)."""
    return bytes((RECONNECTED,)) + datagram[1:]
