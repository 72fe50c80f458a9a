"""Descriptions that come in blocks (firmware 3.x; protocol section 5.3, RFC 7959). Pure."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from services.gateway.devices.particle import coap
from services.gateway.devices.particle.violations import BAD_DESCRIBE, BadMessage

MAX_BYTES = 32_768
"""Of all unfinished descriptions of a session together."""
MAX_UNFINISHED = 4
OPTION_BYTES = 3


@dataclass(frozen=True, slots=True)
class Block:
    """One block of a body: its number, whether more follow, and the exponent of its size."""

    number: int
    more: bool
    szx: int

    @property
    def size_bytes(self) -> int:
        """Bytes of every block but the last."""
        return 16 << self.szx


def block_value(block: Block) -> bytes:
    """The value of a Block1 or Block2 option."""
    return coap.uint(block.number << 4 | block.more << 3 | block.szx)


def read_block(value: bytes) -> Block:
    """The block that an option names."""
    number = coap.read_uint(value, BAD_DESCRIBE)
    if len(value) > OPTION_BYTES or number & 7 == 7:
        raise BadMessage(f"block option {value.hex()}", BAD_DESCRIBE)
    return Block(number >> 4, bool(number & 8), number & 7)


def block_of(message: coap.Message, number: int) -> Block | None:
    """The block that a message carries under this option, if any."""
    value = coap.option(message, number)
    return None if value is None else read_block(value)


class Assembly:
    """Blocks to bodies; what belongs together has the same key. Holds at most ``MAX_BYTES``."""

    __slots__ = ("_parts",)

    def __init__(self) -> None:
        self._parts: dict[Hashable, tuple[Block, bytearray]] = {}

    @property
    def held_bytes(self) -> int:
        """Bytes of unfinished bodies."""
        return sum(len(body) for _, body in self._parts.values())

    def add(self, key: Hashable, block: Block | None, data: bytes) -> bytes | None:
        """The whole body, once its last block is there. A first block begins anew; a gap is a ``BadMessage``."""
        if block is None:
            self._check(key, data, b"")
            self._parts.pop(key, None)
            return data
        if block.more and len(data) != block.size_bytes:
            raise self._lost(key, f"block of {len(data)} bytes instead of {block.size_bytes}")
        before, body = self._parts.get(key, (None, bytearray()))
        if block.number == 0:
            body = bytearray()
        elif before is None or before.szx != block.szx or block.number != before.number + 1:
            raise self._lost(key, f"block {block.number} after {before.number if before else None}")
        self._check(key, data, body)
        body += data
        if not block.more:
            self._parts.pop(key, None)
            return bytes(body)
        self._parts[key] = block, body
        return None

    def _check(self, key: Hashable, data: bytes, body: bytes | bytearray) -> None:
        others = sum(len(held) for other, (_, held) in self._parts.items() if other != key)
        too_many = key not in self._parts and len(self._parts) >= MAX_UNFINISHED
        if too_many or others + len(body) + len(data) > MAX_BYTES:
            raise self._lost(key, f"descriptions of more than {MAX_BYTES} bytes")

    def _lost(self, key: Hashable, text: str) -> BadMessage:
        self._parts.pop(key, None)
        return BadMessage(text, BAD_DESCRIBE)
