from __future__ import annotations

import hashlib
import ssl
from contextlib import suppress
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from services.orgs.products.certificates import LEAST_RSA_BITS, MAX_PEM_BYTES, read_authority, read_certificate
from shared.errors import Refused
from tests.certificates import END, START, authority, new_key

GOOD = authority()
DER = ssl.PEM_cert_to_DER_cert(GOOD)


def reason_against(text: object) -> str:
    with pytest.raises(Refused) as refusal:
        read_authority(text, START)
    assert refusal.value.code == "invalid_certificate"
    return refusal.value.reason


def test_an_authority_is_known_by_fingerprint_key_and_subject() -> None:
    found = read_authority(GOOD, START)
    assert found.fingerprint == hashlib.sha256(DER).hexdigest()
    assert (found.subject, found.expires_at, found.pem) == ("CN=Acme devices", END, GOOD)


def test_certificates_of_one_key_have_one_key_digest_and_others_have_others() -> None:
    key = new_key()
    first, renewed = (read_authority(authority(key=key), START) for _ in range(2))
    assert first.key_digest == renewed.key_digest
    assert first.fingerprint != renewed.fingerprint
    assert read_authority(GOOD, START).key_digest != first.key_digest


def test_subjects_that_openssl_takes_for_the_same_have_one_digest_and_others_have_others() -> None:
    digests = {
        name: read_authority(authority(name), START).subject_digest for name in ("Acme", " acme", "A cme", "Beta")
    }
    assert digests["Acme"] == digests[" acme"] == read_authority(authority("ACME"), START).subject_digest
    assert digests["A cme"] == read_authority(authority("a   CME "), START).subject_digest
    assert len(set(digests.values())) == 3


def test_an_authority_without_a_subject_is_none() -> None:
    assert "no subject" in reason_against(authority(""))


def test_only_the_certificate_is_kept_of_what_stands_around_it() -> None:
    key = new_key()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    certificate = authority(key=key)
    assert read_authority(f"ours\r\n{private}\n  {certificate}\n", START).pem == certificate


def test_a_certificate_is_good_until_the_moment_it_expires_at() -> None:
    text = authority(ends_at=END)
    assert read_authority(text, END - timedelta(seconds=1)).expires_at == END
    with pytest.raises(Refused, match="expired on 2035-12-30"):
        read_authority(text, END)
    assert read_certificate(text).expires_at == END


@pytest.mark.parametrize(("is_authority", "signs"), [(False, None), (None, None), (True, False), (None, True)])
def test_what_may_not_sign_certificates_is_no_authority(is_authority: bool | None, signs: bool | None) -> None:
    assert "not one of an authority" in reason_against(authority(is_authority=is_authority, signs=signs))


def test_a_usage_that_names_signing_is_fine() -> None:
    assert read_authority(authority(signs=True), START).subject == "CN=Acme devices"


@pytest.mark.parametrize(
    "key", [rsa.generate_private_key(65_537, LEAST_RSA_BITS // 2), ec.generate_private_key(ec.SECP192R1())]
)
def test_keys_that_can_be_broken_are_refused(key: object) -> None:
    assert "key must be" in reason_against(authority(key=key))


@pytest.mark.parametrize(
    "key", [rsa.generate_private_key(65_537, LEAST_RSA_BITS), ed25519.Ed25519PrivateKey.generate()]
)
def test_keys_of_each_kind_are_taken(key: object) -> None:
    assert read_authority(authority(key=key), START).fingerprint


def test_certificates_come_one_at_a_time() -> None:
    assert "one at a time" in reason_against(GOOD + authority())


@pytest.mark.parametrize("text", [None, 7, "", "pem", GOOD[:200], GOOD.replace("M", "!"), "\ud800", "\x00" + GOOD[:99]])
def test_what_is_no_certificate_is_refused(text: object) -> None:
    assert reason_against(text).startswith("certificate")


@pytest.mark.parametrize("filler", ["x", "é"])
def test_a_text_of_more_than_16_kib_is_not_looked_at(filler: str) -> None:
    room = (MAX_PEM_BYTES - len(GOOD) - 1) // len(filler.encode())
    assert read_authority(f"{filler * room}\n{GOOD}", START).pem == GOOD
    assert "16384 bytes" in reason_against(f"{filler * (room + 2)}\n{GOOD}")


@pytest.mark.filterwarnings("ignore")  # of cryptography, about what it reads though it should not
@given(st.lists(st.tuples(st.integers(0, len(DER) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_whatever_is_changed_in_a_certificate_it_is_read_or_refused(changes: list[tuple[int, int]]) -> None:
    changed = bytearray(DER)
    for at, byte in changes:
        changed[at] = byte
    with suppress(Refused):
        assert len(read_authority(ssl.DER_cert_to_PEM_cert(bytes(changed)), START).key_digest) == 64


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("offset", "byte", "reason"),
    [
        (DER.index(bytes.fromhex("a003020102")) + 4, 66, "no certificate in PEM form"),
        (DER.index(bytes.fromhex("a003020102")) + 7, 0x80, "no serial number"),
    ],
)
def test_certificates_of_unknown_versions_or_negative_numbers_are_refused(offset: int, byte: int, reason: str) -> None:
    changed = bytearray(DER)
    changed[offset] = byte
    assert reason in reason_against(ssl.DER_cert_to_PEM_cert(bytes(changed)))
