"""The handshake of TCP: who can read what, and that everything wrong looks alike."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from hypothesis import given, settings
from hypothesis import strategies as st

from services.gateway.devices.particle import keys
from services.gateway.devices.particle.device_handshake import open_reply, seal_hello
from services.gateway.devices.particle.handshake import (
    HELLO_BYTES,
    REPLY_BYTES,
    HandshakeHello,
    open_hello,
    reply,
    session_keys,
)
from services.gateway.devices.particle.violations import BAD_HANDSHAKE, BadMessage
from tests.gateway.devices.particle.vectors import DEVICE_KEY, SERVER_KEY

NONCE, CREDENTIALS = bytes(range(40)), bytes(range(100, 140))
DEVICE_ID = "3a0021000347343138333836"
DER = keys.public_der(DEVICE_KEY.public_key())


def sealed(plain: bytes) -> bytes:
    return SERVER_KEY.public_key().encrypt(plain, PKCS1v15())


@pytest.mark.parametrize("der", [b"", DER])
def test_a_hello_says_who_and_with_which_key_old_devices_without(der: bytes) -> None:
    hello = seal_hello(SERVER_KEY.public_key(), NONCE, DEVICE_ID, der)
    assert len(hello) == HELLO_BYTES
    assert open_hello(SERVER_KEY, NONCE, hello) == HandshakeHello(DEVICE_ID, der or None)


WHOLE = NONCE + bytes.fromhex(DEVICE_ID) + DER
REFUSED = {
    "another nonce": sealed(bytes(40) + WHOLE[40:]),
    "one bit of the nonce": sealed(bytes((WHOLE[0] ^ 1,)) + WHOLE[1:]),
    "too short": sealed(WHOLE[:51]),
    "half a key": sealed(WHOLE[:213]),
    "too long": sealed(WHOLE + b"\0"),
    "empty": sealed(b""),
    "for another server": DEVICE_KEY.public_key().encrypt(WHOLE[:52], PKCS1v15()).rjust(256, b"\0"),
    "garbage": bytes(range(256)),
    "zeros": bytes(256),
    "above the modulus": b"\xff" * 256,
    "cut short": sealed(WHOLE)[:255],
    "with more behind it": sealed(WHOLE) + b"\0",
    "nothing": b"",
}


@pytest.mark.parametrize("hello", REFUSED.values(), ids=REFUSED)
def test_whatever_is_wrong_with_a_hello_the_refusal_is_the_same(hello: bytes) -> None:
    with pytest.raises(BadMessage) as refusal:
        open_hello(SERVER_KEY, NONCE, hello)
    assert (str(refusal.value), refusal.value.kind) == ("no hello to our nonce under our key", BAD_HANDSHAKE)
    assert refusal.value.__cause__ is None
    assert refusal.value.fatal


@settings(max_examples=20)
@given(st.binary(min_size=256, max_size=256))
def test_a_hello_that_does_not_decrypt_is_refused_like_any_other(hello: bytes) -> None:
    with pytest.raises(BadMessage, match="no hello to our nonce"):
        open_hello(SERVER_KEY, NONCE, hello)


def test_a_nonce_that_is_not_forty_bytes_opens_nothing() -> None:
    with pytest.raises(BadMessage):
        open_hello(SERVER_KEY, NONCE[:39], seal_hello(SERVER_KEY.public_key(), NONCE, DEVICE_ID, DER))


def test_a_reply_gives_the_credentials_to_the_holder_of_the_key() -> None:
    answer = reply(SERVER_KEY, DEVICE_KEY.public_key(), CREDENTIALS)
    assert len(answer) == REPLY_BYTES
    assert open_reply(DEVICE_KEY, SERVER_KEY.public_key(), answer) == CREDENTIALS


def test_a_reply_for_another_key_or_of_another_server_is_not_taken() -> None:
    other = keys.new_rsa(keys.DEVICE_RSA_BITS)
    with pytest.raises(BadMessage):
        open_reply(DEVICE_KEY, SERVER_KEY.public_key(), reply(SERVER_KEY, other.public_key(), CREDENTIALS))
    with pytest.raises(BadMessage):
        open_reply(DEVICE_KEY, keys.new_rsa().public_key(), reply(SERVER_KEY, DEVICE_KEY.public_key(), CREDENTIALS))


@pytest.mark.parametrize("at", [0, 127, 128, 383])
def test_a_reply_that_was_changed_is_not_taken(at: int) -> None:
    answer = bytearray(reply(SERVER_KEY, DEVICE_KEY.public_key(), CREDENTIALS))
    answer[at] ^= 1
    with pytest.raises(BadMessage) as refusal:
        open_reply(DEVICE_KEY, SERVER_KEY.public_key(), bytes(answer))
    assert refusal.value.kind == BAD_HANDSHAKE


def test_credentials_of_another_length_are_not_taken() -> None:
    with pytest.raises(BadMessage):
        open_reply(DEVICE_KEY, SERVER_KEY.public_key(), reply(SERVER_KEY, DEVICE_KEY.public_key(), bytes(39)))


def test_the_first_message_id_wraps() -> None:
    assert session_keys(bytes(32) + b"\xff\xff" + bytes(6)).first_id == 0
    assert session_keys(bytes(32) + b"\x01\x02" + bytes(6)).first_id == 0x0202
