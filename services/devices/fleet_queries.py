"""What is asked of the fleet: one device, a list, the numbers of a product. Reads views only."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from services.devices import listing
from services.devices.device import NOT_A_MEMBER
from services.devices.device_object import device_object
from services.devices.fleet import FLEET, devices_scope, versions_scope
from services.devices.listing import Listing
from services.devices.members import known_id
from services.devices.products import PRODUCTS
from shared.bus.providers import WorkerViews
from shared.errors import NotFound
from shared.projections.view import Row


def list_devices(views: WorkerViews, query: Listing) -> dict[str, Any]:
    """A page of device objects with its ``meta``."""
    with views.read() as connection:
        found = listing.find(views, connection, query)
        product = _product(views, connection, query.product_id)
    meta = {
        "page": query.page,
        "per_page": query.per_page,
        "total": found.total,
        "total_pages": max(1, -(-found.total // query.per_page)),
        "next": found.next,
    }
    return {"devices": [device_object(row, product) for row in found.rows], "customers": [], "meta": meta}


def get_device(views: WorkerViews, product_id: int, text: object) -> dict[str, Any]:
    """One member. Raises ``NotFound``."""
    fleet = views.table(FLEET)
    query = sa.select(fleet).where(fleet.c.device_id == known_id(text), fleet.c.product_id == product_id)
    with views.read() as connection:
        row = connection.execute(query).mappings().one_or_none()
        if row is None:
            raise NotFound(NOT_A_MEMBER)
        return device_object(dict(row), _product(views, connection, product_id))


def statistics(views: WorkerViews, product_id: int) -> dict[str, Any]:
    """Counters of a product's devices, and of the versions that run on those which count as it, highest first."""
    counts = views.counts(FLEET)
    scopes = (devices_scope(product_id), versions_scope(product_id))
    query = sa.select(counts.c.scope, counts.c.item, counts.c.n).where(counts.c.scope.in_(scopes))
    with views.read() as connection:
        found = {(scope, item): n for scope, item, n in connection.execute(query)}
    devices = {
        name: found.get((devices_scope(product_id), name), 0)
        for name in ("total", "online", "quarantined", "development")
    }
    versions = {int(item): n for (scope, item), n in found.items() if scope == versions_scope(product_id)}
    firmware = [{"version": version, "device_count": versions[version]} for version in sorted(versions, reverse=True)]
    return {"devices": devices, "firmware": firmware}


def _product(views: WorkerViews, connection: sa.Connection, product_id: int) -> Row | None:
    products = views.table(PRODUCTS)
    row = connection.execute(sa.select(products).where(products.c.product_id == product_id)).mappings().one_or_none()
    return None if row is None else dict(row)
