"""Detached signatures of firmware: Ed25519 (RFC 8032, not the prehashed kind) over the bytes of the file as uploaded.

So ``openssl pkeyutl -sign -rawin`` makes them, and ``minisign -S -l``. Taken are a signature's 64 bytes, also as
hexadecimal or base64, and the whole ``.minisig`` file; public keys as PEM, as their 32 bytes in hexadecimal or base64,
as the base64 of a SubjectPublicKeyInfo, and as minisign's ``.pub`` file.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Mapping

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_public_key,
)

from shared.errors import Refused

SIGNATURE_BYTES, KEY_BYTES = 64, 32
MAX_SIGNATURE_FILE = 4_096
MAX_KEY_TEXT = 4_096
_MINISIGN, _PREHASHED = b"Ed", b"ED"
_MINISIGN_HEAD = 10
"""Algorithm and minisign's own key number stand before what is ours."""


def read_public_key(text: str) -> str:
    """The 32 bytes of a public key in base64. Raises ``Refused("invalid_key")``."""
    if len(text) > MAX_KEY_TEXT:
        raise _no_key()
    if "-----BEGIN" in text:
        return _encoded(_loaded(load_pem_public_key, text.strip().encode()))
    for line in reversed(text.splitlines()):
        raw = _decoded(line.strip())
        if raw is None:
            continue
        if raw.startswith(_MINISIGN) and len(raw) == _MINISIGN_HEAD + KEY_BYTES:
            raw = raw[_MINISIGN_HEAD:]
        if len(raw) == KEY_BYTES:
            return base64.b64encode(raw).decode()
        if len(raw) > KEY_BYTES:
            return _encoded(_loaded(load_der_public_key, raw))
    raise _no_key()


def key_id(public_key: str) -> str:
    """What a key is called: the first 16 digits of the SHA-256 of its 32 bytes."""
    return hashlib.sha256(base64.b64decode(public_key)).hexdigest()[:16]


def read_signature(data: bytes) -> bytes:
    """The 64 bytes of a signature in any of its forms. Raises ``Refused("bad_signature")``."""
    if len(data) == SIGNATURE_BYTES:
        return data
    if len(data) <= MAX_SIGNATURE_FILE and data.isascii():
        for line in data.decode("ascii").splitlines():
            raw = _decoded(line.strip())
            if raw is None:
                continue
            if len(raw) == SIGNATURE_BYTES:
                return raw
            if len(raw) == _MINISIGN_HEAD + SIGNATURE_BYTES and raw.startswith(_MINISIGN):
                return raw[_MINISIGN_HEAD:]
            if len(raw) == _MINISIGN_HEAD + SIGNATURE_BYTES and raw.startswith(_PREHASHED):
                raise _bad("minisign has signed a hash of the file; with -l it signs the file, which devices can check")
    raise _bad("it is neither 64 bytes, nor those in hexadecimal or base64, nor a .minisig file")


def signer_of(image: bytes, signature: bytes, keys: Mapping[str, str]) -> str:
    """The id of the key, of these by their ids, whose signature of the image this is. Raises
    ``Refused("bad_signature")``."""
    for name, public_key in keys.items():
        try:
            Ed25519PublicKey.from_public_bytes(base64.b64decode(public_key)).verify(signature, image)
        except InvalidSignature:
            continue
        return name
    reason = "no key of the product has signed this file with it" if keys else "the product has no signing keys"
    raise _bad(reason)


def _decoded(line: str) -> bytes | None:
    """Hexadecimal or base64."""
    try:
        return bytes.fromhex(line) if len(line) in (2 * KEY_BYTES, 2 * SIGNATURE_BYTES) else _base64(line)
    except ValueError:
        return _base64(line)


def _base64(line: str) -> bytes | None:
    try:
        return base64.b64decode(line, validate=True) or None
    except (binascii.Error, ValueError):
        return None


def _loaded(load: Callable[[bytes], object], data: bytes) -> Ed25519PublicKey:
    try:
        key = load(data)
    except (ValueError, UnsupportedAlgorithm):
        raise _no_key() from None
    if not isinstance(key, Ed25519PublicKey):
        raise Refused("invalid_key", "only Ed25519 keys are taken: openssl genpkey -algorithm ed25519")
    return key


def _encoded(key: Ed25519PublicKey) -> str:
    return base64.b64encode(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()


def _no_key() -> Refused:
    reason = "the key is neither PEM, nor 32 bytes in hexadecimal or base64, nor a .pub file of minisign"
    return Refused("invalid_key", reason)


def _bad(reason: str) -> Refused:
    return Refused("bad_signature", f"the signature is not accepted: {reason}")
