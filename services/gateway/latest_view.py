"""View ``latest``: the latest values that each device published at this gateway (MQU-1), folded from its log. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from services.gateway.devices.latest import RESERVED, moment_us, take_over
from shared.events.gateway import DevicePublished
from shared.projections.view import Key, Row, View
from shared.store.port import Recorded

TELEMETRY = "telemetry"
_decode = msgspec.json.Decoder().decode


def _keys(event: Any) -> Iterable[Key]:
    return ((event.device_id,),) if event.name == TELEMETRY and event.encoding == "text" and event.data else ()


def _fold(row: Row | None, event: DevicePublished, _: Recorded) -> Row | None:
    try:
        values = _decode(event.data or "")
    except (ValueError, RecursionError):  # somebody published text under this name
        return row
    if not isinstance(values, dict):
        return row
    told = {key: value for key, value in values.items() if value is not None and key not in RESERVED}
    after = dict(row["latest"]) if row else {}
    take_over(after, told, moment_us(event.device_at, event.published_at))
    for key in told:
        if key in after:
            after[key] = [*after[key]]  # as it is read
    return {"device_id": event.device_id, "latest": after}


LATEST = View(
    name="latest",
    version=1,
    key=("device_id",),
    columns={"device_id": str, "latest": dict},
    events=(DevicePublished,),
    keys=_keys,
    fold=_fold,
)
"""``latest``: key to [value, microseconds since 1970]."""
