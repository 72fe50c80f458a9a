"""The views of billing: drafts that are open, and who is in which team; ``invoice_view`` has the invoices. Pure.

A subscription itself is answered from its stream, and what is due when stands in the worker's table (``dues``): money
must not wait for a view.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from services.billing.drafts import lapses_at
from services.billing.invoice_view import INVOICES
from shared.events.drafts import DraftCardSaved, DraftExpired, DraftUsed, OrganizationDrafted
from shared.events.orgs import MemberJoined, MemberRemoved
from shared.projections.view import Row, View
from shared.store.port import Recorded


def fold_draft(row: Row | None, event: Any, recorded: Recorded) -> Row | None:
    """A draft, as long as it may become an organization or lapse; ``lapses_at``: when its customer is forgotten."""
    match event:
        case OrganizationDrafted():
            return {
                "draft_id": event.draft_id,
                "account_id": event.account_id,
                "expires_at": event.expires_at,
                "lapses_at": lapses_at(event.expires_at, has_card=False),
            }
        case DraftCardSaved():
            return row and {**row, "lapses_at": lapses_at(row["expires_at"], has_card=True)}
        case _:
            return None


def fold_membership(row: Row | None, event: MemberJoined | MemberRemoved, recorded: Recorded) -> Row | None:
    """The organization of an account, which has one at most (ACC-4)."""
    if isinstance(event, MemberJoined):
        return {"account_id": event.account_id, "org_id": event.org_id}
    return None if row is None or row["org_id"] == event.org_id else row


DRAFTS_VIEW = View(
    name="drafts",
    version=1,
    key=("draft_id",),
    columns={"draft_id": str, "account_id": str, "expires_at": datetime, "lapses_at": datetime},
    events=(OrganizationDrafted, DraftCardSaved, DraftUsed, DraftExpired),
    keys=lambda event: [(event.draft_id,)],
    fold=fold_draft,
    indexes=(("account_id",), ("lapses_at",)),
)

MEMBERSHIPS = View(
    name="memberships",
    version=1,
    key=("account_id",),
    columns={"account_id": str, "org_id": str},
    events=(MemberJoined, MemberRemoved),
    keys=lambda event: [(event.account_id,)],
    fold=fold_membership,
)

VIEWS = (INVOICES, DRAFTS_VIEW, MEMBERSHIPS)
