"""The elliptic curve operations of the profile: secp256r1, ECDSA with SHA-256, raw public keys of 91 bytes."""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

POINT_BYTES = 65
PUBLIC_KEY_BYTES = 91
_PREFIX = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200")
"""What a SubjectPublicKeyInfo of this curve begins with; the uncompressed point follows."""
_CURVE = ec.SECP256R1()
_MESSAGE = ec.ECDSA(SHA256())
_DIGEST = ec.ECDSA(utils.Prehashed(SHA256()))

PrivateKey = ec.EllipticCurvePrivateKey
PublicKey = ec.EllipticCurvePublicKey


def point_of(key: PrivateKey) -> bytes:
    """The uncompressed public point of a private key."""
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def public_key_of(key: PrivateKey) -> bytes:
    """The DER SubjectPublicKeyInfo of a private key."""
    return _PREFIX + point_of(key)


def is_raw_key(public_key: bytes) -> bool:
    """Whether the bytes have the form of a raw public key; whether the point is one, ``load`` says."""
    return len(public_key) == PUBLIC_KEY_BYTES and public_key.startswith(_PREFIX)


def load(public_key: bytes) -> PublicKey | None:
    """The key of a DER SubjectPublicKeyInfo, or None."""
    return load_point(public_key[len(_PREFIX) :]) if is_raw_key(public_key) else None


def load_point(point: bytes) -> PublicKey | None:
    """The key of an uncompressed point; None if it is not on the curve."""
    if len(point) != POINT_BYTES or point[0] != 4:
        return None
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(_CURVE, point)
    except ValueError:
        return None


def shared_secret(key: PrivateKey, peer: PublicKey) -> bytes:
    """The x coordinate: 32 bytes."""
    return key.exchange(ec.ECDH(), peer)


def sign(key: PrivateKey, message: bytes) -> bytes:
    """A DER signature, another one each time."""
    return key.sign(message, _MESSAGE)


def sign_digest(key: PrivateKey, digest: bytes) -> bytes:
    """A DER signature of what has this SHA-256."""
    return key.sign(digest, _DIGEST)


def is_signed(key: PublicKey, signature: bytes, message: bytes) -> bool:
    """Whether the signature of the message is right."""
    return _verify(key, signature, message, _MESSAGE)


def is_digest_signed(key: PublicKey, signature: bytes, digest: bytes) -> bool:
    """Whether the signature of what has this SHA-256 is right."""
    return _verify(key, signature, digest, _DIGEST)


def _verify(key: PublicKey, signature: bytes, data: bytes, algorithm: ec.ECDSA) -> bool:
    try:
        key.verify(signature, data, algorithm)
    except InvalidSignature:
        return False
    return True
