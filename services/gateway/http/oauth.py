"""The two endpoints of OAuth 2.0 (contract 2.1 and 2.2). What is asked there is decided by the orgs service."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import msgspec
from starlette.responses import RedirectResponse, Response

from services.gateway.http.calls import Call
from services.gateway.http.guessing import guessing, hashing
from services.gateway.pages import page
from shared.errors import Refused
from shared.ids import digest
from shared.store.port import Position

MAX_EXPIRY_S = 315_360_000
MAX_BASIC = 8_192
PASSED_ON = (
    "grant_type",
    "client_id",
    "client_secret",
    "username",
    "password",
    "refresh_token",
    "scope",
    "code",
    "redirect_uri",
    "code_verifier",
)
ASKED = (
    "response_type",
    "client_id",
    "redirect_uri",
    "state",
    "scope",
    "code_challenge",
    "code_challenge_method",
)
MAX_FIELD = 2_048
TITLE = "Log in"
WRONG = "The email address or the password is wrong."


async def issue_token(call: Call) -> Any:
    """Style C: a bearer header is never looked at."""
    fields = {name: call.body[name] for name in PASSED_ON if call.body.get(name) is not None}
    asked = {"fields": fields, "basic": basic_credentials(call), "expires_in_s": _life_s(call)}
    says_it = fields["grant_type"] == "password"
    username = str(fields.get("username", "")) if says_it else ""
    client = msgspec.json.encode([asked["basic"], fields.get("client_id")]).decode()
    grant = await guarded(call, username, "oauth_token", asked, proves=says_it, at=client)
    return token_answer(call, grant)


def token_answer(call: Call, grant: dict[str, Any]) -> dict[str, Any]:
    """A token as the contract shows it; what the command reached is remembered for it, and not told: it may be a
    company's customer who asks (CUS-7)."""
    if call.position is not None:
        call.edge.positions.remember(digest(grant["access_token"]), Position(call.position))
        call.position = None
    answer = {
        "token_type": "bearer",
        "access_token": grant["access_token"],
        "expires_in": grant["expires_in"],
        "refresh_token": grant["refresh_token"],
    }
    return {**answer, "scope": grant["scope"]} if "scope" in grant else answer


async def show_consent(call: Call) -> Response:
    fields = _asked(call.request.query_params)
    found = await call.ask("orgs", "check_authorization", fields=fields)
    return _consent(fields, found)


async def give_consent(call: Call) -> Response:
    """Log in and send the browser back to the client, with a code or with the refusal."""
    fields, allowed = _asked(call.body), call.body.get("decision") == "allow"
    username = _text(call.body.get("username"))
    asked = {"fields": fields, "username": username, "password": _text(call.body.get("password")), "allowed": allowed}
    try:
        answer = await guarded(call, username, "authorize", asked, proves=allowed)
    except Refused as refusal:
        if refusal.code not in ("invalid_grant", "customer_exists"):
            raise
        found = await call.ask("orgs", "check_authorization", fields=fields)
        problem = WRONG if refusal.code == "invalid_grant" else refusal.reason
        return _consent(fields, found, 400, username, problem)
    return RedirectResponse(answer["redirect_uri"], 302, {"Cache-Control": "no-store"})


def _consent(
    fields: dict[str, str], found: dict[str, Any], status: int = 200, username: str = "", problem: str = ""
) -> Response:
    target = urlsplit(fields.get("redirect_uri") or found["redirect_uri"])
    origin = f"{target.scheme}://{target.netloc}" if target.scheme in ("http", "https") else f"{target.scheme}:"
    shown = {"client": found["client"], "company": found["company"], "fields": list(fields.items())}
    return page("authorize", TITLE, status, goes_to=origin, username=username, problem=problem, **shown)


def _asked(given: Any) -> dict[str, str]:
    fields = {name: _text(given.get(name)) for name in ASKED if given.get(name)}
    for name, value in fields.items():
        if len(value) > MAX_FIELD:
            raise Refused("invalid_request", f"{name} has more than {MAX_FIELD} characters.")
    return fields


async def guarded(
    call: Call, username: str, method: str, asked: Mapping[str, Any], *, proves: bool, at: str = ""
) -> dict[str, Any]:
    """What the orgs service answers; passwords cannot be guessed this way. Raises as ``guessing`` does."""
    with guessing(call, username, proves=proves, at=at):
        async with hashing(call) if proves else nullcontext():
            return await call.ask("orgs", method, timeout_s=20.0, **asked)


def basic_credentials(call: Call) -> list[str] | None:
    """The client's id and secret of Basic authentication; None without any. Raises ``Refused`` ``invalid_client``."""
    scheme, _, value = call.request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        if len(value) > MAX_BASIC:
            raise Refused("invalid_client", "The client's Basic credentials are too long.")
        client_id, _, secret = base64.b64decode(value.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise Refused("invalid_client", "The client's Basic credentials cannot be read.") from None
    return [client_id, secret]


def _life_s(call: Call) -> int | None:
    """Seconds that the token is asked to live; 0 for ever, None as long as usual."""
    expires_at = call.body.get("expires_at")
    if call.body.get("expires_in") is not None or not expires_at:
        seconds: int | None = call.body.get("expires_in")
        return seconds
    try:
        moment = datetime.fromisoformat(expires_at)
    except ValueError:
        raise Refused("invalid_request", "expires_at: Not an ISO 8601 time.") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    seconds = int((moment - call.services.now()).total_seconds())
    if not 1 <= seconds <= MAX_EXPIRY_S:
        raise Refused("invalid_request", "expires_at: Must be in the future, ten years at most.")
    return seconds


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
