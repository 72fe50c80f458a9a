"""A row of the fleet as the device object of the HTTP contract (7.1). Pure."""

from __future__ import annotations

from typing import Any

from services.devices.fleet import NEVER, NOTHING, membership
from shared.projections.view import Row
from shared.targets import target
from shared.times import iso

CELLULAR_PLATFORM = 10


def device_object(row: Row, product: Row | None) -> dict[str, Any]:
    """The device as its product's team sees it. ``product`` is its row of view ``products``.

    ``firmware_update`` is an addition to the contract: the last attempt at an update and its fate (FW-7), or null.
    """
    platform_id = product["platform_id"] if product else None
    released_version = product["released_version"] if product else None
    wanted = target(membership(row), row["reported_product"], released_version)
    heard_at = row["last_heard_at"]
    return {
        "id": row["device_id"],
        "name": row["name"] or None,
        "notes": row["notes"] or None,
        "product_id": row["product_id"],
        "platform_id": platform_id,
        "online": row["online"],
        "connected": row["online"],
        "last_heard": iso(heard_at) if heard_at else None,
        "last_handshake_at": None if row["connected_at"] == NEVER else iso(row["connected_at"]),
        "last_ip_address": row["last_address"],
        "firmware_product_id": row["reported_product"],
        "firmware_version": None if row["shown_version"] == NOTHING else row["shown_version"],
        "desired_firmware_version": row["locked_version"],
        "targeted_firmware_release_version": wanted.version if wanted else None,
        "development": row["development"],
        "quarantined": row["quarantined"],
        "denied": row["denied"],
        "groups": row["groups"],
        "owner": None,
        "functions": None,
        "variables": None,
        "status": "normal",
        "cellular": platform_id == CELLULAR_PLATFORM,
        "last_app": None,
        "firmware_updates_enabled": True,
        "firmware_updates_forced": False,
        "firmware_update": _update(row),
    }


def _update(row: Row) -> dict[str, Any] | None:
    if row["update_version"] is None:
        return None
    return {name: row[f"update_{name}"] for name in ("version", "attempt", "state", "percent", "failures", "reason")}
