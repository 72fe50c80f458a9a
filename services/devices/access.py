"""What devices authenticate with: keys, certificates, and provisioning by the device itself."""

from __future__ import annotations

import base64
import re
from typing import Any

from services.devices.device import DEVICE, ProvisionDevice, SetCertificate, SetKey, stream_of
from services.devices.members import change
from shared.bus.providers import WorkerStreams
from shared.device_keys import parse_public_key
from shared.errors import NotFound, Refused
from shared.events.gateway import KeyPresented
from shared.ids import device_id, record_id

MAX_NAME = 128
_DIGEST = re.compile(r"[0-9a-f]{64}")


def set_key(
    streams: WorkerStreams, product_id: int, text: object, algorithm: object, public_key: object
) -> dict[str, Any]:
    """Put a member's public key on record. ``algorithm`` may be None: the key says what it is."""
    if not isinstance(public_key, str):
        raise Refused("invalid_key", "the public key is text: PEM, or DER in base64")
    kind, der = parse_public_key(public_key)
    if algorithm not in (None, "", kind):
        raise Refused("invalid_key", f"this is a key of the kind {kind}, not {str(algorithm)[:16]}")
    handled = change(streams, product_id, text, SetKey(kind, base64.b64encode(der).decode()))
    return {"algorithm": kind, "position": handled.position}


def trust(streams: WorkerStreams, event: KeyPresented) -> None:
    """The first key that a member brings, if there is none on record."""
    if event.product_id is not None:
        change(streams, event.product_id, event.device_id, SetKey(event.algorithm, event.public_key, first_use=True))


def set_certificate(streams: WorkerStreams, product_id: int, text: object, fingerprint: object) -> dict[str, Any]:
    """Recognize a member by the SHA-256 of its client certificate (MQC-6)."""
    handled = change(streams, product_id, text, SetCertificate(_digest("fingerprint", fingerprint)))
    return {"position": handled.position}


def provision(
    streams: WorkerStreams,
    product_id: int,
    device_name: object,
    token_digest: object,
    fingerprint: object,
    create: bool,
) -> dict[str, Any]:
    """Let a device in that showed its product's provisioning secret (MQTT section 8). A name that is a device ID is
    the device's; with ``create`` another name is its name, and its ID is made up."""
    if (token_digest is None) is (fingerprint is None):
        raise Refused("invalid_request", "a device is provisioned with a token or with a certificate")
    token = None if token_digest is None else _digest("token_digest", token_digest)
    certificate = None if fingerprint is None else _digest("fingerprint", fingerprint)
    name = device_name.strip() if isinstance(device_name, str) else ""
    if len(name) > MAX_NAME:
        raise Refused("invalid_request", f"a device's name has at most {MAX_NAME} characters")
    named = device_id(name)
    if named is None and not create:
        raise NotFound("the name is the ID of no device that was imported into the product")
    found = named or record_id(streams.context.command_id, "device")
    shown = "" if named is not None else name
    command = ProvisionDevice(found, product_id, token, certificate, create, shown)
    handled = streams.handle(DEVICE, stream_of(found), command)
    return {"device_id": found, "position": handled.position}


def _digest(field: str, value: object) -> str:
    if not isinstance(value, str) or not _DIGEST.fullmatch(value):
        raise Refused("invalid_request", f"{field}: a SHA-256 in 64 lower-case hex digits")
    return value
