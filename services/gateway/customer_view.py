"""View ``customers`` of the gateway's directory: whether a customer's tokens work, and what they are called. Pure.

One row a person, which ``CustomerDeleted`` overwrites (EVT-5); it stays, so that no token of theirs works any more.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from shared.events import customers as c
from shared.events.fields import FORGOTTEN
from shared.projections.view import Key, Row, View
from shared.store.port import Recorded


def _keys(event: Any) -> Iterable[Key]:
    return ((event.customer_id,),)


def fold(row: Row | None, event: Any, _: Recorded) -> Row | None:
    """The customer after the event."""
    if isinstance(event, c.CustomerCreated):
        return row or {
            "customer_id": event.customer_id,
            "owner_id": event.owner_id,
            "org_id": event.org_id,
            "product_id": event.product_id,
            "email": event.email,
            "generation": 0,
            "deleted": False,
        }
    match event:
        case c.CustomerTokensEnded() if row:
            return {**row, "generation": event.generation}
        case c.CustomerDeleted() if row:
            return {**row, "email": FORGOTTEN, "deleted": True}
    return row


CUSTOMERS = View(
    name="customers",
    version=1,
    key=("customer_id",),
    columns={
        "customer_id": str,
        "owner_id": str,
        "org_id": str,
        "product_id": int,
        "email": str,
        "generation": int,
        "deleted": bool,
    },
    events=(c.CustomerCreated, c.CustomerTokensEnded, c.CustomerDeleted),
    keys=_keys,
    fold=fold,
)
