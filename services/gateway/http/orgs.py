"""Organizations (contract 5)."""

from __future__ import annotations

from typing import Any

from services.gateway.http.calls import Call


async def create_organization(call: Call) -> Any:
    body = call.body
    made = await call.ask(
        "orgs",
        "create_organization",
        account_id=call.signed_in.token.account_id,
        name=body["name"],
        slug=body["slug"] or None,
        plan=body["plan"],
    )
    return {"ok": True, "organization": made["organization"]}


async def list_organizations(call: Call) -> Any:
    org_id = call.caller.org_id
    if org_id is None:
        return {"ok": True, "organizations": []}
    answer = await call.ask("orgs", "get_organization", org_id=org_id)
    return {"ok": True, "organizations": [answer["organization"]]}


async def change_organization(call: Call) -> Any:
    answer = await call.ask("orgs", "rename_organization", org_id=call.org.org_id, name=call.body["name"])
    return {"ok": True, "organization": answer["organization"]}


async def read_organization(call: Call) -> Any:
    answer = await call.ask("orgs", "get_organization", org_id=call.org.org_id)
    return {"ok": True, "organization": answer["organization"]}
