"""View ``attempts``: attempts at an update whose fate nobody has told yet, and when was heard of them last. Pure.

A gateway tells the fate of what it has seen begin (FW-7). Where the gateway died and the device never came back to
any, or came back and its target was another by then, nobody does: such an attempt is older than every gateway would let
it become, and ``unfinished`` ends it.
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
    """The attempt while it is open."""
    if not isinstance(event, UpdateStarted | UpdateAdvanced):
        return None
    is_known = row is not None and (row["version"], row["attempt"]) == (event.version, event.attempt)
    said = row["cause"] if row is not None and is_known else None
    return {
        "device_id": event.device_id,
        "product_id": event.product_id,
        "version": event.version,
        "attempt": event.attempt,
        "cause": event.cause if isinstance(event, UpdateStarted) else said,
        "is_applying": isinstance(event, UpdateAdvanced) and event.state == "applying",
        "percent": event.percent if isinstance(event, UpdateAdvanced) else 0,
        "told_at": recorded.at,
    }


def unfinished(row: Row, failures: int) -> UpdateFailed | UpdateInterrupted:
    """The end of an attempt of which nothing is heard any more, behind so many failures of its version: it failed if
    the device was applying it, and was cut if not."""
    which = (row["device_id"], row["product_id"], row["version"], row["attempt"])
    if row["is_applying"]:
        return UpdateFailed(*which, "did_not_come_back", "", failures + 1, row["cause"])
    return UpdateInterrupted(*which, row["percent"], row["cause"])


ATTEMPTS = View(
    name="attempts",
    version=1,
    key=("device_id",),
    columns={
        "device_id": str,
        "product_id": int,
        "version": int,
        "attempt": int,
        "cause": str,
        "is_applying": bool,
        "percent": int,
        "told_at": datetime,
    },
    events=(UpdateStarted, UpdateAdvanced, UpdateInterrupted, UpdateSucceeded, UpdateFailed),
    keys=_keys,
    fold=fold,
    indexes=(("told_at",),),
)
