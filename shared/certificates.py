"""X.509 certificates as somebody else sent them: read, or refused with ``ValueError`` and nothing else.

A serial number of 0 or below is refused too (RFC 5280 4.1.2.2): later releases of ``cryptography`` do not read such
certificates any more, and this one only warns of it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

from cryptography import x509
from cryptography.utils import CryptographyDeprecationWarning


def read_certificates(pem: bytes) -> list[x509.Certificate]:
    """All certificates in PEM text. Raises ``ValueError`` if there is none, or one that cannot be read."""
    return _read(lambda: x509.load_pem_x509_certificates(pem), "no certificate in PEM form")


def read_certificate(encoded: bytes) -> x509.Certificate:
    """One certificate, DER, or the first in PEM text. Raises ``ValueError``."""
    if encoded.lstrip().startswith(b"-----BEGIN"):
        return read_certificates(encoded)[0]
    return _read(lambda: [x509.load_der_x509_certificate(encoded)], "no certificate in DER form")[0]


def _read(load: Callable[[], Sequence[x509.Certificate]], otherwise: str) -> list[x509.Certificate]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        try:
            found = list(load())
        except (ValueError, TypeError, x509.InvalidVersion) as error:
            raise ValueError(otherwise) from error
        if any(one.serial_number <= 0 for one in found):
            raise ValueError("no serial number above 0")
    return found
