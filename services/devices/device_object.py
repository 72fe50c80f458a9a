"""A row of the fleet as the device object of the HTTP contract (7.1). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.devices.fleet import NEVER, NOTHING, membership
from services.devices.products import released
from shared.projections.view import Row
from shared.targets import target
from shared.times import iso

CELLULAR_PLATFORM = 10
_UPDATE = ("version", "attempt", "cause", "state", "percent", "failures", "reason")


def device_object(
    row: Row, product: Row | None, details: Row | None = None, owner: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The device as its product's team sees it. ``product`` is its row of view ``products``, ``details`` that of the
    view of this name, which lists leave out; ``owner`` the owner's ``username``, and ``customer_id`` if it is one of
    the product's customers; of an owner of whom nothing is said only the id is shown.

    ``firmware_update`` is an addition to the contract: the last attempt at an update and its fate (FW-7), or null; its
    ``id`` is the same in all events of the attempt.
    """
    platform_id = _platform(product, details)
    standing = released(product, row)
    wanted = target(membership(row), row["reported_product"], standing.version)
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
        "last_handshake_at": None if heard_at is None or row["connected_at"] == NEVER else iso(row["connected_at"]),
        "last_ip_address": row["last_address"],
        "firmware_product_id": row["reported_product"],
        "firmware_version": None if row["shown_version"] == NOTHING else row["shown_version"],
        "desired_firmware_version": row["locked_version"],
        "targeted_firmware_release_version": wanted.version if wanted else None,
        "development": row["development"],
        "quarantined": row["quarantined"],
        "denied": row["denied"],
        "groups": row["groups"],
        **_owner(row["owner_id"], owner or {}),
        "functions": details["functions"] if details else None,
        "variables": details["variables"] if details else None,
        "status": "normal",
        "cellular": platform_id == CELLULAR_PLATFORM,
        "last_app": None,
        "firmware_updates_enabled": row["updates_said"] not in ("disabled", "disabled_forced"),
        "firmware_updates_forced": row["updates_said"] in ("forced", "disabled_forced"),
        "firmware_update": _update(row),
    }


def _owner(owner_id: str | None, known: Mapping[str, Any]) -> dict[str, Any]:
    if owner_id is None:
        return {"owner": None}
    customer_id = known.get("customer_id")
    return {
        "owner": known.get("username") or owner_id,
        **({"user_id": owner_id} if customer_id is None else {"customer_id": customer_id}),
    }


def _platform(product: Row | None, details: Row | None) -> int | None:
    """That of the product, until the device says otherwise."""
    said = details["platform_id"] if details else None
    return said if said is not None else product["platform_id"] if product else None


def _update(row: Row) -> dict[str, Any] | None:
    if row["update_version"] is None:
        return None
    attempt_id = f"{row['device_id']}-{row['update_version']}-{row['update_attempt']}"
    return {"id": attempt_id, **{name: row[f"update_{name}"] for name in _UPDATE}}
