"""An event as a gateway tells it to this service, and the values that templates may name. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

OVER_HTTP = "api"
"""``coreid`` of what no device published."""


class Heard(msgspec.Struct, frozen=True):
    """``id`` is the event's own, ``position`` where it stands in the log of the gateway that told it; times are texts
    of the HTTP contract, ``recorded_at`` when it came into the log."""

    id: str
    position: int
    name: str
    data: str | None
    published_at: str
    recorded_at: str
    coreid: str
    product_id: int | None
    version: int | None
    public: bool


def made_up(prefix: str, product_id: int | None, now: str) -> Heard:
    """An event that nobody published, for trying a webhook out."""
    return Heard("test", 0, prefix, "test-event", now, now, OVER_HTTP, product_id, None, False)


def defaults(heard: Heard) -> dict[str, str]:
    """What is sent unless it is said otherwise (contract 14)."""
    return {
        "event": heard.name,
        "data": heard.data or "",
        "published_at": heard.published_at,
        "coreid": heard.coreid,
    }


def values(heard: Heard) -> Mapping[str, Any]:
    """What templates may name: the members of ``data``, where that is a JSON object, and the event itself, also under
    the older of its names."""
    known: dict[str, Any] = {}
    if heard.data is not None and heard.data.lstrip().startswith("{"):
        try:
            known.update(msgspec.json.decode(heard.data, type=dict[str, Any]))
        except msgspec.MsgspecError:
            known = {}
    itself = {
        "EVENT_NAME": heard.name,
        "EVENT_VALUE": heard.data or "",
        "DEVICE_ID": heard.coreid,
        "PUBLISHED_AT": heard.published_at,
    }
    known.update({f"PARTICLE_{name}": value for name, value in itself.items()})
    older = {**itself, "CORE_ID": heard.coreid}
    known.update({f"SPARK_{name}": value for name, value in older.items()})
    known["PRODUCT_VERSION"] = "" if heard.version is None else heard.version
    return known
