"""A row of view ``versions`` as the firmware object of the HTTP contract (9.1). Pure."""

from __future__ import annotations

from typing import Any

from shared.ids import derived_uuid
from shared.projections.view import Row
from shared.times import iso


def firmware_object(row: Row, device_count: int) -> dict[str, Any]:
    """One version. It is ``releasable`` when a device ever proved it, or runs it now (FW-5)."""
    return {
        "_id": derived_uuid("firmware", str(row["product_id"]), str(row["version"])).hex[:24],
        "version": row["version"],
        "title": row["title"],
        "description": row["description"],
        "name": row["file_name"],
        "size": row["size_bytes"],
        "sha256": row["sha256"],
        "module": row["module"],
        "signature": row["signature"],
        "signature_key": row["signature_key"],
        "uploaded_on": iso(row["uploaded_at"]),
        "updated_at": iso(row["updated_at"]),
        "uploaded_by": {"username": row["uploaded_by"]},
        "product_id": row["product_id"],
        "product_default": row["released"],
        "current": row["released"],
        "groups": row["groups"],
        "mandatory": False,
        "device_count": device_count,
        "releasable": row["proven"] or device_count > 0,
    }
