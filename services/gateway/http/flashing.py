"""A file that is flashed to one device now, and is no version of its product (contract 9.5)."""

from __future__ import annotations

from typing import Any

from services.gateway.devices.calls import FlashFile
from services.gateway.entries import DeviceEntry, FlashEntry, ProductEntry
from services.gateway.http import bodies
from services.gateway.http.auth import must_also
from services.gateway.http.calls import Call
from services.gateway.http.device_calls import not_in_quarantine
from services.gateway.http.errors import NO_SUCH_DEVICE
from services.gateway.http.firmware import MAX_MODULE_BYTES, UPLOAD_S
from services.gateway.http.uploads import BlobSink, Uploaded, receive_upload
from shared.auth.permissions import Thing
from shared.errors import NotFound, Refused
from shared.ids import record_id

TAKES_S = 10.0
"""For so long the gateway that holds the device may take over the file."""
NO_SOURCES = "Only a compiled file, *.bin, can be flashed; nothing is compiled here."


def brings_file(call: Call) -> bool:
    """Whether the body is an upload."""
    return bodies.media_type(call.request) == bodies.MULTIPART


async def flash_file(call: Call, permission: str, thing: Thing, device: DeviceEntry) -> dict[str, Any]:
    """Have the uploaded file sent to the device. Whatever is known without the file is said before it is read."""
    must_also(call, permission, thing)
    product = call.services.directory.product(str(device.membership.product_id))
    if product is None:
        raise NotFound(NO_SUCH_DEVICE)
    not_in_quarantine(device)
    if not await call.services.calls.is_online(device.device_id, await call.circumstances()):
        raise Refused("device_offline", "The device is offline; a file is flashed to a device that is connected.")
    (sha256, size_bytes), uploaded = await _received(call, product)
    product_id, file_name = product.product_id, uploaded.file_name or "firmware.bin"
    file: dict[str, Any] = {"product_id": product_id, "sha256": sha256, "size_bytes": size_bytes}
    if signature := uploaded.encoded_signature:
        file["signature"] = signature
    checked = await call.ask("firmware", "check_file", timeout_s=UPLOAD_S, **file)
    context = await call.circumstances()
    flash_id = record_id(context.command_id, "flash")
    flash = FlashEntry(flash_id, product_id, checked["version"], size_bytes, sha256)
    await call.services.calls.ask(device.device_id, FlashFile(flash, file_name), TAKES_S, context)
    return {"id": device.device_id, "status": "Update started"}


async def _received(call: Call, product: ProductEntry) -> tuple[tuple[str, int], Uploaded]:
    """The blob's digest and size, and what came with the file."""
    most = MAX_MODULE_BYTES.get(product.device_type, max(MAX_MODULE_BYTES.values()))
    too_large = f"Firmware for {product.device_type} has at most {most} bytes."
    sink = BlobSink(call.services.blobs)
    limits = call.services.limits
    uploaded = await receive_upload(call.request, sink, max_bytes=most, limits=limits, too_large=too_large)
    try:
        _must_be_one_binary(uploaded)
    except Refused:
        await sink.abort()
        raise
    return await sink.finish(), uploaded


def _must_be_one_binary(uploaded: Uploaded) -> None:
    if uploaded.file_name is None or uploaded.size_bytes == 0:
        raise Refused("invalid_request", "file: The upload has no file, or an empty one.")
    is_binary = uploaded.file_name.lower().endswith(".bin") or uploaded.fields.get("file_type") == "binary"
    if not is_binary:
        raise Refused("not_supported", NO_SOURCES)
    if uploaded.files > 1:
        raise Refused("invalid_request", f"One file is flashed at a time; the upload has {uploaded.files}.")
