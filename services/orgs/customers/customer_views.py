"""View ``customers``: whom the team sees on a product's page (CUS-6). Pure.

One row a person, which ``CustomerDeleted`` takes away (EVT-5). ``last_used_at`` is when a token was last made for them.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from shared.events.customers import CustomerCreated, CustomerDeleted
from shared.events.orgs import TokenIssued
from shared.projections.view import Counter, Key, Row, View
from shared.store.port import Recorded


def _keys(event: Any) -> Iterable[Key]:
    return () if event.customer_id is None else ((event.customer_id,),)


def fold(row: Row | None, event: Any, recorded: Recorded) -> Row | None:
    """The customer after the event."""
    match event:
        case CustomerCreated():
            return {
                "customer_id": event.customer_id,
                "owner_id": event.owner_id,
                "org_id": event.org_id,
                "product_id": event.product_id,
                "email": event.email,
                "way": event.way,
                "created_at": recorded.at,
                "last_used_at": None,
            }
        case TokenIssued():
            return None if row is None else {**row, "last_used_at": recorded.at}
    return None


SCOPE = "customers"
"""The scope of customers, by where they are."""


def place_item(org_id: str, product_id: int | None) -> str:
    """The counter of a product's own customers, or of those of all products of an organization."""
    return f"org-{org_id}" if product_id is None else f"product-{product_id}"


def _tally(row: Row) -> Iterable[Counter]:
    yield SCOPE, place_item(row["org_id"], row["product_id"])


CUSTOMERS = View(
    name="customers",
    version=2,
    key=("customer_id",),
    columns={
        "customer_id": str,
        "owner_id": str,
        "org_id": str,
        "product_id": int,
        "email": str,
        "way": str,
        "created_at": datetime,
        "last_used_at": datetime,
    },
    events=(CustomerCreated, CustomerDeleted, TokenIssued),
    keys=_keys,
    fold=fold,
    counted=("org_id", "product_id"),
    tally=_tally,
    indexes=(("product_id", "created_at", "customer_id"), ("org_id", "created_at"), ("owner_id",)),
)
