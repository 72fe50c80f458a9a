"""Event streams of a product, one of its devices, an organization, or of one's own (contract 12.2, LOG-1, LOG-2)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any

from starlette.responses import Response

from services.gateway.entries import ProductEntry
from services.gateway.http import auth, sse
from services.gateway.http.calls import LAST_ID_HEADER, STREAM, Call
from services.gateway.http.errors import NO_DEVICE, NO_PRODUCT, no_prefix
from services.gateway.http.judging import outcome
from services.gateway.http.limits import Share
from services.gateway.http.named_devices import device_in_path, thing_of
from services.gateway.http.ports import Subscription
from services.gateway.hub import EventFilter
from services.gateway.stream_reader import come_back
from shared.auth.permissions import NOTHING, Thing
from shared.errors import NotFound, Refused, Unavailable


async def product_events(call: Call) -> Response:
    product = call.product
    return await _stream(call, EventFilter(product_id=product.product_id, prefix=_prefix(call)), _of(product))


async def device_events(call: Call) -> Response:
    product, device_id = call.product, device_in_path(call)
    device = call.services.directory.device(device_id)
    if device is None or device.membership.product_id != product.product_id:
        raise NotFound(NO_DEVICE)
    wanted = EventFilter(product_id=product.product_id, device_id=device_id, prefix=_prefix(call))
    return await _stream(call, wanted, _of(product))


async def org_events(call: Call) -> Response:
    return await _stream(call, EventFilter(org_id=call.org.org_id, prefix=_prefix(call)), Thing(call.org.org_id))


async def org_product_events(call: Call) -> Response:
    """The product's stream below its organization; there is no other organization's product there."""
    org = call.services.directory.org(call.params["org"]) if len(call.params["org"]) <= auth.MAX_REF else None
    if org is None or org.org_id != call.product.org_id:
        raise NotFound(NO_PRODUCT)
    return await product_events(call)


async def public_events(call: Call) -> Response:
    """Public events and the caller's own; for customers, those of the company whose customers they are."""
    return await _stream(call, replace(_own(call), public=True), NOTHING)


async def all_events(call: Call) -> Response:
    """Nobody gets everybody's events."""
    raise no_prefix()


async def own_events(call: Call) -> Response:
    """Of all devices that the caller has claimed; of a customer's, those of the company (CUS-5)."""
    return await _stream(call, _own(call), NOTHING)


async def own_device_events(call: Call) -> Response:
    """Of a device that the caller has claimed, as long as it belongs to the caller; or of one of the caller's team."""
    device, caller = call.device, call.caller
    if device.owner_id is not None and device.owner_id == caller.account_id:
        wanted = EventFilter(owner_id=caller.account_id, device_id=device.device_id, prefix=_prefix(call))
    else:
        product_id = device.membership.product_id
        wanted = EventFilter(product_id=product_id, device_id=device.device_id, prefix=_prefix(call))
    return await _stream(call, wanted, thing_of(call, device))


def _own(call: Call) -> EventFilter:
    caller = call.caller
    org_id = caller.org_id if caller.kind == "customer" else None
    return EventFilter(owner_id=caller.account_id, org_id=org_id, product_id=caller.product_id, prefix=_prefix(call))


def _of(product: ProductEntry) -> Thing:
    return Thing(product.org_id, product.product_id)


def _prefix(call: Call) -> str:
    return call.params.get("prefix", "")


async def _stream(call: Call, wanted: EventFilter, thing: Thing) -> Response:
    missed = sse.MISSED_OF_CUSTOMERS if call.caller.kind == "customer" else sse.MISSED_EVENT
    is_teams = wanted.owner_id is None  # what is not asked for as somebody's own, only a team may ask for
    framed = partial(sse.frame, missed=missed, owners=is_teams)
    return await stream(call, thing, lambda: _subscribe(call, wanted), framed)


async def stream(
    call: Call, thing: Thing, subscribe: Callable[[], Awaitable[Subscription]], framed: Callable[[Any], bytes]
) -> Response:
    """A stream about this thing, for as long as the caller may see it; it counts for the caller's share of streams."""
    if call.request.method == "HEAD":
        return Response(headers=sse.HEADERS, media_type=sse.MEDIA_TYPE)
    edge, limits = call.edge, call.services.limits
    token = await auth.sent_token(call)

    async def still_allowed() -> bool:
        """A service that cannot be asked counts as no: the client comes back and gets the true answer."""
        try:
            session = await auth.find_session(edge, token, call.address)
        except (Refused, Unavailable):
            return False
        return outcome(call.services.directory, call.route.permission, session.caller, thing) == "yes"

    release = edge.slots.acquire(_shares(call))
    try:
        subscription = await subscribe()
    except BaseException:
        release()
        raise
    return sse.EventStream(subscription, limits, still_allowed, release, framed)


def _shares(call: Call) -> list[Share]:
    """Whose streams it counts for: a login's; a person's, who may log in often, where no team answers for them; and an
    organization's, whose customers count apart, so that they do not keep its team out."""
    limits, caller = call.services.limits, call.caller
    shares = [Share(call.signed_in.token_digest, limits.streams_per_token, "This login has")]
    if caller.kind == "customer" or caller.org_id is None:
        shares.append(Share(f"person {caller.account_id}", limits.streams_per_token, "Your logins together have"))
    if caller.org_id is not None:
        who, whose = ("team", "Your team has") if caller.kind != "customer" else ("customers", "All customers have")
        shares.append(Share(f"{who} {caller.org_id}", limits.streams_per_organization, whose))
    return shares


async def _subscribe(call: Call, wanted: EventFilter) -> Subscription:
    """A stream with ids for whoever knows what to do with them: the official clients do not (contract 12.2)."""
    services, headers = call.services, call.request.headers
    queue, last_id = services.limits.stream_queue, headers.get(LAST_ID_HEADER)
    if wanted.public or (last_id is None and STREAM not in headers.get("accept", "").lower()):
        return services.hub.subscribe(wanted, queue)
    return await come_back(services.hub, services.history, wanted, queue, last_id or None, services.now())
