"""Releases, and the proof that they need: some device of the product ran the version (FW-4, FW-5)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from threading import Lock
from typing import Any

from services.firmware.firmware_object import firmware_object
from services.firmware.queries import device_running, version_row
from services.firmware.versions import (
    VERSIONS,
    FollowGroup,
    RecordRun,
    Release,
    ReleaseToGroups,
    ReleaseVersion,
    WithdrawRelease,
    stream_of,
)
from shared.bus.providers import WorkerStreams, WorkerViews
from shared.errors import Refused
from shared.events.gateway import FirmwareReported
from shared.events.groups import GroupDeleted, GroupRenamed
from shared.ids import MAX_FIRMWARE_VERSION
from shared.streams import Streams

MAX_REMEMBERED = 100_000
"""Proven versions that a process knows without asking."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for. ``default``: the product's default, or no more; ``groups``: all those that it is to be
    released to. None leaves that as it is."""

    product_id: int
    version: int
    default: bool | None
    groups: frozenset[str] | None
    intelligent: bool

    def steps(self) -> Iterator[ReleaseVersion | ReleaseToGroups | WithdrawRelease]:
        """The same as commands."""
        if self.default:
            yield ReleaseVersion(self.product_id, self.version, self.intelligent)
        elif self.default is not None:
            yield WithdrawRelease(self.product_id, self.version)
        if self.groups is not None:
            yield ReleaseToGroups(self.product_id, self.version, self.groups, self.intelligent)


def release(streams: WorkerStreams, views: WorkerViews, devices: Any, wanted: Wanted, now: datetime) -> dict[str, Any]:
    """Release a version, or withdraw it; its firmware object. Raises ``NotFound``, and ``Refused`` with
    ``firmware_not_running``, or ``invalid_request`` for a group that there is not. ``devices`` is the client of that
    service."""
    product_id, version = wanted.product_id, wanted.version
    row, device_count = version_row(views, product_id, version)
    must_be_groups(devices, product_id, wanted.groups)
    if (wanted.default or wanted.groups) and not row["proven"]:
        prove_from_view(streams, views, product_id, version)
    handled = streams.handle(VERSIONS, stream_of(product_id), Release(tuple(wanted.steps())))
    state = handled.state
    after = {
        **row,
        "proven": version in state.proven,
        "released": version == state.released,
        "groups": [group for group, released in state.group_releases.items() if released == version],
        "updated_at": now if handled.events else row["updated_at"],
    }
    return {**firmware_object(after, device_count), "position": handled.position}


def must_be_groups(devices: Any, product_id: int, names: frozenset[str] | None) -> None:
    """Raises ``Refused`` ``invalid_request`` for a group that there is not."""
    if not names:
        return
    known = {group["name"] for group in devices.list_groups(product_id=product_id)["groups"]}
    unknown = sorted(names - known)
    if unknown:
        raise Refused("invalid_request", f"groups: The product has no group called {unknown[0][:64]}.")


def follow(streams: WorkerStreams, event: GroupDeleted | GroupRenamed) -> None:
    """What is released to a group goes with it."""
    renamed = event.renamed if isinstance(event, GroupRenamed) else None
    streams.handle(VERSIONS, stream_of(event.product_id), FollowGroup(event.product_id, event.name, renamed))


def prove_from_view(streams: WorkerStreams, views: WorkerViews, product_id: int, version: int) -> None:
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
