"""View ``gateways``: the present epoch of each gateway and when it was last heard of. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from shared.events.gateway import GatewayBeat, GatewayLost, GatewayStarted, GatewayStopped
from shared.projections.view import Key, Row, View
from shared.store.port import Recorded


def _keys(event: Any) -> Iterable[Key]:
    return ((event.gateway,),)


def fold(row: Row | None, event: Any, recorded: Recorded) -> Row | None:
    """The gateway after the event; what is said of an epoch that is not its newest changes nothing."""
    if isinstance(event, GatewayStarted):
        if row is not None and event.epoch <= row["epoch"]:
            return row
        return {
            "gateway": event.gateway,
            "epoch": event.epoch,
            "lease_s": event.lease_s,
            "last_beat_at": recorded.at,
            "over": False,
        }
    if row is None or event.epoch != row["epoch"]:
        return row
    if isinstance(event, GatewayBeat):
        return {**row, "last_beat_at": recorded.at}
    return {**row, "over": True}


def is_over(gateway: Row, epoch: int) -> bool:
    """Whether sessions of this epoch of the gateway cannot be alive."""
    return epoch < gateway["epoch"] or (epoch == gateway["epoch"] and bool(gateway["over"]))


def missed_lease(gateway: Row, now: datetime) -> bool:
    """Whether the newest epoch goes on but was silent for longer than its lease."""
    silent: timedelta = now - gateway["last_beat_at"]
    return not gateway["over"] and silent > timedelta(seconds=gateway["lease_s"])


GATEWAYS = View(
    name="gateways",
    version=1,
    key=("gateway",),
    columns={"gateway": str, "epoch": int, "lease_s": int, "last_beat_at": datetime, "over": bool},
    events=(GatewayStarted, GatewayBeat, GatewayStopped, GatewayLost),
    keys=_keys,
    fold=fold,
)
