"""What a fleet does: the five questions, errors, usage, and the page of a device."""

from __future__ import annotations

from typing import Any

from services.gateway.http.calls import Call
from services.gateway.http.named_devices import device_in_path
from shared.errors import NotFound
from shared.ids import device_id


async def answer_questions(call: Call) -> Any:
    product_id = call.product.product_id
    answers = await call.ask("devices", "questions", product_id=product_id, days=call.query["days"])
    customers = await call.ask("orgs", "count_customers", product_id=product_id)
    return {**answers, "customers": {**customers, **answers["customers"]}}


async def read_errors(call: Call) -> Any:
    return await call.ask("devices", "errors", product_id=call.product.product_id, **call.query)


async def list_erring_devices(call: Call) -> Any:
    return await call.ask("devices", "erring_devices", product_id=call.product.product_id, **call.query)


async def read_usage(call: Call) -> Any:
    return await call.ask("devices", "usage", product_id=call.product.product_id, **call.query)


async def list_customers_by_use(call: Call) -> Any:
    return await call.ask("devices", "using_customers", product_id=call.product.product_id, **call.query)


async def read_owner_usage(call: Call) -> Any:
    owner_id = device_id(call.params["owner"])  # an account's ID has the same form
    if owner_id is None:
        raise NotFound("Customer not found.")
    return await call.ask("devices", "owner_usage", product_id=call.product.product_id, owner_id=owner_id, **call.query)


async def read_device_usage(call: Call) -> Any:
    return await _of_device(call, "device_usage")


async def read_timeline(call: Call) -> Any:
    return await _of_device(call, "timeline")


async def list_updates(call: Call) -> Any:
    return await _of_device(call, "list_updates")


async def list_sessions(call: Call) -> Any:
    return await _of_device(call, "list_sessions")


async def _of_device(call: Call, method: str) -> Any:
    """Also of one that has left the product: what happened while it was in it (DEV-8)."""
    return await call.ask(
        "devices", method, product_id=call.product.product_id, device_id=device_in_path(call), **call.query
    )
