"""The views of accounts, organizations, teams, tokens, products, and how devices get in.

What is personal stands in ``accounts`` alone, one row a person, which ``AccountForgotten`` overwrites (EVT-5).
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from services.orgs.audit.audit_view import AUDIT
from services.orgs.customers.beta_view import ACTIVATION_CODES
from services.orgs.customers.customer_views import CUSTOMERS
from services.orgs.oauth.client_view import CLIENTS
from services.orgs.products.device_access import at_first
from services.orgs.products.product_groups import PRODUCT_GROUPS
from services.orgs.products.products import answered
from shared.events.fields import FORGOTTEN
from shared.events.orgs import (
    AccountCreated,
    AccountForgotten,
    ConfigurationAnswered,
    DeviceAccessConfigured,
    DeviceAuthorityAdded,
    DeviceAuthorityRemoved,
    EmailChanged,
    EmailVerified,
    InvitationAccepted,
    InvitationDeclined,
    InvitationWithdrawn,
    ManufacturingStarted,
    MemberInvited,
    MemberJoined,
    MemberRemoved,
    MemberRoleChanged,
    OrganizationCreated,
    OrganizationRenamed,
    ProductChanged,
    ProductCreated,
    ProductRemoved,
    ProfileChanged,
    ProvisioningKeyIssued,
    TokenIssued,
    TokenRevoked,
    TokensEnded,
)
from shared.projections.view import Row, View
from shared.store.port import Recorded

_STATUS = {InvitationAccepted: "accepted", InvitationDeclined: "declined", InvitationWithdrawn: "withdrawn"}
_PERSONAL = ("email", "first_name", "last_name", "company_name")


def fold_account(row: Row | None, event: Any, recorded: Recorded) -> Row | None:
    """An account; its password stays in the stream."""
    match event:
        case AccountCreated():
            return {
                "account_id": event.account_id,
                "email": event.email,
                "first_name": event.first_name,
                "last_name": event.last_name,
                "company_name": event.company_name,
                "created_at": recorded.at,
                "verified": False,
                "generation": 0,
                "forgotten": False,
            }
        case _ if row is None or row["forgotten"]:
            return row
        case ProfileChanged(_, first_name, last_name, company_name):
            return {**row, "first_name": first_name, "last_name": last_name, "company_name": company_name}
        case EmailChanged(_, email):
            return {**row, "email": email, "verified": False}
        case EmailVerified():
            return {**row, "verified": True}
        case TokensEnded(_, generation):
            return {**row, "generation": generation}
        case _:
            return {**row, **dict.fromkeys(_PERSONAL, FORGOTTEN), "forgotten": True}


def fold_organization(
    row: Row | None, event: OrganizationCreated | OrganizationRenamed, recorded: Recorded
) -> Row | None:
    """An organization."""
    if isinstance(event, OrganizationRenamed):
        return None if row is None else {**row, "name": event.name}
    return {
        "org_id": event.org_id,
        "name": event.name,
        "slug": event.slug,
        "plan": event.plan,
        "owner_id": event.owner_id,
        "created_at": recorded.at,
    }


def fold_member(
    row: Row | None, event: MemberJoined | MemberRoleChanged | MemberRemoved, recorded: Recorded
) -> Row | None:
    """A member, as long as it is one."""
    if isinstance(event, MemberRemoved):
        return None
    if row is None and isinstance(event, MemberRoleChanged):
        return None
    joined_at = recorded.at if row is None else row["joined_at"]
    return {"org_id": event.org_id, "account_id": event.account_id, "role": event.role, "joined_at": joined_at}


def fold_invitation(row: Row | None, event: Any, recorded: Recorded) -> Row | None:
    """An invitation, and what became of it; one that has lapsed is pending still (ORG-4)."""
    if not isinstance(event, MemberInvited):
        return None if row is None else {**row, "status": _STATUS[type(event)]}
    return {
        "invitation_id": event.invitation_id,
        "org_id": event.org_id,
        "account_id": event.account_id,
        "role": event.role,
        "invited_by": event.invited_by,
        "created_at": recorded.at,
        "expires_at": event.expires_at,
        "status": "pending",
    }


def fold_token(row: Row | None, event: TokenIssued | TokenRevoked, recorded: Recorded) -> Row | None:
    """A token; a revoked one stays, so that a refresh that is repeated still finds it."""
    if isinstance(event, TokenRevoked):
        return None if row is None else {**row, "revoked": True}
    return {
        "token_id": event.token_id,
        "account_id": event.account_id,
        "client": event.client,
        "hint": event.hint,
        "refresh_digest": event.refresh_digest,
        "created_at": recorded.at,
        "expires_at": event.expires_at,
        "generation": event.generation,
        "revoked": False,
    }


def fold_product(row: Row | None, event: Any, recorded: Recorded) -> Row | None:
    """A product, until it is removed; ``answers`` are those of its team to the questionnaire."""
    if isinstance(event, ProductRemoved):
        return None
    if isinstance(event, ProductCreated):
        return _new_product(event, recorded)
    if row is None:
        return None
    match event:
        case ProductChanged():
            said = ("name", "description", "type", "hardware_version")
            return {**row, **{name: getattr(event, name) for name in said}}
        case ConfigurationAnswered():
            return {**row, "answers": answered(row["answers"], event)}
        case _:
            return {**row, "manufacturing_at": row["manufacturing_at"] or recorded.at}


def _new_product(event: ProductCreated, recorded: Recorded) -> Row:
    return {
        "product_id": event.product_id,
        "org_id": event.org_id,
        "org_slug": event.org_slug,
        "name": event.name,
        "slug": event.slug,
        "description": event.description,
        "device_type": event.device_type,
        "platform_id": event.platform_id,
        "type": event.type,
        "hardware_version": event.hardware_version,
        "created_at": recorded.at,
        "answers": {},
        "manufacturing_at": None,
    }


def fold_device_access(row: Row | None, event: Any, recorded: Recorded) -> Row | None:
    """How devices of a product get in."""
    match event:
        case ProductRemoved():
            return None
        case ProductCreated():
            return access_row(at_first(event.product_id), None)
        case DeviceAccessConfigured():
            return access_row(event, row["provisioning_key"] if row else None)
        case _:
            return None if row is None else {**row, "provisioning_key": event.key}


def access_row(access: DeviceAccessConfigured, provisioning_key: str | None) -> Row:
    """The row of a product's device access; the digest of the provisioning secret stays in the stream."""
    return {
        "product_id": access.product_id,
        "trust_first_key": access.trust_first_key,
        "tls_only": access.tls_only,
        "provisioning": access.provisioning,
        "claim_without_secret": access.claim_without_secret,
        "firmware_name": access.firmware_name,
        "version_width": access.version_width,
        "provisioning_key": provisioning_key,
    }


def fold_authority(
    row: Row | None, event: DeviceAuthorityAdded | DeviceAuthorityRemoved, recorded: Recorded
) -> Row | None:
    """An authority that signs certificates of devices, until it is removed."""
    return authority_row(event, recorded) if isinstance(event, DeviceAuthorityAdded) else None


def authority_row(event: DeviceAuthorityAdded, recorded: Recorded) -> Row:
    """The row of an authority that was added."""
    return {
        "authority_id": event.authority_id,
        "org_id": event.org_id,
        "certificate": event.certificate,
        "fingerprint": event.fingerprint,
        "names_devices": event.names_devices,
        "created_at": recorded.at,
    }


ACCOUNTS = View(
    name="accounts",
    version=3,
    key=("account_id",),
    columns={
        "account_id": str,
        "email": str,
        "first_name": str,
        "last_name": str,
        "company_name": str,
        "created_at": datetime,
        "verified": bool,
        "generation": int,
        "forgotten": bool,
    },
    events=(AccountCreated, ProfileChanged, EmailChanged, EmailVerified, TokensEnded, AccountForgotten),
    keys=lambda event: [(event.account_id,)],
    fold=fold_account,
)

ORGANIZATIONS = View(
    name="organizations",
    version=3,
    key=("org_id",),
    columns={"org_id": str, "name": str, "slug": str, "plan": str, "owner_id": str, "created_at": datetime},
    events=(OrganizationCreated, OrganizationRenamed),
    keys=lambda event: [(event.org_id,)],
    fold=fold_organization,
)

MEMBERS = View(
    name="members",
    version=2,
    key=("org_id", "account_id"),
    columns={"org_id": str, "account_id": str, "role": str, "joined_at": datetime},
    events=(MemberJoined, MemberRoleChanged, MemberRemoved),
    keys=lambda event: [(event.org_id, event.account_id)],
    fold=fold_member,
    indexes=(("account_id",),),
)

INVITATIONS = View(
    name="invitations",
    version=1,
    key=("invitation_id",),
    columns={
        "invitation_id": str,
        "org_id": str,
        "account_id": str,
        "role": str,
        "invited_by": str,
        "created_at": datetime,
        "expires_at": datetime,
        "status": str,
    },
    events=(MemberInvited, InvitationAccepted, InvitationDeclined, InvitationWithdrawn),
    keys=lambda event: [(event.invitation_id,)],
    fold=fold_invitation,
    indexes=(("org_id",), ("account_id",)),
)

TOKENS = View(
    name="tokens",
    version=2,
    key=("token_id",),
    columns={
        "token_id": str,
        "account_id": str,
        "client": str,
        "hint": str,
        "refresh_digest": str,
        "created_at": datetime,
        "expires_at": datetime,
        "generation": int,
        "revoked": bool,
    },
    events=(TokenIssued, TokenRevoked),
    keys=lambda event: [(event.token_id,)],
    fold=fold_token,
    indexes=(("account_id", "created_at"), ("refresh_digest",)),
)

PRODUCTS = View(
    name="products",
    version=2,
    key=("product_id",),
    columns={
        "product_id": int,
        "org_id": str,
        "org_slug": str,
        "name": str,
        "slug": str,
        "description": str,
        "device_type": str,
        "platform_id": int,
        "type": str,
        "hardware_version": str,
        "created_at": datetime,
        "answers": dict,
        "manufacturing_at": datetime,
    },
    events=(ProductCreated, ProductChanged, ProductRemoved, ConfigurationAnswered, ManufacturingStarted),
    keys=lambda event: [(event.product_id,)],
    fold=fold_product,
    indexes=(("org_id",),),
)

DEVICE_ACCESS = View(
    name="device_access",
    version=2,
    key=("product_id",),
    columns={
        "product_id": int,
        "trust_first_key": bool,
        "tls_only": bool,
        "provisioning": str,
        "claim_without_secret": bool,
        "firmware_name": str,
        "version_width": int,
        "provisioning_key": str,
    },
    events=(ProductCreated, DeviceAccessConfigured, ProvisioningKeyIssued, ProductRemoved),
    keys=lambda event: [(event.product_id,)],
    fold=fold_device_access,
)

DEVICE_AUTHORITIES = View(
    name="device_authorities",
    version=1,
    key=("authority_id",),
    columns={
        "authority_id": str,
        "org_id": str,
        "certificate": str,
        "fingerprint": str,
        "names_devices": bool,
        "created_at": datetime,
    },
    events=(DeviceAuthorityAdded, DeviceAuthorityRemoved),
    keys=lambda event: [(event.authority_id,)],
    fold=fold_authority,
    indexes=(("org_id",),),
)

VIEWS = (
    ACCOUNTS,
    CUSTOMERS,
    ORGANIZATIONS,
    MEMBERS,
    INVITATIONS,
    TOKENS,
    CLIENTS,
    ACTIVATION_CODES,
    PRODUCTS,
    PRODUCT_GROUPS,
    DEVICE_ACCESS,
    DEVICE_AUTHORITIES,
    AUDIT,
)
"""All views of the service."""
