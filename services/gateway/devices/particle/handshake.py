"""The handshake of TCP (protocol section 2), the server's half; nonce and credentials are arguments.

A device proves itself by reading the credentials with the key *on record*: a hello can be made by anybody. The two
private-key operations take 0.3 ms each and belong where they do not hold up an event loop.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import NoDigestInfo

from services.gateway.devices.particle.violations import BAD_HANDSHAKE, BadMessage
from shared.device_keys import RSA_DER_BYTES

NONCE_BYTES = 40
HELLO_BYTES = 256
DEVICE_ID_BYTES = 12
CREDENTIALS_BYTES = 40
SEALED_BYTES = 128
REPLY_BYTES = SEALED_BYTES + 256
_SHORT = NONCE_BYTES + DEVICE_ID_BYTES
PLAIN_BYTES = (_SHORT, _SHORT + RSA_DER_BYTES)
"""A hello without a key (the oldest devices), and one with."""


@dataclass(frozen=True, slots=True)
class HandshakeHello:
    """Who the peer claims to be, and the key that it shows, not looked at yet."""

    device_id: str
    public_key_der: bytes | None


@dataclass(frozen=True, slots=True)
class SessionKeys:
    """What credentials mean: key and first IV of both directions, and the id of the device's first message."""

    key: bytes
    iv: bytes
    first_id: int


def open_hello(server_key: RSAPrivateKey, nonce: bytes, sealed: bytes) -> HandshakeHello:
    """The hello to this nonce. Raises one and the same ``BadMessage`` whatever is wrong with it.

    What does not decrypt becomes some plaintext (OpenSSL makes one up, so that padding tells nothing) and fails like a
    wrong nonce, after the same comparison.
    """
    plain = b""
    if len(sealed) == HELLO_BYTES:
        try:
            plain = server_key.decrypt(sealed, PKCS1v15())
        except ValueError:
            plain = b""  # libraries that do not make one up, and numbers above the modulus
    same_nonce = hmac.compare_digest(plain[:NONCE_BYTES].ljust(NONCE_BYTES, b"\0"), nonce)
    if not same_nonce or len(plain) not in PLAIN_BYTES or len(nonce) != NONCE_BYTES:
        raise BadMessage("no hello to our nonce under our key", BAD_HANDSHAKE)
    return HandshakeHello(plain[NONCE_BYTES:_SHORT].hex(), plain[_SHORT:] or None)


def reply(server_key: RSAPrivateKey, device_key: RSAPublicKey, credentials: bytes) -> bytes:
    """The credentials for the holder of that key alone, signed by the server."""
    sealed = device_key.encrypt(credentials, PKCS1v15())
    return sealed + sign(server_key, credentials, sealed)


def sign(server_key: RSAPrivateKey, credentials: bytes, sealed: bytes) -> bytes:
    """The signature of a reply: over the bare digest, without the prefix that names the hash."""
    return server_key.sign(digest(credentials, sealed), PKCS1v15(), NoDigestInfo())


def digest(credentials: bytes, sealed: bytes) -> bytes:
    """What is signed: HMAC-SHA1 of the sealed credentials under the credentials."""
    return hmac.digest(credentials, sealed, "sha1")


def session_keys(credentials: bytes) -> SessionKeys:
    """The parts of the 40 bytes. The first id is one above a little-endian number in them."""
    start = int.from_bytes(credentials[32:34], "little")
    return SessionKeys(credentials[:16], credentials[16:32], (start + 1) & 0xFFFF)
