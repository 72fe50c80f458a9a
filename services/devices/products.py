"""View ``products``: what this service must know of a product to show its devices. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from shared.events.firmware import FirmwareReleased, FirmwareReleasedToGroups, ReleaseWithdrawn
from shared.events.orgs import ProductCreated
from shared.projections.view import Key, Row, View
from shared.store.port import Recorded
from shared.targets import released_for, with_groups

_AT_FIRST: Row = {"platform_id": None, "released_version": None, "group_releases": {}}


def _keys(event: Any) -> Iterable[Key]:
    return ((event.product_id,),)


def fold(row: Row | None, event: Any, _: Recorded) -> Row | None:
    """The product after the event."""
    before: Row = row or {"product_id": event.product_id, **_AT_FIRST}
    match event:
        case ProductCreated():
            return {**before, "platform_id": event.platform_id}
        case FirmwareReleased():
            return {**before, "released_version": event.version}
        case ReleaseWithdrawn():
            return {**before, "released_version": None}
        case FirmwareReleasedToGroups():
            releases = with_groups(before["group_releases"], event.version, event.groups)
            return {**before, "group_releases": releases}
    return row


def released_version(product: Row | None, device: Row) -> int | None:
    """The version that is released for a device of the fleet; ``product`` is the row of its product."""
    if product is None:
        return None
    return released_for(device["groups"], product["group_releases"], product["released_version"])


PRODUCTS = View(
    name="products",
    version=2,
    key=("product_id",),
    columns={"product_id": int, "platform_id": int, "released_version": int, "group_releases": dict},
    events=(ProductCreated, FirmwareReleased, FirmwareReleasedToGroups, ReleaseWithdrawn),
    keys=_keys,
    fold=fold,
)
