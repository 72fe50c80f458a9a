"""What mailed links open (ACC-1). Looking at a page uses nothing up: programs that read mail follow links, too."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from services.gateway.http.calls import Call
from services.gateway.http.guessing import guessing
from services.gateway.http.own_account import proven
from services.gateway.pages import page
from shared.errors import Refused

MAX_DIGITS = 5
VERIFY, RESET, TRANSFER = "Confirm your email address", "Choose a new password", "Hand over your device?"


async def show_verify(call: Call) -> Response:
    return page("verify", VERIFY, token=call.query["token"])


async def verify(call: Call) -> Response:
    try:
        await proven(call, "verify_email", token=call.body["token"])
    except Refused as refusal:
        return page("message", VERIFY, 400, problem=refusal.reason, text="")
    return page("message", VERIFY, text="Thank you, your address is confirmed. You can close this page.")


async def show_reset(call: Call) -> Response:
    return page("reset", RESET, token=call.query["token"], product=call.query["product"])


async def reset(call: Call) -> Response:
    """Of an account, or of a customer of the product that the link names."""
    token, product = call.body["token"], call.body["product"]
    asked = {"token": token, "password": call.body["password"]}
    try:
        if product.isascii() and product.isdigit() and len(product) <= MAX_DIGITS:
            await proven(call, "reset_customer_password", product_id=int(product), **asked)
        else:
            await proven(call, "reset_password", **asked)
    except Refused as refusal:
        if refusal.code in ("invalid_password", "invalid_request"):
            return page("reset", RESET, 400, problem=refusal.reason, token=token, product=product)
        return page("message", RESET, 400, problem=refusal.reason, text="")
    return page("message", RESET, text="Your password is changed. Log in with it from now on.")


async def show_transfer(call: Call) -> Response:
    try:
        return _asked(call.query["token"], await _transfer(call, call.query["token"]))
    except Refused as refusal:
        return page("message", TRANSFER, 400, problem=refusal.reason, text="")


async def answer_transfer(call: Call) -> Response:
    """The owner hands the device over, or keeps it; it is theirs to say whoever is logged in."""
    token, decision = call.body["token"], call.body["decision"]
    try:
        found = await _transfer(call, token)
        if decision not in ("accept", "decline"):
            return _asked(token, found, 400, problem="Say whether you hand it over.")
        call.device_entry = call.services.directory.device(found["device_id"])
        call.acts_for(found["actor"])
        await call.ask("orgs", "answer_transfer", token=token, accept=decision == "accept")
        call.position = None  # CUS-7: it would be told in a header with our name
    except Refused as refusal:
        return page("message", TRANSFER, 400, problem=refusal.reason, text="")
    theirs = f"Thank you. In a moment the device belongs to {found['asker']}. You can close this page."
    return page("message", "Your device", text=theirs if decision == "accept" else "The device stays yours.")


async def _transfer(call: Call, token: str) -> dict[str, Any]:
    with guessing(call):
        return await call.ask("orgs", "get_transfer", token=token)


def _asked(token: str, found: dict[str, Any], status: int = 200, problem: str = "") -> Response:
    shown = {name: found[name] for name in ("asker", "proven", "device_id", "device_name")}
    return page("transfer", TRANSFER, status, problem=problem, token=token, **shown)
