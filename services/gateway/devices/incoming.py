"""Bytes that came and are not taken yet: what all readers of streams hold. Does no I/O."""

from __future__ import annotations


class Incoming:
    """Base of a reader, whose ``take`` moves ``_at`` on over ``_data`` and lets go of both at its end. What comes whole
    is not copied twice."""

    __slots__ = ("_at", "_data")

    def __init__(self) -> None:
        self._data: bytes | bytearray = b""  # becomes a bytearray while a frame is incomplete
        self._at = 0

    @property
    def held_bytes(self) -> int:
        """Bytes that were fed and not taken yet."""
        return len(self._data) - self._at

    def feed(self, chunk: bytes | memoryview) -> None:
        """More bytes from the network."""
        if not self.held_bytes:
            self._data, self._at = bytes(chunk), 0
            return
        data = self._data
        if not isinstance(data, bytearray):
            data = bytearray(memoryview(data)[self._at :])
        elif self._at:
            del data[: self._at]
        data += chunk
        self._data, self._at = data, 0

    def clear(self) -> None:
        """Forget what is held."""
        self._data, self._at = b"", 0
