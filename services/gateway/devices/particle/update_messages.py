"""Payloads and options of updates over the air, slow and fast mode (protocol sections 7.1 to 7.3). Pure."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

import msgspec

from services.gateway.devices.particle import coap
from services.gateway.devices.particle.coap import Message
from services.gateway.devices.particle.violations import BAD_REQUEST, BAD_UPDATE, BadMessage

CHUNK_BYTES = 512
"""Unless the device announced another size."""
MAX_MISSING = 256
"""Indexes in one list; devices send up to 50."""
MAX_RESULT_BYTES = 1_024
FAST = 0x01
FIRMWARE, SYSTEM, APPLICATION = 0, 1, 128

_BEGIN = struct.Struct(">BHIBI")
_CRC_BYTES, _INDEX_BYTES = 4, 2


@dataclass(frozen=True, slots=True)
class UpdateBegin:
    """What the server offers to send."""

    size_bytes: int
    chunk_bytes: int = CHUNK_BYTES
    fast: bool = False
    store: int = FIRMWARE
    address: int = 0


@dataclass(frozen=True, slots=True)
class Chunk:
    """One chunk; ``index`` only in fast mode."""

    data: bytes
    crc: int
    index: int | None = None

    @property
    def intact(self) -> bool:
        """Whether the data has its CRC."""
        return zlib.crc32(self.data) == self.crc


@dataclass(frozen=True, slots=True)
class UpdateResult:
    """How a device judges what it got. ``error`` is its negative code, where it tells one."""

    good: bool
    error: int | None = None


def begin_payload(begin: UpdateBegin) -> bytes:
    """The 12 bytes that open an update."""
    flags = FAST if begin.fast else 0
    return _BEGIN.pack(flags, begin.chunk_bytes, begin.size_bytes, begin.store, begin.address)


def read_begin(payload: bytes | None) -> UpdateBegin:
    """For a device: what the server offers."""
    if payload is None or len(payload) < _BEGIN.size:
        raise BadMessage(f"begin of {len(payload or b'')} bytes", BAD_REQUEST)
    flags, chunk_bytes, size_bytes, store, address = _BEGIN.unpack_from(payload)
    return UpdateBegin(size_bytes, chunk_bytes, bool(flags & FAST), store, address)


def chunk_options(data: bytes, index: int | None) -> coap.Options:
    """The options of a chunk: path, CRC, and in fast mode its index from 0."""
    head = (coap.URI_PATH, b"c"), (coap.URI_QUERY, zlib.crc32(data).to_bytes(_CRC_BYTES, "big"))
    return head if index is None else (*head, (coap.URI_QUERY, index.to_bytes(_INDEX_BYTES, "big")))


def read_chunk(message: Message) -> Chunk:
    """For a device: the chunk in a POST to /c."""
    crc, *rest = coap.queries(message) or (b"",)
    if len(crc) != _CRC_BYTES or (rest and len(rest[0]) != _INDEX_BYTES) or not message.payload:
        raise BadMessage("chunk without its CRC, with an odd index, or empty", BAD_REQUEST)
    index = int.from_bytes(rest[0], "big") if rest else None
    return Chunk(message.payload, int.from_bytes(crc, "big"), index)


def read_ready(payload: bytes | None) -> bool:
    """Whether a device that is ready accepted fast mode."""
    if not payload:
        raise BadMessage("ready without flags", BAD_UPDATE)
    return bool(payload[0] & FAST)


def read_missing(payload: bytes | None) -> tuple[int, ...]:
    """The indexes of the chunks that a device lacks."""
    data = payload or b""
    if len(data) % _INDEX_BYTES or len(data) > MAX_MISSING * _INDEX_BYTES:
        raise BadMessage(f"list of missing chunks of {len(data)} bytes", BAD_UPDATE)
    return tuple(index for (index,) in struct.iter_unpack(">H", data))


def missing_payload(indexes: tuple[int, ...]) -> bytes:
    """The list of missing chunks as a device sends it."""
    return b"".join(index.to_bytes(_INDEX_BYTES, "big") for index in indexes)


def read_result(payload: bytes | None) -> UpdateResult:
    """The judgement in an answer of 2.04 or in ``spark/device/ota_result``; one that says nothing is good."""
    if not payload:
        return UpdateResult(good=True)
    if len(payload) > MAX_RESULT_BYTES:
        raise BadMessage(f"result of {len(payload)} bytes", BAD_UPDATE)
    try:
        found: object = msgspec.json.decode(payload)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise BadMessage("result that is not JSON", BAD_UPDATE) from None
    said = found.get("r") if isinstance(found, dict) else None
    if isinstance(said, int) and not isinstance(said, bool):
        return UpdateResult(said >= 0, said if said < 0 else None)
    return UpdateResult(said != "error")
