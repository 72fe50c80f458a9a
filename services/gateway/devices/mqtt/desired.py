"""Desired attributes on their way to one device over MQTT: changes that it is to hear of (MQX-3). Pure.

What the device has been told is counted by the revision of the directory, so that changes which wait, because it does
not listen or is downloading (MQF-9), go out merged.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from services.gateway.devices.mqtt.effects import Effect
from services.gateway.devices.mqtt.outbox import Outbox, Tag
from services.gateway.devices.mqtt.payloads import compact
from services.gateway.devices.ports import Directory

HELD_S = 300.0
"""For so long other attributes are held back while the device downloads firmware."""


class Desired:
    """Of one connection that listens to its attributes; ``told`` is the revision that the device knows of."""

    __slots__ = ("_device_id", "_directory", "_held_since", "_held_until", "_outbox", "told")

    def __init__(self, device_id: str, directory: Directory, outbox: Outbox, told: int) -> None:
        self._device_id = device_id
        self._directory = directory
        self._outbox = outbox
        self._held_since: float | None = None
        self._held_until: float | None = None
        self.told = told

    @property
    def held_until(self) -> float | None:
        """Until when something is held back, if it is."""
        return self._held_until

    @property
    def untold_from(self) -> int | None:
        """The revision behind which the device may not know of something."""
        unacknowledged = min(self._outbox.updates(), default=None)
        if unacknowledged is not None:
            return unacknowledged
        waiting = self._directory.desired_revision(self._device_id) > self.told
        return self.told if waiting else None

    def changes(self, quiet_until: float | None, now: float) -> list[Effect]:
        """What is to be sent now; ``quiet_until`` says that the device must hear nothing else until then."""
        topic = self._outbox.attributes_topic()
        if topic is None or self._directory.desired_revision(self._device_id) <= self.told:
            self._held_since = self._held_until = None
            return []
        if quiet_until is not None:
            if self._held_since is None:
                self._held_since = now
            self._held_until = min(quiet_until, self._held_since + HELD_S)
            if now < self._held_until:
                return []
        self._held_since = self._held_until = None
        return self._send(topic)

    def _send(self, topic: str) -> list[Effect]:
        entry, told = self._directory.desired(self._device_id), self.told
        self.told = entry.revision
        changed = {name: value for name, (value, revision) in entry.values.items() if revision > told}
        removed = sorted(name for name, revision in entry.removed.items() if revision > told)
        pieces = [*self._objects(topic, changed), *self._removals(topic, removed)]
        messages = (self._outbox.message(topic, piece, Tag("update", told)) for piece in pieces)
        return [message for message in messages if message]

    def _objects(self, topic: str, changed: dict[str, Any]) -> Iterator[bytes]:
        """One message, or several if the client would not take it (MQD-4)."""
        for names in self._fitting(topic, list(changed), lambda some: {name: changed[name] for name in some}):
            yield compact({name: changed[name] for name in names})

    def _removals(self, topic: str, removed: list[str]) -> Iterator[bytes]:
        for names in self._fitting(topic, removed, lambda some: {"deleted": list(some)}):
            yield compact({"deleted": names})

    def _fitting(self, topic: str, names: Sequence[str], shape: Any) -> Iterator[list[str]]:
        """The names in halves until each part fits; one that does not fit alone is left out."""
        if not names:
            return
        if self._outbox.fits(topic, len(compact(shape(names)))):
            yield list(names)
        elif len(names) > 1:
            middle = len(names) // 2
            yield from self._fitting(topic, names[:middle], shape)
            yield from self._fitting(topic, names[middle:], shape)
