"""Devices without their product: what the caller has claimed, and what the caller's team has (contract 8)."""

from __future__ import annotations

from typing import Any

from services.gateway.http import device_calls, flashing
from services.gateway.http.auth import read_body
from services.gateway.http.calls import Call
from services.gateway.http.named_devices import thing_of
from services.gateway.http.requests import OwnDeviceUpdate
from shared.auth.permissions import Thing, reaches
from shared.errors import Refused


async def list_own_devices(call: Call) -> Any:
    """Those that the caller has claimed, the newest connections first; a customer sees none of another company's, even
    if it is one account that is linked to both (CUS-5)."""
    answer = await call.ask("devices", "list_own_devices", account_id=call.caller.account_id)
    return [_shown(call, device) for device in answer["devices"] if _is_reached(call, device["product_id"])]


def _is_reached(call: Call, product_id: int) -> bool:
    product = call.services.directory.product(str(product_id))
    thing = Thing() if product is None else Thing(product.org_id, product.product_id)
    return reaches(call.caller, thing)


async def read_own_device(call: Call) -> Any:
    return _shown(call, await device_calls.device_info(call, call.device))


def _shown(call: Call, device: dict[str, Any]) -> dict[str, Any]:
    """With what is known here: the platform also in the moment when the service has not heard of the product, and the
    caller by name."""
    shown = dict(device)
    product = call.services.directory.product(str(device["product_id"]))
    if shown["platform_id"] is None and product is not None:
        shown["platform_id"] = product.platform_id
    if call.caller.account_id in (shown.get("user_id"), shown.get("customer_id")):
        shown["owner"] = call.signed_in.token.email
        if call.caller.customer_id is not None:
            shown.pop("user_id", None)
            shown["customer_id"] = call.caller.customer_id
    return shown


async def update_own_device(call: Call) -> Any:
    if flashing.brings_file(call):
        return await flashing.flash_file(call, "own_devices.flash", thing_of(call, call.device), call.device)
    changes = await read_body(call, OwnDeviceUpdate())
    if "app" in changes:
        raise Refused("not_supported", "app: This platform has no applications of its own to flash.")
    on = changes.pop("signal", None)
    if on is None and not changes:
        raise Refused("invalid_request", "The body names nothing that can be changed.")
    done = {} if on is None else await device_calls.signal(call, call.device, on)
    if not changes:
        return done
    device_id, product_id = call.device.device_id, call.device.membership.product_id
    changed = await call.ask("devices", "update_device", product_id=product_id, device_id=device_id, changes=changes)
    return {**done, **changed}
