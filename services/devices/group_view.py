"""View ``groups``: what is said of each group of a product; how many devices are in it the fleet counts. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from shared.events.groups import GroupCreated, GroupDeleted, GroupDescribed, GroupRenamed
from shared.projections.view import Key, Row, View
from shared.store.port import Recorded


def _keys(event: Any) -> Iterable[Key]:
    return ((event.product_id, event.name),)


def fold(row: Row | None, event: Any, _: Recorded) -> Row | None:
    """The group after the event; under its new name a renamed one was created before that."""
    if isinstance(event, GroupDeleted | GroupRenamed):
        return None
    shown = ("product_id", "name", "description", "color")
    return {name: getattr(event, name) for name in shown}


def group_object(row: Row, device_count: int, released: int | None) -> dict[str, Any]:
    """The group as the HTTP contract shows it (section 10), with the version that is released to it."""
    shown = {name: row[name] for name in ("name", "description", "color")}
    return {**shown, "fw_version": released, "device_count": device_count}


GROUPS_VIEW = View(
    name="groups",
    version=1,
    key=("product_id", "name"),
    columns={"product_id": int, "name": str, "description": str, "color": str},
    events=(GroupCreated, GroupDescribed, GroupRenamed, GroupDeleted),
    keys=_keys,
    fold=fold,
)
