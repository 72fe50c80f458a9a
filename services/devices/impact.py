"""What a release or a deletion of firmware would mean for a product's devices (contract 9.2). Reads views only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from services.devices.changes import group_names
from services.devices.fleet import FLEET, NOTHING, membership
from services.devices.prediction import Facts, judge
from services.devices.products import NOTHING_RELEASED, PRODUCTS
from shared.bus.providers import WorkerViews
from shared.events.firmware import FirmwareReleased, FirmwareReleasedToGroups
from shared.projections.view import Row
from shared.releases import fold_releases, releases_of
from shared.rollouts import Releases
from shared.targets import Way

_DECIDED_BY = (
    "product_id",
    "groups",
    "forced",
    "quarantined",
    "denied",
    "development",
    "locked_version",
    "flash_pending",
    "reported_product",
    "reported_version",
    "shown_version",
    "turn",
)
"""Devices that are alike in these are counted by the database and judged once."""


def update_impact(
    views: WorkerViews, product_id: int, version: int, product_default: bool, groups: Sequence[str]
) -> dict[str, Any]:
    """The devices that would be told to run this version and do not, by the version that they run now (None: they
    reported none), if it were released to these groups and, with ``product_default``, to all others."""
    fleet, products = views.table(FLEET), views.table(PRODUCTS)
    columns = [fleet.c[name] for name in _DECIDED_BY]
    query = sa.select(*columns, sa.func.count().label("n")).where(fleet.c.product_id == product_id).group_by(*columns)
    found: Counter[int | None] = Counter()
    with views.read() as connection:
        known = connection.execute(sa.select(products).where(products.c.product_id == product_id)).mappings().first()
        product = released_instead(product_id, None if known is None else dict(known), version, product_default, groups)
        releases = releases_of(product)
        for row in connection.execute(query).mappings():
            if _would_update(dict(row), version, releases):
                found[None if row["shown_version"] == NOTHING else row["shown_version"]] += row["n"]
    by_version = [{"version": one, "total": found[one]} for one in sorted(found, key=lambda one: (one is None, one))]
    return {"total": found.total(), "by_version": by_version}


def released_instead(
    product_id: int, product: Row | None, version: int, product_default: bool, groups: Sequence[str]
) -> Row:
    """The row of a product as it would be then."""
    row, names = product or NOTHING_RELEASED, group_names(groups)
    if product_default:
        row = fold_releases(row, FirmwareReleased(product_id, version, row["released_version"], False))
    if names:
        row = fold_releases(row, FirmwareReleasedToGroups(product_id, version, sorted(names), [], False))
    return row


def _would_update(row: Row, version: int, releases: Releases) -> bool:
    way = Way(reported_product=row["reported_product"], reported_version=row["reported_version"])
    facts = Facts(membership(row), tuple(row["groups"]), way, row["turn"])
    return judge(facts, releases, version).would == "update"


def count_locked(views: WorkerViews, product_id: int, version: int) -> int:
    """Devices that are locked to this version."""
    fleet = views.table(FLEET)
    locked = (fleet.c.product_id == product_id, fleet.c.locked_version == version)
    with views.read() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(fleet).where(*locked)).scalar_one()
