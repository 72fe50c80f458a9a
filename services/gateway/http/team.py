"""The team of an organization, which is that of its products, and invitations to it (contract 5)."""

from __future__ import annotations

from typing import Any

from services.gateway.http import auth
from services.gateway.http.calls import Call
from shared.auth.permissions import Thing
from shared.comparing import comparable
from shared.errors import Refused


async def list_team(call: Call) -> Any:
    return {"ok": True, **await call.ask("orgs", "list_team", org_id=_org(call))}


async def invite(call: Call) -> Any:
    body = call.body
    if body["scopes"] is not None or body["friendly_name"] is not None:
        raise Refused("not_supported", "Programs have OAuth clients here; see POST /v1/products/:product/clients.")
    if body["username"] is None:
        raise Refused("invalid_request", "username: Missing data for required field.")
    call.edge.mails.take(call.address)
    asked = {"username": body["username"], "role": body["role"], "invited_by": call.caller.account_id}
    await call.ask("orgs", "invite_member", org_id=_org(call), **asked)
    return {"ok": True, "invited": {"username": body["username"].strip()}}


async def change_role(call: Call) -> Any:
    wanted = {"username": call.params["username"], "role": call.body["role"], "changed_by": call.caller.account_id}
    await call.ask("orgs", "change_role", org_id=_org(call), **wanted)
    return {"ok": True}


async def remove(call: Call) -> Any:
    """Everybody may remove themselves, which is leaving."""
    username = call.params["username"]
    if comparable(username) != comparable(call.signed_in.token.email):
        auth.must_also(call, "team.change", Thing(_org(call)))
    await call.ask("orgs", "remove_member", org_id=_org(call), username=username, removed_by=call.caller.account_id)
    return {"ok": True}


async def list_invitations(call: Call) -> Any:
    return {"ok": True, **await call.ask("orgs", "list_invitations", account_id=call.caller.account_id)}


async def answer_invitation(call: Call) -> Any:
    answered = {"invitation_id": call.params["invitation"], "status": call.body["status"]}
    answer = await call.ask("orgs", "answer_invitation", account_id=call.caller.account_id, **answered)
    return {"ok": True, "invitation": answer["invitation"]}


def _org(call: Call) -> str:
    return call.product.org_id if call.product_entry is not None else call.org.org_id
