"""What is asked of accounts, organizations, tokens and products. Reads views only."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from services.orgs import objects
from services.orgs.tokens import well_formed
from services.orgs.views import ACCOUNTS, MEMBERS, ORGANIZATIONS, PRODUCTS, TOKENS
from shared.bus.providers import WorkerViews
from shared.errors import NotFound, Refused
from shared.ids import digest
from shared.projections.view import Row

MAX_TOKENS = 10_000
"""So many tokens of an account are listed, the newest first."""
MAX_ACCOUNTS = 200
"""Accounts whose addresses are looked up by one call."""


def user(views: WorkerViews, account_id: str) -> dict[str, Any]:
    """An account with its membership. Raises ``NotFound``."""
    accounts, members, orgs = views.table(ACCOUNTS), views.table(MEMBERS), views.table(ORGANIZATIONS)
    membership = (
        sa.select(orgs, members.c.role)
        .join_from(members, orgs, members.c.org_id == orgs.c.org_id)
        .where(members.c.account_id == account_id)
    )
    with views.read() as connection:
        found = _row(connection, sa.select(accounts).where(accounts.c.account_id == account_id))
        joined = _row(connection, membership)
    if found is None:
        raise NotFound("User not found.")
    return objects.user_object(found, joined)


def tokens(views: WorkerViews, account_id: str, now: datetime) -> list[dict[str, Any]]:
    """The tokens of an account that work, the newest first, ``MAX_TOKENS`` at most."""
    table = views.table(TOKENS)
    lives = sa.or_(table.c.expires_at.is_(None), table.c.expires_at > now)
    query = (
        sa.select(table)
        .where(table.c.account_id == account_id, table.c.revoked.is_(False), lives)
        .order_by(table.c.created_at.desc(), table.c.token_id)
        .limit(MAX_TOKENS)
    )
    return [objects.token_object(row) for row in _rows(views, query)]


def token_of_refresh(views: WorkerViews, refresh_token: object) -> str | None:
    """The id of the access token that this refresh token came with, revoked ones included."""
    if not well_formed(refresh_token):
        return None
    table = views.table(TOKENS)
    with views.read() as connection:
        query = sa.select(table.c.token_id).where(table.c.refresh_digest == digest(refresh_token))
        found: str | None = connection.execute(query).scalar()
    return found


def organization_row(views: WorkerViews, org_id: str) -> Row:
    """The row of an organization, with its owner's address. Raises ``NotFound``."""
    orgs, accounts = views.table(ORGANIZATIONS), views.table(ACCOUNTS)
    query = (
        sa.select(orgs, sa.func.coalesce(accounts.c.email, "").label("owner_email"))
        .join_from(orgs, accounts, orgs.c.owner_id == accounts.c.account_id, isouter=True)
        .where(orgs.c.org_id == org_id)
    )
    return _only(views, query, "Organization not found.")


def live_tokens(views: WorkerViews, account_id: str) -> list[str]:
    """The ids of all tokens of an account that were not revoked, expired ones too."""
    table = views.table(TOKENS)
    query = sa.select(table.c.token_id).where(table.c.account_id == account_id, table.c.revoked.is_(False))
    return [row["token_id"] for row in _rows(views, query)]


def products(views: WorkerViews, org_id: str) -> list[dict[str, Any]]:
    """All products of an organization by number, of which there are never more than numbers."""
    table = views.table(PRODUCTS)
    query = sa.select(table).where(table.c.org_id == org_id).order_by(table.c.product_id)
    return [objects.product_object(row) for row in _rows(views, query)]


def product(views: WorkerViews, product_id: int) -> dict[str, Any]:
    """A product. Raises ``NotFound``."""
    table = views.table(PRODUCTS)
    query = sa.select(table).where(table.c.product_id == product_id)
    return objects.product_object(_only(views, query, "Product not found."))


def team_emails(views: WorkerViews, product_id: int, account_ids: Sequence[str]) -> dict[str, str]:
    """The addresses of those accounts that belong to the product's organization, by account. Raises ``Refused`` for
    more than ``MAX_ACCOUNTS``."""
    if len(account_ids) > MAX_ACCOUNTS:
        raise Refused("invalid_request", f"at most {MAX_ACCOUNTS} accounts are looked up at a time")
    accounts, members, table = views.table(ACCOUNTS), views.table(MEMBERS), views.table(PRODUCTS)
    query = (
        sa.select(accounts.c.account_id, accounts.c.email)
        .join_from(table, members, members.c.org_id == table.c.org_id)
        .join(accounts, accounts.c.account_id == members.c.account_id)
        .where(table.c.product_id == product_id, members.c.account_id.in_(account_ids))
    )
    return {row["account_id"]: row["email"] for row in _rows(views, query)}


def highest_number(views: WorkerViews) -> int | None:
    """The highest product number that the view has seen."""
    with views.read() as connection:
        found: int | None = connection.execute(sa.select(sa.func.max(views.table(PRODUCTS).c.product_id))).scalar()
    return found


def _rows(views: WorkerViews, query: sa.Select[Any]) -> list[Row]:
    with views.read() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]


def _only(views: WorkerViews, query: sa.Select[Any], missing: str) -> Row:
    with views.read() as connection:
        found = _row(connection, query)
    if found is None:
        raise NotFound(missing)
    return found


def _row(connection: sa.Connection, query: sa.Select[Any]) -> Row | None:
    found = connection.execute(query).mappings().one_or_none()
    return None if found is None else dict(found)
