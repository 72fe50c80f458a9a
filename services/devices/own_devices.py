"""What an account has claimed, whatever products its devices are in (contract 8). Reads views only."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from services.devices.details import DETAILS
from services.devices.device_object import device_object
from services.devices.fleet import FLEET
from services.devices.products import PRODUCTS
from shared.bus.providers import WorkerViews
from shared.projections.view import Row, View

MAX_DEVICES = 1_000
"""Devices of one account that are listed, the newest connections first."""
MAX_NAMESAKES = 100
"""Devices of one account and one name that are told."""


def list_own_devices(views: WorkerViews, account_id: str) -> dict[str, Any]:
    """Device objects with all that is known of them."""
    fleet = views.table(FLEET)
    newest = sa.select(fleet).where(fleet.c.owner_id == account_id)
    newest = newest.order_by(fleet.c.connected_at.desc(), fleet.c.device_id).limit(MAX_DEVICES)
    with views.read() as connection:
        rows = [dict(row) for row in connection.execute(newest).mappings()]
        details = _by_key(views, connection, DETAILS, "device_id", {row["device_id"] for row in rows})
        products = _by_key(views, connection, PRODUCTS, "product_id", {row["product_id"] for row in rows})
    return {
        "devices": [device_object(row, products.get(row["product_id"]), details.get(row["device_id"])) for row in rows]
    }


def find_own_devices(views: WorkerViews, account_id: str, name: str, product_id: int | None = None) -> dict[str, Any]:
    """The IDs of the devices, of this product or of any, that their owner calls so, the lowest first, at most
    ``MAX_NAMESAKES``."""
    fleet = views.table(FLEET)
    called = sa.select(fleet.c.device_id).where(fleet.c.owner_id == account_id, fleet.c.name == name)
    if product_id is not None:
        called = called.where(fleet.c.product_id == product_id)
    if not name:
        return {"device_ids": []}
    with views.read() as connection:
        found = connection.execute(called.order_by(fleet.c.device_id).limit(MAX_NAMESAKES)).scalars().all()
    return {"device_ids": list(found)}


def _by_key(views: WorkerViews, connection: sa.Connection, view: View, key: str, wanted: set[Any]) -> dict[Any, Row]:
    table = views.table(view)
    rows = connection.execute(sa.select(table).where(table.c[key].in_(wanted))).mappings()
    return {row[key]: dict(row) for row in rows}
