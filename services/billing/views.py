"""The views of billing: drafts that are open, and who is in which team; ``invoice_view`` has the invoices. Pure.

A subscription itself is answered from its stream, and what is due when stands in the worker's table (``dues``): money
must not wait for a view.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from services.billing.invoice_view import INVOICES
from shared.events.drafts import DraftExpired, DraftUsed, OrganizationDrafted
from shared.events.orgs import EmailChanged, MemberJoined, MemberRemoved
from shared.projections.view import Row, View
from shared.store.port import Recorded


def fold_draft(row: Row | None, event: Any, recorded: Recorded) -> Row | None:
    """A draft, as long as it may become an organization or lapse."""
    match event:
        case OrganizationDrafted():
            return {
                "draft_id": event.draft_id,
                "account_id": event.account_id,
                "expires_at": event.expires_at,
            }
        case _:
            return None


def fold_membership(
    row: Row | None, event: MemberJoined | MemberRemoved | EmailChanged, recorded: Recorded
) -> Row | None:
    """The organization of an account, which has one at most (ACC-4). ``address_since``: since when we send its mail
    to where it gets it now; the address is not kept."""
    match event:
        case MemberJoined():
            return {"account_id": event.account_id, "org_id": event.org_id, "address_since": recorded.at}
        case EmailChanged():
            return row and {**row, "address_since": recorded.at}
        case MemberRemoved():
            return None if row is None or row["org_id"] == event.org_id else row


DRAFTS_VIEW = View(
    name="drafts",
    version=2,
    key=("draft_id",),
    columns={"draft_id": str, "account_id": str, "expires_at": datetime},
    events=(OrganizationDrafted, DraftUsed, DraftExpired),
    keys=lambda event: [(event.draft_id,)],
    fold=fold_draft,
    indexes=(("account_id",),),
)

MEMBERSHIPS = View(
    name="memberships",
    version=2,
    key=("account_id",),
    columns={"account_id": str, "org_id": str, "address_since": datetime},
    events=(MemberJoined, MemberRemoved, EmailChanged),
    keys=lambda event: [(event.account_id,)],
    fold=fold_membership,
    indexes=(("org_id",),),
)

VIEWS = (INVOICES, DRAFTS_VIEW, MEMBERSHIPS)
