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
    AttributeKeys,
    AttributeValues,
    Count,
    Digest,
    Event,
    FirmwareVersion,
    Hex24,
    Items,
    KeyAlgorithm,
    Moment,
    PlatformId,
    ProductNumber,
    PublicKey,
    ReportedProduct,
    ReportedVersion,
    Text,
)

GatewayName = Annotated[str, Text(64, 1, r"[a-z0-9][a-z0-9_-]*")]
Address = Annotated[str, Text(64)]
FunctionName = Annotated[str, Text(64)]
ErrorKind = Annotated[str, Text(64, 3, r"[a-z0-9_]+/[a-z0-9_.-]+")]


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


class DescribedVariable(Event, frozen=True):
    """A variable that the device's application offers, and what it holds."""

    name: FunctionName
    type: Literal["boolean", "int", "double", "string", "other"]


class DescriptionReported(Event, frozen=True):
    """What the device says that it offers and is made of; only changes are recorded. ``modules``: the parts of its
    firmware, a JSON list as text; None: it did not say."""

    device_id: Hex24
    product_id: ProductNumber | None
    functions: Annotated[list[FunctionName], Items(256)]
    variables: Annotated[list[DescribedVariable], Items(256)]
    platform_id: PlatformId | None
    modules: Annotated[str, Text(16_384)] | None
    gateway: GatewayName
    epoch: Count
    session: Count


class AttributesReported(Event, frozen=True):
    """The device's own attributes that changed, and those that it took away (MQU-3); only changes are recorded."""

    device_id: Hex24
    product_id: ProductNumber | None
    values: AttributeValues
    removed: AttributeKeys
    gateway: GatewayName
    epoch: Count
    session: Count


class KeyPresented(Event, frozen=True):
    """A device of which no key is on record proved that it has the private half of this one, and its product trusts
    the first key. The ``devices`` service answers with ``DeviceKeySet``."""

    device_id: Hex24
    product_id: ProductNumber | None
    algorithm: KeyAlgorithm
    public_key: PublicKey
    gateway: GatewayName
    epoch: Count
    session: Count


class ClaimPresented(Event, frozen=True):
    """The device showed a claim code: the digest of its first 63 characters. What came of it, the ``devices`` service
    says."""

    device_id: Hex24
    product_id: ProductNumber | None
    code_digest: Digest
    gateway: GatewayName
    epoch: Count
    session: Count


class ClaimOpened(Event, frozen=True):
    """The device asks to be claimed until then by somebody who states this secret; None: by whoever states its device
    ID (MQU-7)."""

    device_id: Hex24
    product_id: ProductNumber | None
    secret_digest: Digest | None
    until: Moment
    gateway: GatewayName
    epoch: Count
    session: Count


class FunctionCalled(Event, frozen=True):
    """A call of a function of the device is over. ``caller`` is the account or customer that called, empty if it was
    none; ``version`` the firmware that the device had reported, as far as the gateway knew."""

    device_id: Hex24
    product_id: ProductNumber | None
    function: FunctionName
    outcome: Literal[
        "answered",
        "failed",
        "timeout",
        "offline",
        "not_listening",
        "busy",
        "too_large",
        "unknown_function",
    ]
    duration_ms: Count
    caller: Annotated[str, Text(64)]
    version: ReportedVersion | None = None


class FlashAsked(Event, frozen=True):
    """Somebody wants this file on the device now, whatever its target is (contract 9.5); the gateway that holds the
    device has taken it over. It carries the product and version that are compiled into it; ``sha256`` names its blob.
    It is wanted until an attempt at it succeeded or failed, or the device is locked to a version."""

    device_id: Hex24
    product_id: ProductNumber
    flash_id: Hex24
    version: FirmwareVersion
    sha256: Digest
    size_bytes: Count
    file_name: Annotated[str, Text(255)]


class RolloutTurnAsked(Event, frozen=True):
    """A device that is online, and before the share of this stage, waits for its turn in a roll-out (FW-6). Asked once
    a connection, and anew when the roll-out has a new stage, is resumed, or the turn before ended without success."""

    device_id: Hex24
    product_id: ProductNumber
    rollout_id: Hex24
    stage: Count


UpdateCause = Literal["lock", "release", "rollout", "file"]


class UpdatesDeclared(Event, frozen=True):
    """Whether the device's application lets it be updated now (``enabled``), and whether that is overruled
    (``forced``); only changes are recorded. A device of which nothing is recorded lets itself be updated."""

    device_id: Hex24
    product_id: ProductNumber | None
    enabled: bool
    forced: bool
    gateway: GatewayName
    epoch: Count
    session: Count


class UpdateStarted(Event, frozen=True):
    """An attempt to bring one device to one version (FW-7). ``attempt`` counts from 1 for this device and version, so
    that the three name the attempt in every other event of it, and as ``<device_id>-<version>-<attempt>`` in the HTTP
    API. ``cause`` ``file``: the version is that of a file that was flashed to this device alone."""

    device_id: Hex24
    product_id: ProductNumber
    version: FirmwareVersion
    attempt: Count
    cause: UpdateCause
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
    """The connection was lost before the device began to apply it; not a failure, offered again. ``cause`` is that of
    the attempt; version 1 did not say it."""

    device_id: Hex24
    product_id: ProductNumber
    version: FirmwareVersion
    attempt: Count
    percent: Count
    cause: UpdateCause | None = None


class UpdateSucceeded(Event, frozen=True):
    """The device came back and reported the version; nothing else counts as done (FW-7). ``cause`` is that of the
    attempt; version 1 did not say it."""

    device_id: Hex24
    product_id: ProductNumber
    version: FirmwareVersion
    attempt: Count
    cause: UpdateCause | None = None


class UpdateFailed(Event, frozen=True):
    """The attempt is over without success. After the third failure of a version the device is left alone (FW-7).
    ``cause`` is that of the attempt; version 1 did not say it."""

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
        "device_refused",
        "image_unreadable",
        "did_not_come_back",
        "cancelled",
    ]
    text: Annotated[str, Text(512)]
    failures: Count
    cause: UpdateCause | None = None


class DeviceMisbehaved(Event, frozen=True):
    """It broke the protocol; at most one a kind and minute, with the count since the last. ``version`` is the firmware
    that it had reported, as far as the gateway knew."""

    device_id: Hex24
    product_id: ProductNumber | None
    kind: Annotated[str, Text(64, 1)]
    text: Annotated[str, Text(256)]
    count: Count
    version: ReportedVersion | None = None


class DeviceErred(Event, frozen=True):
    """The device says that something went wrong with it: it started anew because of a fault (``reset/…``), or its
    application published an event that is named as an error (``app/…``). At most one a kind and minute, with the count
    since the last. ``version`` is the firmware that it had reported, ``text`` what it said."""

    device_id: Hex24
    product_id: ProductNumber
    kind: ErrorKind
    text: Annotated[str, Text(256)]
    count: Count
    version: ReportedVersion | None
    gateway: GatewayName
    epoch: Count
    session: Count


class DeviceUsage(Event, frozen=True):
    """What one device did since it was told of last: events that it published, calls of its functions, reads of its
    variables, sessions that began, and for how long it was connected. ``owner_id``: whose it was then."""

    device_id: Hex24
    owner_id: Hex24 | None
    events: Count
    calls: Count
    reads: Count
    sessions: Count
    connected_s: Count


class UsageCounted(Event, frozen=True):
    """How devices of a product were used on a day (UTC), told by its beginning: to be added to what was told before.
    What a gateway that died had not told yet is lost."""

    product_id: ProductNumber
    day: Moment
    devices: Annotated[list[DeviceUsage], Items(200)]
    gateway: GatewayName
    epoch: Count


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


class ServerPublished(Event, frozen=True):
    """What somebody published over HTTP, to a product or to their own devices and streams (contract 12.1);
    ``for_org_id`` and ``for_product_id``: as whose customer they did the latter (CUS-5). Not a domain event: stream
    ``log-<product id>`` or ``log-owner-<owner id>`` of the log store, as ``DevicePublished``."""

    product_id: ProductNumber | None
    owner_id: Hex24 | None
    name: Annotated[str, Text(64, 1)]
    data: Annotated[str, Text(65_536)] | None
    ttl_s: Count
    public: bool
    published_at: Moment
    for_org_id: Hex24 | None = None
    for_product_id: ProductNumber | None = None
