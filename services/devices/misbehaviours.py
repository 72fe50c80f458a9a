"""View ``misbehaviours``: the last ten times that a device broke its protocol or was refused a log-in, with the first
bytes that it sent (section 11 of the MQTT device API). Pure.

They go when the device leaves its product (DEV-8).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from shared.events.devices import DeviceRemoved
from shared.events.gateway import DeviceMisbehaved
from shared.projections.view import Key, Row, View
from shared.store.port import Recorded
from shared.times import iso

SHOWN = 10


def _keys(event: Any) -> Iterable[Key]:
    return ((event.device_id,),)


def fold(row: Row | None, event: Any, recorded: Recorded) -> Row | None:
    """The device after the event."""
    if isinstance(event, DeviceRemoved):
        return None
    told = {"kind": event.kind, "text": event.text, "count": event.count, "at": iso(recorded.at)}
    before = row["newest"] if row else []
    return {"device_id": event.device_id, "newest": [told, *before][:SHOWN]}


MISBEHAVIOURS = View(
    name="misbehaviours",
    version=1,
    key=("device_id",),
    columns={"device_id": str, "newest": list},
    events=(DeviceMisbehaved, DeviceRemoved),
    keys=_keys,
    fold=fold,
)
"""``newest``: kind, text, how often since the one before of its kind, and when; the newest first."""
