"""Publishing events over HTTP (contract 12.1)."""

from __future__ import annotations

from typing import Any

from services.gateway.devices.subscriptions import reserved
from services.gateway.http.calls import Call
from shared.errors import Refused
from shared.events.gateway import ServerPublished

MAX_DATA_BYTES = 1_024
MAX_NAME_BYTES = 64


async def publish_own(call: Call) -> Any:
    """To the caller's own streams and devices; a customer's to those alone, too."""
    return await _publish(call, None)


async def publish_to_product(call: Call) -> Any:
    """To a product's stream and its devices."""
    return await _publish(call, call.product.product_id)


async def _publish(call: Call, product_id: int | None) -> Any:
    body = call.body
    name, data = body["name"], body["data"]
    if len(name.encode()) > MAX_NAME_BYTES or any(not sign.isprintable() for sign in name):
        raise Refused("invalid_request", f"name: At most {MAX_NAME_BYTES} bytes that can be printed.")
    if reserved(name):
        raise Refused("invalid_request", "name: Those that begin with spark or particle are the platform's own.")
    if data is not None and len(data.encode(errors="replace")) > MAX_DATA_BYTES:
        raise Refused("invalid_request", f"data: At most {MAX_DATA_BYTES} bytes.")
    call.edge.published.take(call.signed_in.token_digest)
    caller, is_own = call.caller, product_id is None
    as_customer = is_own and caller.kind == "customer"
    event = ServerPublished(
        product_id=product_id,
        owner_id=caller.account_id if is_own else None,
        name=name,
        data=data,
        ttl_s=body["ttl"],
        public=not body["private"],
        published_at=call.services.now(),
        for_org_id=caller.org_id if as_customer else None,
        for_product_id=caller.product_id if as_customer else None,
    )
    await call.services.log.post(event, call.context.actor)
    return {"ok": True}
