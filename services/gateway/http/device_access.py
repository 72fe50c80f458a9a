"""How devices get in: what a product allows, its provisioning key, and who signs certificates of an organization's
devices."""

from __future__ import annotations

from typing import Any

from services.gateway.http.calls import Call


async def read_device_access(call: Call) -> Any:
    answer = await call.ask("orgs", "get_device_access", product_id=call.product.product_id)
    return {"device_access": answer["device_access"]}


async def configure_device_access(call: Call) -> Any:
    """What the body does not name stays as it is."""
    answer = await call.ask(
        "orgs", "configure_device_access", product_id=call.product.product_id, changes=dict(call.body)
    )
    return {"ok": True, "device_access": answer["device_access"]}


async def issue_provisioning_key(call: Call) -> Any:
    answer = await call.ask("orgs", "issue_provisioning_key", product_id=call.product.product_id)
    return {"ok": True, "key": answer["key"], "secret": answer["secret"]}


async def list_authorities(call: Call) -> Any:
    answer = await call.ask("orgs", "list_device_authorities", org_id=call.org.org_id)
    return {"device_authorities": answer["authorities"]}


async def add_authority(call: Call) -> Any:
    answer = await call.ask("orgs", "add_device_authority", org_id=call.org.org_id, **call.body)
    return {"ok": True, "device_authority": answer["authority"]}


async def remove_authority(call: Call) -> Any:
    authority_id = call.params["authority"]
    await call.ask("orgs", "remove_device_authority", org_id=call.org.org_id, authority_id=authority_id)
