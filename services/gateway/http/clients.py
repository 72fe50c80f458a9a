"""OAuth clients of the caller, of a product, and of an organization for all its products (contract 4, CUS-4)."""

from __future__ import annotations

from typing import Any

from services.gateway.http import auth
from services.gateway.http.calls import Call
from services.gateway.http.errors import NO_ORGANIZATION
from shared.auth.permissions import Thing
from shared.errors import NotFound


async def list_clients(call: Call) -> Any:
    return {"ok": True, **await call.ask("orgs", "list_clients", owner=_owner(call))}


async def create_client(call: Call) -> Any:
    """``organization`` (of 2015) makes a client for all products of that organization."""
    wanted = dict(call.body)
    slug = wanted.pop("organization", None)
    owner = _owner(call) if slug is None or call.product_entry or call.org_entry else _owner_org(call, slug)
    answer = await call.ask("orgs", "create_client", owner=owner, **wanted)
    return {"ok": True, "client": answer["client"]}


async def change_client(call: Call) -> Any:
    answer = await call.ask("orgs", "change_client", owner=_owner(call), client_id=call.params["client"], **call.body)
    return {"ok": True, "client": answer["client"]}


async def delete_client(call: Call) -> Any:
    await call.ask("orgs", "delete_client", owner=_owner(call), client_id=call.params["client"])


def _owner(call: Call) -> dict[str, Any]:
    if call.product_entry is not None:
        return {"org_id": call.product.org_id, "product_id": call.product.product_id}
    if call.org_entry is not None:
        return {"org_id": call.org.org_id}
    return {"account_id": call.caller.account_id}


def _owner_org(call: Call, slug: str) -> dict[str, Any]:
    org = call.services.directory.org(slug)
    if org is None or org.org_id != call.caller.org_id:
        raise NotFound(NO_ORGANIZATION)
    auth.must_also(call, "clients.change", Thing(org.org_id))
    return {"org_id": org.org_id}
