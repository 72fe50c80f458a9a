"""Keys of a product that firmware is signed with, and whether it must be."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from services.firmware.signatures import key_id, read_public_key
from services.firmware.signing import AddSigningKey, RemoveSigningKey, RequireSignatures
from services.firmware.uploads import stated_title
from services.firmware.versions import VERSIONS, stream_of
from shared.bus.providers import WorkerStreams
from shared.events.firmware import SigningKeyAdded
from shared.times import iso


def signing_key_object(key: str, name: str, public_key: str, added_at: datetime) -> dict[str, Any]:
    """As the HTTP API has it."""
    return {"id": key, "name": name, "public_key": public_key, "added_on": iso(added_at)}


def add(streams: WorkerStreams, product_id: int, name: str, public_key: str, now: datetime) -> dict[str, Any]:
    """The key. Raises ``Refused`` ``invalid_key``, ``key_known``, ``too_many_keys``, ``invalid_request``."""
    title, raw = stated_title(name), read_public_key(public_key)
    event = SigningKeyAdded(product_id, key_id(raw), title, raw)
    handled = streams.handle(VERSIONS, stream_of(product_id), AddSigningKey(event))
    return {"key": signing_key_object(event.key_id, title, raw, now), "position": handled.position}


def remove(streams: WorkerStreams, product_id: int, key: str) -> dict[str, Any]:
    """Raises ``NotFound``, ``Refused`` ``signature_required``."""
    handled = streams.handle(VERSIONS, stream_of(product_id), RemoveSigningKey(product_id, key))
    return {"position": handled.position}


def require(streams: WorkerStreams, product_id: int, required: bool) -> dict[str, Any]:
    """``{signature_required}``. Raises ``Refused`` ``no_signing_keys``."""
    handled = streams.handle(VERSIONS, stream_of(product_id), RequireSignatures(product_id, bool(required)))
    return {"signature_required": handled.state.signing.required, "position": handled.position}
