"""Imports of devices: at once up to 10,000 lines, as a job above that (contract 7.3, DEV-1)."""

from __future__ import annotations

import base64
import codecs
import re
from typing import Any

from starlette.responses import Response

from services.gateway.http import bodies, events, sse
from services.gateway.http.auth import read_body
from services.gateway.http.calls import Call
from services.gateway.http.fields import load
from services.gateway.http.requests import DeviceImport
from services.gateway.http.uploads import BlobSink, Memory, Sink, receive_upload
from services.gateway.import_progress import Progress, Watch
from shared.auth.permissions import Thing
from shared.device_keys import parse_public_key
from shared.errors import NotFound, Refused
from shared.ids import device_id

MAX_LINES = 10_000
MAX_SYNC_BYTES = 4_194_304
MAX_IMPORT_BYTES = 268_435_456
MAX_LINE = 640
"""Characters of a line that are passed on; no device ID with its key is longer, and the importer sees what is."""
IMPORT_S = 60.0
NO_IMPORT = "Import not found."
NO_IDS = "The import names no device ID."
_IMPORT_ID = re.compile(r"[0-9a-f]{24}")


async def import_devices(call: Call) -> Any:
    """The report, once all is done."""
    too_many = (
        f"At most {MAX_LINES} lines and {MAX_SYNC_BYTES} bytes at once; "
        f"send longer files to POST /v1/products/{call.product.product_id}/imports."
    )
    memory = Memory()
    force = await _receive(call, memory, MAX_SYNC_BYTES, too_many)
    lines = lines_of(memory.content())
    if not any(line.strip() for line in lines):
        raise Refused("invalid_request", NO_IDS)
    if len(lines) > MAX_LINES:
        raise Refused("too_large", too_many)
    return await call.ask(
        "devices",
        "import_lines",
        timeout_s=IMPORT_S,
        product_id=call.product.product_id,
        lines=lines,
        force=force,
    )


async def start_import(call: Call) -> Any:
    """The job, which has begun; the file is streamed to the blobs and never whole in memory."""
    sink = _Watched(BlobSink(call.services.blobs))
    force = await _receive(call, sink, MAX_IMPORT_BYTES, f"At most {MAX_IMPORT_BYTES} bytes in one import.")
    if not sink.has_text:
        await sink.abort()
        raise Refused("invalid_request", NO_IDS)
    blob, size_bytes = await sink.inner.finish()
    answer = await call.ask(
        "devices",
        "start_import",
        timeout_s=IMPORT_S,
        product_id=call.product.product_id,
        blob=blob,
        size_bytes=size_bytes,
        force=force,
    )
    return {"ok": True, "import": answer["import"]}


async def list_imports(call: Call) -> Any:
    page, per_page = call.query["page"], call.query["per_page"]
    return await call.ask("devices", "list_imports", product_id=call.product.product_id, page=page, per_page=per_page)


async def cancel_import(call: Call) -> Any:
    """How far it is now; what is in hand is still done."""
    import_id = _import_in_path(call)
    await call.ask("devices", "cancel_import", product_id=call.product.product_id, import_id=import_id)
    call.after = call.position
    call.reconsider()
    return await read_import(call)


async def import_events(call: Call) -> Response:
    """Its progress from now on, until its end."""
    product, import_id = call.product, _import_in_path(call)
    directory = call.services.directory

    async def watch() -> Watch:
        found = directory.import_job(product.product_id, import_id)
        if found is None:
            raise NotFound(NO_IMPORT)
        return Watch(directory, product.product_id, import_id, found)

    return await events.stream(call, Thing(product.org_id, product.product_id), watch, _framed)


def _framed(progress: Progress) -> bytes:
    return sse.frame_of(progress.shown["state"] if progress.is_last else "progress", progress.shown)


async def read_import(call: Call) -> Any:
    answer = await call.ask(
        "devices", "get_import", product_id=call.product.product_id, import_id=_import_in_path(call)
    )
    return {"ok": True, "import": answer["import"]}


async def list_problems(call: Call) -> Any:
    return await call.ask(
        "devices",
        "import_problems",
        product_id=call.product.product_id,
        import_id=_import_in_path(call),
        page=call.query["page"],
        per_page=call.query["per_page"],
    )


def lines_of(content: bytes) -> list[str]:
    """All lines as written, blank ones too, without byte order mark and line ends; long ones are cut."""
    text = content.removeprefix(codecs.BOM_UTF8).decode(errors="replace")
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    return [line.removesuffix("\r")[:MAX_LINE] for line in lines]


class _Watched:
    """A sink that knows whether anything but blanks went into it."""

    def __init__(self, inner: BlobSink) -> None:
        self.inner = inner
        self.has_text = False
        self._first = True

    async def write(self, data: bytes) -> None:
        if not self.has_text:
            seen = data.removeprefix(codecs.BOM_UTF8) if self._first else data
            self.has_text = bool(seen.strip())
            self._first = False
        await self.inner.write(data)

    async def abort(self) -> None:
        await self.inner.abort()


async def _receive(call: Call, sink: Sink, max_bytes: int, too_large: str) -> bool:
    """One ID of JSON or form, or a file of them, into the sink; whether to force."""
    if bodies.media_type(call.request) == bodies.MULTIPART:
        limits = call.services.limits
        uploaded = await receive_upload(call.request, sink, max_bytes=max_bytes, limits=limits, too_large=too_large)
        if uploaded.file_name is None:
            await sink.abort()
            raise Refused("invalid_request", "file: The upload has no file.")
        try:
            return bool(load(DeviceImport(), uploaded.fields, as_form=True)["force"])
        except Refused:
            await sink.abort()
            raise
    body = await read_body(call, DeviceImport())
    await sink.write(_line(body.get("id", "").strip(), body["public_key"] or "").encode())
    return bool(body["force"])


def _line(named: str, key: str) -> str:
    """The line of a file that says the same. Raises ``Refused`` with ``invalid_key``: one device without the key that
    it was sent with is of no use."""
    if device_id(named) is None or not key.strip():
        return named
    return f"{named},{base64.b64encode(parse_public_key(key)[1]).decode()}"


def _import_in_path(call: Call) -> str:
    import_id = call.params["import"]
    if not _IMPORT_ID.fullmatch(import_id):
        raise NotFound(NO_IMPORT)
    return import_id
