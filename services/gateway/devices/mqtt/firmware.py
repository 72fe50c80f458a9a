"""Firmware in one session: what the device reports, when it is offered its target, which image it is served. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from services.gateway.devices.mqtt.limits import MqttLimits
from services.gateway.devices.mqtt.payloads import JsonObject, firmware_attributes
from services.gateway.devices.mqtt.reports import Identity, State
from services.gateway.devices.mqtt.topics import decimal
from services.gateway.devices.mqtt.violations import Rejected
from services.gateway.devices.ports import Directory
from services.gateway.devices.updates import Updates, Wanted
from services.gateway.entries import DeviceEntry, ImageEntry
from shared.events.gateway import FirmwareReported
from shared.targets import Target, counted_product, runs_target, target

NOT_FOUND = b"NOT_FOUND"
PAYLOAD_TOO_LARGE = b"PAYLOAD_TOO_LARGE"
FAILURE = b"FAILURE"


class SessionName(NamedTuple):
    """What names a session all over the installation."""

    gateway: str
    epoch: int
    session: int


@dataclass(slots=True)
class Download:
    """The image of one request id, fixed by its first chunk (MQF-5). ``chunk_bytes`` is 0 until the device says."""

    image: ImageEntry
    chunk_bytes: int = 0


class Piece(NamedTuple):
    """A stretch of an image."""

    sha256: str
    offset: int
    length: int


class Firmware:
    """Of one session. ``entry`` is the directory's newest word on the device."""

    __slots__ = (
        "_allowed",
        "_allowed_release",
        "_asked_at",
        "_connected_at",
        "_directory",
        "_downloads",
        "_limits",
        "_listened_at",
        "_name",
        "_offered_at",
        "_offered_version",
        "_recorded_product",
        "_reported_at",
        "entry",
        "identity",
        "updates",
    )

    def __init__(
        self,
        entry: DeviceEntry,
        updates: Updates,
        directory: Directory,
        limits: MqttLimits,
        name: SessionName,
        now: float,
    ) -> None:
        self.entry = entry
        self.identity = Identity.of(entry)
        self._recorded_product = entry.recorded_product
        self.updates = updates
        self._directory = directory
        self._limits = limits
        self._name = name
        # What may be offered unasked: as it was when the device connected, but for what is to happen at once.
        self._allowed = entry.membership
        self._allowed_release = entry.released_version
        self._connected_at = now
        self._listened_at: float | None = None
        self._reported_at: float | None = None
        self._asked_at: float | None = None
        self._offered_at = 0.0
        self._offered_version: int | None = None
        self._downloads: dict[int, Download] | None = None

    @property
    def counted(self) -> int | None:
        """The product that the device counts as (DEV-3)."""
        return counted_product(self.entry.membership, self.identity.product)

    @property
    def target(self) -> Target | None:
        """What it should run (MQF-2)."""
        return target(self.entry.membership, self.identity.product, self.entry.released_version)

    def image(self) -> ImageEntry | None:
        """The image of its target."""
        aim, product_id = self.target, self.counted
        return None if aim is None or product_id is None else self._directory.image(product_id, aim.version)

    def attributes(self) -> JsonObject:
        """The five attributes of its target; nothing without one (MQF-3)."""
        image = self.image()
        if image is None:
            return {}
        return firmware_attributes(image.product_id, image.version, image.size_bytes, image.sha256)

    def refresh(self, now: float) -> list[object]:
        """Ask the directory anew. A device that reported in this connection and counts as another product since then is
        recorded again; an attempt at what is no longer the target is cancelled."""
        self.entry = self._directory.device(self.entry.device_id) or self.entry
        changed = self._reported_at is not None and self.counted != self._recorded_product
        return [*([self._fact()] if changed else []), *self._retargeted(now)]

    def _retargeted(self, now: float) -> list[object]:
        return [*self.updates.retarget(self._aim(), now)] if self.updates.running else []

    def directory_changed(self, now: float) -> list[object]:
        """The directory has news: a lock that is to be flashed now, and an intelligent release, need not wait for
        the next connection (FW-3, FW-4)."""
        before = self.entry
        events = self.refresh(now)
        member = self.entry.membership
        forgiven = before.failures and not self.entry.failures
        if forgiven and before.attempt_version == self.entry.attempt_version:  # FW-7: somebody asks for it again
            self.updates.ask_again()
            self._offered_version = None
        version = member.locked_version
        if member.flash_pending and not (self._allowed.flash_pending and self._allowed.locked_version == version):
            self._allowed = member
            self._offered_version = None
            if not self.entry.failures:
                self.updates.ask_again()
        released = self.entry.released_version
        if released != self._allowed_release and member.product_id is not None:
            product = self._directory.product(str(member.product_id))
            if product is not None and product.intelligent:
                self._allowed_release = released
        return events

    def report(self, values: Mapping[str, Any], now: float) -> list[object]:
        """The events of a report by the reserved keys (MQF-1, MQF-8)."""
        state = State.of(values)
        failed = bool(state.error) or state.word == "FAILED"
        events: list[object] = []
        if failed:
            events += self.updates.says(state.word, state.error, None, now)
        told = self.identity.told(values)
        if told is not None:
            events += self._told(told, now)
        if state.word and not failed:
            wanted = self._wanted() if state.word == "DOWNLOADING" else None
            events += self.updates.says(state.word, "", wanted, now)
        return events

    def _told(self, told: Identity, now: float) -> list[object]:
        changed = told != self.identity
        self.identity = told
        if self._reported_at is None:
            self._reported_at = now
        events: list[object] = []
        if changed or self.counted != self._recorded_product:
            self.entry = self._directory.device(self.entry.device_id) or self.entry
            events.append(self._fact())
        runs, aim = self._runs_target(), self.target
        events += self.updates.reported(runs, now)
        if changed and runs and aim is not None and self.counted is not None:
            events += self.updates.reported_late(self.counted, aim.version)
        return [*events, *self._retargeted(now)]

    def _fact(self) -> FirmwareReported:
        """What the device reports and counts as now: recorded when either changes (FW-5, DEV-4)."""
        told, self._recorded_product = self.identity, self.counted
        return FirmwareReported(
            self.entry.device_id,
            self._recorded_product,
            told.product,
            told.version,
            told.title,
            told.text,
            *self._name,
        )

    def _runs_target(self) -> bool:
        aim = self.target
        identity = self.identity
        return aim is not None and runs_target(self.entry.membership, aim, identity.product, identity.version)

    def _aim(self) -> Wanted | None:
        aim, image = self.target, self.image()
        if aim is None or image is None:
            return None
        return Wanted(image.product_id, image.version, aim.cause, image.size_bytes)

    def _wanted(self) -> Wanted | None:
        """What an attempt may be opened at: its target, unless it runs that already."""
        return None if self._runs_target() else self._aim()

    def listens(self, listening: bool, now: float) -> None:
        """Whether the device has subscribed to its attributes."""
        if not listening:
            self._listened_at = None
        elif self._listened_at is None:
            self._listened_at = now

    def asked(self, now: float) -> None:
        """The device asked for the firmware attributes itself."""
        self._asked_at = now

    def offer_at(self) -> float | None:
        """When its target may be offered unasked, if nothing happens before (MQF-4)."""
        aim, limits = self.target, self._limits
        if aim is None or self._listened_at is None or self._runs_target():
            return None
        allowed = target(self._allowed, self.identity.product, self._allowed_release)
        if allowed is None or allowed.version != aim.version:
            return None
        earliest = self.updates.offer_from(aim.version, self._connected_at)
        if earliest is None:
            return None
        moments = [earliest, self._listened_at + limits.patience_s]
        if self._reported_at is None:
            moments.append(self._connected_at + limits.unreported_s)
        else:
            moments.append(self._reported_at + limits.patience_s)
        if self._asked_at is not None:
            moments.append(self._asked_at + limits.asked_s)
        if self._offered_version == aim.version:
            moments.append(self._offered_at + limits.offer_again_s)
        return max(moments)

    def offer(self, now: float) -> JsonObject:
        """The attributes of the offer that is due now; it is taken as made. Empty if there is no image after all."""
        aim = self.target
        self._offered_version = None if aim is None else aim.version
        self._offered_at = now
        return self.attributes()

    def chunk(self, request: int, number: int, payload: bytes, now: float) -> tuple[list[object], Piece | bytes]:
        """The events of a chunk request, and the stretch of the image or the text of the error. Raises ``Rejected``
        for a chunk size that is none (MQE-5)."""
        chunk_bytes = decimal(payload.decode(errors="replace"), "chunk size") if payload else 0
        if payload and not chunk_bytes:
            raise Rejected("chunk size 0", kind="bad_number")
        download = None if self._downloads is None else self._downloads.get(request)
        events: list[object] = []
        if download is None:
            events = self.refresh(now)
            image = self.image()
            if image is None:
                return events, NOT_FOUND
            download = self._remember(request, Download(image))
        if chunk_bytes > self._limits.chunk_bytes:
            return events, PAYLOAD_TOO_LARGE
        download.chunk_bytes = chunk_bytes or download.chunk_bytes
        piece = self._piece(download, number)
        if isinstance(piece, bytes):
            return events, piece
        wanted = self._wanted()
        if wanted is not None and wanted.version == download.image.version:
            events += self.updates.chunk(wanted, piece.offset + piece.length, now)
        return events, piece

    def _remember(self, request: int, download: Download) -> Download:
        if self._downloads is None:
            self._downloads = {}
        self._downloads[request] = download
        if len(self._downloads) > self._limits.downloads:
            del self._downloads[next(iter(self._downloads))]
        return download

    def _piece(self, download: Download, number: int) -> Piece | bytes:
        size_bytes = download.image.size_bytes
        chunk_bytes = download.chunk_bytes or size_bytes
        if not download.chunk_bytes and size_bytes > self._limits.image_bytes:  # MQF-6
            return PAYLOAD_TOO_LARGE
        if number > -(-size_bytes // chunk_bytes):  # one past the end is answered with nothing (MQF-5)
            return FAILURE
        offset = min(number * chunk_bytes, size_bytes)
        return Piece(download.image.sha256, offset, min(chunk_bytes, size_bytes - offset))
