"""Request bodies as fields: JSON objects and forms alike (contract 1.4), at most ``MAX_BODY_BYTES``."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from starlette.requests import ClientDisconnect, Request

from shared.card_numbers import holds_card_number
from shared.errors import Refused

MAX_BODY_BYTES = 1_048_576
MAX_DISCARDED_BYTES = 67_108_864
DISCARD_S = 10.0
MAX_FORM_FIELDS = 2_000
SHORT_BYTES = 16_384
"""A longer form is read beside the loop: a mebibyte of percent signs takes a third of a second."""
MAX_FORM_DEPTH = 4

FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"
NO_CARDS = "There is a card number in this request. Cards go to the payment provider's own form, and never to us."
_DRAFT_ID = re.compile(r"[0-9a-f]{24}")
_KEY = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")


def media_type(request: Request) -> str:
    """The body's type without parameters, in lower case; empty when it is not said."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_fields(request: Request, timeout_s: float) -> dict[str, Any]:
    """The body's fields; none at all for an empty body. Raises ``Refused``: ``invalid_request`` for what is neither a
    JSON object nor a form, ``too_large``, ``timeout``."""
    return await _fields(request, await read_whole(request, timeout_s))


async def read_cardless_fields(request: Request, timeout_s: float) -> dict[str, Any]:
    """The same of a body that must not have a card's number in it, and needs no more than ``SHORT_BYTES``. Raises
    ``Refused``, ``card_number_refused``, too."""
    body = await read_whole(request, timeout_s, SHORT_BYTES)
    try:
        fields = await _fields(request, body)
    except Refused:
        await asyncio.to_thread(refuse_cards, body, {})
        raise
    await asyncio.to_thread(refuse_cards, body, fields)
    return fields


def refuse_cards(body: bytes, fields: Mapping[str, Any]) -> None:
    """As it was sent and as it was understood: escapes hide digits. A draft's id is one of ours, which may by chance
    look as if it had a card's number in it."""
    draft_id = fields.get("draft_id")
    ours = draft_id if isinstance(draft_id, str) and _DRAFT_ID.fullmatch(draft_id) else ""
    others = {name: value for name, value in fields.items() if name != "draft_id" or not ours}
    sent = body.replace(ours.encode(), b"") if ours else body
    if holds_card_number(sent) or holds_card_number(msgspec.json.encode(others)):
        raise Refused("card_number_refused", NO_CARDS)


async def _fields(request: Request, body: bytes) -> dict[str, Any]:
    kind = media_type(request)
    if kind == FORM:
        is_short = len(body) <= SHORT_BYTES
        return form_fields(body) if is_short else await asyncio.to_thread(form_fields, body)
    if kind == MULTIPART:
        raise Refused("not_supported", "This call takes JSON or a form, not a file.")
    if not body.strip():
        return {}
    return json_fields(body)


async def read_whole(request: Request, timeout_s: float, longest: int = MAX_BODY_BYTES) -> bytes:
    """The body as it was sent. Raises ``Refused``: ``too_large``, ``timeout``."""
    parts: list[bytes] = []
    size_bytes = 0
    try:
        async with asyncio.timeout(timeout_s):
            async for chunk in request.stream():
                size_bytes += len(chunk)
                if size_bytes > longest:
                    raise Refused("too_large", f"The body is larger than {longest} bytes.")
                parts.append(chunk)
    except TimeoutError:
        raise Refused("timeout", f"The body did not arrive within {timeout_s:g} s.") from None
    return b"".join(parts)


async def discard(request: Request) -> None:
    """Read what is left of a body that is too large, so that its sender gets to read the answer: closing a connection
    on which something lies unread would lose it. At most ``MAX_DISCARDED_BYTES`` and ``DISCARD_S``."""
    size_bytes = 0
    try:
        async with asyncio.timeout(DISCARD_S):
            async for chunk in request.stream():
                size_bytes += len(chunk)
                if size_bytes > MAX_DISCARDED_BYTES:
                    return
    except (TimeoutError, ClientDisconnect):
        return
    except RuntimeError:  # how Starlette says that the body has been read to its end
        return


def json_fields(body: bytes) -> dict[str, Any]:
    """A JSON object."""
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Refused("invalid_request", f"The body is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise Refused("invalid_request", "The body must be a JSON object.")
    return document


def form_fields(body: bytes) -> dict[str, Any]:
    """A form with arrays (``a[]=``, ``a[0]=``) and objects (``a[b]=``)."""
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=MAX_FORM_FIELDS)
    except ValueError as error:
        raise Refused("invalid_request", f"The form cannot be read: {error}") from None
    return nested(pairs)


def nested(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Fields by name from ``name[key]`` pairs; of a plain name given twice the last counts."""
    tree: dict[str, Any] = {}
    for name, value in pairs:
        _put(tree, _path(name), value, name)
    return {name: _as_list(value) for name, value in tree.items()}


def _path(name: str) -> list[str]:
    match = _KEY.fullmatch(name)
    if match is None:
        return [name]
    path = [match[1], *re.findall(r"\[([^\[\]]*)\]", match[2])]
    if len(path) > MAX_FORM_DEPTH:
        raise Refused("invalid_request", f"{name[:64]}: nested too deep.")
    return path


def _put(tree: dict[str, Any], path: list[str], value: str, name: str) -> None:
    for step in path[:-1]:
        inner = tree.setdefault(step or str(len(tree)), {})
        if not isinstance(inner, dict):
            raise Refused("invalid_request", f"{name[:64]}: is both a value and a list or object.")
        tree = inner
    last = path[-1] or str(len(tree))
    if isinstance(tree.get(last), dict):
        raise Refused("invalid_request", f"{name[:64]}: is both a value and a list or object.")
    tree[last] = value


def _as_list(value: Any) -> Any:
    """Objects whose keys are all numbers are lists, in the order of the numbers."""
    if not isinstance(value, dict):
        return value
    if all(key.isascii() and key.isdigit() and len(key) <= 6 for key in value):
        return [_as_list(value[key]) for key in sorted(value, key=int)]
    return {key: _as_list(inner) for key, inner in value.items()}
