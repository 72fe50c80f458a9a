"""What is asked of OAuth clients. Reads views only."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from services.orgs.oauth.client_view import CLIENTS
from services.orgs.oauth.clients import Owner
from services.orgs.views import ORGANIZATIONS, PRODUCTS
from shared.bus.providers import WorkerViews

MAX_CLIENTS = 1_000
SHOWN = {"client_id": "id", "name": "name", "type": "type", "redirect_uri": "redirect_uri", "scope": "scope"}


def clients(views: WorkerViews, owner: Owner) -> list[dict[str, Any]]:
    """The clients of exactly this owner, the oldest first."""
    table = views.table(CLIENTS)
    whose = [
        column.is_(None) if value is None else column == value
        for column, value in (
            (table.c.account_id, owner.account_id),
            (table.c.org_id, owner.org_id),
            (table.c.product_id, owner.product_id),
        )
    ]
    query = sa.select(table).where(*whose).order_by(table.c.created_at, table.c.client_id).limit(MAX_CLIENTS)
    with views.read() as connection:
        rows = [dict(row) for row in connection.execute(query).mappings()]
    columns = {**SHOWN, "org_id": "org_id", "product_id": "product_id"}
    return [{name: row[column] for column, name in columns.items() if row[column] not in (None, "")} for row in rows]


def place_name(views: WorkerViews, owner: Owner) -> str:
    """What the consent page calls the company: the product's name, or the organization's."""
    if owner.product_id is not None:
        table, found = views.table(PRODUCTS), views.table(PRODUCTS).c.product_id == owner.product_id
    else:
        table, found = views.table(ORGANIZATIONS), views.table(ORGANIZATIONS).c.org_id == owner.org_id
    with views.read() as connection:
        name: str | None = connection.execute(sa.select(table.c.name).where(found)).scalar()
    return name or ""
