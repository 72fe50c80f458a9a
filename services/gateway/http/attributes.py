"""Attributes of a device: what it reported, and what is desired of it; and how it misbehaved."""

from __future__ import annotations

from typing import Any

from services.gateway.http.calls import Call
from services.gateway.http.named_devices import device_in_path
from shared.errors import Refused

NOTHING = "Nothing to change: desired takes names and values, removed a list of names."
"""Unknown members are ignored, so attributes that are not within ``desired`` would be lost without a word."""


async def read_attributes(call: Call) -> Any:
    return await call.ask(
        "devices", "get_attributes", product_id=call.product.product_id, device_id=device_in_path(call)
    )


async def list_misbehaviours(call: Call) -> Any:
    return await call.ask(
        "devices", "list_misbehaviours", product_id=call.product.product_id, device_id=device_in_path(call)
    )


async def desire_attributes(call: Call) -> Any:
    if not call.body["desired"] and not call.body["removed"]:
        raise Refused("invalid_request", NOTHING)
    await call.ask(
        "devices",
        "desire_attributes",
        product_id=call.product.product_id,
        device_id=device_in_path(call),
        values=call.body["desired"],
        removed=call.body["removed"],
    )
    return {"ok": True}
