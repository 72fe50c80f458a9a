"""Groups of a product's devices (contract 10)."""

from __future__ import annotations

from typing import Any

from services.gateway.http.calls import Call
from shared.errors import NotFound

MAX_NAME = 64
NO_GROUP = "Group not found."


async def list_groups(call: Call) -> Any:
    return await call.ask("devices", "list_groups", product_id=call.product.product_id, name=call.query.get("name"))


async def read_group(call: Call) -> Any:
    return await call.ask("devices", "get_group", product_id=call.product.product_id, name=_name(call))


async def create_group(call: Call) -> Any:
    return await call.ask("devices", "create_group", product_id=call.product.product_id, **call.body)


async def change_group(call: Call) -> Any:
    changes = dict(call.body)
    product_id = call.product.product_id
    return await call.ask("devices", "change_group", product_id=product_id, name=_name(call), changes=changes)


async def delete_group(call: Call) -> Any:
    """Its devices leave it behind the answer."""
    return await call.ask("devices", "delete_group", product_id=call.product.product_id, name=_name(call))


async def regroup_devices(call: Call) -> Any:
    """All of the devices, or none."""
    body = call.body
    product_id = call.product.product_id
    await call.ask("devices", "regroup", product_id=product_id, device_ids=body["devices"], **body["metadata"])
    return {"ok": True}


def _name(call: Call) -> str:
    name = call.params["group"]
    if len(name) > MAX_NAME or not name.isprintable():
        raise NotFound(NO_GROUP)
    return name
