"""What a version is called, and versions that nobody needs (contract 9.2)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from services.firmware.firmware_object import firmware_object
from services.firmware.queries import version_row
from services.firmware.releases import prove_from_view
from services.firmware.uploads import stated_description, stated_title
from services.firmware.versions import VERSIONS, DeleteVersion, DescribeVersion, stream_of
from shared.bus.providers import WorkerStreams, WorkerViews
from shared.streams import Streams


def describe(
    streams: WorkerStreams,
    views: WorkerViews,
    product_id: int,
    version: int,
    title: str | None,
    description: str | None,
    now: datetime,
) -> dict[str, Any]:
    """Change what is named; its firmware object. Raises ``NotFound``, and ``Refused`` ``title_taken``."""
    row, device_count = version_row(views, product_id, version)
    command = DescribeVersion(
        product_id,
        version,
        None if title is None else stated_title(title),
        None if description is None else stated_description(description),
    )
    handled = streams.handle(VERSIONS, stream_of(product_id), command)
    title_now, description_now = handled.state.uploaded[version]
    after = {
        **row,
        "title": title_now,
        "description": description_now,
        "updated_at": now if handled.events else row["updated_at"],
    }
    return {**firmware_object(after, device_count), "position": handled.position}


def delete(streams: WorkerStreams, views: WorkerViews, devices: Any, product_id: int, version: int) -> dict[str, Any]:
    """Raises ``NotFound``, ``Refused``: ``firmware_ran``, ``firmware_released``, ``firmware_in_use``. ``devices`` is
    the client of that service."""
    asked = Streams(streams.store, streams.contracts)
    repeated = asked.repeated(VERSIONS, stream_of(product_id), streams.context)  # the row is gone then
    if repeated is not None:
        return {"position": repeated.position}
    row, _ = version_row(views, product_id, version)
    if not row["proven"]:
        prove_from_view(streams, views, product_id, version)
    locked = devices.count_locked(product_id=product_id, version=version)["count"]
    handled = streams.handle(VERSIONS, stream_of(product_id), DeleteVersion(product_id, version, locked))
    return {"position": handled.position}
