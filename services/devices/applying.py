"""View ``applying``: attempts at an update that a device is applying, and when it began to. Pure.

A gateway tells the fate of what it has seen begin (FW-7). Where the gateway died and the device never came back to
any, nobody does: such an attempt is older than every gateway would let it become, and ``unfinished`` ends it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from shared.events.gateway import UpdateAdvanced, UpdateFailed, UpdateInterrupted, UpdateStarted, UpdateSucceeded
from shared.projections.view import Key, Row, View
from shared.store.port import Recorded

GIVEN_UP_AFTER = timedelta(hours=25)
"""An hour beyond the longest that a gateway waits for a device that is applying an update."""


def _keys(event: Any) -> Iterable[Key]:
    return ((event.device_id,),)


def fold(row: Row | None, event: Any, recorded: Recorded) -> Row | None:
    """The attempt while the device applies it."""
    if not isinstance(event, UpdateAdvanced) or event.state != "applying":
        return None
    if row is not None and (row["version"], row["attempt"]) == (event.version, event.attempt):
        return row
    return {
        "device_id": event.device_id,
        "product_id": event.product_id,
        "version": event.version,
        "attempt": event.attempt,
        "began_at": recorded.at,
    }


def unfinished(row: Row, failures: int) -> UpdateFailed:
    """The end of an attempt whose device is not heard of any more, behind so many failures of its version."""
    return UpdateFailed(
        device_id=row["device_id"],
        product_id=row["product_id"],
        version=row["version"],
        attempt=row["attempt"],
        reason="did_not_come_back",
        text="",
        failures=failures + 1,
    )


APPLYING = View(
    name="applying",
    version=1,
    key=("device_id",),
    columns={
        "device_id": str,
        "product_id": int,
        "version": int,
        "attempt": int,
        "began_at": datetime,
    },
    events=(UpdateStarted, UpdateAdvanced, UpdateInterrupted, UpdateSucceeded, UpdateFailed),
    keys=_keys,
    fold=fold,
    indexes=(("began_at",),),
)
