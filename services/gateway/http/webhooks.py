"""Webhooks of the caller, of a product, and of an organization; as integrations the same (contract 14, LOG-3)."""

from __future__ import annotations

from typing import Any

from services.gateway.http.calls import Call
from shared.errors import Refused

ONCE_S = 25.0
"""How long somebody's server may take that is asked while the caller waits."""
_DEVICE = ("deviceId", "deviceid", "deviceID")


async def list_webhooks(call: Call) -> Any:
    return (await call.ask("hooks", "list_webhooks", owner=_owner(call)))["webhooks"]


async def create_webhook(call: Call) -> Any:
    made = (await call.ask("hooks", "create_webhook", owner=_owner(call), fields=_fields(call)))["webhook"]
    return {"ok": True, **made}


async def show_webhook(call: Call) -> Any:
    return {"webhook": await _shown(call)}


async def show_integration(call: Call) -> Any:
    return {"integration": await _shown(call)}


async def change_webhook(call: Call) -> Any:
    answer = await call.ask("hooks", "change_webhook", **_one(call), fields=_fields(call))
    return answer["webhook"]


async def delete_webhook(call: Call) -> Any:
    await call.ask("hooks", "delete_webhook", **_one(call))
    return {"ok": True}


async def delete_integration(call: Call) -> Any:
    await call.ask("hooks", "delete_webhook", **_one(call))


async def test_webhook(call: Call) -> Any:
    return await call.ask("hooks", "test_webhook", timeout_s=ONCE_S, **_one(call))


async def redeliver(call: Call) -> Any:
    """One event now, or everything since a time."""
    since, event = call.body.get("since"), call.body.get("event")
    if (since is None) == (event is None):
        raise Refused("invalid_request", "from, event: One of them.")
    if event is not None:
        answer = await call.ask("hooks", "redeliver_event", timeout_s=ONCE_S, **_one(call), event_id=event)
    else:
        answer = await call.ask("hooks", "rewind_webhook", **_one(call), since=since)
    return {"ok": True, **answer}


async def list_attempts(call: Call) -> Any:
    answer = await call.ask("hooks", "list_attempts", **_one(call), **call.query)
    going = answer["next"]
    return {"attempts": answer["attempts"], "meta": {"next": None if going is None else str(going)}}


async def _shown(call: Call) -> Any:
    return (await call.ask("hooks", "get_webhook", **_one(call)))["webhook"]


def _one(call: Call) -> dict[str, Any]:
    return {"owner": _owner(call), "hook_id": call.params["hook"]}


def _fields(call: Call) -> dict[str, Any]:
    """The device under whichever of its names."""
    named = [call.body[name] for name in _DEVICE if name in call.body]
    fields = {name: value for name, value in call.body.items() if name not in _DEVICE}
    return {**fields, "device": named[0]} if named else fields


def _owner(call: Call) -> dict[str, Any]:
    if call.product_entry is not None:
        return {"org_id": call.product.org_id, "product_id": call.product.product_id}
    if call.org_entry is not None:
        return {"org_id": call.org.org_id}
    return {"account_id": call.caller.account_id}
