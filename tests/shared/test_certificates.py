"""Certificates from outside: whatever is sent, it is read or it is a ``ValueError``."""

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.certificates import read_certificate, read_certificates
from tests.certificates import authority, new_key

AUTHORITY = authority("Kettles", new_key())
PEM = AUTHORITY if isinstance(AUTHORITY, bytes) else AUTHORITY.encode()
DER = read_certificate(PEM).public_bytes(Encoding.DER)
SERIAL = DER.index(bytes.fromhex("a003020102")) + 7
"""Where the serial number begins, behind the version, its own tag and length."""


def test_a_certificate_is_read_from_pem_and_der_alike() -> None:
    assert read_certificate(PEM) == read_certificate(DER)
    assert read_certificates(PEM + PEM) == [read_certificate(DER)] * 2


@pytest.mark.parametrize("encoded", [b"", b"-----BEGIN", DER[:-1], DER + b"\0", PEM[:200]])
def test_what_is_no_certificate_is_a_value_error(encoded: bytes) -> None:
    with pytest.raises(ValueError, match="certificate"):
        read_certificate(encoded)


def test_a_serial_number_that_is_not_positive_is_refused() -> None:
    negative = bytearray(DER)
    negative[SERIAL] = 0x80
    with pytest.raises(ValueError, match="serial number"):
        read_certificate(bytes(negative))


@settings(max_examples=150)
@given(st.integers(0, len(DER) - 1), st.binary(min_size=1, max_size=4))
def test_damage_anywhere_is_read_or_a_value_error(at: int, noise: bytes) -> None:
    damaged = DER[:at] + noise + DER[at + len(noise) :]
    try:
        read_certificate(damaged)
    except ValueError as error:
        assert str(error)  # noqa: PT017 - either is right
