"""View ``clients``: OAuth clients of accounts, products and organizations (CUS-4). Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from shared.events.oauth import ClientChanged, ClientCreated, ClientDeleted
from shared.projections.view import Row, View
from shared.store.port import Recorded


def fold(row: Row | None, event: Any, recorded: Recorded) -> Row | None:
    """The client, as long as there is one; its secret's digest stays in the stream."""
    match event:
        case ClientCreated():
            return {
                "client_id": event.client_id,
                "org_id": event.org_id,
                "product_id": event.product_id,
                "account_id": event.account_id,
                "name": event.name,
                "type": event.type,
                "redirect_uri": event.redirect_uri,
                "scope": event.scope,
                "created_at": recorded.at,
            }
        case ClientChanged(_, name, scope):
            return None if row is None else {**row, "name": name, "scope": scope}
    return None


CLIENTS = View(
    name="clients",
    version=1,
    key=("client_id",),
    columns={
        "client_id": str,
        "org_id": str,
        "product_id": int,
        "account_id": str,
        "name": str,
        "type": str,
        "redirect_uri": str,
        "scope": str,
        "created_at": datetime,
    },
    events=(ClientCreated, ClientChanged, ClientDeleted),
    keys=lambda event: [(event.client_id,)],
    fold=fold,
    indexes=(("org_id", "product_id"), ("account_id",)),
)
