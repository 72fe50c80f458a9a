"""Which keys servers and devices can have, as PEM and DER, and the block that points a device at a server."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from services.gateway.devices.particle import keys
from shared.errors import Misuse, Refused
from tests.gateway.devices.particle.vectors import DEVICE_KEY, SERVER_EC, SERVER_KEY

RSA, EC = DEVICE_KEY.public_key(), SERVER_EC.public_key()
P384 = ec.generate_private_key(ec.SECP384R1())


def test_a_device_key_is_read_from_pem_and_from_der() -> None:
    for form in (keys.public_der(RSA), keys.public_pem(RSA)):
        assert keys.public_der(keys.device_rsa(form)) == keys.public_der(RSA)
    for form in (keys.public_der(EC), keys.public_pem(EC)):
        assert keys.public_der(keys.device_ec(form)) == keys.public_der(EC)


@pytest.mark.parametrize("key", ["", "my key", *map(keys.public_der, (SERVER_KEY.public_key(), P384.public_key()))])
def test_what_no_device_can_use_is_refused(key: bytes | str) -> None:
    for read in (keys.device_rsa, keys.device_ec):
        with pytest.raises(Refused, match="invalid_key"):
            read(key)


def test_a_key_for_the_other_transport_is_refused() -> None:
    with pytest.raises(Refused, match="TCP has an RSA key"):
        keys.device_rsa(keys.public_der(EC))
    with pytest.raises(Refused, match="UDP has a key of the curve"):
        keys.device_ec(keys.public_der(RSA))


def test_every_device_has_one_key_that_nobody_holds() -> None:
    ders = [keys.nobodys_rsa(b"secret", f"{number:024x}") for number in range(50)]
    assert ders == [keys.nobodys_rsa(b"secret", f"{number:024x}") for number in range(50)]
    assert len({*ders, *(keys.nobodys_rsa(b"other", f"{number:024x}") for number in range(50))}) == 100
    assert all(keys.public_der(keys.device_rsa(der)) == der for der in ders)


def test_new_server_keys_survive_being_written_down() -> None:
    new_rsa, new_ec = keys.new_rsa(), keys.new_ec()
    assert keys.private_pem(keys.server_rsa(keys.private_pem(new_rsa))) == keys.private_pem(new_rsa)
    assert keys.private_pem(keys.server_ec(keys.private_pem(new_ec))) == keys.private_pem(new_ec)
    assert len(keys.public_der(new_rsa.public_key())) == 294
    assert keys.public_pem(new_rsa.public_key()).startswith("-----BEGIN PUBLIC KEY-----\n")


def test_server_keys_of_another_kind_are_refused() -> None:
    for unfit in (DEVICE_KEY, SERVER_EC, rsa.generate_private_key(3, 2_048)):
        with pytest.raises(Refused, match="unfit_server_key"):
            keys.server_rsa(keys.private_pem(unfit))
    for other in (SERVER_KEY, P384):
        with pytest.raises(Refused, match="unfit_server_key"):
            keys.server_ec(keys.private_pem(other))
    for text in ("", "key", keys.public_pem(RSA)):
        with pytest.raises(Refused, match="unreadable_key"):
            keys.server_rsa(text)


@pytest.mark.parametrize(("key", "offset"), [(SERVER_KEY.public_key(), 384), (EC, 192)])
def test_a_server_block_has_key_address_and_port_where_the_device_looks(key: keys.PublicKey, offset: int) -> None:
    der = keys.public_der(key)
    block = keys.server_block(key, "192.0.2.7", 7_000)
    assert len(block) == offset + 68
    assert block[:offset] == der + b"\xff" * (offset - len(der))
    assert block[offset : offset + 6] == b"\x00\x04\xc0\x00\x02\x07"
    assert block[-2:] == b"\x1b\x58"
    named = keys.server_block(key, "$id.devices.example.com")
    assert named[offset : offset + 25] == b"\x01\x17$id.devices.example.com"
    assert named[-2:] == b"\xff\xff"
    assert keys.server_block(key)[offset:] == b"\xff" * 68


@pytest.mark.parametrize("address", ["", "a" * 65, "gerät.example.com"])
def test_an_address_that_does_not_fit_is_refused(address: str) -> None:
    assert keys.server_block(EC, "a" * 64)
    with pytest.raises(Refused, match="bad_address"):
        keys.server_block(EC, address)


@pytest.mark.parametrize("port", [-1, 0, 65_535, 65_536])
def test_a_port_that_means_something_else_is_refused(port: int) -> None:
    with pytest.raises(Refused, match="bad_port"):
        keys.server_block(EC, None, port)


def test_a_key_that_leaves_no_room_for_the_address_is_a_bug_of_ours() -> None:
    large = rsa.RSAPublicNumbers(65_537, 2**4_095 + 1).public_key()
    with pytest.raises(Misuse):
        keys.server_block(large)
