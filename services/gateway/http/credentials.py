"""What one device proves itself with: its public key, its client certificate."""

from __future__ import annotations

import hashlib
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding

from services.gateway.http.auth import WAIT_S
from services.gateway.http.calls import Call
from services.gateway.http.named_devices import device_in_path
from shared.certificates import read_certificate
from shared.errors import Refused
from shared.ids import device_id


async def set_key(call: Call) -> Any:
    return {"ok": True, **await _set_key(call, call.product.product_id, device_in_path(call))}


async def register_key(call: Call) -> Any:
    """The same in the words of particle-cli (contract 8)."""
    device = call.device
    named = call.body["device_id"]
    if named is not None and device_id(named) != device.device_id:
        raise Refused("invalid_request", "deviceID: Not the device in the path.")
    await _set_key(call, device.membership.product_id, device.device_id)
    return {"ok": True}


async def _set_key(call: Call, product_id: int | None, of_device: str) -> dict[str, Any]:
    asked = {"algorithm": call.body["algorithm"], "public_key": call.body["public_key"]}
    answer = await call.ask("devices", "set_key", product_id=product_id, device_id=of_device, **asked)
    await _in_directory(call)
    return answer


async def set_certificate(call: Call) -> Any:
    await call.ask(
        "devices",
        "set_certificate",
        product_id=call.product.product_id,
        device_id=device_in_path(call),
        fingerprint=_fingerprint(call.body.get("certificate"), call.body.get("fingerprint")),
    )
    await _in_directory(call)
    return {"ok": True}


def _fingerprint(certificate: str | None, fingerprint: str | None) -> str:
    if (certificate is None) is (fingerprint is None):
        raise Refused("invalid_request", "Needs one of certificate (PEM) and fingerprint (SHA-256 in hex).")
    if certificate is None:
        return str(fingerprint).replace(":", "").strip().lower()
    try:
        read = read_certificate(certificate.encode(errors="replace"))
    except ValueError:
        raise Refused("invalid_request", "certificate: Not one certificate in PEM.") from None
    return hashlib.sha256(read.public_bytes(Encoding.DER)).hexdigest()


async def _in_directory(call: Call) -> None:
    """So that a device that connects here at once is let in."""
    if call.position is not None:
        await call.services.directory.wait_for(call.position, WAIT_S)
