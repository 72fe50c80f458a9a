"""Rows of the views as objects of the HTTP contract (sections 2, 3, 5 and 6). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.ids import derived_uuid
from shared.projections.view import Row
from shared.times import iso

ROLES = {"administrator": "Administrator"}


def token_object(row: Row) -> dict[str, Any]:
    """A token in a list: masked down to its last four characters (ACC-2)."""
    expires_at = row["expires_at"]
    return {
        "id": row["token_id"],
        "token": f"{'*' * 36}{row['hint']}",
        "client": row["client"],
        "created_at": iso(row["created_at"]),
        "expires_at": iso(expires_at) if expires_at else None,
    }


def user_object(account: Row, membership: Row | None) -> dict[str, Any]:
    """What ``get_user`` answers; ``membership`` has the organization's columns and ``role`` (ACC-4: one at most)."""
    info = {field: account[field] for field in ("first_name", "last_name", "company_name") if account[field]}
    memberships = []
    if membership is not None:
        org = {"id": membership["org_id"], "slug": membership["slug"], "name": membership["name"]}
        role = {"id": membership["role"], "name": ROLES[membership["role"]]}
        memberships.append({"org": org, "role": role})
    return {"username": account["email"], "account_info": info, "memberships": memberships}


def organization_object(row: Row, subscription: Mapping[str, Any]) -> dict[str, Any]:
    """An organization with the state of its subscription."""
    return {
        "id": row["org_id"],
        "name": row["name"],
        "slug": row["slug"],
        "created_at": iso(row["created_at"]),
        "owner": {"username": row["owner_email"]},
        "subscription": {key: subscription[key] for key in ("state", "reason", "plan")},
    }


def product_object(row: Row) -> dict[str, Any]:
    """A product, as far as this service knows it: groups and firmware are known elsewhere."""
    return {
        "id": row["product_id"],
        "platform_id": row["platform_id"],
        "device_type": row["device_type"],
        "name": row["name"],
        "slug": row["slug"],
        "description": row["description"],
        "type": row["type"],
        "hardware_version": row["hardware_version"] or None,
        "organization": row["org_id"],
        "org": row["org_slug"],
        "config_id": derived_uuid("config", str(row["product_id"])).hex[:24],
        "requires_activation_codes": False,
        "latest_firmware_version": None,
        "groups": [],
        "settings": {"quarantine": True, "known_application": {"opt_in": False}, "location": {}},
        "device_protection": None,
        "subscription_id": None,
        "mb_limit": None,
        "created_at": iso(row["created_at"]),
    }
