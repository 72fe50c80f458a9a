"""The device that a path names: an ID below a product, an ID or a name below ``/v1/devices`` (contract 1.2)."""

from __future__ import annotations

import msgspec

from services.gateway.entries import DeviceEntry
from services.gateway.http.calls import Call
from services.gateway.http.errors import NO_DEVICE
from services.gateway.http.judging import insist, outcome
from shared.auth.permissions import Outcome, Thing
from shared.errors import NotFound, Refused
from shared.ids import DeviceId, device_id

MAX_NAME = 128
UNRECOGNIZED = "I didn't recognize that device name or ID."


def device_in_path(call: Call) -> DeviceId:
    """The device ID in the path; whatever is none is not a device of this product."""
    found = device_id(call.params["device"])
    if found is None:
        raise NotFound(NO_DEVICE)
    return found


def device_of_product(call: Call) -> DeviceEntry:
    """The device in the path of a product that it is in, be it in quarantine."""
    entry = call.services.directory.device(device_in_path(call))
    if entry is None or entry.membership.product_id != call.product.product_id:
        raise NotFound(NO_DEVICE)
    return entry


async def kept_device(call: Call) -> DeviceEntry:
    """The device in a path without product, which the caller has claimed or whose team the caller is in; it is in a
    product, as all that are claimed. Raises ``Refused`` (403) for any other, whether there is one or not."""
    named = call.params["device"]
    found = device_id(named) or await _by_name(call, named)
    entry = None if found is None else call.services.directory.device(found)
    if entry is not None and entry.membership.product_id is None:
        entry = None
    detail = msgspec.json.encode({"info": UNRECOGNIZED}).decode()
    unrecognized = Refused("Permission Denied", UNRECOGNIZED, detail)
    if entry is None:
        raise unrecognized
    insist(_outcome(call, entry), call.route.permission, unrecognized)
    return entry


def _outcome(call: Call, entry: DeviceEntry) -> Outcome:
    return outcome(call.services.directory, call.route.permission, call.caller, thing_of(call, entry))


async def _by_name(call: Call, name: str) -> str | None:
    """Names are looked for among what the caller has claimed, as far as the caller reaches it: a linked account's other
    company is not told of. Raises ``Refused`` where several are called so."""
    if not 0 < len(name) <= MAX_NAME or "\x00" in name:
        return None
    account_id, product_id = call.caller.account_id, call.caller.product_id
    answer = await call.ask("devices", "find_own_devices", account_id=account_id, name=name, product_id=product_id)
    found = [str(device_id) for device_id in answer["device_ids"] if _is_reached(call, device_id)]
    if len(found) > 1:
        some = ", ".join(found[:3]) + (" and others" if len(found) > 3 else "")
        raise Refused("ambiguous_name", f"{len(found)} of your devices are called {name!r}: use the ID, {some}.")
    return found[0] if found else None


def _is_reached(call: Call, device_id: str) -> bool:
    entry = call.services.directory.device(device_id)
    if entry is None or entry.membership.product_id is None:
        return False
    return _outcome(call, entry) != "hidden"


def thing_of(call: Call, entry: DeviceEntry) -> Thing:
    """The device with the organization whose team may use it; one in quarantine only says that it is of a product."""
    membership = entry.membership
    product = call.services.directory.product(str(membership.product_id))
    if product is None or membership.quarantined or membership.denied:
        return Thing(claimed_by=entry.owner_id)
    return Thing(product.org_id, product.product_id, entry.owner_id)
