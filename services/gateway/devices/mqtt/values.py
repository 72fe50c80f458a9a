"""What is known of one device by name, over MQTT: the attributes that it reported, those that the platform desires, and
the latest values in its telemetry. Does no I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.gateway.devices.attributes import Dated, Reported
from services.gateway.devices.effects import Now
from services.gateway.devices.latest import RESERVED, moment_us, take_over
from services.gateway.devices.mqtt.payloads import Item, JsonObject
from services.gateway.devices.packing import packed, unpacked
from shared.errors import Refused
from shared.times import iso

if TYPE_CHECKING:
    from services.gateway.devices.mqtt.session import Session

Known = dict[str, tuple[Any, int]]
"""Latest values, packed, and when they were true, in microseconds since 1970."""


def reported_values(session: Session) -> Reported:
    """What the device reported about itself, on any gateway."""
    memory = session.memory
    if memory.reported is None:
        known = session.around.directory.reported(session.device_id)
        memory.reported = Reported({name: Dated(*entry) for name, entry in known.items()})
    return memory.reported


def desired_values(session: Session, everything: bool) -> JsonObject:
    """What the platform desires. ``everything``: the device is about to hear all of it."""
    entry = session.around.directory.desired(session.device_id)
    if everything and session.desired is not None:
        session.desired.told = entry.revision
    return {name: value for name, (value, _) in entry.values.items()}


def remembered(latest: Known | None, item: Item, now: Now) -> Known:
    """The latest values in telemetry, with those of one more item; changed in place if there are any (MQU-1)."""
    told = {key: packed(value) for key, value in (item.values or {}).items() if key not in RESERVED}
    latest = {} if latest is None else latest
    take_over(latest, told, moment_us(item.device_at, now.at))
    return latest


def find(session: Session, name: str) -> dict[str, Any] | Refused:
    """MQX-2: a reported attribute, else the latest value in telemetry."""
    found = reported_values(session).dated(name)
    if found is not None:
        return {"value": found.value, "at": iso(found.at)}
    earlier = session.around.latest
    here = None if session.latest is None else session.latest.get(name)
    before = None if earlier is None else earlier.value(session.device_id, name)
    newest = max((entry for entry in (here, before) if entry is not None), key=lambda entry: entry[1], default=None)
    if newest is None:
        return Refused("unknown_variable", f"The device has not told any value of {name}.")
    return {"value": unpacked(newest[0]), "at": iso(Dated(*newest).at)}
