"""Firmware versions of a product: upload, download, release (contract 9)."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

from starlette.responses import Response, StreamingResponse

from services.gateway.blob_threads import in_blob_thread
from services.gateway.http import bodies, past
from services.gateway.http.calls import Call
from services.gateway.http.errors import NO_FIRMWARE, error_answer
from services.gateway.http.fields import load
from services.gateway.http.ranges import Stretch, etag, is_known, stretch
from services.gateway.http.requests import FirmwareUpload
from services.gateway.http.uploads import BlobSink, receive_upload
from shared.blobs import Blobs
from shared.errors import NotFound, Refused, Unavailable
from shared.ids import MAX_FIRMWARE_VERSION

KIB = 1_024
MAX_MODULE_BYTES = {"Core": 108 * KIB, "Photon": 128 * KIB, "P0": 128 * KIB, "P1": 128 * KIB, "Electron": 128 * KIB}
MAX_MQTT_BYTES = 8 * KIB * KIB
PIECE_BYTES = 262_144
"""Read at once, and held for each download: so little that nobody waits, so much that a bucket is not asked all the
time."""
OCTETS = "application/octet-stream"
UPLOAD_S = 30.0


async def list_versions(call: Call) -> Any:
    product_id = call.product.product_id
    return await past.ask(call, "firmware", "list_versions", lambda found: found["versions"], product_id=product_id)


async def upload_version(call: Call) -> Any:
    if bodies.media_type(call.request) != bodies.MULTIPART:
        raise Refused("invalid_request", "Firmware is uploaded as multipart/form-data with a part named file.")
    most = MAX_MODULE_BYTES.get(call.product.device_type, MAX_MQTT_BYTES)
    sink = BlobSink(call.services.blobs)
    uploaded = await receive_upload(
        call.request,
        sink,
        max_bytes=most,
        limits=call.services.limits,
        too_large=f"Firmware for {call.product.device_type} has at most {most} bytes.",
    )
    try:
        if uploaded.file_name is None or uploaded.size_bytes == 0:
            raise Refused("invalid_request", "file: The upload has no file, or an empty one.")
        stated = load(FirmwareUpload(), uploaded.fields, as_form=True)
    except Refused:
        await sink.abort()
        raise
    sha256, size_bytes = await sink.finish()
    return await call.ask(
        "firmware",
        "upload_version",
        timeout_s=UPLOAD_S,
        product_id=call.product.product_id,
        version_width=call.product.version_width,
        **stated,
        file_name=uploaded.file_name or "firmware.bin",
        sha256=sha256,
        size_bytes=size_bytes,
        uploaded_by=call.signed_in.token.email,
        uploader_id=call.signed_in.token.account_id,
        signature=uploaded.encoded_signature,
    )


async def read_version(call: Call) -> Any:
    number = _version_in_path(call)
    product_id = call.product.product_id
    return await past.ask(call, "firmware", "get_version", lambda found: found, product_id=product_id, version=number)


async def describe_version(call: Call) -> Any:
    number = _version_in_path(call)
    return await call.ask(
        "firmware", "describe_version", product_id=call.product.product_id, version=number, **call.body
    )


async def delete_version(call: Call) -> Any:
    number = _version_in_path(call)
    return await call.ask("firmware", "delete_version", product_id=call.product.product_id, version=number)


async def read_impact(call: Call) -> Any:
    """What releasing a version would mean, without doing it."""
    query, product_id = call.query, call.product.product_id
    version, names = query["firmware_version"], [one.strip() for one in query["groups"].split(",") if one.strip()]
    await call.ask("firmware", "get_version", product_id=product_id, version=version)
    asked = {"version": version, "product_default": query.get("product_default", not names), "groups": names}
    return {"devices": {"firmware_update": await call.ask("devices", "update_impact", product_id=product_id, **asked)}}


async def download_version(call: Call) -> Response:
    """The bytes as they were uploaded, or those of a range, so that a download which was cut goes on."""
    product_id, number = call.product.product_id, _version_in_path(call)
    found = await call.ask("firmware", "get_version", product_id=product_id, version=number)
    asked, tag = call.request.headers, etag(found["sha256"])
    headers = {"ETag": tag, "Accept-Ranges": "bytes"}
    if is_known(tag, asked.get("if-none-match")):
        return Response(status_code=304, headers=headers)
    headers["Content-Disposition"] = attachment(found["name"])
    if call.request.method == "HEAD":
        headers["Content-Length"] = str(found["size"])
        return Response(headers=headers, media_type=OCTETS)
    wanted = stretch(found["size"], tag, asked.get("range"), asked.get("if-range"))
    if wanted is None:
        answer = error_answer(Refused("range_not_satisfiable", f"The file has {found['size']} bytes."))
        answer.headers.update({"Content-Range": f"bytes */{found['size']}", "Accept-Ranges": "bytes"})
        return answer
    return await _sent(call.services.blobs, found["sha256"], wanted, headers)


async def _sent(blobs: Blobs, sha256: str, wanted: Stretch, headers: dict[str, str]) -> Response:
    try:
        first = await in_blob_thread(blobs.read, sha256, wanted.first, min(PIECE_BYTES, wanted.end - wanted.first))
    except NotFound:
        raise Unavailable(f"the blob {sha256} is not stored here") from None
    headers["Content-Length"] = str(wanted.end - wanted.first)
    if not wanted.is_all:
        headers["Content-Range"] = wanted.content_range
    status = 200 if wanted.is_all else 206
    return StreamingResponse(_pieces(blobs, sha256, first, wanted), status, headers, media_type=OCTETS)


async def _pieces(blobs: Blobs, sha256: str, first: bytes, wanted: Stretch) -> AsyncIterator[bytes]:
    yield first
    at = wanted.first + len(first)
    while at < wanted.end:
        piece = await in_blob_thread(blobs.read, sha256, at, min(PIECE_BYTES, wanted.end - at))
        if not piece:
            raise Unavailable(f"the blob {sha256} ends at {at}, before {wanted.end}")
        at += len(piece)
        yield piece


def attachment(name: str) -> str:
    """A Content-Disposition for any file name."""
    plain = re.sub(r'[^\x20-\x7e]|["\\]', "_", name)
    also = "" if plain == name else f"; filename*=UTF-8''{quote(name, safe='')}"
    return f'attachment; filename="{plain}"{also}'


async def release_version(call: Call) -> Any:
    body = call.body
    released = await call.ask(
        "firmware",
        "release_version",
        product_id=call.product.product_id,
        version=body["version"],
        product_default=body.get("product_default"),
        groups=body.get("groups"),
        intelligent=body["intelligent"],
    )
    return {**released, "ok": True}


def _version_in_path(call: Call) -> int:
    text = call.params["version"]
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= MAX_FIRMWARE_VERSION):
        raise NotFound(NO_FIRMWARE)
    return int(text)
