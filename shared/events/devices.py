"""Events of devices, of claims and of imports (service ``devices``). Streams ``device-<id>``, ``claim-<code digest>``,
``claiming-<device id>`` and ``import-<id>``.
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
    ProductNumber,
    PublicKey,
    Text,
)

GroupName = Annotated[str, Text(64, 1, r"[a-z0-9_-]+")]


class DeviceImported(Event, frozen=True):
    """The device is a member of the product. ``forced``: it counts as this product whatever it reports (DEV-3)."""

    device_id: Hex24
    product_id: ProductNumber
    forced: bool


class DeviceForced(Event, frozen=True):
    """A member counts as this product from now on, whatever its firmware reports (DEV-3)."""

    device_id: Hex24
    product_id: ProductNumber


class DeviceQuarantined(Event, frozen=True):
    """It reported the product without being imported into it (DEV-4)."""

    device_id: Hex24
    product_id: ProductNumber


class DeviceApproved(Event, frozen=True):
    """It left quarantine and is a full member (DEV-4)."""

    device_id: Hex24
    product_id: ProductNumber
    forced: bool


class DeviceDenied(Event, frozen=True):
    """The team wants nothing to do with it (DEV-4)."""

    device_id: Hex24
    product_id: ProductNumber


class DeviceRemoved(Event, frozen=True):
    """It left the product; its history stays (DEV-8). Its token stops working. ``owner_id``: whose it was till then."""

    device_id: Hex24
    product_id: ProductNumber
    owner_id: Hex24 | None = None


class DeviceDescribed(Event, frozen=True):
    """Name and notes as they are now (DEV-6); empty text means none."""

    device_id: Hex24
    product_id: ProductNumber
    name: Annotated[str, Text(128)]
    notes: Annotated[str, Text(4_000)]


class DevelopmentMarked(Event, frozen=True):
    """It joined or left the test group (DEV-5)."""

    device_id: Hex24
    product_id: ProductNumber
    development: bool


class DeviceGrouped(Event, frozen=True):
    """Its groups as they are now, sorted (DEV-6)."""

    device_id: Hex24
    product_id: ProductNumber
    groups: Annotated[list[GroupName], Items(100)]


class DeviceLocked(Event, frozen=True):
    """It must run this version and gets no other (FW-3); ``flash``: at once, not at its next connection."""

    device_id: Hex24
    product_id: ProductNumber
    version: FirmwareVersion
    flash: bool


class DeviceUnlocked(Event, frozen=True):
    """Releases apply to it again (FW-3)."""

    device_id: Hex24
    product_id: ProductNumber


class UpdateRetryAsked(Event, frozen=True):
    """Somebody wants what failed on the device tried again: earlier failures count no more (FW-7)."""

    device_id: Hex24
    product_id: ProductNumber


class DeviceTokenReplaced(Event, frozen=True):
    """It authenticates with the token of this digest from now on, and with no earlier one."""

    device_id: Hex24
    product_id: ProductNumber
    token_digest: Digest


class DeviceKeySet(Event, frozen=True):
    """It proves itself with the private half of this key from now on. ``first_use``: it came with the key, and the
    product trusts a device that has none on record."""

    device_id: Hex24
    product_id: ProductNumber
    algorithm: KeyAlgorithm
    public_key: PublicKey
    first_use: bool


class DeviceCertificateSet(Event, frozen=True):
    """It is recognized by the TLS client certificate of this fingerprint, and by no earlier one (MQC-6)."""

    device_id: Hex24
    product_id: ProductNumber
    fingerprint: Digest


class DeviceProvisioned(Event, frozen=True):
    """It provisioned itself: what it authenticates with is in the event beside this one. ``created``: it was made a
    member of the product by it."""

    device_id: Hex24
    product_id: ProductNumber
    created: bool


class DeviceClaimed(Event, frozen=True):
    """It belongs to this account or customer from now on (CUS-5); in a private beta, with the activation code of this
    invitee (PRD-4)."""

    device_id: Hex24
    product_id: ProductNumber
    owner_id: Hex24
    invitee_id: Hex24 | None = None


class DeviceUnclaimed(Event, frozen=True):
    """It belongs to this account no more, and to nobody (CUS-5)."""

    device_id: Hex24
    product_id: ProductNumber
    owner_id: Hex24


class AttributesDesired(Event, frozen=True):
    """The platform wants these attributes on the device: the keys that changed, and those that are gone (MQU-4)."""

    device_id: Hex24
    product_id: ProductNumber
    values: AttributeValues
    removed: AttributeKeys


class ClaimCodeIssued(Event, frozen=True):
    """A device that shows this code until then belongs to the account or customer. ``product_id``: only a device of
    that product; ``invitee_id``: whose activation code opens its private beta; ``customer_id``: as whom of a company's
    customers the account made it. Stream ``claim-<code digest>``."""

    code_digest: Digest
    account_id: Hex24
    expires_at: Moment
    product_id: ProductNumber | None = None
    invitee_id: Hex24 | None = None
    customer_id: Hex24 | None = None


class ClaimCodeEnded(Event, frozen=True):
    """Its maker is gone, so it is good for no device. Stream ``claim-<code digest>``."""

    code_digest: Digest


class ClaimCodeUsed(Event, frozen=True):
    """This device showed the code; it is good for no other."""

    code_digest: Digest
    device_id: Hex24


class ClaimWindowOpened(Event, frozen=True):
    """Until then the device is whose who states its device ID and this secret; None: the device ID is enough (MQU-7).
    Stream ``claiming-<device id>``."""

    device_id: Hex24
    product_id: ProductNumber
    secret_digest: Digest | None
    until: Moment


class ClaimSecretRefused(Event, frozen=True):
    """An account stated a wrong secret. Stream ``claiming-<device id>``."""

    device_id: Hex24
    product_id: ProductNumber
    account_id: Hex24
    refused_at: Moment


class ClaimWindowClosed(Event, frozen=True):
    """Nobody can claim the device until it opens itself again. Stream ``claiming-<device id>``."""

    device_id: Hex24
    product_id: ProductNumber
    reason: Literal["claimed", "wrong_secrets"]


class ImportProblem(Event, frozen=True):
    """A line that was refused; ``line`` counts from 1 over all lines of the file, ``text`` is cut at 64 characters."""

    line: Count
    text: Annotated[str, Text(64)]
    code: Literal["malformed", "wrong_platform", "other_product", "claimed_elsewhere", "bad_key"]
    reason: Annotated[str, Text(256)]


class ImportStarted(Event, frozen=True):
    """A file of device IDs is being imported (DEV-1); the file is the blob of this digest."""

    import_id: Hex24
    product_id: ProductNumber
    blob: Digest
    size_bytes: Count
    lines_total: Count
    forced: bool


class ImportAdvanced(Event, frozen=True):
    """So many lines are dealt with: all up to this offset, and of those behind it ``ahead``, in the order in which they
    are taken. The counts are of all lines so far, the problems new ones. ``keys_set``: devices that got another key
    than they had."""

    import_id: Hex24
    product_id: ProductNumber
    offset_bytes: Count
    lines_done: Count
    updated: Count
    existing: Count
    refused: Count
    problems: Annotated[list[ImportProblem], Items(1_000)]
    keys_set: Count
    ahead: Count = 0


class ImportCancelled(Event, frozen=True):
    """Somebody wants no more of it: what was done stays, and lines that are in hand are still recorded."""

    import_id: Hex24
    product_id: ProductNumber


class ImportFinished(Event, frozen=True):
    """Every line of the file is dealt with, or it was cancelled."""

    import_id: Hex24
    product_id: ProductNumber
    lines_done: Count
    updated: Count
    existing: Count
    refused: Count
    keys_set: Count
