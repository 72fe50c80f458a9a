"""Customers of a product: how they come to be, and what the team does with them (contract 11.1)."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any
from urllib.parse import urlencode

from starlette.responses import RedirectResponse, Response

from services.gateway.entries import OrgEntry, ProductEntry
from services.gateway.http import auth, oauth
from services.gateway.http.answers import json_answer
from services.gateway.http.calls import Call
from services.gateway.http.errors import NO_ORGANIZATION, NO_PRODUCT
from services.gateway.http.guessing import guessing, hashing
from services.gateway.http.own_account import ASKED, proven
from shared.auth.permissions import Thing
from shared.errors import Misuse, Refused

TEAM_CLIENT = "team"
NO_PRODUCTS = 0
"""The number of no product; what is asked of it is answered as of one that has no such link."""
Place = ProductEntry | OrgEntry


async def create_customer(call: Call) -> Response:
    """By a company's program, by an app in a browser (implicit), or by a team member."""
    place, body = _place(call), call.body
    basic = oauth.basic_credentials(call)
    client_id = basic[0] if basic else body.get("client_id")
    in_browser = body.get("response_type") == "token"
    if client_id:
        client = await _client(
            call, place, str(client_id), basic[1] if basic else body.get("client_secret"), in_browser
        )
        call.acts_for(f"client:{client['id']}")
    elif in_browser:
        raise Refused("invalid_client", "client_id: Missing data for required field.")
    else:
        client = await _team(call, place)
    if place is None:
        raise Misuse("nobody has a client, or may do anything, where there is nothing")
    wanted = _wanted(call, place, client["id"])
    async with hashing(call) if wanted["password"] is not None else nullcontext():
        grant = await call.ask("orgs", "create_customer", timeout_s=20.0, **wanted)
    answer = oauth.token_answer(call, grant)
    if not in_browser:
        return json_answer(answer, 201, {"Cache-Control": "no-store"})
    shown = {name: answer[name] for name in ("access_token", "token_type", "expires_in")}
    return RedirectResponse(f"{client['redirect_uri']}#{urlencode(shown)}", 302, {"Cache-Control": "no-store"})


def _wanted(call: Call, place: Place, client_id: str) -> dict[str, Any]:
    body = call.body
    if not body["no_password"] and not body.get("password"):
        raise Refused("invalid_request", "password: Missing data for required field, unless no_password is true.")
    where = {"product_id": place.product_id} if isinstance(place, ProductEntry) else {"org_id": place.org_id}
    password = None if body["no_password"] else body["password"]
    return {"email": body["email"], "password": password, "client_id": client_id, **where}


async def _client(call: Call, place: Place | None, client_id: str, secret: Any, in_browser: bool) -> dict[str, Any]:
    """The company's program. In a browser there are no secrets, and a customer without password would be anybody's.
    Sign-ups are counted by address, but for customers whom a company's server knows: it makes many."""
    if not call.body["no_password"]:
        call.edge.sign_ups.take(call.address)
    if in_browser and call.body["no_password"]:
        raise Refused("invalid_request", "no_password: Only a server may create such customers.")
    stated = None if in_browser else str(secret or "")
    with guessing(call):
        client = await call.ask("orgs", "check_client", client_id=client_id, client_secret=stated)
    of_product = isinstance(place, ProductEntry) and client.get("product_id") == place.product_id
    of_org = place is not None and client.get("org_id") == place.org_id and client.get("product_id") is None
    if not (of_product or of_org) or (in_browser and client["type"] != "web"):
        raise Refused("invalid_client", "The client is of another product, or of another type.")
    return client


async def _team(call: Call, place: Place | None) -> dict[str, Any]:
    token = await auth.sent_token(call)
    if not token:
        raise Refused("invalid_client", "client_id: Missing data for required field.")
    call.session = await auth.sign_in(call, token)
    product_id = place.product_id if isinstance(place, ProductEntry) else None
    missing = NO_PRODUCT if "product" in call.params else NO_ORGANIZATION
    auth.judged(call, "customers.change", Thing(place.org_id, product_id) if place else Thing(), missing)
    return {"id": TEAM_CLIENT}


def _place(call: Call) -> Place | None:
    """The product or organization in the path, which anybody may name who has one of its clients; None where there is
    none, which nobody else is told."""
    directory = call.services.directory
    if "product" in call.params:
        product = directory.product(call.params["product"]) if len(call.params["product"]) <= auth.MAX_REF else None
        call.product_entry = product
        return product
    org = directory.org(call.params["org"]) if len(call.params["org"]) <= auth.MAX_REF else None
    call.org_entry = org
    return org


async def list_customers(call: Call) -> Any:
    return await call.ask("orgs", "list_customers", product_id=call.product.product_id, **call.query)


async def set_password(call: Call) -> Any:
    product_id, email = call.product.product_id, call.params["email"]
    password = call.body["password"]
    await call.ask(
        "orgs", "set_customer_password", timeout_s=20.0, product_id=product_id, email=email, password=password
    )
    return {"ok": True}


async def delete_customer(call: Call) -> Any:
    product_id, email = call.product.product_id, call.params["email"]
    await call.ask("orgs", "delete_customer", product_id=product_id, email=email)
    return {"ok": True}


async def ask_reset(call: Call) -> Any:
    """The same answer whether there is such a customer, and such a product, or not."""
    call.edge.mails.take(call.address)
    place = _place(call)
    if isinstance(place, ProductEntry):
        await call.ask("orgs", "ask_customer_reset", product_id=place.product_id, email=call.body["email"])
    call.position = None
    return {"ok": True, "message": ASKED}


async def reset_password(call: Call) -> Any:
    place = _place(call)
    product_id = place.product_id if isinstance(place, ProductEntry) else NO_PRODUCTS
    await proven(call, "reset_customer_password", product_id=product_id, **call.body)
    call.position = None
    return {"ok": True}
