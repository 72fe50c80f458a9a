"""What is told of every device of a product, one a line, as JSON lines or CSV, whichever the client accepts. What is
read at a time is a page: the next one is asked for while the client takes this one, and no further one before that.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec
from starlette.responses import Response, StreamingResponse

from services.gateway.http.calls import Call
from shared import csv_text

JSON = "application/json"
LINES = "application/x-ndjson"
CSV = "text/csv"
STREAMED = (LINES, CSV)

Page = tuple[bytes, str | None]
"""JSON objects, one a line, and where the next page begins; None: there is none."""

encode_lines = msgspec.json.Encoder().encode_lines
decode_lines = msgspec.json.Decoder().decode_lines


def wanted(call: Call) -> str:
    """The type that the client accepts; JSON unless it names one of the others."""
    accepted = call.request.headers.get("accept", "").lower()
    return next((kind for kind in STREAMED if kind in accepted), JSON)


async def listed(
    kind: str, pages: AsyncIterator[bytes], columns: Sequence[str], headers: Mapping[str, str] | None = None
) -> Response:
    """The answer; what the first page raises is raised here. ``columns``: what CSV has, by the names in the objects."""
    first = await anext(pages, b"")
    lines = _chained(first, pages)
    body = _csv(lines, columns) if kind == CSV else lines
    return StreamingResponse(body, headers=dict(headers or {}), media_type=f"{kind}; charset=utf-8")


async def paged(ask: Callable[[str | None], Awaitable[Page]]) -> AsyncGenerator[bytes]:
    """All pages, one after the other."""
    lines, after = await ask(None)
    while after is not None:
        following = asyncio.ensure_future(ask(after))
        try:
            yield lines
            lines, after = await following
        finally:
            following.cancel()
    yield lines


async def _chained(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for lines in rest:
        yield lines


async def _csv(pages: AsyncIterator[bytes], columns: Sequence[str]) -> AsyncIterator[bytes]:
    yield csv_text.lines([columns]).encode()
    async for lines in pages:
        found: list[dict[str, Any]] = decode_lines(lines)
        yield csv_text.lines(csv_text.values(one, columns) for one in found).encode()
