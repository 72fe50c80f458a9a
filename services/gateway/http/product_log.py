"""What was published in a product, as far as it is kept (contract 12.4, LOG-1)."""

from __future__ import annotations

from typing import Any

from services.gateway.http.calls import Call
from services.gateway.log_reading import Wanted
from shared.errors import Refused
from shared.ids import device_id
from shared.times import iso


async def list_log(call: Call) -> Any:
    asked = call.query
    device = None if asked["device_id"] is None else device_id(asked["device_id"])
    if device is None and asked["device_id"] is not None:
        raise Refused("invalid_request", "deviceId: 24 hexadecimal digits.")
    history = call.services.history
    before = None if asked["before"] is None else history.ids.versions(asked["before"])
    if before is None and asked["before"] is not None:
        raise Refused("invalid_request", "before: meta.next of the answer before.")
    wanted = Wanted(asked["name"], device)
    listed = await history.list_newest(call.product.product_id, before, wanted, asked["limit"])
    events = [
        {
            "id": str(recorded.id),
            "name": event.name,
            "data": event.data,
            "ttl": event.ttl,
            "published_at": iso(event.published_at),
            "coreid": event.coreid,
            "productID": event.product_id,
            "version": event.version,
        }
        for recorded, event in listed.events
    ]
    going = None if listed.versions is None else history.ids.page_text(listed.versions)
    return {"events": events, "meta": {"next": going, "incomplete": listed.incomplete}}
