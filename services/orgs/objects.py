"""Rows of the views as objects of the HTTP contract (sections 2, 3, 5 and 6). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from services.orgs.products.questionnaire import PRIVATE_BETA
from shared.ids import derived_uuid
from shared.projections.view import Row
from shared.times import iso

ACCESS = (
    "trust_first_key",
    "tls_only",
    "provisioning",
    "provisioning_key",
    "claim_without_secret",
    "firmware_name",
    "version_width",
)
ROLES = {
    "administrator": "Administrator",
    "owner": "Owner",
    "developer": "Developer",
    "support": "Support",
    "readonly": "Read only",
}


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
        memberships.append({"org": org, "role": role_object(membership["role"])})
    return {
        "username": account["email"],
        "email_verified": account["verified"],
        "account_info": info,
        "memberships": memberships,
    }


def role_object(role: str) -> dict[str, Any]:
    """A role with its name."""
    return {"id": role, "name": ROLES[role]}


def member_object(row: Row) -> dict[str, Any]:
    """A member of a team."""
    return {
        "_id": row["account_id"],
        "username": row["email"],
        "role": role_object(row["role"]),
        "is_programmatic": False,
        "joined_at": iso(row["joined_at"]),
    }


def invitation_object(row: Row) -> dict[str, Any]:
    """An invitation that is open, as its team sees it."""
    return {
        "id": row["invitation_id"],
        "username": row["email"],
        "role": role_object(row["role"]),
        "invited_by": row["invited_by_email"],
        "created_at": iso(row["created_at"]),
        "expires_at": iso(row["expires_at"]),
    }


def own_invitation_object(row: Row, status: str = "pending") -> dict[str, Any]:
    """The same as the account sees it that is invited."""
    return {
        "id": row["invitation_id"],
        "status": status,
        "organization": {"id": row["org_id"], "name": row["name"], "slug": row["slug"]},
        "role": role_object(row["role"]),
        "invited_by": row["invited_by_email"],
        "created_at": iso(row["created_at"]),
        "expires_at": iso(row["expires_at"]),
    }


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
    """A product, as far as this service knows it: what is released is known elsewhere. A ``row`` without ``groups`` is
    of a product that has none."""
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
        "requires_activation_codes": row["answers"].get(PRIVATE_BETA) is True,
        "latest_firmware_version": None,
        "groups": row.get("groups") or [],
        "settings": {"quarantine": True, "known_application": {"opt_in": False}, "location": {}},
        "device_protection": None,
        "subscription_id": None,
        "mb_limit": None,
        "created_at": iso(row["created_at"]),
    }


def access_object(row: Row) -> dict[str, Any]:
    """How devices of a product get in."""
    return {name: row[name] for name in ACCESS}


def authority_object(row: Row, subject: str, expires_at: datetime) -> dict[str, Any]:
    """An authority that signs device certificates; the last two are read from its certificate."""
    return {
        "id": row["authority_id"],
        "certificate": row["certificate"],
        "fingerprint": row["fingerprint"],
        "names_devices": row["names_devices"],
        "subject": subject,
        "expires_at": iso(expires_at),
        "created_at": iso(row["created_at"]),
    }
