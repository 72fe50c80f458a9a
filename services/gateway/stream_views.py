"""Views of the gateway's directory for event streams: ``claims``, since when a device belongs to whom, and
``gateways``, all that ever were (decision 25). Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from shared.events import devices as d
from shared.events import gateway as g
from shared.projections.view import Key, Row, View
from shared.store.port import Recorded


def _device(event: Any) -> Iterable[Key]:
    return ((event.device_id,),)


def _gateway(event: Any) -> Iterable[Key]:
    return ((event.gateway,),)


def _claim(row: Row | None, event: Any, recorded: Recorded) -> Row | None:
    if not isinstance(event, d.DeviceClaimed):
        return None
    if row is not None and row["owner_id"] == event.owner_id and row["product_id"] == event.product_id:
        return row
    return {
        "device_id": event.device_id,
        "owner_id": event.owner_id,
        "product_id": event.product_id,
        "since": recorded.at,
    }


def _started(row: Row | None, event: Any, _: Recorded) -> Row | None:
    return row or {"gateway": event.gateway}


CLAIMS = View(
    name="claims",
    version=1,
    key=("device_id",),
    columns={"device_id": str, "owner_id": str, "product_id": int, "since": datetime},
    events=(d.DeviceClaimed, d.DeviceUnclaimed, d.DeviceRemoved),
    keys=_device,
    fold=_claim,
    indexes=(("owner_id",),),
)
"""A device that went on to another product belongs to nobody there; what this says of it counts only with the owner
in view ``devices``."""

GATEWAYS = View(
    name="gateways",
    version=1,
    key=("gateway",),
    columns={"gateway": str},
    events=(g.GatewayStarted,),
    keys=_gateway,
    fold=_started,
)
