"""Keys and signatures in all the forms in which people have them."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from services.firmware.signatures import key_id, read_public_key, read_signature, signer_of
from shared.errors import Refused

PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
RAW = PRIVATE.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
KEY = base64.b64encode(RAW).decode()
DER = PRIVATE.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
PEM = PRIVATE.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
IMAGE = b"firmware of a kettle"
SIGNATURE = PRIVATE.sign(IMAGE)
MINISIGN_KEY = f"untrusted comment: minisign public key\n{base64.b64encode(b'Ed' + b'8' * 8 + RAW).decode()}\n"


def minisig(algorithm: bytes = b"Ed") -> bytes:
    first, second = base64.b64encode(algorithm + b"8" * 8 + SIGNATURE), base64.b64encode(b"g" * 64)
    return b"untrusted comment: kettle\n" + first + b"\ntrusted comment: timestamp:1\n" + second + b"\n"


def code(call: object, *arguments: object) -> str:
    with pytest.raises(Refused) as refusal:
        call(*arguments)  # type: ignore[operator]
    return refusal.value.code


@pytest.mark.parametrize(
    "text", [PEM, f"\n{PEM}\n", RAW.hex(), RAW.hex().upper(), KEY, base64.b64encode(DER).decode(), MINISIGN_KEY]
)
def test_a_public_key_is_read_in_every_form(text: str):
    assert read_public_key(text) == KEY


def test_a_key_is_called_by_its_digest():
    assert key_id(KEY) == "56475aa75463474c"


OTHER_KIND = generate_private_key(SECP256R1()).public_key()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no key",
        KEY[:-4],
        RAW.hex()[2:],
        PEM[:60],
        PEM.replace("PUBLIC", "PRIVATE"),
        "A" * 5_000,
        base64.b64encode(b"\x00" * 44).decode(),
        OTHER_KIND.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(),
    ],
)
def test_what_is_no_ed25519_key_is_refused(text: str):
    assert code(read_public_key, text) == "invalid_key"


@pytest.mark.parametrize(
    "data",
    [
        SIGNATURE,
        SIGNATURE.hex().encode(),
        SIGNATURE.hex().upper().encode() + b"\n",
        base64.b64encode(SIGNATURE),
        base64.b64encode(SIGNATURE) + b"\r\n",
        minisig(),
    ],
)
def test_a_signature_is_read_in_every_form(data: bytes):
    assert read_signature(data) == SIGNATURE
    assert signer_of(IMAGE, SIGNATURE, {"other": base64.b64encode(bytes(32)).decode(), "ours": KEY}) == "ours"


def test_minisigns_signature_of_a_hash_is_refused_with_what_to_do():
    with pytest.raises(Refused, match="with -l it signs the file"):
        read_signature(minisig(b"ED"))


@given(st.binary(max_size=300).filter(lambda data: len(data) != 64))
def test_anything_else_is_no_signature(data: bytes):
    assert code(read_signature, data) == "bad_signature"


@given(st.integers(0, 511))
def test_a_signature_with_one_wrong_bit_is_nobodys(bit: int):
    wrong = bytearray(SIGNATURE)
    wrong[bit // 8] ^= 1 << bit % 8
    assert code(signer_of, IMAGE, bytes(wrong), {"ours": KEY}) == "bad_signature"


def test_a_signature_of_another_file_or_without_keys_is_refused():
    assert code(signer_of, IMAGE + b".", SIGNATURE, {"ours": KEY}) == "bad_signature"
    assert code(signer_of, IMAGE, SIGNATURE, {}) == "bad_signature"


@given(st.one_of(st.text(max_size=200), st.text(max_size=200).map(lambda text: f"-----BEGIN {text}")))
def test_any_text_is_a_key_of_32_bytes_or_refused(text: str):
    try:
        key = read_public_key(text)
    except Refused:
        assert code(read_public_key, text) == "invalid_key"
    else:
        assert len(base64.b64decode(key)) == 32
