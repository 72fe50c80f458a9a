"""The one table from errors to HTTP (contract 1.6).

===============  ======  ===========================================================
``Refused``      400     or what ``STATUS_OF_CODE`` says for its code
``TooMany``      429     with Retry-After and what is left (``limits``)
``NotFound``     404     ``error`` is the sentence itself where clients show that
``Conflict``     409     ``conflict``
``Unavailable``  503     ``unavailable``, with Retry-After; ``Unknown`` says that it may have happened
all others       500     ``server_error`` with a reference that the log has, too
===============  ======  ===========================================================
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import msgspec
from starlette.responses import Response

from services.gateway.http.answers import json_answer
from services.gateway.http.limits import TooMany
from shared.auth.permissions import refusal
from shared.errors import Conflict, NotFound, Refused, Unavailable, Unknown

log = logging.getLogger(__name__)

STATUS_OF_CODE = {
    "invalid_token": 401,
    "bad_password": 401,
    "subscription_inactive": 402,
    "card_declined": 402,
    "permission_denied": 403,
    "Permission Denied": 403,
    "timeout": 408,
    "too_large": 413,
    "range_not_satisfiable": 416,
    "provider_unavailable": 503,
    "too_many_requests": 429,
    "busy": 429,
}
HEADERS_OF_STATUS = {
    401: {"WWW-Authenticate": "Bearer"},
    408: {"Connection": "close"},
    413: {"Connection": "close"},
    429: {"Retry-After": "5"},
    503: {"Retry-After": "2"},
}
NO_PRODUCT = "Product not found."
NO_ORGANIZATION = "Organization not found."
NO_FIRMWARE = "Firmware not found."
NO_DEVICE = "Device not found for this product"
NO_SUCH_DEVICE = "device does not exist"
NO_VARIABLE = "Variable not found"
NO_WEBHOOK = "Webhook not found"
NO_FUNCTION = re.compile(r"Function .{0,64} not found", re.DOTALL)
SENTENCES = frozenset({NO_PRODUCT, NO_FIRMWARE, NO_DEVICE, NO_VARIABLE, NO_WEBHOOK})
"""What clients read in ``error`` itself; other missing things are ``not_found``."""
LISTED = frozenset({"username_taken", "invalid_username", "invalid_password", "unknown_user", "bad_password"})
"""Codes whose body repeats the text in ``errors``, where older clients look first."""


def error_answer(error: Exception) -> Response:
    """The answer for whatever a handler raised; unexpected ones are logged here, and only here."""
    match error:
        case TooMany(code=code, reason=reason):
            answer = _answer(STATUS_OF_CODE[code], code, reason)
            answer.headers.update(error.headers())
            return answer
        case Refused(code=code, reason=reason):
            return _answer(STATUS_OF_CODE.get(code, 400), code, reason, _detail(error))
        case NotFound(reason=reason):
            return _answer(404, reason if reason in SENTENCES or NO_FUNCTION.fullmatch(reason) else "not_found", reason)
        case Conflict():
            return _answer(409, "conflict", "Somebody else changed it at the same time; look at it and try again.")
        case Unknown():
            return _answer(
                503,
                "unavailable",
                "No answer came in time and it may have happened; repeat it with the same Idempotency-Key.",
            )
        case Unavailable():
            return _answer(503, "unavailable", "A part of the service does not answer; nothing happened, try again.")
    reference = uuid4().hex[:12]
    log.error("request failed, reference %s", reference, exc_info=error)
    return _answer(500, "server_error", f"Something went wrong on our side; its reference is {reference}.")


def forbidden(permission: str) -> Refused:
    """The error for whoever may see a thing, but not do this to it (contract 1.6)."""
    return Refused("permission_denied", refusal(permission))


def no_function(name: str) -> NotFound:
    """The error for a function that a device does not have."""
    return NotFound(f"Function {name[:64]} not found")


def no_prefix() -> Refused:
    """The error for public events without a word of which (contract 12.2)."""
    return Refused("event prefix filter is required", "Name the beginning of the events: /v1/events/PREFIX.")


def no_route() -> Response:
    """The answer for a path that does not exist."""
    return _answer(404, "not_found", "There is nothing at this path.")


def no_method(allowed: str) -> Response:
    """The answer for a path that exists, but not with this method."""
    answer = _answer(405, "method_not_allowed", f"This path knows {allowed} only.")
    answer.headers["Allow"] = allowed
    return answer


def _detail(error: Refused) -> Mapping[str, Any]:
    members: dict[str, Any] = {"errors": [error.reason]} if error.code in LISTED else {}
    if error.detail:
        try:
            members.update(msgspec.json.decode(error.detail, type=dict[str, Any]))
        except msgspec.MsgspecError:
            log.exception("the detail of refusal %s is no JSON object", error.code)
    return members


def _answer(status: int, code: str, text: str, members: Mapping[str, Any] | None = None) -> Response:
    body = {**(members or {}), "ok": False, "error": code, "error_description": text}
    return json_answer(body, status, HEADERS_OF_STATUS.get(status))
