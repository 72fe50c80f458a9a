"""What is asked of activation codes. Reads views only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from services.orgs.customers.beta_view import ACTIVATION_CODES
from shared.bus.providers import WorkerViews
from shared.projections.view import Row


def page(views: WorkerViews, product_id: int, number: int, per_page: int) -> dict[str, Any]:
    """Codes in the order in which they were made."""
    table = views.table(ACTIVATION_CODES)
    theirs = table.c.product_id == product_id
    ordered = sa.select(table).where(theirs).order_by(table.c.created_at, table.c.invitee_id)
    with views.read() as connection:
        rows = [
            dict(row) for row in connection.execute(ordered.offset((number - 1) * per_page).limit(per_page)).mappings()
        ]
        total = connection.execute(sa.select(sa.func.count()).select_from(table).where(theirs)).scalar_one()
    meta = {"page": number, "per_page": per_page, "total": total, "total_pages": max(1, -(-total // per_page))}
    return {"activation_codes": [code_object(row) for row in rows], "meta": meta}


def of_invitees(views: WorkerViews, product_id: int, invitee_ids: Sequence[str]) -> list[dict[str, Any]]:
    """The codes of these invitees, in their order."""
    table = views.table(ACTIVATION_CODES)
    found: dict[str, Row] = {}
    with views.read() as connection:
        for first in range(0, len(invitee_ids), 500):
            few = table.c.invitee_id.in_(invitee_ids[first : first + 500])
            query = sa.select(table).where(table.c.product_id == product_id, few)
            found.update({row["invitee_id"]: dict(row) for row in connection.execute(query).mappings()})
    return [code_object(found[invitee_id]) for invitee_id in invitee_ids if invitee_id in found]


def by_address(views: WorkerViews, product_id: int, emails: Sequence[str]) -> dict[str, str]:
    """The codes of these addresses, without regard to case."""
    table, plain = views.table(ACTIVATION_CODES), {email.lower(): email for email in emails}
    is_asked = sa.func.lower(table.c.email).in_(plain)
    query = sa.select(table.c.email, table.c.code).where(table.c.product_id == product_id, is_asked)
    with views.read() as connection:
        rows = connection.execute(query).mappings().all()
    return {plain[row["email"].lower()]: row["code"] for row in rows}


def code_object(row: Row) -> dict[str, Any]:
    """A code as the team sees it (contract 11.3)."""
    return {"email": row["email"], "code": row["code"], "used": row["used"]}
