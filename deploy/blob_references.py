"""Which blobs events still name. Pure.

Whatever in an event looks like a digest holds the blob of that digest, in whichever field, of whichever type, known to
this release or not: so no new event can be forgotten here. Only for the three kinds below it is known what ends that:

* a version (``VersionUploaded``): it is deleted;
* a file of devices to import (``ImportStarted``): the import has finished;
* a file to be flashed (``FlashAsked``): an attempt at it succeeded or failed, another file is wanted on the device, or
  that is locked or removed.

What ended less than the grace time ago counts as if it had not: somebody may still be reading, and a backup that began
before holds the event that names the blob, but not yet the one that ends that.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from shared.events.contracts import CONTRACTS, Registry
from shared.events.devices import DeviceLocked, DeviceRemoved, ImportFinished, ImportStarted
from shared.events.firmware import VersionDeleted, VersionUploaded
from shared.events.gateway import FlashAsked, UpdateFailed, UpdateSucceeded
from shared.store.port import Recorded

_DIGEST = re.compile(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
KNOWN = frozenset(
    kind.__name__
    for kind in (
        VersionUploaded,
        VersionDeleted,
        ImportStarted,
        ImportFinished,
        FlashAsked,
        UpdateSucceeded,
        UpdateFailed,
        DeviceLocked,
        DeviceRemoved,
    )
)

Name = tuple[str, str, int]
"""What holds a blob: a kind, an id (of an import or a device), and a number (product, or 0)."""


class References:
    """Folded from all events in order. ``asked``: the digests that anybody wants to know of; others would fill the
    memory with those of tokens. ``cutoff``: what ended from then on counts as if it had not."""

    def __init__(self, asked: Collection[str], cutoff: datetime, contracts: Registry = CONTRACTS) -> None:
        self.asked = asked
        self._cutoff = cutoff
        self._contracts = contracts
        self._holders: dict[Name, tuple[str, str]] = {}
        self._flashing: dict[str, tuple[int, int]] = {}
        self._for_ever: dict[str, str] = {}

    def take(self, recorded: Recorded) -> None:
        """The next event."""
        if recorded.type in KNOWN:
            self._take_known(self._contracts.decode(recorded), recorded.at >= self._cutoff)
            return
        for found in _DIGEST.findall(recorded.data):
            digest = found.decode()
            if digest in self.asked:
                self._for_ever.setdefault(digest, recorded.type)

    def holders(self) -> Mapping[str, str]:
        """Who holds a blob, in words, by its digest."""
        return {**self._for_ever, **dict(self._holders.values())}

    def _take_known(self, event: Any, is_young: bool) -> None:
        match event:
            case VersionUploaded():
                words = f"firmware {event.version} of product {event.product_id}"
                self._holders[_version(event)] = (event.sha256, words)
            case ImportStarted():
                self._holders["import", event.import_id, 0] = (event.blob, f"import {event.import_id}")
            case FlashAsked():
                self._end(("flash", event.device_id, 0), is_young)
                self._flashing[event.device_id] = (event.product_id, event.version)
                words = f"to be flashed to {event.device_id}"
                self._holders["flash", event.device_id, 0] = (event.sha256, words)
            case VersionDeleted():
                self._end(_version(event), is_young)
            case ImportFinished():
                self._end(("import", event.import_id, 0), is_young)
            case DeviceLocked():
                self._end(("flash", event.device_id, 0), is_young)
            case DeviceRemoved():
                if self._flashing.get(event.device_id, (0, 0))[0] == event.product_id:
                    self._end(("flash", event.device_id, 0), is_young)
            case _:
                if self._flashing.get(event.device_id) == (event.product_id, event.version):
                    self._end(("flash", event.device_id, 0), is_young)

    def _end(self, name: Name, is_young: bool) -> None:
        held = self._holders.pop(name, None)
        if held is not None and is_young:
            digest, words = held
            self._for_ever.setdefault(digest, f"{words}, until a moment ago")


def _version(event: VersionUploaded | VersionDeleted) -> Name:
    return "version", str(event.version), event.product_id
