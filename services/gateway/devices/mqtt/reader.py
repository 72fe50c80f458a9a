"""Turns whatever pieces the network delivers into whole packets. Does no I/O."""

from __future__ import annotations

from typing import NamedTuple

from services.gateway.devices.incoming import Incoming
from services.gateway.devices.mqtt.violations import MALFORMED, PROTOCOL_ERROR, TOO_LARGE, Violation

HEADER_BYTES = 5
"""Longest fixed header."""


class Frame(NamedTuple):
    """One packet: the first byte (type and flags), what follows the fixed header, and its whole size in bytes."""

    first: int
    body: bytes
    size_bytes: int


class FrameReader(Incoming):
    """Holds at most one packet of ``limit_bytes``, if it is never fed more than ``room`` and emptied after it."""

    __slots__ = ("limit_bytes",)

    def __init__(self, limit_bytes: int) -> None:
        super().__init__()
        self.limit_bytes = limit_bytes

    @property
    def room(self) -> int:
        """How much may be fed now: at least one byte."""
        return max(1, self.limit_bytes - self.held_bytes)

    def expect_connect(self) -> None:
        """Raises ``Violation`` if something else than a CONNECT has begun, which need not be waited for."""
        if self.held_bytes and self._data[self._at] >> 4 != 1:
            raise Violation("something else than CONNECT", PROTOCOL_ERROR, "unexpected_packet")

    def take(self) -> Frame | None:
        """The next whole packet. Raises ``Violation`` for a length that is none, or above the limit: as soon as the
        fixed header is there, whatever of the packet has come."""
        data, at = self._data, self._at
        end = len(data)
        size_bytes, shift, start = 0, 0, at + 1
        while True:
            if start >= end:
                return None
            byte = data[start]
            size_bytes |= (byte & 0x7F) << shift
            start += 1
            if byte < 0x80:
                break
            shift += 7
            if shift > 21:
                raise Violation("remaining length of more than four bytes", MALFORMED)
        whole = start - at + size_bytes
        if whole > self.limit_bytes:
            raise Violation(f"packet of {whole} bytes, at most {self.limit_bytes}", TOO_LARGE, "packet_too_large")
        if at + whole > end:
            return None
        frame = Frame(data[at], bytes(memoryview(data)[start : at + whole]), whole)
        self._at = at + whole
        if self._at == end:
            self._data, self._at = b"", 0
        return frame
