"""Devices that are known by their TLS client certificates (MQC-6). Does no I/O; knows no clock.

OpenSSL has checked in the handshake that some authority which an organization named has signed the certificate, and
when it lapses. That is not enough: a resumed session is not checked again, an authority may have been withdrawn, and
none may speak for another organization's devices. So whoever admits a device asks here as well, and asks again when
authorities change.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from services.gateway.devices.ports import Directory
from services.gateway.entries import AuthorityEntry, DeviceEntry
from shared.certificates import read_certificate
from shared.ids import device_id

CERTIFICATE_CHARACTERS = 16_384
"""Of a certificate as text."""
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Certificate:
    """What lets a device in: its certificate, the authority that signed it, and whether it is the certificate's common
    name that says who it is."""

    fingerprint: str
    authority_id: str
    named: bool


class Authorities:
    """All that may sign now, read anew when the directory says that they changed."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._revision = -1
        self._by_org: dict[str, list[tuple[AuthorityEntry, x509.Certificate]]] = {}
        self._by_subject: dict[x509.Name, list[tuple[AuthorityEntry, x509.Certificate]]] = {}
        self.certificates: list[str] = []
        """Of all of them, as PEM text."""

    def refresh(self) -> bool:
        """Learn what changed; whether anything may have. Raises ``Unavailable``."""
        revision = self._directory.authorities_revision
        if revision == self._revision:
            return False
        found: dict[str, list[tuple[AuthorityEntry, x509.Certificate]]] = {}
        entries = self._directory.authorities()
        for entry in entries:
            parsed = read_certificate(entry.certificate.encode())
            found.setdefault(entry.org_id, []).append((entry, parsed))
        self._by_org, self._revision = found, revision
        self._by_subject = {}
        for entry, parsed in (one for ones in found.values() for one in ones):
            self._by_subject.setdefault(parsed.subject, []).append((entry, parsed))
        self.certificates = [entry.certificate for entry in entries]
        return True

    def signing(self, shown: x509.Certificate) -> list[str]:
        """The organizations whose authorities have signed this certificate: one or none, but for a moment in which an
        authority changes hands."""
        candidates = self._by_subject.get(shown.issuer, ())
        return list(dict.fromkeys(entry.org_id for entry, parsed in candidates if _has_signed(parsed, shown)))

    def orgs_of(self, authority_id: str) -> list[str]:
        """The organization of this authority, if it is trusted now."""
        all_of_them = (entry for ones in self._by_org.values() for entry, _ in ones)
        return [entry.org_id for entry in all_of_them if entry.authority_id == authority_id]

    def of(self, org_id: str) -> Iterable[tuple[AuthorityEntry, x509.Certificate]]:
        """Those of an organization."""
        return self._by_org.get(org_id, ())


@dataclass(frozen=True, slots=True)
class Unproven:
    """The certificate is one of a device, and does not let it in."""

    why: str


def device_of(
    der: bytes, directory: Directory, authorities: Authorities, at: datetime
) -> tuple[DeviceEntry, Certificate] | Unproven | None:
    """The device whose certificate this is; None if it is no device's. Raises what the directory raises."""
    try:
        shown = read_certificate(der)
        stated, valid, signing = device_id(_common_name(shown)), _is_valid(shown, at), authorities.signing(shown)
    except (ValueError, TypeError):  # TypeError: a name with a value of the wrong kind
        return Unproven("the certificate cannot be read")
    fingerprint = hashlib.sha256(der).hexdigest()
    entry, named = _on_record(fingerprint, signing, directory), False
    if entry is None:
        entry, named = (None if stated is None else directory.admit_device(stated)), True
    if entry is None or entry.membership.product_id is None:
        return None
    if not valid:
        return Unproven("the certificate is not valid now")
    product = directory.product(str(entry.membership.product_id))
    authority = None if product is None else _signer(shown, authorities.of(product.org_id), named)
    if authority is None:
        return Unproven("no authority of the device's organization has signed the certificate")
    return entry, Certificate(fingerprint, authority.authority_id, named)


def _on_record(fingerprint: str, signing: list[str], directory: Directory) -> DeviceEntry | None:
    """The device that has this certificate on record. Anybody can put another organization's on record, so only those
    organizations are asked whose authorities have signed it, if there are any."""
    if not signing:
        return directory.device_by_certificate(fingerprint)
    found = (directory.device_by_certificate(fingerprint, org_id) for org_id in signing)
    return next((entry for entry in found if entry is not None), None)


def still_admits(
    certificate: Certificate, device: str, directory: Directory, authorities: Authorities
) -> DeviceEntry | None:
    """The device, if its certificate would let it in again."""
    if certificate.named:
        entry = directory.admit_device(device)
    else:
        orgs = authorities.orgs_of(certificate.authority_id)
        entry = _on_record(certificate.fingerprint, orgs, directory)
    if entry is None or entry.device_id != device or entry.membership.product_id is None:
        return None
    product = directory.product(str(entry.membership.product_id))
    if product is None:
        return None
    signers = (one for one, _ in authorities.of(product.org_id) if one.authority_id == certificate.authority_id)
    good = any(one.names_devices or not certificate.named for one in signers)
    return entry if good else None


def _signer(
    shown: x509.Certificate, candidates: Iterable[tuple[AuthorityEntry, x509.Certificate]], named: bool
) -> AuthorityEntry | None:
    for entry, certificate in candidates:
        if (entry.names_devices or not named) and _has_signed(certificate, shown):
            return entry
    return None


def _has_signed(authority: x509.Certificate, shown: x509.Certificate) -> bool:
    try:
        shown.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _is_valid(shown: x509.Certificate, at: datetime) -> bool:
    return shown.not_valid_before_utc <= at < shown.not_valid_after_utc


def _common_name(shown: x509.Certificate) -> str:
    names = shown.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if len(names) == 1 else ""


def fingerprint_of(text: str) -> str | None:
    """The SHA-256 of a certificate that is given as PEM text, or as that hash in hex digits, with colons or without;
    None for anything else."""
    if len(text) > CERTIFICATE_CHARACTERS:
        return None
    digits = text.strip().replace(":", "").lower()
    if _FINGERPRINT.fullmatch(digits):
        return digits
    try:
        parsed = read_certificate(text.encode())
    except ValueError:
        return None
    return hashlib.sha256(parsed.public_bytes(Encoding.DER)).hexdigest()
