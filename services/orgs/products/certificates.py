"""Reading the certificate of an authority that signs device certificates (MQC-6). No I/O."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from services.orgs.names import comparable
from shared.certificates import read_certificates
from shared.errors import Refused

MAX_PEM_BYTES = 16_384
LEAST_RSA_BITS = 2_048
LEAST_EC_BITS = 256


@dataclass(frozen=True, slots=True)
class AuthorityCertificate:
    """A certificate that may sign others. ``pem`` is it and nothing else; ``fingerprint`` its SHA-256, ``key_digest``
    that of its public key, ``subject_digest`` that of its subject in a form at least as coarse as that in which
    OpenSSL compares them, as lower-case hex."""

    pem: str
    fingerprint: str
    key_digest: str
    subject_digest: str
    subject: str
    expires_at: datetime


def read_authority(text: object, now: datetime) -> AuthorityCertificate:
    """The certificate in this PEM text. Raises ``Refused`` ``invalid_certificate`` if it cannot sign anything now."""
    found = read_certificate(text)
    certificate = _parsed(found.pem)
    if found.expires_at <= now:
        raise _invalid(f"The certificate expired on {found.expires_at:%Y-%m-%d}.")
    if not _signs_certificates(certificate):
        raise _invalid("The certificate is not one of an authority: it may not sign certificates.")
    if not certificate.subject.rdns:  # RFC 5280 4.1.2.6
        raise _invalid("The certificate has no subject: nothing says which certificates it has signed.")
    if not _strong(certificate):
        raise _invalid(
            f"The certificate's key must be RSA of {LEAST_RSA_BITS} bits, EC of {LEAST_EC_BITS} bits, or Ed25519."
        )
    return found


def read_certificate(text: object) -> AuthorityCertificate:
    """The same for one that was checked before, whatever became of it since."""
    certificate = _parsed(text)
    try:
        key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        subject, subject_digest = certificate.subject.rfc4514_string(), _subject_digest(certificate.subject)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise _invalid("The certificate's key or subject cannot be read.") from None
    return AuthorityCertificate(
        pem=certificate.public_bytes(Encoding.PEM).decode(),
        fingerprint=certificate.fingerprint(SHA256()).hex(),
        key_digest=hashlib.sha256(key).hexdigest(),
        subject_digest=subject_digest,
        subject=subject,
        expires_at=certificate.not_valid_after_utc,
    )


def _parsed(text: object) -> x509.Certificate:
    if not isinstance(text, str):
        raise _invalid("certificate must be text.")
    if len(text) > MAX_PEM_BYTES or len(text.encode("utf-8", "replace")) > MAX_PEM_BYTES:
        raise _invalid(f"certificate has more than {MAX_PEM_BYTES} bytes.")
    try:
        found = read_certificates(text.encode("utf-8", "replace"))
    except ValueError as error:
        raise _invalid(f"certificate: {error}.") from None
    if len(found) != 1:
        raise _invalid("certificate holds several; add them one at a time.")
    return found[0]


def _subject_digest(subject: x509.Name) -> str:
    parts = [sorted((one.oid.dotted_string, _value(one.value)) for one in rdn) for rdn in subject.rdns]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _value(value: str | bytes) -> str:
    return value.hex() if isinstance(value, bytes) else comparable(" ".join(value.split()))


def _signs_certificates(certificate: x509.Certificate) -> bool:
    try:
        extensions = certificate.extensions
        authority = extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (ValueError, TypeError, x509.ExtensionNotFound, x509.DuplicateExtension):
        return False
    usage = [one.value for one in extensions if isinstance(one.value, x509.KeyUsage)]
    return authority and all(one.key_cert_sign for one in usage)


def _strong(certificate: x509.Certificate) -> bool:
    match certificate.public_key():
        case RSAPublicKey() as key:
            return key.key_size >= LEAST_RSA_BITS
        case EllipticCurvePublicKey() as key:
            return key.key_size >= LEAST_EC_BITS
        case key:
            return isinstance(key, Ed25519PublicKey)


def _invalid(reason: str) -> Refused:
    return Refused("invalid_certificate", reason)
