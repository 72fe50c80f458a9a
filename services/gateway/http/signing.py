"""Who signs a product's firmware, and whether it must be signed."""

from __future__ import annotations

from typing import Any

from services.gateway.http.calls import Call


async def read_signing(call: Call) -> Any:
    return await call.ask("firmware", "get_signing", product_id=call.product.product_id)


async def require_signatures(call: Call) -> Any:
    required = call.body["signature_required"]
    changed = await call.ask("firmware", "require_signatures", product_id=call.product.product_id, required=required)
    return {"ok": True, "signature_required": changed["signature_required"]}


async def add_key(call: Call) -> Any:
    answer = await call.ask("firmware", "add_signing_key", product_id=call.product.product_id, **call.body)
    return answer["key"]


async def remove_key(call: Call) -> Any:
    key_id = call.params["key"]
    await call.ask("firmware", "remove_signing_key", product_id=call.product.product_id, key_id=key_id)
