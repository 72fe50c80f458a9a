"""Event streams of a product, one of its devices, or an organization (contract 12.2, LOG-1, LOG-2)."""

from __future__ import annotations

from starlette.responses import Response

from services.gateway.http import auth, sse
from services.gateway.http.calls import Call
from services.gateway.http.devices import device_in_path
from services.gateway.http.errors import NO_DEVICE
from services.gateway.hub import EventFilter
from shared.auth.permissions import allowed
from shared.errors import NotFound, Refused, Unavailable


async def product_events(call: Call) -> Response:
    product = call.product
    return await _stream(call, EventFilter(product_id=product.product_id, prefix=_prefix(call)), product.org_id)


async def device_events(call: Call) -> Response:
    product, device_id = call.product, device_in_path(call)
    device = call.services.directory.device(device_id)
    if device is None or device.membership.product_id != product.product_id:
        raise NotFound(NO_DEVICE)
    wanted = EventFilter(product_id=product.product_id, device_id=device_id, prefix=_prefix(call))
    return await _stream(call, wanted, product.org_id)


async def org_events(call: Call) -> Response:
    return await _stream(call, EventFilter(org_id=call.org.org_id, prefix=_prefix(call)), call.org.org_id)


def _prefix(call: Call) -> str:
    return call.params.get("prefix", "")


async def _stream(call: Call, wanted: EventFilter, owner_org: str) -> Response:
    if call.request.method == "HEAD":
        return Response(headers=sse.HEADERS, media_type=sse.MEDIA_TYPE)
    edge, limits = call.edge, call.services.limits
    token, token_digest = await auth.sent_token(call), call.signed_in.token_digest

    async def still_allowed() -> bool:
        """A service that cannot be asked counts as no: the client comes back and gets the true answer."""
        try:
            session = await auth.find_session(edge, token, call.address)
        except (Refused, Unavailable):
            return False
        return allowed(call.route.permission, session.caller, owner_org)

    edge.slots.acquire(token_digest)
    try:
        subscription = call.services.hub.subscribe(wanted, limits.stream_queue)
    except BaseException:
        edge.slots.release(token_digest)
        raise
    return sse.EventStream(subscription, limits, still_allowed, lambda: edge.slots.release(token_digest))
