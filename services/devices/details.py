"""View ``details``: what one device says of itself at length, and what it proves itself with; lists do not show it.
Pure.

Of descriptions the last one counts, whichever session it came by; they stay when the device leaves its product, as
what it reported of its firmware does. Its key and its certificate do not (DEV-8).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec

from shared.events.devices import DeviceCertificateSet, DeviceKeySet, DeviceRemoved
from shared.events.gateway import DescriptionReported
from shared.projections.view import Key, Row, View
from shared.store.port import Recorded

_UNKNOWN: Row = {
    "functions": None,
    "variables": None,
    "platform_id": None,
    "modules": None,
    "described_at": None,
    "key_algorithm": None,
    "fingerprint": None,
}


def _keys(event: Any) -> Iterable[Key]:
    return ((event.device_id,),)


def fold(row: Row | None, event: Any, recorded: Recorded) -> Row | None:
    """The device after the event."""
    if row is None and isinstance(event, DeviceRemoved):
        return None
    before: Row = row or {"device_id": event.device_id, **_UNKNOWN}
    match event:
        case DescriptionReported():
            return {
                **before,
                "functions": event.functions,
                "variables": {variable.name: variable.type for variable in event.variables},
                "platform_id": event.platform_id,
                "modules": _modules(event.modules),
                "described_at": recorded.at,
            }
        case DeviceKeySet():
            return {**before, "key_algorithm": event.algorithm}
        case DeviceCertificateSet():
            return {**before, "fingerprint": event.fingerprint}
        case _:
            return {**before, "key_algorithm": None, "fingerprint": None}


def _modules(text: str | None) -> list[Any] | None:
    """What the device sent; None if it is no list in JSON after all."""
    try:
        return None if text is None else msgspec.json.decode(text, type=list[Any])
    except msgspec.MsgspecError:
        return None


DETAILS = View(
    name="details",
    version=1,
    key=("device_id",),
    columns={
        "device_id": str,
        "functions": list,
        "variables": dict,
        "platform_id": int,
        "modules": list,
        "described_at": datetime,
        "key_algorithm": str,
        "fingerprint": str,
    },
    events=(DescriptionReported, DeviceKeySet, DeviceCertificateSet, DeviceRemoved),
    keys=_keys,
    fold=fold,
)
