"""Public keys that devices may have: RSA with 1024 bits (protocol over TCP) or of the curve P-256 (over UDP).

No I/O; not listed as pure because reading a key takes ``cryptography``.
"""

from __future__ import annotations

import base64
import binascii
from typing import Literal

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from shared.errors import Refused

Algorithm = Literal["rsa", "ecc"]

RSA_BITS = 1_024
RSA_EXPONENT = 65_537
RSA_DER_BYTES = 162
EC_DER_BYTES = 91
MAX_KEY_BYTES = 8_192
"""Longer text is not looked at."""


def parse_public_key(key: str | bytes) -> tuple[Algorithm, bytes]:
    """What kind of key it is and the DER of its SubjectPublicKeyInfo, the same for every spelling: PEM, DER, or the DER
    in base64. Raises ``Refused("invalid_key")`` for whatever no device can use."""
    data = key.encode(errors="replace") if isinstance(key, str) else key
    if len(data) > MAX_KEY_BYTES:
        raise _invalid(f"a public key has at most {MAX_KEY_BYTES} bytes")
    found = _load(data)
    der = found.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    if isinstance(found, ec.EllipticCurvePublicKey):
        if not isinstance(found.curve, ec.SECP256R1):
            raise _invalid(f"the curve {found.curve.name} is not P-256")
        return "ecc", der
    if found.key_size != RSA_BITS or found.public_numbers().e != RSA_EXPONENT:
        raise _invalid(f"devices have RSA keys with {RSA_BITS} bits and the exponent {RSA_EXPONENT}")
    return "rsa", der


def _load(data: bytes) -> rsa.RSAPublicKey | ec.EllipticCurvePublicKey:
    try:
        if data.lstrip().startswith(b"-----BEGIN"):
            found = serialization.load_pem_public_key(data.strip())
        else:
            found = serialization.load_der_public_key(data if data[:1] == b"\x30" else _from_base64(data))
    except (ValueError, UnsupportedAlgorithm):
        raise _invalid("not a public key: neither PEM (BEGIN PUBLIC KEY) nor DER in base64") from None
    if not isinstance(found, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
        raise _invalid("a device's key is RSA or of the curve P-256")
    return found


def _from_base64(data: bytes) -> bytes:
    try:
        return base64.b64decode(b"".join(data.split()), validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None


def _invalid(reason: str) -> Refused:
    return Refused("invalid_key", reason)
