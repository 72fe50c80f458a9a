"""Accounts and access tokens (contract 2 and 3)."""

from __future__ import annotations

import re
from typing import Any

from services.gateway.http import auth
from services.gateway.http.calls import Call
from services.gateway.http.guessing import hashing
from shared.errors import NotFound, Refused
from shared.times import iso

_RECORD_ID = re.compile(r"[0-9a-f]{24}")
UNKNOWN = "There is no such token."


async def create_user(call: Call) -> Any:
    call.edge.sign_ups.take(call.address)
    async with hashing(call):
        await call.ask("orgs", "create_account", timeout_s=20.0, **call.body)
    return {"ok": True}


async def current_token(call: Call) -> Any:
    token = call.signed_in.token
    org = call.services.directory.org(token.org_id) if token.org_id else None
    return {
        "expires_at": iso(token.expires_at) if token.expires_at else None,
        "client": token.client,
        "client_id": token.client,
        "scopes": token.scope.split(),
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
    """All tokens of the user, the one in use too."""
    mine = call.signed_in.token
    await call.ask("orgs", "end_tokens", account_id=mine.account_id, customer_id=mine.customer_id)
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
    found = call.session.token
    return found.account_id if found.subject == "account" else found.token_id  # which is nobody's account


async def _named(call: Call, token: str) -> Any:
    try:
        session = await auth.sign_in(call, token)
    except Refused as refusal:
        if refusal.code != "invalid_token":
            raise
        raise NotFound(UNKNOWN) from None
    call.session = call.session or session
    return session.token
