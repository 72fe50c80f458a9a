from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from services.orgs.products.product_groups import fold
from shared.events.groups import GroupCreated, GroupDeleted, GroupRenamed
from shared.events.orgs import ProductRemoved
from shared.projections.view import Row
from shared.store.port import Position, Recorded

P = 1000
RECORDED = Recorded(UUID(int=0), "x", "s", 0, Position(1), datetime(2030, 1, 1, tzinfo=UTC), b"{}", b"{}")


def after(*events: Any) -> Row | None:
    row: Row | None = None
    for event in events:
        row = fold(row, event, RECORDED)
    return row


def test_a_product_shows_its_groups_by_name() -> None:  # contract 6
    made = [GroupCreated(P, name, "", "") for name in ("lab", "attic", "hall", "lab")]
    row = after(*made, GroupDeleted(P, "attic"), GroupCreated(P, "den", "", ""), GroupRenamed(P, "lab", "den"))
    assert row == {"product_id": P, "groups": ["den", "hall"]}


def test_a_product_that_is_removed_has_none() -> None:
    assert after(GroupCreated(P, "lab", "", ""), ProductRemoved(P, "b" * 24)) is None
    assert after(GroupDeleted(P, "lab")) == {"product_id": P, "groups": []}
