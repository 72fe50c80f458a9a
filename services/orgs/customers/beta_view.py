"""View ``activation_codes``: who is invited to private betas (PRD-4). One row a person, gone once forgotten. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from shared.events.customers import ActivationCodeUsed, BetaInvited, InviteeForgotten
from shared.projections.view import Row, View
from shared.store.port import Recorded


def fold(row: Row | None, event: Any, recorded: Recorded) -> Row | None:
    """An invitee, and whether the code was used."""
    match event:
        case BetaInvited():
            return {
                "product_id": event.product_id,
                "invitee_id": event.invitee_id,
                "email": event.email,
                "code": event.code,
                "used": False,
                "owner_id": None,
                "created_at": recorded.at,
            }
        case ActivationCodeUsed():
            return None if row is None else {**row, "used": True, "owner_id": event.owner_id}
    return None


ACTIVATION_CODES = View(
    name="activation_codes",
    version=1,
    key=("product_id", "invitee_id"),
    columns={
        "product_id": int,
        "invitee_id": str,
        "email": str,
        "code": str,
        "used": bool,
        "owner_id": str,
        "created_at": datetime,
    },
    events=(BetaInvited, ActivationCodeUsed, InviteeForgotten),
    keys=lambda event: [(event.product_id, event.invitee_id)],
    fold=fold,
    indexes=(("product_id", "created_at", "invitee_id"),),
)
