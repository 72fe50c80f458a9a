"""Log-ins that were refused though their user name is a device's: shown on that device, once an hour (MQC-4). Pure."""

from __future__ import annotations

from services.gateway.devices.conduct import HOUR_S, Conduct
from services.gateway.devices.mqtt.packets import Connect
from services.gateway.devices.ports import Directory
from shared.events.gateway import DeviceMisbehaved
from shared.ids import device_id

DEVICES = 1_000
"""Devices remembered; the one refused longest ago is forgotten."""
KIND = "refused_login"


class Refusals:
    """In memory: counts of a gateway that has ended are lost."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._conducts: dict[str, Conduct] = {}

    def refused(self, connect: Connect, address: str, now: float) -> DeviceMisbehaved | None:
        """The fact to record, if it is a device's and time for one. Raises what the directory raises."""
        stated = device_id(connect.username or "")
        entry = None if stated is None else self._directory.device(stated)
        if entry is None or entry.membership.product_id is None:
            return None
        conduct = self._conducts.pop(entry.device_id, None) or Conduct()
        self._conducts[entry.device_id] = conduct
        if len(self._conducts) > DEVICES:
            del self._conducts[next(iter(self._conducts))]
        text = f"refused log-in from {address}"
        return conduct.noted(entry.device_id, entry.membership.product_id, KIND, text, b"", now, HOUR_S)
