"""Products and their statistics (contract 6)."""

from __future__ import annotations

from typing import Any

from services.gateway.http import past
from services.gateway.http.calls import Call
from shared.errors import Refused


async def create_product(call: Call) -> Any:
    return await _create(call, call.org.org_id)


async def create_own_product(call: Call) -> Any:
    org_id = call.caller.org_id
    if org_id is None:
        raise Refused("organization_required", "Products belong to an organization; found or join one first.")
    return await _create(call, org_id)


async def _create(call: Call, org_id: str) -> Any:
    made = await call.ask("orgs", "create_product", org_id=org_id, **call.body)
    return {"ok": True, "product": made["product"]}


async def list_own_products(call: Call) -> Any:
    org_id = call.caller.org_id
    return {"products": []} if org_id is None else await _list(call, org_id)


async def list_products(call: Call) -> Any:
    return await _list(call, call.org.org_id)


async def _list(call: Call, org_id: str) -> Any:
    answer = await call.ask("orgs", "list_products", org_id=org_id)
    return {"products": [_with_release(call, product) for product in answer["products"]]}


async def read_product(call: Call) -> Any:
    answer = await call.ask("orgs", "get_product", product_id=call.product.product_id)
    return {"product": _with_release(call, answer["product"])}


def _with_release(call: Call, product: dict[str, Any]) -> dict[str, Any]:
    """The service of products does not know what is released; the directory does."""
    entry = call.services.directory.product(str(product["id"]))
    released = None if entry is None else entry.released_version
    return {**product, "latest_firmware_version": released}


async def read_statistics(call: Call) -> Any:
    """Customers, usage and errors are empty until something counts them."""
    empty = {"customers": {"total": 0, "with_device": 0, "active": 0}, "usage": [], "errors": []}
    product_id = call.product.product_id
    return await past.ask(call, "devices", "statistics", lambda counted: {**empty, **counted}, product_id=product_id)
