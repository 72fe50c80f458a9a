"""View ``product_groups``: the names of a product's groups, which are shown with it (contract 6). Pure."""

from __future__ import annotations

from typing import Any

from shared.events.groups import GroupCreated, GroupDeleted, GroupRenamed
from shared.events.orgs import ProductRemoved
from shared.projections.view import Row, View
from shared.store.port import Recorded


def fold(row: Row | None, event: Any, _: Recorded) -> Row | None:
    """The names that there are after the event, in order."""
    if isinstance(event, ProductRemoved):
        return None
    names = set() if row is None else set(row["groups"])
    after = names | {event.name} if isinstance(event, GroupCreated) else names - {event.name}
    return {"product_id": event.product_id, "groups": sorted(after)}


PRODUCT_GROUPS = View(
    name="product_groups",
    version=1,
    key=("product_id",),
    columns={"product_id": int, "groups": list},
    events=(GroupCreated, GroupRenamed, GroupDeleted, ProductRemoved),
    keys=lambda event: [(event.product_id,)],
    fold=fold,
)
