"""Devices without a product in the path, and claiming them (contract 8 and 11.2)."""

from __future__ import annotations

from services.gateway.http import (
    claims,
    credentials,
    documents,
    events,
    own_devices,
    publishing,
    requests,
)
from services.gateway.http.calls import STREAM
from services.gateway.http.routes.rows import (
    OWN_DEVICE,
    PRODUCT,
    delete,
    get,
    post,
    put,
    streams,
)

ROUTES = [
    *streams(
        "/v1/devices", "Live events of all devices that the caller has claimed", events.own_events, "own_events.read"
    ),
    get(
        "/v1/events",
        "own_events.read",
        "Refused: which events must be said",
        events.all_events,
        None,
    ),
    get(
        "/v1/events/{prefix:path}",
        "own_events.read",
        "Live events that are public, and the caller's own",
        events.public_events,
        None,
        media_type=STREAM,
    ),
    *streams(OWN_DEVICE, "Live events of a device", events.own_device_events, "own_devices.events"),
    post(
        "/v1/devices/events",
        "own_events.publish",
        "Publish an event to the caller's own streams and devices",
        publishing.publish_own,
        documents.Ok(),
        request=requests.Publication(),
    ),
    post(
        PRODUCT + "/events",
        "events.publish",
        "Publish an event to a product and its devices",
        publishing.publish_to_product,
        documents.Ok(),
        request=requests.Publication(),
    ),
    get(
        "/v1/devices",
        "own_devices.list",
        "Devices that the caller has claimed",
        own_devices.list_own_devices,
        documents.Device(many=True),
    ),
    get(OWN_DEVICE, "own_devices.read", "A device", own_devices.read_own_device, documents.Device()),
    put(
        OWN_DEVICE,
        "own_devices.update",
        "Change a device, or make it show itself; flash it a file",
        own_devices.update_own_device,
        documents.DeviceChange(),
        request=requests.OwnDeviceUpdate(),
        body="upload",
        also=("own_devices.flash",),
    ),
    delete(OWN_DEVICE, "own_devices.unclaim", "Let a device belong to nobody", claims.unclaim_own, documents.Ok()),
    post(
        "/v1/provisioning/{device}",
        "own_devices.set_key",
        "Register a device's public key",
        credentials.register_key,
        documents.Ok(),
        request=requests.Provisioning(),
    ),
    post(
        "/v1/device_claims",
        "claims.create",
        "A claim code: a device that shows it is the caller's",
        claims.create_claim_code,
        documents.ClaimCode(),
        request=requests.NewClaimCode(),
        secret=True,
    ),
]
