"""The views of accounts, organizations, teams, tokens and products.

What is personal stands in ``accounts`` alone, one row a person, which ``AccountForgotten`` overwrites (EVT-5).
"""

from __future__ import annotations

from datetime import datetime

from shared.events.fields import FORGOTTEN
from shared.events.orgs import (
    AccountCreated,
    AccountForgotten,
    MemberJoined,
    OrganizationCreated,
    ProductCreated,
    TokenIssued,
    TokenRevoked,
)
from shared.projections.view import Row, View
from shared.store.port import Recorded

_PERSONAL = ("email", "first_name", "last_name", "company_name")


def fold_account(row: Row | None, event: AccountCreated | AccountForgotten, recorded: Recorded) -> Row | None:
    """An account; its password stays in the stream."""
    if isinstance(event, AccountForgotten):
        return None if row is None else {**row, **dict.fromkeys(_PERSONAL, FORGOTTEN)}
    return {
        "account_id": event.account_id,
        "email": event.email,
        "first_name": event.first_name,
        "last_name": event.last_name,
        "company_name": event.company_name,
        "created_at": recorded.at,
    }


def fold_organization(row: Row | None, event: OrganizationCreated, recorded: Recorded) -> Row:
    """A new organization."""
    return {
        "org_id": event.org_id,
        "name": event.name,
        "slug": event.slug,
        "plan": event.plan,
        "owner_id": event.owner_id,
        "created_at": recorded.at,
    }


def fold_member(row: Row | None, event: MemberJoined, recorded: Recorded) -> Row:
    """A new member."""
    return {"org_id": event.org_id, "account_id": event.account_id, "role": event.role}


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
        "revoked": False,
    }


def fold_product(row: Row | None, event: ProductCreated, recorded: Recorded) -> Row:
    """A new product."""
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
    }


ACCOUNTS = View(
    name="accounts",
    version=2,
    key=("account_id",),
    columns={
        "account_id": str,
        "email": str,
        "first_name": str,
        "last_name": str,
        "company_name": str,
        "created_at": datetime,
    },
    events=(AccountCreated, AccountForgotten),
    keys=lambda event: [(event.account_id,)],
    fold=fold_account,
)

ORGANIZATIONS = View(
    name="organizations",
    version=2,
    key=("org_id",),
    columns={"org_id": str, "name": str, "slug": str, "plan": str, "owner_id": str, "created_at": datetime},
    events=(OrganizationCreated,),
    keys=lambda event: [(event.org_id,)],
    fold=fold_organization,
)

MEMBERS = View(
    name="members",
    version=1,
    key=("org_id", "account_id"),
    columns={"org_id": str, "account_id": str, "role": str},
    events=(MemberJoined,),
    keys=lambda event: [(event.org_id, event.account_id)],
    fold=fold_member,
    indexes=(("account_id",),),
)

TOKENS = View(
    name="tokens",
    version=1,
    key=("token_id",),
    columns={
        "token_id": str,
        "account_id": str,
        "client": str,
        "hint": str,
        "refresh_digest": str,
        "created_at": datetime,
        "expires_at": datetime,
        "revoked": bool,
    },
    events=(TokenIssued, TokenRevoked),
    keys=lambda event: [(event.token_id,)],
    fold=fold_token,
    indexes=(("account_id", "created_at"), ("refresh_digest",)),
)

PRODUCTS = View(
    name="products",
    version=1,
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
    },
    events=(ProductCreated,),
    keys=lambda event: [(event.product_id,)],
    fold=fold_product,
    indexes=(("org_id",),),
)

VIEWS = (ACCOUNTS, ORGANIZATIONS, MEMBERS, TOKENS, PRODUCTS)
"""All views of the service."""
