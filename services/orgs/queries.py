"""What is asked of accounts, organizations, tokens, products and how devices get in. Reads views only."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from services.orgs import objects
from services.orgs.oauth.tokens import well_formed
from services.orgs.products.certificates import read_certificate
from services.orgs.products.product_groups import PRODUCT_GROUPS
from services.orgs.views import ACCOUNTS, DEVICE_ACCESS, DEVICE_AUTHORITIES, MEMBERS, ORGANIZATIONS, PRODUCTS, TOKENS
from shared.bus.providers import WorkerViews
from shared.errors import NotFound
from shared.ids import digest
from shared.projections.view import Row

MAX_TOKENS = 10_000
"""So many tokens of an account are listed, the newest first."""


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
    accounts = views.table(ACCOUNTS)
    generation = sa.select(accounts.c.generation).where(accounts.c.account_id == account_id).scalar_subquery()
    of_account = (table.c.account_id == account_id, table.c.generation >= sa.func.coalesce(generation, 0))
    query = (
        sa.select(table)
        .where(*of_account, table.c.revoked.is_(False), lives)
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
    query = _with_groups(views).where(table.c.org_id == org_id).order_by(table.c.product_id)
    return [objects.product_object(row) for row in _rows(views, query)]


def product(views: WorkerViews, product_id: int) -> dict[str, Any]:
    """A product. Raises ``NotFound``."""
    return objects.product_object(product_row(views, product_id))


def product_row(views: WorkerViews, product_id: int) -> Row:
    """The row of a product. Raises ``NotFound``."""
    table = views.table(PRODUCTS)
    return _only(views, _with_groups(views).where(table.c.product_id == product_id), "Product not found.")


def _with_groups(views: WorkerViews) -> sa.Select[Any]:
    """Products, with the names of their groups."""
    table, groups = views.table(PRODUCTS), views.table(PRODUCT_GROUPS)
    joined = table.c.product_id == groups.c.product_id
    return sa.select(table, groups.c.groups).join_from(table, groups, joined, isouter=True)


def device_access(views: WorkerViews, product_id: int) -> dict[str, Any]:
    """How devices of a product get in. Raises ``NotFound``."""
    table = views.table(DEVICE_ACCESS)
    query = sa.select(table).where(table.c.product_id == product_id)
    return objects.access_object(_only(views, query, "Product not found."))


def device_authorities(views: WorkerViews, org_id: str) -> list[dict[str, Any]]:
    """All authorities that sign certificates of an organization's devices, the oldest first; there are never many."""
    table = views.table(DEVICE_AUTHORITIES)
    query = sa.select(table).where(table.c.org_id == org_id).order_by(table.c.created_at, table.c.authority_id)
    return [authority_object(row) for row in _rows(views, query)]


def authority_object(row: Row) -> dict[str, Any]:
    """An authority with what its certificate says."""
    certificate = read_certificate(row["certificate"])
    return objects.authority_object(row, certificate.subject, certificate.expires_at)


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
