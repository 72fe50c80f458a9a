"""Releases, and the proof that they need: some device of the product ran the version (FW-4, FW-5)."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime
from threading import Lock
from typing import Any

from services.firmware.firmware_object import firmware_object
from services.firmware.queries import device_running, version_row
from services.firmware.versions import VERSIONS, RecordRun, ReleaseVersion, WithdrawRelease, stream_of
from shared.bus.providers import WorkerStreams, WorkerViews
from shared.events.gateway import FirmwareReported
from shared.ids import MAX_FIRMWARE_VERSION
from shared.streams import Streams

MAX_REMEMBERED = 100_000
"""Proven versions that a process knows without asking."""


@dataclass(frozen=True, slots=True)
class Release:
    """What is asked for; not ``default`` takes the default away from this version."""

    product_id: int
    version: int
    default: bool
    intelligent: bool


def release(streams: WorkerStreams, views: WorkerViews, wanted: Release, now: datetime) -> dict[str, Any]:
    """Release a version, or withdraw it; its firmware object. Raises ``Refused`` with ``firmware_not_running`` and
    ``NotFound``."""
    product_id, version = wanted.product_id, wanted.version
    row, device_count = version_row(views, product_id, version)
    stream = stream_of(product_id)
    if wanted.default and not row["proven"]:
        _prove_from_view(streams, views, product_id, version)
    command = (
        ReleaseVersion(product_id, version, wanted.intelligent)
        if wanted.default
        else WithdrawRelease(product_id, version)
    )
    handled = streams.handle(VERSIONS, stream, command)
    after = {
        **row,
        "proven": version in handled.state.proven,
        "released": version == handled.state.released,
        "updated_at": now if handled.events else row["updated_at"],
    }
    return {**firmware_object(after, device_count), "position": handled.position}


def _prove_from_view(streams: WorkerStreams, views: WorkerViews, product_id: int, version: int) -> None:
    """A device may have reported the version before it was uploaded, or before it was a member."""
    device_id = device_running(views, product_id, version)
    if device_id is not None:
        command = RecordRun(product_id, version, device_id)
        context = streams.context.step("first-run")
        Streams(streams.store, streams.contracts).handle(VERSIONS, stream_of(product_id), command, context)


class Proofs:
    """Records the first run of each version; what is proven is remembered, so that a fleet that comes back after a
    release costs nothing. Safe from any thread."""

    def __init__(self, most: int = MAX_REMEMBERED) -> None:
        self._most = most
        self._proven: OrderedDict[tuple[int, int], None] = OrderedDict()
        self._lock = Lock()

    def prove(self, streams: WorkerStreams, event: FirmwareReported) -> None:
        """Take a report as proof if it is one: of a device that counts as the product which it reported."""
        product_id, version = event.product_id, event.version
        if product_id is None or version is None or version > MAX_FIRMWARE_VERSION:
            return
        if event.reported_product not in (None, product_id) or self._knows(product_id, version):
            return
        command = RecordRun(product_id, version, event.device_id)
        handled = streams.handle(VERSIONS, stream_of(product_id), command)
        if version in handled.state.proven:
            self._remember(product_id, version)

    def _knows(self, product_id: int, version: int) -> bool:
        with self._lock:
            known = (product_id, version) in self._proven
            if known:
                self._proven.move_to_end((product_id, version))
            return known

    def _remember(self, product_id: int, version: int) -> None:
        with self._lock:
            self._proven[product_id, version] = None
            if len(self._proven) > self._most:
                self._proven.popitem(last=False)
