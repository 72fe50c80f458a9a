"""Options and bitmaps of update protocol 3 (protocol section 7.4), which only newer devices know. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from services.gateway.devices.particle import coap
from services.gateway.devices.particle.coap import Message
from services.gateway.devices.particle.violations import BAD_REQUEST, BAD_UPDATE, BadMessage

CHUNK_INDEX = 2049
WINDOW = 2053
SIZE = 2057
"""The file's size in a request, what is stored already in the answer."""
SHA256 = 2061
CHUNK_BYTES = 2065
DISCARD = 2069
CANCEL = 2073

SHA256_BYTES = 32
MAX_BITMAP_BYTES = 512
"""A window of 4,096 chunks."""
_WORD_BYTES = 4


@dataclass(frozen=True, slots=True)
class Start:
    """What the server offers to send."""

    size_bytes: int
    chunk_bytes: int
    sha256: bytes | None = None


@dataclass(frozen=True, slots=True)
class Started:
    """A device's consent: how many chunks may be under way, and how many bytes it has from an earlier try."""

    window_chunks: int
    offset_bytes: int


@dataclass(frozen=True, slots=True)
class NumberedChunk:
    """A chunk; ``index`` counts from 1 at the offset."""

    index: int
    data: bytes


@dataclass(frozen=True, slots=True)
class ChunksReceived:
    """All chunks up to ``upto`` are there, and beyond the gap behind it these."""

    upto: int
    beyond: frozenset[int]


@dataclass(frozen=True, slots=True)
class Finish:
    """The end of a transfer, good or not."""

    cancel: bool = False
    discard: bool = False


def start_options(start: Start) -> coap.Options:
    """The options that open an update; the hash lets a device go on with what it has."""
    size, chunk = (SIZE, coap.uint(start.size_bytes)), (CHUNK_BYTES, coap.uint(start.chunk_bytes))
    middle = () if start.sha256 is None else ((SHA256, start.sha256),)
    return ((coap.URI_PATH, b"S"), size, *middle, chunk)


def read_start(message: Message) -> Start:
    """For a device: what the server offers."""
    sha256 = coap.option(message, SHA256)
    if sha256 is not None and len(sha256) != SHA256_BYTES:
        raise BadMessage(f"hash of {len(sha256)} bytes", BAD_REQUEST)
    return Start(_number(message, SIZE, BAD_REQUEST), _number(message, CHUNK_BYTES, BAD_REQUEST), sha256)


def started_options(started: Started) -> coap.Options:
    """The options of a device's consent."""
    return (WINDOW, coap.uint(started.window_chunks)), (SIZE, coap.uint(started.offset_bytes))


def read_started(message: Message) -> Started:
    """The consent in an answer of 2.01."""
    window_chunks = _number(message, WINDOW, BAD_UPDATE)
    if not window_chunks:
        raise BadMessage("window of no chunk", BAD_UPDATE)
    return Started(window_chunks, _number(message, SIZE, BAD_UPDATE))


def chunk_options(index: int) -> coap.Options:
    """The options of a chunk."""
    return (coap.URI_PATH, b"C"), (CHUNK_INDEX, coap.uint(index))


def read_chunk(message: Message) -> NumberedChunk:
    """For a device: the chunk in a POST to /C."""
    return NumberedChunk(_number(message, CHUNK_INDEX, BAD_REQUEST), message.payload or b"")


def received_options(received: ChunksReceived) -> coap.Options:
    """The options of an acknowledgement."""
    return (coap.URI_PATH, b"A"), (CHUNK_INDEX, coap.uint(received.upto))


def bitmap(received: ChunksReceived) -> bytes:
    """The chunks beyond the gap, as little-endian words; nothing if there are none."""
    bits = sum(1 << index - received.upto - 1 for index in received.beyond)
    words = (bits.bit_length() + 31) // 32
    return bits.to_bytes(words * _WORD_BYTES, "little")


def read_received(message: Message) -> ChunksReceived:
    """The acknowledgement in a POST to /A."""
    upto, data = _number(message, CHUNK_INDEX, BAD_UPDATE), message.payload or b""
    if len(data) % _WORD_BYTES or len(data) > MAX_BITMAP_BYTES:
        raise BadMessage(f"bitmap of {len(data)} bytes", BAD_UPDATE)
    bits = int.from_bytes(data, "little")
    return ChunksReceived(upto, frozenset(upto + 1 + place for place in range(bits.bit_length()) if bits >> place & 1))


def finish_options(finish: Finish) -> coap.Options:
    """The options that end a transfer."""
    discard = ((DISCARD, b""),) if finish.discard else ()
    cancel = ((CANCEL, b""),) if finish.cancel else ()
    return ((coap.URI_PATH, b"F"), *discard, *cancel)


def read_finish(message: Message) -> Finish:
    """For a device: how the server ends the transfer."""
    return Finish(coap.option(message, CANCEL) is not None, coap.option(message, DISCARD) is not None)


def _number(message: Message, option: int, kind: str) -> int:
    """The number in an option; 0 if it is not there."""
    return coap.read_uint(coap.option(message, option) or b"", kind)
