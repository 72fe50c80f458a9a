"""Events of devices and of their imports (service ``devices``). Streams ``device-<id>`` and ``import-<id>``."""

from __future__ import annotations

from typing import Annotated, Literal

from shared.events.fields import Count, Digest, Event, FirmwareVersion, Hex24, Items, ProductNumber, Text

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
    """It left the product; its history stays (DEV-8). Its token stops working."""

    device_id: Hex24
    product_id: ProductNumber


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


class DeviceTokenReplaced(Event, frozen=True):
    """It authenticates with the token of this digest from now on, and with no earlier one."""

    device_id: Hex24
    product_id: ProductNumber
    token_digest: Digest


class ImportProblem(Event, frozen=True):
    """A line that was refused; ``line`` counts from 1 over all lines of the file, ``text`` is cut at 64 characters."""

    line: Count
    text: Annotated[str, Text(64)]
    code: Literal["malformed", "wrong_platform", "other_product", "claimed_elsewhere"]
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
    """The lines up to ``lines_done`` are dealt with; the counts are of all lines so far, the problems new ones."""

    import_id: Hex24
    product_id: ProductNumber
    offset_bytes: Count
    lines_done: Count
    updated: Count
    existing: Count
    refused: Count
    problems: Annotated[list[ImportProblem], Items(1_000)]


class ImportFinished(Event, frozen=True):
    """Every line of the file is dealt with."""

    import_id: Hex24
    product_id: ProductNumber
    lines_done: Count
    updated: Count
    existing: Count
    refused: Count
