"""Claim codes, and the end of a claim (contract 8, 11.2)."""

from __future__ import annotations

import re
from typing import Any

from starlette.responses import Response

from services.gateway.http.answers import json_answer
from services.gateway.http.calls import Call
from services.gateway.http.errors import NO_SUCH_DEVICE
from services.gateway.http.named_devices import device_in_path, thing_of
from shared.auth.permissions import reaches
from shared.errors import NotFound, Refused
from shared.ids import device_id as known_id

SOMEBODY_ELSES = "That belongs to someone else."
"""particle-cli offers to ask the owner if it finds this very sentence in ``error``."""
WHAT_TO_DO = f"{SOMEBODY_ELSES} They can let it go, or hand it over when asked (request_transfer)."
_NUMBERS = {"iccid": re.compile(r"[0-9]{18,22}"), "imei": re.compile(r"[0-9]{14,17}")}


async def create_claim_code(call: Call) -> Any:
    return await _code(call, call.caller.product_id)


async def create_customers_code(call: Call) -> Any:
    return await _code(call, call.product.product_id)


async def _code(call: Call, product_id: int | None) -> Any:
    body, caller = call.body, call.caller
    answer = await call.ask(
        "devices",
        "issue_claim_code",
        account_id=caller.account_id,
        customer_id=caller.customer_id,
        product_id=product_id,
        activation_code=body["activation_code"],
        code=_chosen(body),
    )
    return {**answer, "device_ids": [found for found in answer["device_ids"] if _is_reached(call, found)]}


def _is_reached(call: Call, device_id: str) -> bool:
    """Of the devices of an account that is linked to several companies, a customer sees those of one (CUS-5)."""
    if call.caller.kind != "customer":
        return True
    entry = call.services.directory.device(device_id)
    return entry is not None and reaches(call.caller, thing_of(call, entry))


async def claim_device(call: Call) -> Any:
    """Claim a device by its ID (contract 8)."""
    body, caller = call.body, call.caller
    if body["product_id"] is not None and not body["id"]:
        raise Refused("permission_denied", "Devices are not made here; import them into their product.")
    if not body["id"]:
        raise Refused("invalid_request", "id: Missing data for required field.")
    claimed = await _claimed(call)
    if isinstance(claimed, Response):
        return claimed
    if "transfer_id" in claimed:
        return {"ok": True, "transfer_id": claimed["transfer_id"]}
    return {
        "ok": True,
        "id": claimed["device_id"],
        "deviceID": claimed["device_id"],
        "user_id": caller.account_id,
        "connected": claimed["online"],
        "claimed": True,
    }


def _missing(code: str, text: str) -> dict[str, Any]:
    """What is missing, or not there now, in the words and places of this one call (contract 8)."""
    return {"ok": False, "error": code, "error_description": text, "errors": [text]}


async def _claimed(call: Call) -> dict[str, Any] | Response:
    body, caller, device_id = call.body, call.caller, call.body["id"].strip().lower()
    call.device_entry = call.services.directory.device(device_id) if known_id(device_id) else None
    asked = {"account_id": caller.account_id, "device_id": device_id, "product_id": caller.product_id}
    asked |= {"customer_id": caller.customer_id, "activation_code": body["activation_code"]}
    try:
        return await _claimed_or_asked_for(call, asked)
    except NotFound:
        return json_answer(_missing("not_found", NO_SUCH_DEVICE), 404)
    except Refused as refusal:
        if refusal.code == "claimed_elsewhere" and _is_reached(call, device_id):
            return json_answer(_missing(SOMEBODY_ELSES, WHAT_TO_DO), 403)
        if refusal.code in (
            "claimed_elsewhere",
            "not_claimable",
            "other_product",
        ):  # whoever is told more learns of another's device
            return json_answer(_missing("not_found", NO_SUCH_DEVICE), 404)
        if refusal.code == "device_offline":
            return json_answer(_missing("device_offline", refusal.reason), 404)
        raise


async def _claimed_or_asked_for(call: Call, asked: dict[str, Any]) -> dict[str, Any]:
    """The device, or if it is somebody else's and the caller wishes so, by what its owner is asked for it."""
    try:
        return await call.ask("devices", "claim", **asked, secret=call.body["secret"])
    except Refused as refusal:
        if refusal.code != "claimed_elsewhere" or not call.body["request_transfer"]:
            raise
    call.edge.mails.take(call.address)
    return await call.ask("devices", "ask_transfer", **asked)


def _chosen(body: dict[str, Any]) -> str | None:
    """The number that is to be the code; None: one is made up."""
    given = {name: body[name].strip() for name in _NUMBERS if body[name]}
    for name, number in given.items():
        if not _NUMBERS[name].fullmatch(number):
            raise Refused("invalid_request", f"{name}: Not such a number.")
    return given.get("iccid") or given.get("imei")


async def unclaim(call: Call) -> Any:
    await call.ask("devices", "unclaim", product_id=call.product.product_id, device_id=device_in_path(call))
    return {"ok": True}


async def unclaim_own(call: Call) -> Any:
    """The caller's own device, or one of the caller's team."""
    device = call.device
    await call.ask("devices", "unclaim", product_id=device.membership.product_id, device_id=device.device_id)
    return {"ok": True}
