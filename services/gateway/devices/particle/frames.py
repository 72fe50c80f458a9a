"""The session cipher of TCP (protocol section 3): AES-128-CBC frames, chained by their first block. Does no I/O.

Both roles use both classes; each direction has its own. A cipher is made for every frame, because the chaining is not
CBC's own: 3 µs a frame. One kept cipher whose first block is corrected would take 1 µs, but 1 KB a direction, and
of most connections a frame passes every 15 s.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC

from services.gateway.devices.incoming import Incoming
from services.gateway.devices.particle.violations import BadMessage
from shared.errors import Misuse

BLOCK_BYTES = 16
LENGTH_BYTES = 2
MAX_CIPHERTEXT_BYTES = 2_048
"""Of one frame; a device never sends more than 1 KiB."""
MAX_MESSAGE_BYTES = MAX_CIPHERTEXT_BYTES - 1
"""Of the message in it: one byte of padding at least."""
_PADDING = [b""] + [bytes((size,)) * size for size in range(1, BLOCK_BYTES + 1)]


class FrameWriter:
    """Messages to frames, in the order in which they are sent."""

    __slots__ = ("_iv", "_key")

    def __init__(self, key: bytes, iv: bytes) -> None:
        self._key = AES(key)
        self._iv = iv

    def write(self, message: bytes) -> bytes:
        """The frame of the next message of this direction, length included."""
        if len(message) > MAX_MESSAGE_BYTES:
            raise Misuse(f"a message of {len(message)} bytes does not fit a frame of {MAX_CIPHERTEXT_BYTES}")
        padding = _PADDING[BLOCK_BYTES - len(message) % BLOCK_BYTES]
        ciphertext = Cipher(self._key, CBC(self._iv)).encryptor().update(message + padding)
        self._iv = ciphertext[:BLOCK_BYTES]
        return len(ciphertext).to_bytes(LENGTH_BYTES, "big") + ciphertext


class FrameReader(Incoming):
    """Whatever pieces the network delivers to messages.

    Holds at most one frame, if it is never fed more than ``room`` and emptied after it.
    """

    __slots__ = ("_iv", "_key")

    def __init__(self, key: bytes, iv: bytes) -> None:
        super().__init__()
        self._key = AES(key)
        self._iv = iv

    @property
    def room(self) -> int:
        """How much may be fed now: at least one byte."""
        return max(1, LENGTH_BYTES + MAX_CIPHERTEXT_BYTES - self.held_bytes)

    def take(self) -> bytes | None:
        """The next whole message. Raises ``BadMessage`` for a length that cannot be as soon as it is there."""
        data, at = self._data, self._at
        start = at + LENGTH_BYTES
        if start > len(data):
            return None
        size = data[at] << 8 | data[at + 1]
        if not 0 < size <= MAX_CIPHERTEXT_BYTES or size % BLOCK_BYTES:
            raise BadMessage(f"frame of {size} bytes")
        if start + size > len(data):
            return None
        ciphertext = bytes(memoryview(data)[start : start + size])
        self._at = start + size
        if self._at == len(data):
            self._data, self._at = b"", 0
        return self._open(ciphertext)

    def _open(self, ciphertext: bytes) -> bytes:
        plain = Cipher(self._key, CBC(self._iv)).decryptor().update(ciphertext)
        self._iv = ciphertext[:BLOCK_BYTES]
        padding = plain[-1]
        if not 1 <= padding <= BLOCK_BYTES or not plain.endswith(_PADDING[padding]):
            raise BadMessage("wrong padding")
        return plain[:-padding]
