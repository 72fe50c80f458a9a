"""Devices of a product (contract 7)."""

from __future__ import annotations

from typing import Any

from services.gateway.http import device_calls, flashing, past
from services.gateway.http.auth import WAIT_S, must_also, read_body
from services.gateway.http.calls import Call
from services.gateway.http.named_devices import device_in_path, device_of_product
from services.gateway.http.requests import DeviceUpdate
from shared.auth.permissions import Thing
from shared.errors import Refused
from shared.ids import device_id

FILTERS = ("device_id", "name", "quarantined", "online", "owner", "firmware_version", "development")
TOKENS_S = 30.0


async def list_devices(call: Call) -> Any:
    query = call.query
    if query.get("serial_number"):  # no device's serial number is known, so none has this one
        meta = {
            "page": query["page"],
            "per_page": query["per_page"],
            "total": 0,
            "total_exact": True,
            "total_pages": 1,
            "next": None,
        }
        return {"devices": [], "customers": [], "meta": meta}
    filters = {name: query[name] for name in FILTERS if name in query}
    groups = [name for name in query.get("groups", "").split(",") if name]
    if groups:
        filters["groups"] = groups
    return await past.ask(
        call,
        "devices",
        "list_devices",
        lambda listed: {**listed, "devices": [_with_platform(call, device) for device in listed["devices"]]},
        product_id=call.product.product_id,
        filters=filters,
        sort=query["sort"],
        descending=query["direction"] == "desc",
        page=query["page"],
        per_page=query["per_page"],
        after=query["after"],
        **({"query": query["query"]} if query.get("query") else {}),
    )


async def read_device(call: Call) -> Any:
    return await past.ask(
        call,
        "devices",
        "get_device",
        lambda device: _with_platform(call, device),
        product_id=call.product.product_id,
        device_id=device_in_path(call),
    )


def _with_platform(call: Call, device: dict[str, Any]) -> dict[str, Any]:
    """Every device has its product's platform, also in the moment when the service has not heard of the product."""
    return device if device["platform_id"] is not None else {**device, "platform_id": call.product.platform_id}


async def read_why(call: Call) -> Any:
    return await call.ask("devices", "why", product_id=call.product.product_id, device_id=device_in_path(call))


async def update_device(call: Call) -> Any:
    if flashing.brings_file(call):
        return await flashing.flash_file(
            call, "devices.flash", Thing(call.product.org_id, call.product.product_id), device_of_product(call)
        )
    changes = await read_body(call, DeviceUpdate())
    on = changes.pop("signal", None)
    if changes.get("desired_firmware_version") is None and changes.pop("flash", False):
        raise Refused("invalid_request", "flash: Needs desired_firmware_version, the version to lock to.")
    if not changes and on is None:
        raise Refused("invalid_request", "The body names nothing that can be changed.")
    if changes.get("force"):
        must_also(call, "devices.import", Thing(call.product.org_id, call.product.product_id))
    device = device_in_path(call)
    done = {} if on is None else await device_calls.signal(call, device_of_product(call), on)
    if not changes:
        return done
    product_id = call.product.product_id
    asked = await call.ask("devices", "update_device", product_id=product_id, device_id=device, changes=changes)
    return {**done, **asked}


async def retry_update(call: Call) -> Any:
    await call.ask("devices", "retry_update", product_id=call.product.product_id, device_id=device_in_path(call))
    return {"ok": True}


async def remove_device(call: Call) -> Any:
    await call.ask(
        "devices",
        "remove_device",
        product_id=call.product.product_id,
        device_id=device_in_path(call),
        deny=call.body["deny"],
    )


async def issue_device_token(call: Call) -> Any:
    tokens = await _replace_tokens(call, [device_in_path(call)])
    return {"token": tokens[0]["token"]}


async def issue_device_tokens(call: Call) -> Any:
    asked: list[str] = call.body["device_ids"]
    found = [device_id(text) for text in asked]
    bad = next((text for text, device in zip(asked, found, strict=True) if device is None), None)
    if bad is not None:
        raise Refused("invalid_request", f"device_ids: {bad[:64]!r} is no device ID.")
    unique = list(dict.fromkeys(str(device) for device in found))
    return {"ok": True, "tokens": await _replace_tokens(call, unique)}


async def _replace_tokens(call: Call, device_ids: list[Any]) -> Any:
    answer = await call.ask(
        "devices",
        "replace_tokens",
        timeout_s=TOKENS_S,
        product_id=call.product.product_id,
        device_ids=device_ids,
    )
    if call.position is not None:  # so that a device that connects here at once is let in
        await call.services.directory.wait_for(call.position, WAIT_S)
    return answer["tokens"]
