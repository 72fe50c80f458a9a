"""Organizations (contract 5)."""

from __future__ import annotations

from typing import Any

from services.gateway.http.billing import CHARGE_S
from services.gateway.http.calls import Call

FOUND_S = CHARGE_S + 10.0
"""How long an organization may take to be created: the service itself waits so long for billing, and goes on then."""


async def create_organization(call: Call) -> Any:
    body = call.body
    card = {name: body[name] for name in ("draft_id", "setup_id") if body[name] is not None}
    made = await call.ask(
        "orgs",
        "create_organization",
        timeout_s=FOUND_S,
        account_id=call.signed_in.token.account_id,
        name=body["name"],
        slug=body["slug"] or None,
        plan=body["plan"],
        **card,
    )
    return {"ok": True, "organization": made["organization"]}


async def begin_draft(call: Call) -> Any:
    """The card comes first (ORG-1)."""
    account_id = call.caller.account_id
    return {"ok": True, **await call.ask("billing", "begin_draft", timeout_s=CHARGE_S, account_id=account_id)}


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
