"""Multipart bodies, streamed: form fields are kept, the first file goes to a sink piece by piece."""

from __future__ import annotations

import asyncio
import base64
import logging
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from services.gateway.blob_threads import in_blob_thread
from services.gateway.http.bodies import nested
from services.gateway.http.ports import Limits
from shared.blobs import Blobs, BlobWriter
from shared.errors import Refused

logging.getLogger("python_multipart").setLevel(logging.ERROR)  # what is wrong with an upload is answered, not logged

MAX_FIELDS = 100
MAX_FIELD_BYTES = 65_536
MAX_OVERHEAD_BYTES = 1_048_576
"""What a multipart body may have besides its first file."""
MAX_HEADERS = 16
MAX_HEADER_BYTES = 4_096
SIGNATURE_FIELD = "signature"
"""A part of this name is the file's signature, be it a file itself or a field; it may hold any bytes."""
FILE_FIELDS = frozenset({"file", "binary"})
"""Parts of these names are files even when they carry no file name."""


class Sink(Protocol):
    """Where the file goes. ``abort`` is called when the rest cannot be used; it may follow ``write`` at any time."""

    async def write(self, data: bytes) -> None: ...

    async def abort(self) -> None: ...


class Memory:
    """A small file, kept in memory; the caller bounds it."""

    def __init__(self) -> None:
        self._data = bytearray()

    async def write(self, data: bytes) -> None:
        self._data += data

    async def abort(self) -> None:
        self._data.clear()

    def content(self) -> bytes:
        """All of it."""
        return bytes(self._data)


class BlobSink:
    """A file on its way to the blobs, written in threads."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._writer: BlobWriter | None = None

    async def write(self, data: bytes) -> None:
        writer = await self._opened()
        await in_blob_thread(writer.write, data)

    async def finish(self) -> tuple[str, int]:
        """The blob's digest and size in bytes."""
        writer = await self._opened()
        try:
            blob = await in_blob_thread(writer.finish)
        except BaseException:
            await self.abort()
            raise
        self._writer = None
        return blob.sha256, blob.size_bytes

    async def abort(self) -> None:
        if self._writer is not None:
            await in_blob_thread(self._writer.abort)
            self._writer = None

    async def _opened(self) -> BlobWriter:
        if self._writer is None:
            self._writer = await in_blob_thread(self._blobs.writer)
        return self._writer


@dataclass(slots=True)
class Uploaded:
    """What came besides the file's content. ``file_name`` is None when there was no file part; of several ``files``
    only the first is kept, and the ``signature`` in no case counts as one."""

    fields: dict[str, Any] = field(default_factory=dict)
    file_name: str | None = None
    size_bytes: int = 0
    files: int = 0
    signature: bytes | None = None

    @property
    def encoded_signature(self) -> str | None:
        """The part that is the signature in base64, for services; None without one, or with an empty one."""
        return base64.b64encode(self.signature).decode() if self.signature else None


@dataclass(slots=True)
class _Part:
    headers: dict[bytes, bytes] = field(default_factory=dict)
    header_name: bytes = b""
    header_value: bytes = b""
    name: str = ""
    is_file: bool = False
    value: bytearray = field(default_factory=bytearray)


class _Parts:
    """The parser's callbacks: collects fields, and the first file's pieces until somebody takes them."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.pairs: list[tuple[str, str]] = []
        self.file_name: str | None = None
        self.overhead_bytes = 0
        self.finished = False
        self._part = _Part()
        self.files = 0
        self.signature: bytes | None = None

    def callbacks(self) -> Any:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_end": self._all,
        }

    def _begin(self) -> None:
        self._part = _Part()

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._part.header_name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._part.header_value += data[start:end]

    def _header_end(self) -> None:
        part = self._part
        part.headers[part.header_name.lower()] = part.header_value
        part.header_name, part.header_value = b"", b""

    def _headers_finished(self) -> None:
        part = self._part
        _, options = parse_options_header(part.headers.get(b"content-disposition"))
        if b"name" not in options:
            raise Refused("invalid_request", "A part of the upload has no name.")
        part.name = options[b"name"].decode("utf-8", "replace")
        file_name = options.get(b"filename")
        looks_like_file = (file_name is not None or part.name in FILE_FIELDS) and part.name != SIGNATURE_FIELD
        part.is_file = looks_like_file and self.files == 0
        self.files += looks_like_file
        if part.is_file:
            self.file_name = (file_name or b"").decode("utf-8", "replace")
        elif not looks_like_file and len(self.pairs) >= MAX_FIELDS:
            raise Refused("invalid_request", f"The upload has more than {MAX_FIELDS} fields.")
        elif looks_like_file:
            part.name = ""

    def _data(self, data: bytes, start: int, end: int) -> None:
        part = self._part
        if part.is_file:
            self.pieces.append(data[start:end])
            return
        self.overhead_bytes += end - start
        if part.name:
            part.value += data[start:end]
            if len(part.value) > MAX_FIELD_BYTES:
                raise Refused("too_large", f"{part.name[:64]}: longer than {MAX_FIELD_BYTES} bytes.")

    def _end(self) -> None:
        part = self._part
        if part.name == SIGNATURE_FIELD:
            self.signature = bytes(part.value)
        elif part.name and not part.is_file:
            self.pairs.append((part.name, part.value.decode("utf-8", "replace")))

    def _all(self) -> None:
        self.finished = True


async def receive_upload(request: Request, sink: Sink, *, max_bytes: int, limits: Limits, too_large: str) -> Uploaded:
    """Read a whole multipart body; the first file's bytes are in the sink afterwards, to be finished or aborted by the
    caller. Raises ``Refused`` (then the sink is aborted): ``too_large`` with that text for a file above
    ``max_bytes``, ``invalid_request``, ``timeout``."""
    try:
        async with asyncio.timeout(limits.upload_s):
            return await _receive(request, sink, max_bytes, limits.upload_idle_s, too_large)
    except TimeoutError:
        await sink.abort()
        raise Refused("timeout", "The upload took too long.") from None
    except BaseException:
        await sink.abort()
        raise


async def _receive(request: Request, sink: Sink, max_bytes: int, idle_s: float, too_large: str) -> Uploaded:
    parts = _Parts()
    parser = _parser(request, parts)
    uploaded = Uploaded()
    received = 0
    async for chunk in _chunks(request, idle_s):
        received += len(chunk)
        try:
            parser.write(chunk)
        except FormParserError as error:
            raise Refused("invalid_request", f"The upload cannot be read: {error}") from None
        for piece in parts.pieces:
            uploaded.size_bytes += len(piece)
            if uploaded.size_bytes > max_bytes:
                raise Refused("too_large", too_large)
            await sink.write(piece)
        parts.pieces.clear()
        if received > max_bytes + MAX_OVERHEAD_BYTES or parts.overhead_bytes > MAX_OVERHEAD_BYTES:
            raise Refused("too_large", too_large)
    if not parts.finished:
        raise Refused("invalid_request", "The upload ends in the middle.")
    uploaded.fields, uploaded.files, uploaded.signature = nested(parts.pairs), parts.files, parts.signature
    uploaded.file_name = None if parts.file_name is None else base_name(parts.file_name)
    return uploaded


def _parser(request: Request, parts: _Parts) -> MultipartParser:
    _, options = parse_options_header(request.headers.get("content-type"))
    boundary = options.get(b"boundary")
    if not boundary:
        raise Refused("invalid_request", "The upload names no boundary.")
    try:
        return MultipartParser(
            boundary, parts.callbacks(), max_header_count=MAX_HEADERS, max_header_size=MAX_HEADER_BYTES
        )
    except FormParserError as error:
        raise Refused("invalid_request", f"The upload cannot be read: {error}") from None


async def _chunks(request: Request, idle_s: float) -> AsyncIterator[bytes]:
    stream = aiter(request.stream())
    while True:
        try:
            async with asyncio.timeout(idle_s):
                chunk = await anext(stream)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise Refused("timeout", f"Nothing of the upload arrived for {idle_s:g} s.") from None
        yield chunk


def base_name(path: str) -> str:
    """The last component of a path of any system, without control characters, at most 255 of it (contract 9.5)."""
    last = re.split(r"[/\\]", path)[-1]
    return re.sub(r"[\x00-\x1f\x7f]", "", last).strip()[:255]
