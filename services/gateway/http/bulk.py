"""One action on many devices of a product, each with its own outcome (DEV-4 to DEV-6, DEV-8)."""

from __future__ import annotations

from typing import Any

from services.gateway.http.auth import must_also
from services.gateway.http.calls import Call
from shared.auth.permissions import Thing

ACT_S = 30.0


async def act_on_devices(call: Call) -> Any:
    """What takes more than changing a device as such is asked for, too."""
    product, body = call.product, dict(call.body)
    device_ids, action = body.pop("devices"), body.pop("action")
    thing = Thing(product.org_id, product.product_id)
    if action == "remove":
        must_also(call, "devices.remove", thing)
    if body.get("force"):
        must_also(call, "devices.import", thing)
    answer = await call.ask(
        "devices",
        "act_on_devices",
        timeout_s=ACT_S,
        product_id=product.product_id,
        device_ids=device_ids,
        action=action,
        options=body,
    )
    return {"ok": True, **answer}
