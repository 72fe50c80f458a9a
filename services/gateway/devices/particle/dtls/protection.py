"""AES-128-CCM with tags of 8 bytes: one direction of one session. Device protocol, 8.2 and 8.4.

::

    fragment = explicit nonce(8) | ciphertext | tag(8)      explicit nonce = epoch | sequence
    AAD      = epoch | sequence | type | FE FD | length of the plaintext
    with a connection id, the plaintext is content | type | zeros, and
    AAD      = epoch | sequence | 19 | FE FD | connection id | 08 | length of that plaintext   (draft 05)
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESCCM

from services.gateway.devices.particle.dtls.records import (
    VERSION,
    WITH_CONNECTION_ID,
    Record,
    encode,
    encode_with_id,
)
from services.gateway.devices.particle.dtls.refusals import Discarded

NONCE_BYTES = 8
TAG_BYTES = 8
BLOCK_BYTES = 16
"""What the content of a record with connection id is padded to."""


class Protection:
    """Seals and opens; neither counts nor remembers sequence numbers."""

    __slots__ = ("_aead", "_iv")

    def __init__(self, key: bytes, iv: bytes) -> None:
        self._aead = AESCCM(key, TAG_BYTES)
        self._iv = iv

    def seal(self, content_type: int, number: bytes, content: bytes) -> bytes:
        """An ordinary record. ``number`` must never have been used before."""
        aad = number + bytes((content_type,)) + VERSION + len(content).to_bytes(2, "big")
        return encode(content_type, number, number + self._aead.encrypt(self._iv + number, content, aad))

    def seal_with_id(self, content_type: int, number: bytes, content: bytes, connection_id: bytes) -> bytes:
        """A record with a connection id."""
        inner = content + bytes((content_type,))
        inner += bytes(-len(inner) % BLOCK_BYTES)
        aad = _aad_with_id(number, connection_id, len(inner))
        return encode_with_id(number, connection_id, number + self._aead.encrypt(self._iv + number, inner, aad))

    def open(self, record: Record) -> tuple[int, bytes]:
        """The content type and the content. Raises ``Discarded`` if the record is not of this session."""
        fragment, number = record.fragment, record.number
        length = len(fragment) - NONCE_BYTES - TAG_BYTES
        if length < 0 or fragment[:NONCE_BYTES] != number:  # cheap, before any cryptography
            raise Discarded("bad_record")
        with_id = record.content_type == WITH_CONNECTION_ID
        if with_id:
            aad = _aad_with_id(number, record.connection_id, length)
        else:
            aad = number + bytes((record.content_type,)) + VERSION + length.to_bytes(2, "big")
        try:
            content = self._aead.decrypt(self._iv + number, fragment[NONCE_BYTES:], aad)
        except InvalidTag:
            raise Discarded("bad_record") from None
        return _without_padding(content) if with_id else (record.content_type, content)


def _aad_with_id(number: bytes, connection_id: bytes, length: int) -> bytes:
    mark = bytes((WITH_CONNECTION_ID,)) + VERSION
    return number + mark + connection_id + bytes((len(connection_id),)) + length.to_bytes(2, "big")


def _without_padding(inner: bytes) -> tuple[int, bytes]:
    content = inner.rstrip(b"\0")
    if not content:
        raise Discarded("bad_record")
    return content[-1], content[:-1]
