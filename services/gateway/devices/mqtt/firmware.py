"""Firmware in one MQTT session: what the device reports by the reserved keys, when it is offered its target, which
image it is served (section 7). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Any, NamedTuple

from services.gateway.devices.effects import SessionName
from services.gateway.devices.firmware import SETUP_S, Firmware
from services.gateway.devices.mqtt.limits import MqttLimits
from services.gateway.devices.mqtt.payloads import JsonObject, firmware_attributes, signature_attributes
from services.gateway.devices.mqtt.reports import State, told_by
from services.gateway.devices.mqtt.topics import decimal
from services.gateway.devices.mqtt.violations import Rejected
from services.gateway.devices.ports import Directory
from services.gateway.devices.updates import Updates
from services.gateway.entries import DeviceEntry, ImageEntry
from shared.rollouts import Rollout

NOT_FOUND = b"NOT_FOUND"
PAYLOAD_TOO_LARGE = b"PAYLOAD_TOO_LARGE"
FAILURE = b"FAILURE"


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


class MqttFirmware(Firmware):
    """Of one session."""

    __slots__ = (
        "_asked_at",
        "_downloads",
        "_limits",
        "_listened_at",
        "_offered_at",
        "_offered_turn",
        "_offered_version",
        "_told_at",
        "_told_image",
        "_unanswered",
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
        super().__init__(entry, updates, directory, name, now)
        self._limits = limits
        self._listened_at: float | None = None
        self._asked_at: float | None = None
        self._told_at: float | None = None
        self._told_image: ImageEntry | None = None
        self._offered_at = 0.0
        self._offered_version: int | None = None
        self._offered_turn = 0
        self._unanswered = False
        self._downloads: dict[int, Download] | None = None

    def attributes(self) -> JsonObject:
        """The five attributes of its target; nothing without one (MQF-3)."""
        image = self.image()
        if image is None:
            return {}
        product = self._directory.product(str(image.product_id))
        title = (product.firmware_name if product else "") or str(image.product_id)
        width = product.version_width if product else 0
        return firmware_attributes(title, image.version, width, image.size_bytes, image.sha256)

    def signature(self) -> JsonObject:
        """The signature of its target, and whose it is; nothing without one."""
        image = self.image()
        return {} if image is None else signature_attributes(image.signature, image.signature_key)

    def _asked_anew(self) -> None:
        self._offered_version, self._unanswered = None, False

    def _question(self, rollout: Rollout) -> tuple[str, int, int, int]:
        """The same; but whoever left the offer of its turn without a word asks for no further one in this connection,
        or it would keep others from theirs time and again."""
        rollout_id, stage, resumed, ended = super()._question(rollout)
        if self._unanswered and self._offered_version == rollout.version and self._asked is not None:
            ended = self._asked[3]
        return rollout_id, stage, resumed, ended

    def report(self, values: Mapping[str, Any], now: float) -> list[object]:
        """The events of a report by the reserved keys (MQF-1, MQF-8). ``fw_updates_enabled`` false: *not now*; nothing
        is offered until it is true again, or the device connects anew; who asks for the firmware is told all the
        same."""
        state, enabled = State.of(values), values.get("fw_updates_enabled")
        failed = bool(state.error) or state.word == "FAILED"
        events: list[object] = self.declares(enabled=enabled) if isinstance(enabled, bool) else []
        if failed:
            events += self.updates.says(state.word, state.error, None, now)
        told = told_by(values, self.identity, self._named)
        if told is not None:
            events += self.told(told, now)
        if state.word and not failed:
            self._unanswered = False
            wanted = self.wanted() if state.word == "DOWNLOADING" else None
            events += self.updates.says(state.word, "", wanted, now)
        return events

    def _named(self, firmware_name: str) -> int | None:
        product = self._directory.product_by_firmware_name(firmware_name)
        return None if product is None else product.product_id

    def listens(self, listening: bool, now: float) -> None:
        """Whether the device has subscribed to its attributes."""
        if not listening:
            self._listened_at = None
        elif self._listened_at is None:
            self._listened_at = now

    def asked(self, now: float) -> None:
        """The device asked for the firmware attributes itself."""
        self._asked_at, self._unanswered = now, False
        self._told(now)

    def _told(self, now: float) -> None:
        """It is told of its target, which it may begin to download at once."""
        self._told_at = None if self.runs_target else now
        self._told_image = self.image()

    def comes_first(self, now: float) -> bool:
        """The same; only a device that can be told of its firmware gets it."""
        return self._listened_at is not None and super().comes_first(now)

    def quiet_until(self, now: float) -> float | None:
        """Until when it must hear of no other attributes (MQF-9): while it is set up (PRD-5), while it downloads, and
        before it says so: the Python SDK does a second after it was told. None if it may."""
        if self.updates.downloading:
            self._told_at = None
            return inf
        if self.comes_first(now):
            return self._connected_at + SETUP_S
        if self._told_at is None or self.target is None or now >= self._told_at + self._limits.asked_s:
            return None
        return self._told_at + self._limits.asked_s

    def offer_at(self) -> float | None:
        """When its target may be offered unasked, if nothing happens before (MQF-4)."""
        aim, limits, earliest = self.target, self._limits, self.may_bring_from()
        if aim is None or self._listened_at is None or earliest is None:
            return None
        patience_s = 0.0 if self.is_new else limits.patience_s
        moments = [earliest, self._listened_at + patience_s]
        if self._reported_at is None:
            moments.append(self._connected_at + limits.unreported_s)
        else:
            moments.append(self._reported_at + patience_s)
        if self._asked_at is not None:
            moments.append(self._asked_at + limits.asked_s)
        if self._offered_version == aim.version:
            moments.append(self._offered_at + limits.offer_again_s)
        return max(moments)

    def ask_at(self) -> float | None:
        """When it asks for its turn in a roll-out: it has reported what it runs, or does not report anything."""
        earliest = self.ask_from()
        if earliest is None:
            return None
        known = self._reported_at is not None
        return earliest if known else max(earliest, self._connected_at + self._limits.unreported_s)

    def offer(self, now: float) -> JsonObject:
        """The attributes of the offer that is due now; it is taken as made. Empty if there is no image after all."""
        aim = self.target
        offered = None if aim is None else aim.version, self.entry.turns_ended
        self._unanswered = self._unanswered or offered != (self._offered_version, self._offered_turn)
        self._offered_at, (self._offered_version, self._offered_turn) = now, offered
        self._told(now)
        return self.attributes()

    def chunk(self, request: int, number: int, payload: bytes, now: float) -> tuple[list[object], Piece | bytes | None]:
        """The events of a chunk request, and the stretch of the image or the text of the error; None for a download
        that would be of another image than the device was told of: it has to hear of its target first. Raises
        ``Rejected`` for a chunk size that is none (MQE-5)."""
        self._unanswered = False
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
            if self._told_of_another(image):
                return events, None
            download = self._remember(request, Download(image))
        if chunk_bytes > self._limits.chunk_bytes:
            return events, PAYLOAD_TOO_LARGE
        download.chunk_bytes = chunk_bytes or download.chunk_bytes
        piece = self._piece(download, number)
        if isinstance(piece, bytes):
            return events, piece
        wanted = self.wanted()
        if wanted is not None and wanted.version == download.image.version:
            events += self.updates.chunk(wanted, piece.offset + piece.length, now)
        return events, piece

    def _told_of_another(self, image: ImageEntry) -> bool:
        """Whether it would find the checksum wrong, since its target changed between the telling and the asking; and
        whether it can be told anew. The answer may have been older than a lock that was just set, or the Python SDK,
        which waits a second before it asks, too late."""
        told = self._told_image
        return told is not None and told.sha256 != image.sha256 and self._listened_at is not None

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
