from __future__ import annotations

import base64
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives import serialization as s
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from shared.device_keys import EC_DER_BYTES, MAX_KEY_BYTES, RSA_DER_BYTES, parse_public_key
from shared.errors import Refused

RSA = rsa.generate_private_key(65_537, 1_024).public_key()
EC = ec.generate_private_key(ec.SECP256R1()).public_key()


def der(key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey) -> bytes:
    return key.public_bytes(s.Encoding.DER, s.PublicFormat.SubjectPublicKeyInfo)


def pem(key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey) -> str:
    return key.public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo).decode()


def in_base64(key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey) -> str:
    return base64.encodebytes(der(key)).decode()


@pytest.mark.parametrize("spelt", [pem, der, in_base64, lambda key: f"\n {pem(key)}\n", lambda key: pem(key).encode()])
@pytest.mark.parametrize(("kind", "key", "size"), [("rsa", RSA, RSA_DER_BYTES), ("ecc", EC, EC_DER_BYTES)])
def test_a_key_is_the_same_however_it_is_spelt(
    spelt: Callable[[object], str | bytes], kind: str, key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey, size: int
) -> None:
    assert parse_public_key(spelt(key)) == (kind, der(key))
    assert len(der(key)) == size


def test_a_compressed_point_is_stored_as_devices_show_it() -> None:
    point = EC.public_bytes(s.Encoding.X962, s.PublicFormat.CompressedPoint)
    compressed = der(EC)[:26].replace(b"\x30\x59", b"\x30\x39").replace(b"\x03\x42\x00", b"\x03\x22\x00") + point
    assert parse_public_key(compressed) == ("ecc", der(EC))


@pytest.mark.parametrize(
    "key",
    [
        "",
        "no key",
        b"\x30\x00",
        b"\xff" * 162,
        pem(RSA).replace("PUBLIC KEY", "PRIVATE KEY"),
        pem(RSA)[:100],
        der(RSA)[:-1],
        der(RSA) + b"\x00",
        pem(rsa.generate_private_key(65_537, 2_048).public_key()),
        pem(rsa.generate_private_key(3, 1_024).public_key()),
        pem(ec.generate_private_key(ec.SECP384R1()).public_key()),
        pem(ed25519.Ed25519PrivateKey.generate().public_key()),
        "A" * (MAX_KEY_BYTES + 1),
        "\ud800",
    ],
)
def test_what_no_device_can_use_is_refused(key: str | bytes) -> None:
    with pytest.raises(Refused) as refusal:
        parse_public_key(key)
    assert refusal.value.code == "invalid_key"
