"""Accounts and access tokens (contract 2 and 3)."""

from __future__ import annotations

import base64
import binascii
import re
from datetime import UTC, datetime
from typing import Any

from services.gateway.http import auth
from services.gateway.http.calls import Call
from shared.errors import NotFound, Refused, Unavailable
from shared.ids import digest
from shared.store.port import Position
from shared.times import iso

_RECORD_ID = re.compile(r"[0-9a-f]{24}")
MAX_EXPIRY_S = 315_360_000
UNKNOWN = "There is no such token."


async def create_user(call: Call) -> Any:
    call.edge.sign_ups.take(call.address)
    await call.ask("orgs", "create_account", timeout_s=20.0, **call.body)
    return {"ok": True}


async def read_user(call: Call) -> Any:
    user = await call.ask("orgs", "get_user", account_id=call.signed_in.token.account_id)
    return {
        "username": user["username"],
        "subscription_ids": [],
        "account_info": user["account_info"],
        "mfa": {"enabled": False},
        "tos": 1,
        "memberships": user["memberships"],
        "scim_provisioned": False,
        "no_password": False,
        "wifi_device_count": 0,  # personal devices; nobody can claim one yet
        "cellular_device_count": 0,
    }


async def issue_token(call: Call) -> Any:
    """Style C: a bearer header is never looked at."""
    client = _client(call)
    match call.body["grant_type"]:
        case "password":
            asked = {"username": _needed(call, "username"), "password": _needed(call, "password")}
            asked["expires_in_s"] = _life_s(call)
            method = "issue_token"
        case "refresh_token":
            asked = {"refresh_token": _needed(call, "refresh_token")}
            method = "refresh_token"
        case other:
            raise Refused("unsupported_grant_type", f"The grant type {other!r} is not supported here.")
    call.edge.logins.take(call.address)
    try:
        grant = await call.ask("orgs", method, timeout_s=20.0, client=client, **asked)
    except Unavailable:
        call.edge.logins.give_back(call.address)
        raise
    call.edge.logins.give_back(call.address)
    if call.position is not None:
        call.edge.positions.remember(digest(grant["access_token"]), Position(call.position))
    return {
        "token_type": "bearer",
        "access_token": grant["access_token"],
        "expires_in": grant["expires_in"],
        "refresh_token": grant["refresh_token"],
    }


def _client(call: Call) -> str:
    """The OAuth client of Basic or the fields, Basic first; raises ``Refused`` ``invalid_client``."""
    scheme, _, value = call.request.headers.get("authorization", "").partition(" ")
    client = call.body.get("client_id", "")
    if scheme.lower() == "basic":
        try:
            client = base64.b64decode(value.strip(), validate=True).decode().partition(":")[0]
        except (binascii.Error, UnicodeDecodeError):
            raise Refused("invalid_client", "The client's Basic credentials cannot be read.") from None
    if client not in call.services.clients:
        raise Refused("invalid_client", "The client is not known here.")
    return str(client)


def _needed(call: Call, name: str) -> Any:
    if not call.body.get(name):
        raise Refused("invalid_request", f"{name}: Missing data for required field.")
    return call.body[name]


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


async def current_token(call: Call) -> Any:
    token = call.signed_in.token
    org = call.services.directory.org(token.org_id) if token.org_id else None
    return {
        "expires_at": iso(token.expires_at) if token.expires_at else None,
        "client": token.client,
        "client_id": token.client,
        "scopes": [],
        "orgs": [{"id": org.org_id, "slug": org.slug}] if org else [],
    }


async def revoke_current_token(call: Call) -> Any:
    token = call.signed_in.token
    await call.ask("orgs", "revoke_token", token_id=token.token_id, account_id=token.account_id)
    return {"ok": True}


async def list_tokens(call: Call) -> Any:
    answer = await call.ask("orgs", "list_tokens", account_id=call.signed_in.token.account_id)
    return answer["tokens"]


async def revoke_tokens(call: Call) -> Any:
    """All tokens of the user, the one in use last."""
    mine = call.signed_in.token
    listed = await call.ask("orgs", "list_tokens", account_id=mine.account_id)
    others = [token["id"] for token in listed["tokens"] if token["id"] != mine.token_id]
    for token_id in [*others, mine.token_id]:
        try:
            step = call.context.step(token_id)
            await call.ask("orgs", "revoke_token", context=step, token_id=token_id, account_id=mine.account_id)
        except NotFound:
            continue  # somebody else revoked it in the meantime: what was asked for is true
    return {"ok": True}


async def revoke_token(call: Call) -> Any:
    """By the token itself, which is authority enough, or by the id of a listed one of the caller's own. A bearer that
    works, or a user name with its password, must be of the same account; a bearer that does not is ignored."""
    ref = call.params["token"]
    sent = await auth.sent_token(call)
    own = await _working(call, sent) if sent and sent != ref else None
    if not sent:
        call.session = await auth.sign_in_by_password(call)
        own = call.session.token.account_id if call.session else None
    if own and _RECORD_ID.fullmatch(ref):
        token_id, account_id = ref, own
    else:
        named = await _named(call, ref)
        token_id, account_id = named.token_id, named.account_id
        if own and own != account_id:
            raise NotFound(UNKNOWN)
    try:
        await call.ask("orgs", "revoke_token", token_id=token_id, account_id=account_id)
    except NotFound:
        raise NotFound(UNKNOWN) from None
    return {"ok": True}


async def _working(call: Call, token: str) -> str | None:
    """The account of a token that works."""
    try:
        call.session = await auth.sign_in(call, token)
    except Refused as refusal:
        if refusal.code != "invalid_token":
            raise
        return None
    return call.session.token.account_id


async def _named(call: Call, token: str) -> Any:
    try:
        session = await auth.sign_in(call, token)
    except Refused as refusal:
        if refusal.code != "invalid_token":
            raise
        raise NotFound(UNKNOWN) from None
    call.session = call.session or session
    return session.token
