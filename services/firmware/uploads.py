"""An upload checked against its file and its product, in the order of contract 9.3."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from services.firmware.firmware_object import firmware_object
from services.firmware.modules import Module, check_module, module_warnings, read_module
from services.firmware.signatures import read_signature, signer_of
from services.firmware.signing import Signing, must_be_signed
from services.firmware.versions import VERSIONS, UploadVersion, stream_of
from shared.blobs import Blobs
from shared.bus.providers import WorkerStreams
from shared.errors import Refused
from shared.events.firmware import ModuleDependency, ReadModule, VersionUploaded
from shared.ids import MAX_FIRMWARE_VERSION

MQTT = "mqtt"
NO_FILES = (
    "A device that speaks MQTT takes versions only: upload the file as one, and lock the device to it with flash."
)
MAX_IMAGE_BYTES = {"Core": 110_592, MQTT: 8_388_608}
"""By device type; a Core's flash has less room, and any other hardware has what it has."""
MAX_MODULE_BYTES = 131_072
"""The user part of Photon, P0, P1 and Electron."""
MAX_TITLE = 128
MAX_DESCRIPTION = 4_000
MAX_FILE_NAME = 255


@dataclass(frozen=True, slots=True)
class Upload:
    """What came with the file; ``sha256`` names its blob. ``signature``: the file of the detached signature, in base64
    whatever is in it; None if there was none."""

    product_id: int
    version: int
    title: str
    description: str | None
    file_name: str
    sha256: str
    size_bytes: int
    uploaded_by: str
    uploader_id: str
    signature: str | None = None


def upload(
    streams: WorkerStreams, blobs: Blobs, product: Mapping[str, Any], asked: Upload, now: datetime
) -> dict[str, Any]:
    """Add a version; its firmware object. Raises ``Refused`` with the codes of contract 9.3."""
    event = _stated(asked)
    module = _check_image(blobs, product, asked)
    signature, key_id = _signed(streams, blobs, asked.product_id, asked.sha256, asked.size_bytes, asked.signature)
    event = msgspec.structs.replace(event, module=_read(module), signature=signature, signature_key=key_id)
    handled = streams.handle(VERSIONS, stream_of(asked.product_id), UploadVersion(event))
    untried = {"proven": False, "released": False, "groups": []}
    row = {**msgspec.to_builtins(event), "uploaded_at": now, "updated_at": now, **untried}
    warnings = module_warnings(module) if module is not None else []
    return {**firmware_object(row, 0), "warnings": warnings, "position": handled.position}


def check_file(
    streams: WorkerStreams,
    blobs: Blobs,
    product: Mapping[str, Any],
    sha256: str,
    size_bytes: int,
    signature: str | None,
) -> dict[str, Any]:
    """``{version}`` that is compiled into a file which is to be flashed to a device of the product, and is no version
    of it. Raises ``Refused`` with the codes of contract 9.3 and of signatures, ``not_supported`` where files carry
    none."""
    if product["device_type"] == MQTT:
        raise Refused("not_supported", NO_FILES)
    module = _module(blobs, product, sha256, size_bytes)
    check_module(module, platform_id=product["platform_id"], product_id=product["id"])
    if module.version > MAX_FIRMWARE_VERSION:
        raise Refused("version_mismatch", f"the binary carries version {module.version}, which stands for none")
    _signed(streams, blobs, product["id"], sha256, size_bytes, signature)
    return {"version": module.version}


def _signed(
    streams: WorkerStreams, blobs: Blobs, product_id: int, sha256: str, size_bytes: int, signature: str | None
) -> tuple[str, str] | tuple[None, None]:
    """The signature as hexadecimal and the id of the key that made it. Raises ``Refused`` ``signature_required``,
    ``bad_signature``."""
    signing: Signing = streams.load(VERSIONS, stream_of(product_id)).state.signing
    must_be_signed(signing, signature is not None)
    if signature is None:
        return None, None
    try:
        said = read_signature(base64.b64decode(signature, validate=True))
    except binascii.Error:
        raise Refused("bad_signature", "the signature cannot be read") from None
    return said.hex(), signer_of(blobs.read(sha256, 0, size_bytes), said, signing.public_keys)


def _read(module: Module | None) -> ReadModule | None:
    if module is None:
        return None
    return ReadModule(
        platform_id=module.platform_id,
        function=module.function,
        index=module.index,
        module_version=module.module_version,
        dependencies=[ModuleDependency(*one) for one in module.dependencies],
        app_hash=module.app_hash,
        app_hash_right=module.app_hash_right,
    )


def _stated(asked: Upload) -> VersionUploaded:
    title, description = stated_title(asked.title), stated_description(asked.description)
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


def stated_title(text: str | None) -> str:
    """The title that somebody stated. Raises ``Refused("invalid_request")``."""
    return _line("title", text, MAX_TITLE)


def stated_description(text: str | None) -> str:
    """The same of the description, which may be empty."""
    description = (text or "").strip()
    if len(description) > MAX_DESCRIPTION:
        raise _invalid(f"The description has more than {MAX_DESCRIPTION} characters.")
    return description


def _line(what: str, text: str | None, most: int) -> str:
    line = (text or "").strip()
    if not line:
        raise _invalid(f"The {what} is missing.")
    if len(line) > most or not line.isprintable():
        raise _invalid(f"The {what} must be one line of at most {most} characters.")
    return line


def _check_image(blobs: Blobs, product: Mapping[str, Any], asked: Upload) -> Module | None:
    if product["device_type"] == MQTT:  # any file: its structure is the customer's own (FW-1)
        _must_be_stored(blobs, product, asked.sha256, asked.size_bytes)
        return None
    module = _module(blobs, product, asked.sha256, asked.size_bytes)
    check_module(module, platform_id=product["platform_id"], product_id=asked.product_id, version=asked.version)
    return module


def _module(blobs: Blobs, product: Mapping[str, Any], sha256: str, size_bytes: int) -> Module:
    _must_be_stored(blobs, product, sha256, size_bytes)
    return read_module(blobs.read(sha256, 0, size_bytes))


def _must_be_stored(blobs: Blobs, product: Mapping[str, Any], sha256: str, size_bytes: int) -> None:
    if not blobs.exists(sha256) or blobs.size(sha256) != size_bytes or size_bytes == 0:
        raise _invalid("The file is missing, or was not stored in full.")
    most = MAX_IMAGE_BYTES.get(product["device_type"], MAX_MODULE_BYTES)
    if size_bytes > most:
        raise Refused("too_large", f"Firmware for {product['device_type']} has at most {most} bytes.")


def _invalid(reason: str) -> Refused:
    return Refused("invalid_request", reason)
