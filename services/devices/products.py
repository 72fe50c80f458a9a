"""View ``products``: what this service must know of a product to show its devices. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from shared.events.firmware import FirmwareReleased, ReleaseWithdrawn
from shared.events.orgs import ProductCreated
from shared.projections.view import Key, Row, View
from shared.store.port import Recorded


def _keys(event: Any) -> Iterable[Key]:
    return ((event.product_id,),)


def fold(row: Row | None, event: Any, _: Recorded) -> Row | None:
    """The product after the event."""
    before: Row = row or {"product_id": event.product_id, "platform_id": None, "released_version": None}
    match event:
        case ProductCreated():
            return {**before, "platform_id": event.platform_id}
        case FirmwareReleased():
            return {**before, "released_version": event.version}
        case ReleaseWithdrawn():
            return {**before, "released_version": None}
    return row


PRODUCTS = View(
    name="products",
    version=1,
    key=("product_id",),
    columns={"product_id": int, "platform_id": int, "released_version": int},
    events=(ProductCreated, FirmwareReleased, ReleaseWithdrawn),
    keys=_keys,
    fold=fold,
)
