"""What gateways saw: facts about connections and updates, and their own life.

Stream ``connection-<gateway>.<epoch>-<hour>`` for facts, ``gateway-<gateway>`` for the gateway's life,
``beat-<gateway>.<epoch>`` for its beats, of which only the newest are kept. A *session* is one device connection:
(gateway, epoch, session) names it, ``connected_at`` orders sessions of one device over all gateways, so that a late
"offline" of an old session never overrides a newer "online". An *epoch* is one run of a gateway process, numbered
upwards.
"""

from __future__ import annotations

from typing import Annotated, Literal

from shared.events.fields import (
    Count,
    Event,
    FirmwareVersion,
    Hex24,
    Moment,
    ProductNumber,
    ReportedProduct,
    ReportedVersion,
    Text,
)

GatewayName = Annotated[str, Text(64, 1, r"[a-z0-9][a-z0-9_-]*")]
Address = Annotated[str, Text(64)]


class GatewayStarted(Event, frozen=True):
    """Sessions of earlier epochs of this gateway are over."""

    gateway: GatewayName
    epoch: Count
    lease_s: Count


class GatewayBeat(Event, frozen=True):
    """The gateway lives; without another beat within its lease its devices are put offline (DEV-7)."""

    gateway: GatewayName
    epoch: Count


class GatewayStopped(Event, frozen=True):
    """It closed all sessions and ended in order."""

    gateway: GatewayName
    epoch: Count


class GatewayLost(Event, frozen=True):
    """It missed its lease (written by the devices service); its sessions are ended one by one behind this."""

    gateway: GatewayName
    epoch: Count


class DeviceConnected(Event, frozen=True):
    """Online (DEV-7). ``product_id`` is the product it is a member of, if any."""

    device_id: Hex24
    product_id: ProductNumber | None
    gateway: GatewayName
    epoch: Count
    session: Count
    connected_at: Moment
    protocol: Literal["mqtt/3.1", "mqtt/3.1.1", "mqtt/5.0", "particle/tcp", "particle/dtls"]
    address: Address
    secure: bool
    client_id: Annotated[str, Text(256)]


class SessionReplaced(Event, frozen=True):
    """A newer connection of the same device took over; it never went offline in between."""

    device_id: Hex24
    product_id: ProductNumber | None
    gateway: GatewayName
    epoch: Count
    session: Count
    connected_at: Moment
    protocol: Literal["mqtt/3.1", "mqtt/3.1.1", "mqtt/5.0", "particle/tcp", "particle/dtls"]
    address: Address
    secure: bool
    client_id: Annotated[str, Text(256)]
    replaced_address: Address


class DeviceDisconnected(Event, frozen=True):
    """This session is over. ``gateway_lost`` ones are written by the devices service."""

    device_id: Hex24
    product_id: ProductNumber | None
    gateway: GatewayName
    epoch: Count
    session: Count
    reason: Literal["disconnected", "connection_lost", "keepalive", "kicked", "draining", "gateway_lost", "misbehaved"]
    duration_s: Count
    bytes_in: Count
    bytes_out: Count
    messages_in: Count
    messages_out: Count


class FirmwareReported(Event, frozen=True):
    """What the device says it runs; only changes are recorded.

    ``reported_product`` and ``version`` are None when the device did not say; ``title`` and ``text`` are what it sent.
    ``product_id`` is the product that it counts as by rule DEV-3 at that moment, None when it counts as none
    (then it is quarantined, foreign or denied), which is what FW-5 asks for.
    """

    device_id: Hex24
    product_id: ProductNumber | None
    reported_product: ReportedProduct | None
    version: ReportedVersion | None
    title: Annotated[str, Text(128)]
    text: Annotated[str, Text(128)]
    gateway: GatewayName
    epoch: Count
    session: Count


class UpdateStarted(Event, frozen=True):
    """An attempt to bring one device to one version (FW-7). ``attempt`` counts from 1 for this device and version."""

    device_id: Hex24
    product_id: ProductNumber
    version: FirmwareVersion
    attempt: Count
    cause: Literal["lock", "release"]
    size_bytes: Count


class UpdateAdvanced(Event, frozen=True):
    """How far the attempt is; at most every 5 % and 2 s."""

    device_id: Hex24
    product_id: ProductNumber
    version: FirmwareVersion
    attempt: Count
    state: Literal["downloading", "downloaded", "verified", "applying"]
    percent: Count


class UpdateInterrupted(Event, frozen=True):
    """The connection was lost before the device began to apply it; not a failure, offered again."""

    device_id: Hex24
    product_id: ProductNumber
    version: FirmwareVersion
    attempt: Count
    percent: Count


class UpdateSucceeded(Event, frozen=True):
    """The device came back and reported the version; nothing else counts as done (FW-7)."""

    device_id: Hex24
    product_id: ProductNumber
    version: FirmwareVersion
    attempt: Count


class UpdateFailed(Event, frozen=True):
    """The attempt is over without success. After the third failure of a version the device is left alone (FW-7)."""

    device_id: Hex24
    product_id: ProductNumber
    version: FirmwareVersion
    attempt: Count
    reason: Literal[
        "device_says_current",
        "device_failed",
        "came_back_unchanged",
        "never_completes",
        "stalled",
        "did_not_come_back",
        "cancelled",
    ]
    text: Annotated[str, Text(512)]
    failures: Count


class DeviceMisbehaved(Event, frozen=True):
    """It broke the protocol; at most one a kind and minute, with the count since the last."""

    device_id: Hex24
    product_id: ProductNumber | None
    kind: Annotated[str, Text(64, 1)]
    text: Annotated[str, Text(256)]
    count: Count


class DevicePublished(Event, frozen=True):
    """What a device published (LOG-1). Not a domain event: kept in the product's log, stream ``log-<product id>``
    of the log store, with bounded history. ``data`` is text; JSON is its JSON text. ``device_at`` is the device's
    own time, ``version`` the firmware that it reported."""

    device_id: Hex24
    product_id: ProductNumber
    name: Annotated[str, Text(64, 1)]
    data: Annotated[str, Text(65_536)] | None
    encoding: Literal["text", "base64"]
    ttl_s: Count
    public: bool
    published_at: Moment
    device_at: Moment | None
    version: ReportedVersion | None
