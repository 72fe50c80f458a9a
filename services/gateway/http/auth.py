"""Whose token it is (contract 1.3), and whether they may: before anything else is looked at."""

from __future__ import annotations

import base64
import binascii
from dataclasses import replace
from datetime import datetime
from typing import Any

import marshmallow as ma

from services.gateway.entries import TokenEntry
from services.gateway.http import bodies
from services.gateway.http.calls import Call, Edge, Session
from services.gateway.http.errors import NO_ORGANIZATION, NO_PRODUCT, forbidden
from services.gateway.http.fields import load
from services.gateway.http.guessing import guessing, hashing
from services.gateway.http.judging import insist, outcome
from services.gateway.http.named_devices import kept_device
from shared.auth.permissions import Thing, rule_of
from shared.context import Context
from shared.errors import Misuse, NotFound, Refused, Unavailable
from shared.ids import digest
from shared.store.port import Position

MISSING = "The access token was not found"
INVALID = "The access token provided is invalid."
EXPIRED = "The access token provided has expired."
WAIT_S = 2.0
"""How long a look-up waits for the directory to reach what the caller has already seen."""
ENDING = frozenset(
    {
        "clients.change",
        "clients.own",
        "customers.change",
        "customers.reset",
        "billing.change",
        "team.change",
        "team.leave",
        "tokens.revoke",
        "tokens.revoke_all",
        "tokens.revoke_own",
        "users.change",
        "users.reset",
    }
)
"""Permissions of commands that may end what somebody could do until now."""
MAX_TOKEN = 256
MAX_BASIC = 8_192
MAX_REF = 64


async def admit(call: Call) -> None:
    """Authenticate and authorize by the route's permission. Raises ``Refused`` for token trouble, and for what the
    caller may not touch the same as for what does not exist: ``NotFound``, of devices without product ``Refused``."""
    if rule_of(call.route.permission).to == "anonymous":
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
        if not await call.services.directory.exists(asked):  # nobody is made to wait for what may never be
            raise Unavailable(f"position {asked} is none yet")
        call.after = asked
        await _wait(call.edge, asked)
        if token:
            call.session = await find_session(call.edge, token, call.address)
    await find_owner(call)


async def settle(call: Call) -> None:
    """Returns once this gateway knows what the call has ended, so that nobody's access outlives the answer here
    (ACC-2); if it does not get to know in time, the answer is given all the same."""
    if call.position is not None and call.route.permission in ENDING:
        await _wait(call.edge, call.position)


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
    context = Context.new("anonymous", f"gateway:{call.services.gateway}")
    asked = {"username": username, "password": password}
    with guessing(call, username, proves=True):
        async with hashing(call):
            found = await call.ask("orgs", "check_password", timeout_s=20.0, context=context, **asked)
    account_id = found["account_id"]
    entry = _member(call.edge, TokenEntry("", account_id, found["email"], "", None, None))
    return Session(digest(account_id), entry)


async def read_fields(call: Call) -> dict[str, object]:
    """The fields of the body, which is read once."""
    if call.fields is None:
        read = bodies.read_cardless_fields if call.route.cardless else bodies.read_fields
        call.fields = await read(call.request, call.services.limits.body_s)
    return call.fields


async def read_body(call: Call, schema: ma.Schema) -> dict[str, Any]:
    """What the body says by this schema. Raises ``Refused``."""
    fields = await read_fields(call)
    return load(schema, fields, as_form=bodies.media_type(call.request) == bodies.FORM)


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
    return Session(token_digest, _member(edge, entry))


def _member(edge: Edge, entry: TokenEntry) -> TokenEntry:
    """The same with the organization that its account is a member of now, and as what."""
    if entry.subject != "account" or entry.account_id is None or entry.org_id is not None:
        return entry
    membership = edge.services.directory.membership(entry.account_id)
    org_id, role = membership or (None, None)
    return replace(entry, org_id=org_id, role=role)


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
        role=found.get("role"),
        subject=found.get("subject", "account"),
        customer_id=found.get("customer_id"),
        product_id=found.get("product_id"),
        scope=found.get("scope", ""),
    )


async def find_owner(call: Call) -> None:
    """The thing in the path, if the caller may do this to it; what may not be seen is missed as what does not exist."""
    directory = call.services.directory
    if "product" in call.params:
        product = directory.product(call.params["product"]) if len(call.params["product"]) <= MAX_REF else None
        _judged(call, Thing(product.org_id, product.product_id) if product else Thing(), NO_PRODUCT)
        call.product_entry = product
    elif "org" in call.params:
        org = directory.org(call.params["org"]) if len(call.params["org"]) <= MAX_REF else None
        _judged(call, Thing(org.org_id) if org else Thing(), NO_ORGANIZATION)
        call.org_entry = org
    elif "device" in call.params:
        call.device_entry = await kept_device(call)
    else:
        _judged(call, Thing(), NO_PRODUCT)


def must_also(call: Call, permission: str, thing: Thing) -> None:
    """One of ``Route.also``. Raises ``Refused`` ``permission_denied`` or ``subscription_inactive``."""
    if permission not in (call.route.permission, *call.route.also):
        raise Misuse(f"{call.route.path} does not say that it asks {permission}, too")
    insist(outcome(call.services.directory, permission, call.caller, thing), permission, forbidden(permission))


def _judged(call: Call, thing: Thing, missing: str) -> None:
    judged(call, call.route.permission, thing, missing)


def judged(call: Call, permission: str, thing: Thing, missing: str) -> None:
    """Raises ``Refused`` for what the caller may see and not do, ``NotFound`` for what it may not see."""
    insist(outcome(call.services.directory, permission, call.caller, thing), permission, NotFound(missing))


async def _wait(edge: Edge, position: Position) -> bool:
    return await edge.services.directory.wait_for(position, WAIT_S)
