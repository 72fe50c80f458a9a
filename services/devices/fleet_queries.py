"""What is asked of the fleet: one device, a list, the numbers of a product. Reads views only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from services.devices import list_pages
from services.devices.attribute_view import ATTRIBUTES, attributes_object
from services.devices.details import DETAILS
from services.devices.device import NOT_A_MEMBER
from services.devices.device_object import device_object
from services.devices.fleet import FLEET, devices_scope, versions_scope
from services.devices.listing import Listing
from services.devices.members import known_id
from services.devices.misbehaviours import MISBEHAVIOURS
from services.devices.products import PRODUCTS
from shared.bus.providers import WorkerViews
from shared.errors import NotFound
from shared.projections.sql import execute, one_of, select
from shared.projections.view import Row, View

Owners = Callable[[list[str]], Mapping[str, Mapping[str, Any]]]
"""Ids of owners to ``username``, ``customer_id`` and ``activation_code`` of those whom whoever asks may know."""
MAX_OWNED = 10_000
"""Devices of a page of customers that are told, the lowest IDs first."""


def list_devices(views: WorkerViews, query: Listing, owners: Owners) -> dict[str, Any]:
    """A page of device objects with its ``meta``, and the customers whose devices are in it."""
    with views.read() as connection:
        found = list_pages.find(views, connection, query)
        product = _row(views, connection, PRODUCTS, query.product_id)
    meta = {
        "page": query.page,
        "per_page": query.per_page,
        "total": found.total,
        "total_exact": found.exact,
        "total_pages": max(1, -(-found.total // query.per_page)),
        "next": found.next,
    }
    theirs = owners(sorted({row["owner_id"] for row in found.rows if row["owner_id"] is not None}))
    return {
        "devices": [device_object(row, product, None, theirs.get(row["owner_id"])) for row in found.rows],
        "customers": [_customer(one) for one in theirs.values() if one["customer_id"] is not None],
        "meta": meta,
    }


def _customer(owner: Mapping[str, Any]) -> dict[str, Any]:
    code = owner.get("activation_code")
    shown = {"id": owner["customer_id"], "username": owner["username"]}
    return shown if code is None else {**shown, "activation_code": code}


def owned_devices(views: WorkerViews, product_id: int, owner_ids: Sequence[str]) -> list[dict[str, Any]]:
    """What these owners have in the product, with what the page of customers shows of it (CUS-6)."""
    fleet = views.table(FLEET)
    theirs = sa.select(fleet).where(fleet.c.owner_id.in_(owner_ids), fleet.c.product_id == product_id)
    with views.read() as connection:
        rows = connection.execute(theirs.order_by(fleet.c.device_id).limit(MAX_OWNED)).mappings().all()
    shown = ("id", "product_id", "last_ip_address", "firmware_version", "online", "last_heard")
    found = [(row["owner_id"], device_object(dict(row), None)) for row in rows]
    return [{"owner_id": owner_id, **{name: device[name] for name in shown}} for owner_id, device in found]


def get_device(views: WorkerViews, product_id: int, text: object, owners: Owners) -> dict[str, Any]:
    """One member, with what lists leave out. Raises ``NotFound``."""
    with views.read() as connection:
        row = _member(views, connection, product_id, text)
        product = _row(views, connection, PRODUCTS, product_id)
        details = _row(views, connection, DETAILS, row["device_id"])
    owner_id = row["owner_id"]
    owner = None if owner_id is None else owners([owner_id]).get(owner_id)
    return device_object(row, product, details, owner)


def get_attributes(views: WorkerViews, product_id: int, text: object) -> dict[str, Any]:
    """A member's attributes, reported and desired. Raises ``NotFound``."""
    with views.read() as connection:
        row = _member(views, connection, product_id, text)
        return attributes_object(_row(views, connection, ATTRIBUTES, row["device_id"]))


def list_misbehaviours(views: WorkerViews, product_id: int, text: object) -> list[dict[str, Any]]:
    """The last times that a member broke its protocol, the newest first. Raises ``NotFound``."""
    with views.read() as connection:
        row = _member(views, connection, product_id, text)
        found = _row(views, connection, MISBEHAVIOURS, row["device_id"])
    return list(found["newest"]) if found else []


def locate(views: WorkerViews, text: object) -> dict[str, Any]:
    """Where any device is connected, and the product that it is a member of. Raises ``NotFound``."""
    fleet = views.table(FLEET)
    columns = (fleet.c.online, fleet.c.gateway, fleet.c.epoch, fleet.c.session, fleet.c.product_id)
    with views.read() as connection:
        found = connection.execute(sa.select(*columns).where(fleet.c.device_id == known_id(text))).mappings().first()
    if found is None:
        raise NotFound(NOT_A_MEMBER)
    where = {name: found[name] if found["online"] else None for name in ("gateway", "epoch", "session")}
    return {"online": found["online"], **where, "product_id": found["product_id"]}


def statistics(views: WorkerViews, product_id: int) -> dict[str, Any]:
    """Counters of a product's devices, and of the versions that run on those which count as it, highest first."""
    with views.read() as connection:
        return read_statistics(views, connection, product_id)


def read_statistics(views: WorkerViews, connection: sa.Connection, product_id: int) -> dict[str, Any]:
    """The same, as this connection sees them."""
    scopes = (devices_scope(product_id), versions_scope(product_id))
    query = select("scope, item, n", views.counts(FLEET).name, one_of("scope", scopes))
    found = {(scope, item): n for scope, item, n in execute(connection, query).all()}
    devices = {
        name: found.get((devices_scope(product_id), name), 0)
        for name in ("total", "online", "quarantined", "development")
    }
    versions = {int(item): n for (scope, item), n in found.items() if scope == versions_scope(product_id)}
    firmware = [{"version": version, "device_count": versions[version]} for version in sorted(versions, reverse=True)]
    return {"devices": devices, "firmware": firmware}


def _member(views: WorkerViews, connection: sa.Connection, product_id: int, text: object) -> Row:
    row = _row(views, connection, FLEET, known_id(text))
    if row is None or row["product_id"] != product_id:
        raise NotFound(NOT_A_MEMBER)
    return row


def _row(views: WorkerViews, connection: sa.Connection, view: View, key: str | int) -> Row | None:
    return views.rows(view).load(connection, [(key,)]).get((key,))
