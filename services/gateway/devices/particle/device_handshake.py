"""The handshake of TCP, the device's half: for the simulator and the tests. Protocol section 2."""

from __future__ import annotations

import hmac

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

from services.gateway.devices.particle.handshake import CREDENTIALS_BYTES, REPLY_BYTES, SEALED_BYTES, digest
from services.gateway.devices.particle.violations import BAD_HANDSHAKE, BadMessage


def seal_hello(server_key: RSAPublicKey, nonce: bytes, device_id: str, public_key_der: bytes = b"") -> bytes:
    """The 256 bytes that answer a nonce; the oldest devices show no key."""
    return server_key.encrypt(nonce + bytes.fromhex(device_id) + public_key_der, PKCS1v15())


def open_reply(device_key: RSAPrivateKey, server_key: RSAPublicKey, reply: bytes) -> bytes:
    """The credentials, if the server signed them. Raises ``BadMessage``."""
    sealed, signature = reply[:SEALED_BYTES], reply[SEALED_BYTES:]
    try:
        credentials = device_key.decrypt(sealed, PKCS1v15())
        signed = server_key.recover_data_from_signature(signature, PKCS1v15(), None)
    except (ValueError, InvalidSignature):
        raise BadMessage("no credentials for this key, signed by this server", BAD_HANDSHAKE) from None
    whole = len(reply) == REPLY_BYTES and len(credentials) == CREDENTIALS_BYTES
    if not whole or not hmac.compare_digest(signed, digest(credentials, sealed)):
        raise BadMessage("credentials that this server did not sign", BAD_HANDSHAKE)
    return credentials
