"""Certificates of authorities, good and bad, made for tests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

START = datetime(2026, 1, 1, tzinfo=UTC)
END = START + timedelta(days=3_650)


def new_key() -> ec.EllipticCurvePrivateKey:
    """A key of an authority."""
    return ec.generate_private_key(ec.SECP256R1())


def authority(
    name: str = "Acme devices",
    key: Any = None,
    *,
    is_authority: bool | None = True,
    signs: bool | None = None,
    ends_at: datetime = END,
) -> str:
    """A self-signed certificate as PEM text; with an empty name it has no subject. ``is_authority`` None: without that
    extension; so ``signs``."""
    own = key or new_key()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else [])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(own.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(START)
        .not_valid_after(ends_at)
    )
    if is_authority is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
    if signs is not None:
        builder = builder.add_extension(_usage(signs), critical=True)
    hashing = None if type(own).__name__ == "Ed25519PrivateKey" else SHA256()
    return builder.sign(own, hashing).public_bytes(Encoding.PEM).decode()


def device_certificate(
    issuer: str,
    issuer_key: ec.EllipticCurvePrivateKey,
    name: str = "device",
    key: ec.EllipticCurvePrivateKey | None = None,
    *,
    starts_at: datetime = START,
    ends_at: datetime = END,
    address: str = "",
) -> str:
    """A certificate of this name as PEM text, signed by the authority of that certificate and key; for ``key``, or one
    that nobody has. ``address``: of a server at this address."""
    authority_name = x509.load_pem_x509_certificate(issuer.encode()).subject
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(authority_name)
        .public_key((key or new_key()).public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(starts_at)
        .not_valid_after(ends_at)
    )
    if address:
        names = x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))])
        builder = builder.add_extension(names, critical=False)
    return builder.sign(issuer_key, SHA256()).public_bytes(Encoding.PEM).decode()


def key_text(key: ec.EllipticCurvePrivateKey) -> str:
    """The private key as PEM text."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def der_of(certificate: str) -> bytes:
    """A certificate in PEM text as DER."""
    return x509.load_pem_x509_certificate(certificate.encode()).public_bytes(Encoding.DER)


def _usage(signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
