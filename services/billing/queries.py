"""What is asked of invoices, drafts and memberships. Reads views only."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from services.billing.invoice_view import INVOICES, invoice_object
from services.billing.views import DRAFTS_VIEW, MEMBERSHIPS
from shared.bus.providers import WorkerViews
from shared.errors import NotFound, Refused

MAX_PER_PAGE = 1_000
MAX_PAGE = 1_000_000
MAX_MEMBERS = 10_000


def invoices(views: WorkerViews, org_id: str, page: int, per_page: int) -> dict[str, Any]:
    """A page of an organization's invoices, the latest first."""
    if not _is_whole(page, MAX_PAGE) or not _is_whole(per_page, MAX_PER_PAGE):
        raise Refused("invalid_request", f"page must be 1 to {MAX_PAGE}, and per_page 1 to {MAX_PER_PAGE}.")
    table = views.table(INVOICES)
    theirs = table.c.org_id == org_id
    latest = sa.select(table).where(theirs).order_by(table.c.number.desc())
    with views.read() as connection:
        total = connection.execute(sa.select(sa.func.count()).select_from(table).where(theirs)).scalar_one()
        rows = connection.execute(latest.limit(per_page).offset((page - 1) * per_page)).mappings().all()
    meta = {"page": page, "per_page": per_page, "total": total, "total_pages": max(1, -(-total // per_page))}
    return {"invoices": [invoice_object(dict(row)) for row in rows], "meta": meta}


def invoice(views: WorkerViews, org_id: str, number: int) -> dict[str, Any]:
    """An invoice with its attempts. Raises ``NotFound``."""
    table = views.table(INVOICES)
    found = None
    if _is_whole(number, 2**31):
        query = sa.select(table).where(table.c.org_id == org_id, table.c.number == number)
        with views.read() as connection:
            found = connection.execute(query).mappings().one_or_none()
    if found is None:
        raise NotFound("Invoice not found.")
    return invoice_object(dict(found), attempts=True)


def organization_of(views: WorkerViews, account_id: str) -> str | None:
    """The organization that an account is a member of."""
    table = views.table(MEMBERSHIPS)
    with views.read() as connection:
        found: str | None = connection.execute(
            sa.select(table.c.org_id).where(table.c.account_id == account_id)
        ).scalar()
    return found


def open_draft(views: WorkerViews, account_id: str, good_until: datetime) -> str | None:
    """A draft of an account that is good until then at least."""
    table = views.table(DRAFTS_VIEW)
    theirs = (table.c.account_id == account_id, table.c.expires_at >= good_until)
    query = sa.select(table.c.draft_id).where(*theirs).order_by(table.c.expires_at.desc()).limit(1)
    with views.read() as connection:
        found: str | None = connection.execute(query).scalar()
    return found


def members(views: WorkerViews, org_id: str) -> dict[str, datetime]:
    """The accounts of a team, each with since when its mail goes to where it goes now; ``MAX_MEMBERS`` at most."""
    table = views.table(MEMBERSHIPS)
    query = sa.select(table.c.account_id, table.c.address_since).where(table.c.org_id == org_id).limit(MAX_MEMBERS)
    with views.read() as connection:
        return {row.account_id: row.address_since for row in connection.execute(query)}


def _is_whole(number: object, most: int) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and 1 <= number <= most
