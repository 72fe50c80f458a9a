"""Whose token it is (contract 1.3), and whether they may: before anything else is looked at."""

from __future__ import annotations

import base64
import binascii
from dataclasses import replace
from datetime import datetime

from services.gateway.entries import TokenEntry
from services.gateway.http import bodies
from services.gateway.http.calls import Call, Edge, Session
from services.gateway.http.errors import NO_ORGANIZATION, NO_PRODUCT
from shared.auth.permissions import allowed, role_for
from shared.context import Context
from shared.errors import NotFound, Refused, Unavailable
from shared.ids import digest
from shared.store.port import Position

MISSING = "The access token was not found"
INVALID = "The access token provided is invalid."
EXPIRED = "The access token provided has expired."
WAIT_S = 2.0
"""How long a look-up waits for the directory to reach what the caller has already seen."""
MAX_TOKEN = 256
MAX_BASIC = 8_192
MAX_REF = 64


async def admit(call: Call) -> None:
    """Authenticate and authorize by the route's permission. Raises ``Refused`` for token trouble and ``NotFound``,
    as for what does not exist, for what the caller may not touch."""
    if role_for(call.route.permission) == "anonymous":
        return
    token = await sent_token(call)
    if token:
        call.session = await sign_in(call, token)
    elif call.route.password:
        call.session = await sign_in_by_password(call)
    if call.session is None:
        raise Refused("invalid_request", MISSING)
    asked = call.asked_after()
    if asked is not None and asked > (call.after or -1):
        call.after = asked
        await _wait(call.edge, asked)
        if token:
            call.session = await find_session(call.edge, token, call.address)
    _find_owner(call)


async def sent_token(call: Call) -> str:
    """The token of header, query or form, in this order; empty when there is none."""
    scheme, _, value = call.request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and value.strip():
        return value.strip()
    in_query = call.request.query_params.get("access_token", "")
    if in_query:
        return in_query
    if call.route.body == "fields" and bodies.media_type(call.request) == bodies.FORM:
        in_form = (await read_fields(call)).get("access_token", "")
        return in_form if isinstance(in_form, str) else ""
    return ""


async def sign_in_by_password(call: Call) -> Session | None:
    """The session of the user name and password in Basic authentication; None without any. Raises ``Refused``:
    ``unknown_user``, ``bad_password``, and ``too_many_requests`` after too many of them."""
    scheme, _, value = call.request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    if len(value) > MAX_BASIC:
        raise Refused("invalid_request", "The Basic credentials are too long.")
    try:
        username, _, password = base64.b64decode(value.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise Refused("invalid_request", "The Basic credentials cannot be read.") from None
    call.edge.logins.take(call.address)
    context = Context.new("anonymous", f"gateway:{call.services.gateway}")
    asked = {"username": username, "password": password}
    try:
        found = await call.ask("orgs", "check_password", timeout_s=20.0, context=context, **asked)
    except Unavailable:
        call.edge.logins.give_back(call.address)
        raise
    call.edge.logins.give_back(call.address)
    account_id = found["account_id"]
    entry = TokenEntry("", account_id, found["email"], "", None, call.services.directory.account_org(account_id))
    return Session(digest(account_id), entry)


async def read_fields(call: Call) -> dict[str, object]:
    """The fields of the body, which is read once."""
    if call.fields is None:
        call.fields = await bodies.read_fields(call.request, call.services.limits.body_s)
    return call.fields


async def sign_in(call: Call, token: str) -> Session:
    """The session of a token. Raises ``Refused`` ``invalid_token`` for an unknown, revoked or expired one."""
    token_digest = digest(token)
    call.after = call.edge.positions.of(token_digest)
    if call.after is not None:
        await _wait(call.edge, call.after)
    return await find_session(call.edge, token, call.address)


async def find_session(edge: Edge, token: str, address: str) -> Session:
    """The same for whoever has no call, such as an event stream that is open."""
    token_digest = digest(token)
    entry = edge.services.directory.token(token_digest) or await _ask_for(edge, token, token_digest, address)
    if entry.expires_at is not None and entry.expires_at <= edge.services.now():
        raise Refused("invalid_token", EXPIRED)
    if entry.org_id is None:
        entry = replace(entry, org_id=edge.services.directory.account_org(entry.account_id))
    return Session(token_digest, entry)


async def _ask_for(edge: Edge, token: str, token_digest: str, address: str) -> TokenEntry:
    """A token that the directory does not know may be newer than the directory."""
    if len(token) > MAX_TOKEN or not token.isascii() or token_digest in edge.unknown_tokens:
        raise Refused("invalid_token", INVALID)
    edge.lookups.take(address)
    context = Context.new("anonymous", f"gateway:{edge.services.gateway}")
    try:
        found = await edge.services.bus.call("orgs", "find_token", context, timeout_s=10.0, token=token)
    except NotFound:
        edge.unknown_tokens.add(token_digest)
        raise Refused("invalid_token", INVALID) from None
    edge.lookups.give_back(address)
    expires_at = found.get("expires_at")
    return TokenEntry(
        token_id=found["token_id"],
        account_id=found["account_id"],
        email=found["email"],
        client=found["client"],
        expires_at=datetime.fromisoformat(expires_at) if expires_at else None,
        org_id=found.get("org_id"),
    )


def _find_owner(call: Call) -> None:
    directory, permission = call.services.directory, call.route.permission
    if "product" in call.params:
        product = directory.product(call.params["product"]) if len(call.params["product"]) <= MAX_REF else None
        if product is None or not allowed(permission, call.caller, product.org_id):
            raise NotFound(NO_PRODUCT)
        call.product_entry = product
    elif "org" in call.params:
        org = directory.org(call.params["org"]) if len(call.params["org"]) <= MAX_REF else None
        if org is None or not allowed(permission, call.caller, org.org_id):
            raise NotFound(NO_ORGANIZATION)
        call.org_entry = org
    elif not allowed(permission, call.caller, None):
        raise NotFound(NO_PRODUCT)


async def _wait(edge: Edge, position: Position) -> bool:
    return await edge.services.directory.wait_for(position, WAIT_S)
