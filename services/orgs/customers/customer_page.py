"""A product's page of customers as objects of the HTTP contract (11.1), and owners of devices. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from shared.projections.view import Row
from shared.times import iso

SHOWN = ("id", "product_id", "last_ip_address", "firmware_version", "online")
"""What the page shows of a device."""


def page_object(
    rows: Sequence[Row], devices: Sequence[Row], codes: Mapping[str, str], page: int, per_page: int, total: int
) -> dict[str, Any]:
    """Customers with the IDs of their devices, those without one too (CUS-6), and these devices. ``devices`` have
    ``owner_id``; ``codes`` are activation codes by customer id."""
    theirs: dict[str, list[Row]] = {row["owner_id"]: [] for row in rows}
    for device in devices:
        theirs[device["owner_id"]].append(device)
    return {
        "customers": [_customer(row, theirs[row["owner_id"]], codes.get(row["customer_id"])) for row in rows],
        "devices": [{name: device[name] for name in SHOWN} for device in devices],
        "meta": {"page": page, "per_page": per_page, "total": total, "total_pages": max(1, -(-total // per_page))},
    }


def _customer(row: Row, devices: Sequence[Row], code: str | None) -> dict[str, Any]:
    used = [iso(row["last_used_at"])] if row["last_used_at"] else []
    used += [device["last_heard"] for device in devices if device["last_heard"]]
    shown = {
        "id": row["customer_id"],
        "username": row["email"],
        "devices": [device["id"] for device in devices],
        "last_used_at": max(used, default=None),
    }
    return shown if code is None else {**shown, "activation_code": code}
