"""Text sealed under a key: AES-256-GCM, as ``sealed:1:<key's mark>:<nonce and ciphertext in base64>``."""

from __future__ import annotations

import binascii
import os
from base64 import b64decode, b64encode
from hashlib import sha256

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
NONCE_BYTES = 12
"""Random for each text; a person has far fewer texts than the 2^32 at which that would be too short."""
MARK_DIGITS = 8

_PREFIX = "sealed:1:"


class NotSealed(ValueError):
    """This is no sealed text, or was altered, or belongs elsewhere."""


class OtherKey(Exception):
    """Sealed with another key, so the right one is gone."""


def seal(key: bytes, text: str, where: str) -> str:
    """The text, readable with this key alone, and only as what stands ``where``."""
    nonce = os.urandom(NONCE_BYTES)
    body = b64encode(nonce + AESGCM(key).encrypt(nonce, text.encode(), where.encode()))
    return f"{_PREFIX}{_mark(key)}:{body.decode()}"


def unseal(key: bytes, sealed: str, where: str) -> str:
    """The text again. Raises ``OtherKey`` and ``NotSealed``."""
    mark, _, body = sealed.removeprefix(_PREFIX).partition(":")
    if not is_sealed(sealed) or not body:
        raise NotSealed("it is no sealed text")
    if mark != _mark(key):
        raise OtherKey
    try:
        raw = b64decode(body, validate=True)
        return AESGCM(key).decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], where.encode()).decode()
    except (binascii.Error, InvalidTag, ValueError):
        raise NotSealed("it was altered, or belongs elsewhere") from None


def is_sealed(text: str) -> bool:
    """Whether this has the form of sealed text."""
    return text.startswith(_PREFIX)


def _mark(key: bytes) -> str:
    """Tells a person's key from another that was made later; says nothing about either."""
    return sha256(b"mark of " + key).hexdigest()[:MARK_DIGITS]
