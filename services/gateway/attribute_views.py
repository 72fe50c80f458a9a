"""Views of attributes in the gateway's directory: what devices reported, what the platform desires of them. Pure.

Two, because the connection of a device has to hear of news in the second only (MQX-3).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from shared.events.devices import AttributesDesired, DeviceRemoved
from shared.events.gateway import AttributesReported
from shared.projections.view import Key, Row, View
from shared.store.port import Recorded

REMEMBERED_REMOVALS = 256
"""Names whose removal a connected device can still be told of; the longest gone are forgotten."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def _keys(event: Any) -> Iterable[Key]:
    return ((event.device_id,),)


def _reported(row: Row | None, event: Any, recorded: Recorded) -> Row | None:
    if isinstance(event, DeviceRemoved):
        return None
    at_us = (recorded.at - _EPOCH) // _MICROSECOND
    before: Mapping[str, list[Any]] = row["reported"] if row else {}
    after = {**before, **{name: [value, at_us] for name, value in json.loads(event.values).items()}}
    gone = frozenset(event.removed)
    return {
        "device_id": event.device_id,
        "reported": {name: dated for name, dated in after.items() if name not in gone},
    }


def _desired(row: Row | None, event: Any, _: Recorded) -> Row | None:
    revision = (row["revision"] if row else 0) + 1
    if isinstance(event, DeviceRemoved):
        # The revision stays: what a connection has told its device is counted by it.
        return row and {**row, "revision": revision, "desired": {}, "removed": {}}
    before: Mapping[str, list[Any]] = row["desired"] if row else {}
    gone: dict[str, int] = dict(row["removed"]) if row else {}
    values = json.loads(event.values)
    gone = {name: number for name, number in gone.items() if name not in values}
    gone |= dict.fromkeys(event.removed, revision)
    kept = sorted(gone, key=lambda name: (-gone[name], name))[:REMEMBERED_REMOVALS]
    after = {**before, **{name: [value, revision] for name, value in values.items()}}
    return {
        "device_id": event.device_id,
        "revision": revision,
        "desired": {name: entry for name, entry in after.items() if name not in gone},
        "removed": {name: gone[name] for name in kept},
    }


REPORTED = View(
    name="reported",
    version=1,
    key=("device_id",),
    columns={"device_id": str, "reported": dict},
    events=(AttributesReported, DeviceRemoved),
    keys=_keys,
    fold=_reported,
)
"""``reported``: name to [value, microseconds since 1970 of its last change]."""

DESIRED = View(
    name="desired",
    version=1,
    key=("device_id",),
    columns={"device_id": str, "revision": int, "desired": dict, "removed": dict},
    events=(AttributesDesired, DeviceRemoved),
    keys=_keys,
    fold=_desired,
)
"""``revision`` counts the changes. ``desired``: name to [value, revision of its last change]; ``removed``: name to the
revision that took it away."""
