"""The caller's own account: reading, changing and ending it, and what is done with mailed links (contract 3)."""

from __future__ import annotations

from typing import Any

from services.gateway.http.calls import Call
from services.gateway.http.guessing import guessing, hashing
from shared.errors import Refused

CELLULAR = frozenset({10})
"""Platforms that reach us over a mobile network: the Electron."""
ASKED = "If there is an account with this address, a link that sets a new password is on its way to it."


async def read_user(call: Call) -> Any:
    account_id = call.caller.account_id
    user = await call.ask("orgs", "get_user", account_id=account_id)
    owned = (await call.ask("devices", "list_own_devices", account_id=account_id))["devices"]
    cellular = sum(device["platform_id"] in CELLULAR for device in owned)
    return {
        "username": user["username"],
        "email_verified": user["email_verified"],
        "subscription_ids": [],
        "account_info": user["account_info"],
        "mfa": {"enabled": False},
        "tos": 1,
        "memberships": user["memberships"],
        "scim_provisioned": False,
        "no_password": False,
        "wifi_device_count": len(owned) - cellular,
        "cellular_device_count": cellular,
    }


async def identify(call: Call) -> Any:
    return {"id": call.caller.account_id, "email": call.signed_in.token.email}


async def change_user(call: Call) -> Any:
    """One thing at a time: the profile, the password or the address."""
    body = call.body
    wanted = [name for name in ("account_info", "password", "username") if name in body]
    if len(wanted) != 1:
        raise Refused("invalid_request", "The body must have one of account_info, password and username.")
    account_id = call.caller.account_id
    if wanted == ["account_info"]:
        await call.ask("orgs", "change_profile", account_id=account_id, account_info=body["account_info"])
    else:
        method = "change_password" if wanted == ["password"] else "change_email"
        proof = {"current_password": _current(call), "end_tokens": body["invalidate_tokens"]}
        mine = call.signed_in.token.email
        await proven(call, method, mine, account_id=account_id, **proof, **{wanted[0]: body[wanted[0]]})
    call.after = call.position or call.after
    call.reconsider()
    return {**await read_user(call), "ok": True, "message": "Your account was changed."}


async def delete_user(call: Call) -> Any:
    mine, password = call.signed_in.token.email, call.body["password"]
    await proven(call, "delete_account", mine, account_id=call.caller.account_id, password=password)
    return {"ok": True, "message": "Your account is deleted."}


async def verify(call: Call) -> Any:
    await proven(call, "verify_email", token=call.body["token"])
    return {"ok": True}


async def ask_verification(call: Call) -> Any:
    call.edge.mails.take(call.address)
    await call.ask("orgs", "ask_verification", account_id=call.caller.account_id)
    return {"ok": True}


async def ask_reset(call: Call) -> Any:
    """The same answer whether there is such an account or not."""
    call.edge.mails.take(call.address)
    await call.ask("orgs", "ask_password_reset", username=call.body["username"])
    call.position = None
    return {"ok": True, "message": ASKED}


async def reset_password(call: Call) -> Any:
    await proven(call, "reset_password", timeout_s=20.0, **call.body)
    return {"ok": True}


async def proven(call: Call, method: str, name: str = "", **arguments: Any) -> None:
    """A call that guesses could be made with: too many that fail are refused, by address, and by the ``name`` of the
    account whose password is guessed."""
    with guessing(call, name):
        async with hashing(call):
            await call.ask("orgs", method, **{"timeout_s": 20.0, **arguments})


def _current(call: Call) -> str:
    stated = call.body.get("current_password")
    if not stated:
        raise Refused("invalid_request", "current_password: Missing data for required field.")
    return str(stated)
