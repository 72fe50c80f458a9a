"""Seals stored sessions, and makes digests of addresses, under keys that are derived from the server's EC key."""

from __future__ import annotations

import hmac
import os

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from services.gateway.devices.particle.dtls.cookies import Address
from services.gateway.devices.particle.dtls.session import StoredSession

KEY_BYTES = 32
SALT_BYTES = 16
ADDRESS_BYTES = 16
_NONCE = bytes(12)  # each key seals one row


class Seal:
    """Seals rows and makes digests of addresses."""

    def __init__(self, key: EllipticCurvePrivateKey) -> None:
        secret = key.private_numbers().private_value.to_bytes(32, "big")
        self._rows = _derived(secret, b"flotilla particle sessions: rows")
        self._addresses = _derived(secret, b"flotilla particle sessions: addresses")

    def seal(self, stored: StoredSession) -> bytes:
        """For a row of this device."""
        salt = os.urandom(SALT_BYTES)
        return salt + self._key(salt).encrypt(_NONCE, msgspec.msgpack.encode(stored), stored.device_id)

    def open(self, sealed: bytes, device_id: bytes) -> StoredSession | None:
        """None if this key did not seal it for this device."""
        salt, rest = sealed[:SALT_BYTES], sealed[SALT_BYTES:]
        try:
            plain = self._key(salt).decrypt(_NONCE, rest, device_id)
            return msgspec.msgpack.decode(plain, type=StoredSession)
        except (InvalidTag, msgspec.DecodeError, ValueError):
            return None

    def address(self, address: Address) -> bytes:
        """A digest of it, which says nothing without the key."""
        return hmac.digest(self._addresses, f"{address[0]} {address[1]}".encode(), "sha256")[:ADDRESS_BYTES]

    def _key(self, salt: bytes) -> AESGCM:
        return AESGCM(hmac.digest(self._rows, salt, "sha256"))


def _derived(secret: bytes, purpose: bytes) -> bytes:
    return HKDF(hashes.SHA256(), KEY_BYTES, None, purpose).derive(secret)
