"""An upload checked against its file and its product, in the order of contract 9.3."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from services.firmware.firmware_object import firmware_object
from services.firmware.modules import check_module, read_module
from services.firmware.versions import VERSIONS, UploadVersion, stream_of
from shared.blobs import Blobs
from shared.bus.providers import WorkerStreams
from shared.errors import Refused
from shared.events.firmware import VersionUploaded
from shared.ids import MAX_FIRMWARE_VERSION

MQTT = "mqtt"
MAX_IMAGE_BYTES = {"Core": 110_592, MQTT: 8_388_608}
"""By device type; a Core's flash has less room, and any other hardware has what it has."""
MAX_MODULE_BYTES = 131_072
"""The user part of Photon, P0, P1 and Electron."""
MAX_TITLE = 128
MAX_DESCRIPTION = 4_000
MAX_FILE_NAME = 255


@dataclass(frozen=True, slots=True)
class Upload:
    """What came with the file; ``sha256`` names its blob."""

    product_id: int
    version: int
    title: str
    description: str | None
    file_name: str
    sha256: str
    size_bytes: int
    uploaded_by: str
    uploader_id: str


def upload(
    streams: WorkerStreams, blobs: Blobs, product: Mapping[str, Any], asked: Upload, now: datetime
) -> dict[str, Any]:
    """Add a version; its firmware object. Raises ``Refused`` with the codes of contract 9.3."""
    event = _stated(asked)
    _check_image(blobs, product, asked)
    handled = streams.handle(VERSIONS, stream_of(asked.product_id), UploadVersion(event))
    row = {**msgspec.structs.asdict(event), "uploaded_at": now, "updated_at": now, "proven": False, "released": False}
    return {**firmware_object(row, 0), "position": handled.position}


def _stated(asked: Upload) -> VersionUploaded:
    title = _line("title", asked.title, MAX_TITLE)
    description = (asked.description or "").strip()
    if len(description) > MAX_DESCRIPTION:
        raise _invalid(f"The description has more than {MAX_DESCRIPTION} characters.")
    if type(asked.version) is not int or not 0 <= asked.version <= MAX_FIRMWARE_VERSION:
        raise _invalid(f"The version must be an integer, 0 to {MAX_FIRMWARE_VERSION}.")
    return VersionUploaded(
        product_id=asked.product_id,
        version=asked.version,
        title=title,
        description=description,
        file_name=_line("file name", re.split(r"[/\\]", asked.file_name)[-1], MAX_FILE_NAME),
        size_bytes=asked.size_bytes,
        sha256=asked.sha256,
        uploaded_by=asked.uploaded_by,
        uploader_id=asked.uploader_id,
    )


def _line(what: str, text: str | None, most: int) -> str:
    line = (text or "").strip()
    if not line:
        raise _invalid(f"The {what} is missing.")
    if len(line) > most or not line.isprintable():
        raise _invalid(f"The {what} must be one line of at most {most} characters.")
    return line


def _check_image(blobs: Blobs, product: Mapping[str, Any], asked: Upload) -> None:
    if not blobs.exists(asked.sha256) or blobs.size(asked.sha256) != asked.size_bytes or asked.size_bytes == 0:
        raise _invalid("The file is missing, or was not stored in full.")
    device_type = product["device_type"]
    most = MAX_IMAGE_BYTES.get(device_type, MAX_MODULE_BYTES)
    if asked.size_bytes > most:
        raise Refused("too_large", f"Firmware for {device_type} has at most {most} bytes.")
    if device_type == MQTT:  # any file: its structure is the customer's own (FW-1)
        return
    module = read_module(blobs.read(asked.sha256, 0, asked.size_bytes))
    check_module(module, platform_id=product["platform_id"], product_id=asked.product_id, version=asked.version)


def _invalid(reason: str) -> Refused:
    return Refused("invalid_request", reason)
