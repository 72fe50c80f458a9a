"""Nameko's wire protocol: names, headers, bodies. Pure.

=========  ====================  ======================  ==========================================================
message    exchange (topic)      routing key             body
=========  ====================  ======================  ==========================================================
request    ``nameko-rpc``        ``<service>.<method>``  ``{"args": […], "kwargs": {…}}``
reply      ``nameko-rpc``        ``reply_to``            ``{"result": …, "error": null}`` or
                                                         ``{"result": null, "error": {exc_type, …}}``
event      ``<source>.events``   the event's type        the event itself
=========  ====================  ======================  ==========================================================

Bodies are the JSON of kombu's serializer (dates, UUIDs, decimals and bytes as ``{"__type__", "__value__"}``); what a
call is about travels in headers ``nameko.<key>``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from json import JSONDecoder
from typing import Any

from kombu.utils.json import JSONEncoder, object_hook
from nameko.exceptions import UnserializableValueError

from shared.bus.errors import Malformed, from_error, to_error
from shared.errors import Misuse

RPC_EXCHANGE = "nameko-rpc"
CONTENT_TYPE = "application/json"
CONTENT_ENCODING = "utf-8"
PERSISTENT = 2
HEADER_PREFIX = "nameko."
MAX_BODY_BYTES = 16 * 1_048_576
"""Largest body that is sent or read."""

_encoder = JSONEncoder()
_decoder = JSONDecoder(object_hook=object_hook)


@dataclass(frozen=True, slots=True)
class Message:
    """A message with what nameko reads of its properties."""

    body: bytes
    exchange: str
    routing_key: str
    headers: Mapping[str, Any] = field(default_factory=dict)
    content_type: str | None = CONTENT_TYPE
    content_encoding: str | None = CONTENT_ENCODING
    correlation_id: str | None = None
    reply_to: str | None = None


def event_exchange(source: str) -> str:
    """Where events of this service are published."""
    return f"{source}.events"


def rpc_queue(service: str) -> str:
    """Where requests for this service wait."""
    return f"rpc-{service}"


def reply_queue(caller: str, unique: str) -> str:
    """Where replies for this caller arrive; the routing key is ``unique`` alone."""
    return f"rpc.reply-{caller}-{unique}"


def pool_queue(source: str, event_type: str, service: str, method: str) -> str:
    """Shared by all instances of a service: each event is handled by one of them."""
    return f"evt-{source}-{event_type}--{service}.{method}"


def singleton_queue(source: str, event_type: str) -> str:
    """Shared by all services: each event is handled once in the whole system."""
    return f"evt-{source}-{event_type}"


def broadcast_queue(source: str, event_type: str, service: str, method: str, unique: str) -> str:
    """One for every instance."""
    return f"{pool_queue(source, event_type, service, method)}-{unique}"


def encode(value: Any) -> bytes:
    """A body. Raises ``Misuse`` for what JSON cannot hold or what is too large."""
    try:
        body = _encoder.encode(value).encode()
    except (TypeError, ValueError, RecursionError) as problem:
        raise Misuse(f"not a JSON value: {problem}") from problem
    if len(body) > MAX_BODY_BYTES:
        raise Misuse(f"a message of {len(body)} bytes, at most {MAX_BODY_BYTES}")
    return body


def decode(message: Message) -> Any:
    """The value in a message. Raises ``Malformed``."""
    if message.content_type != CONTENT_TYPE:
        raise Malformed(f"content type {message.content_type!r}, not {CONTENT_TYPE}")
    if len(message.body) > MAX_BODY_BYTES:
        raise Malformed(f"a body of {len(message.body)} bytes, at most {MAX_BODY_BYTES}")
    try:
        return _decoder.decode(message.body.decode(message.content_encoding or CONTENT_ENCODING))
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError) as problem:
        raise Malformed(f"not a JSON body: {problem}") from problem


def decode_request(message: Message) -> tuple[list[Any], dict[str, Any]]:
    """Positional and keyword arguments of a request. Raises ``Malformed``."""
    body = decode(message)
    try:
        args, kwargs = body["args"], body["kwargs"]
    except (TypeError, KeyError, IndexError):
        raise Malformed("Message missing `args` or `kwargs`") from None
    if not isinstance(args, list) or not isinstance(kwargs, dict):
        raise Malformed("`args` must be a list and `kwargs` an object")
    return args, kwargs


def encode_request(args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes:
    """The body of a request."""
    return encode({"args": list(args), "kwargs": dict(kwargs)})


def encode_reply(result: Any, error: Exception | None) -> tuple[bytes, Exception | None]:
    """The body of a reply and the error in it, which is another one if the result fits into no message."""
    if error is None:
        try:
            return encode({"result": result, "error": None}), None
        except Misuse:
            error = UnserializableValueError(_shortened(result))
    return encode({"result": None, "error": to_error(error)}), error


def decode_reply(message: Message) -> Any:
    """The result in a reply; raises the error that was sent instead, and ``Malformed``."""
    body = decode(message)
    if not isinstance(body, dict):
        raise Malformed("a reply must be an object")
    if body.get("error"):
        raise from_error(body["error"])
    return body.get("result")


def to_headers(context_data: Mapping[str, Any]) -> dict[str, Any]:
    """Context data as headers."""
    return {f"{HEADER_PREFIX}{key}": value for key, value in context_data.items() if value is not None}


def from_headers(headers: Mapping[str, Any] | None) -> dict[str, Any]:
    """Headers as context data; those of other programs keep their names."""
    return {key.removeprefix(HEADER_PREFIX): value for key, value in (headers or {}).items()}


def _shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 1_000 else f"{text[:1_000]}…"
