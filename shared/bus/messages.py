"""An event as other services hear it: the JSON that a relay publishes on ``<service>.events`` by event type.

``{"id", "type", "schema", "stream", "version", "position", "at", "data": {…}, "meta": {actor, command, …}}``; ``at``
is ISO 8601, ``position`` an integer to compare only.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from shared.bus import wire
from shared.events.contracts import Registry
from shared.events.metadata import metadata
from shared.store.port import Position, Recorded


def to_message(recorded: Recorded) -> dict[str, Any]:
    """The message for a stored event."""
    meta: dict[str, Any] = msgspec.json.decode(recorded.meta)
    return {
        "id": str(recorded.id),
        "type": recorded.type,
        "schema": metadata(recorded).schema,
        "stream": recorded.stream,
        "version": recorded.version,
        "position": recorded.position,
        "at": recorded.at.isoformat(),
        "data": msgspec.json.decode(recorded.data),
        "meta": meta,
    }


def to_wire(recorded: Recorded) -> tuple[bytes, dict[str, Any]]:
    """Body and headers of the message for a stored event."""
    return wire.encode(to_message(recorded)), wire.to_headers({"correlation_id": metadata(recorded).correlation})


def to_recorded(message: Mapping[str, Any]) -> Recorded:
    """The stored event that a message came from."""
    return Recorded(
        id=UUID(message["id"]),
        type=message["type"],
        stream=message["stream"],
        version=message["version"],
        position=Position(message["position"]),
        at=datetime.fromisoformat(message["at"]),
        data=msgspec.json.encode(message["data"]),
        meta=msgspec.json.encode(message["meta"]),
    )


def to_event(message: Mapping[str, Any], contracts: Registry) -> Any:
    """The event as its present class; raises as ``Registry.decode``."""
    return contracts.decode(to_recorded(message))
