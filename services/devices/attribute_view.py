"""View ``attributes``: a device's attributes, as it reported them and as the platform desires them. Pure.

A row for each device that has any; each column holds name to [value, microseconds since 1970 of its last change].
What a device reports is bounded: beyond the limits of a device the oldest are dropped. All of it goes when the device
leaves its product (DEV-8).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from services.devices.attributes import newest
from shared.events.devices import AttributesDesired, DeviceRemoved
from shared.events.gateway import AttributesReported
from shared.projections.view import Key, Row, View
from shared.store.port import Recorded
from shared.times import iso

Dated = Mapping[str, list[Any]]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def _keys(event: Any) -> Iterable[Key]:
    return ((event.device_id,),)


def fold(row: Row | None, event: Any, recorded: Recorded) -> Row | None:
    """The device's attributes after the event."""
    if isinstance(event, DeviceRemoved):
        return None
    before: Row = row or {"device_id": event.device_id, "reported": {}, "desired": {}}
    column = "desired" if isinstance(event, AttributesDesired) else "reported"
    after = _merged(before[column], json.loads(event.values), event.removed, (recorded.at - _EPOCH) // _MICROSECOND)
    return {**before, column: _bounded(after) if column == "reported" else after}


def _merged(before: Dated, values: Mapping[str, Any], removed: Collection[str], at_us: int) -> Dated:
    after = {**before, **{name: [value, at_us] for name, value in values.items()}}
    return {name: dated for name, dated in after.items() if name not in removed}


def _bounded(attributes: Dated) -> Dated:
    texts = ((name, json.dumps(value, ensure_ascii=False), at_us) for name, (value, at_us) in attributes.items())
    kept = newest(texts)
    return {name: dated for name, dated in attributes.items() if name in kept}


def attributes_object(row: Row | None) -> dict[str, Any]:
    """``reported`` and ``desired`` by name, and when each changed last."""
    answer: dict[str, Any] = {}
    for column in ("reported", "desired"):
        dated = row[column] if row else {}
        answer[column] = {name: value for name, (value, _) in dated.items()}
        answer[f"{column}_at"] = {name: iso(_EPOCH + at_us * _MICROSECOND) for name, (_, at_us) in dated.items()}
    return answer


ATTRIBUTES = View(
    name="attributes",
    version=1,
    key=("device_id",),
    columns={"device_id": str, "reported": dict, "desired": dict},
    events=(AttributesDesired, AttributesReported, DeviceRemoved),
    keys=_keys,
    fold=fold,
)
