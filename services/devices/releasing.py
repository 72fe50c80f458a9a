"""Devices of somebody who is no more: they belong to nobody (CUS-5). A redelivery releases what is left, and repeats
nothing."""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa

from services.devices.device import DEVICE, ReleaseDevice, stream_of
from services.devices.fleet import FLEET
from shared.bus.providers import WorkerStreams, WorkerViews

CHUNK = 500
"""Devices that are released by one append."""


def release_all(
    streams: WorkerStreams, views: WorkerViews, owner_id: str, products: Collection[int] | None = None
) -> int:
    """Release all devices of this owner, or those in these products, and say how many there were. Raises what stopped
    it."""
    last, count = "", 0
    while chunk := _owned(views, owner_id, products, last):
        commands = [(stream_of(found), ReleaseDevice(found, of, owner_id)) for found, of in chunk]
        for outcome in streams.handle_many(DEVICE, commands):
            if isinstance(outcome, Exception):
                raise outcome
        last, count = chunk[-1][0], count + len(chunk)
    return count


def _owned(views: WorkerViews, owner_id: str, products: Collection[int] | None, behind: str) -> list[tuple[str, int]]:
    fleet = views.table(FLEET)
    theirs = [fleet.c.owner_id == owner_id, fleet.c.product_id.is_not(None), fleet.c.device_id > behind]
    if products is not None:
        theirs.append(fleet.c.product_id.in_(products))
    query = sa.select(fleet.c.device_id, fleet.c.product_id).where(*theirs).order_by(fleet.c.device_id).limit(CHUNK)
    with views.read() as connection:
        return [(device_id, product_id) for device_id, product_id in connection.execute(query)]
