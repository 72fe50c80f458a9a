"""View ``products``: what this service must know of a product to show its devices. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from shared.events.orgs import ProductCreated
from shared.projections.view import Key, Row, View
from shared.releases import AT_FIRST, COLUMNS, RELEASE_EVENTS, fold_releases, releases_of
from shared.rollouts import Part, Standing, part_in, standing
from shared.store.port import Recorded
from shared.targets import own_version

NOTHING_RELEASED: Row = {"platform_id": None, **AT_FIRST}
"""A product of which nothing was heard yet."""


def _keys(event: Any) -> Iterable[Key]:
    return ((event.product_id,),)


def fold(row: Row | None, event: Any, _: Recorded) -> Row | None:
    """The product after the event."""
    before: Row = row or {"product_id": event.product_id, **NOTHING_RELEASED}
    if isinstance(event, ProductCreated):
        return {**before, "platform_id": event.platform_id}
    return {**before, **fold_releases(before, event)}


def released(product: Row | None, device: Row) -> Standing:
    """What is released for a device of the fleet; ``product`` is the row of its product."""
    if product is None:
        return Standing(None)
    return standing(device["groups"], releases_of(product), _version(device), device["turn"])


def released_version(product: Row | None, device: Row) -> int | None:
    """The version of that."""
    return released(product, device).version


def rollout_part(product: Row | None, device: Row) -> Part | None:
    """The device's part in what is being rolled out in its product."""
    if product is None or not product["rollouts"]:
        return None
    return part_in(device["device_id"], device["groups"], releases_of(product), _version(device), device["turn"])


def _version(device: Row) -> int | None:
    return own_version(device["product_id"], device["reported_product"], device["reported_version"])


PRODUCTS = View(
    name="products",
    version=3,
    key=("product_id",),
    columns={"product_id": int, "platform_id": int, **COLUMNS},
    events=(ProductCreated, *RELEASE_EVENTS),
    keys=_keys,
    fold=fold,
)
