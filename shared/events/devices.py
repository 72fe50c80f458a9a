"""Events of devices and of their imports (service ``devices``). Streams ``device-<id>`` and ``import-<id>``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from shared.events.fields import Count, Digest, FirmwareVersion, Hex24, Items, ProductNumber, Text

GroupName = Annotated[str, Text(64, 1, r"[a-z0-9_-]+")]


@dataclass(frozen=True, slots=True)
class DeviceImported:
    """The device is a member of the product. ``forced``: it counts as this product whatever it reports (DEV-3)."""

    device_id: Hex24
    product_id: ProductNumber
    forced: bool


@dataclass(frozen=True, slots=True)
class DeviceForced:
    """A member counts as this product from now on, whatever its firmware reports (DEV-3)."""

    device_id: Hex24
    product_id: ProductNumber


@dataclass(frozen=True, slots=True)
class DeviceQuarantined:
    """It reported the product without being imported into it (DEV-4)."""

    device_id: Hex24
    product_id: ProductNumber


@dataclass(frozen=True, slots=True)
class DeviceApproved:
    """It left quarantine and is a full member (DEV-4)."""

    device_id: Hex24
    product_id: ProductNumber
    forced: bool


@dataclass(frozen=True, slots=True)
class DeviceDenied:
    """The team wants nothing to do with it (DEV-4)."""

    device_id: Hex24
    product_id: ProductNumber


@dataclass(frozen=True, slots=True)
class DeviceRemoved:
    """It left the product; its history stays (DEV-8). Its token stops working."""

    device_id: Hex24
    product_id: ProductNumber


@dataclass(frozen=True, slots=True)
class DeviceDescribed:
    """Name and notes as they are now (DEV-6); empty text means none."""

    device_id: Hex24
    product_id: ProductNumber
    name: Annotated[str, Text(128)]
    notes: Annotated[str, Text(4_000)]


@dataclass(frozen=True, slots=True)
class DevelopmentMarked:
    """It joined or left the test group (DEV-5)."""

    device_id: Hex24
    product_id: ProductNumber
    development: bool


@dataclass(frozen=True, slots=True)
class DeviceGrouped:
    """Its groups as they are now, sorted (DEV-6)."""

    device_id: Hex24
    product_id: ProductNumber
    groups: Annotated[list[GroupName], Items(100)]


@dataclass(frozen=True, slots=True)
class DeviceLocked:
    """It must run this version and gets no other (FW-3); ``flash``: at once, not at its next connection."""

    device_id: Hex24
    product_id: ProductNumber
    version: FirmwareVersion
    flash: bool


@dataclass(frozen=True, slots=True)
class DeviceUnlocked:
    """Releases apply to it again (FW-3)."""

    device_id: Hex24
    product_id: ProductNumber


@dataclass(frozen=True, slots=True)
class DeviceTokenReplaced:
    """It authenticates with the token of this digest from now on, and with no earlier one."""

    device_id: Hex24
    product_id: ProductNumber
    token_digest: Digest


@dataclass(frozen=True, slots=True)
class ImportProblem:
    """A line that was refused; ``line`` counts from 1 over all lines of the file, ``text`` is cut at 64 characters."""

    line: Count
    text: Annotated[str, Text(64)]
    code: Literal["malformed", "wrong_platform", "other_product", "claimed_elsewhere"]
    reason: Annotated[str, Text(256)]


@dataclass(frozen=True, slots=True)
class ImportStarted:
    """A file of device IDs is being imported (DEV-1); the file is the blob of this digest."""

    import_id: Hex24
    product_id: ProductNumber
    blob: Digest
    size_bytes: Count
    lines_total: Count
    forced: bool


@dataclass(frozen=True, slots=True)
class ImportAdvanced:
    """The lines up to ``lines_done`` are dealt with; the counts are of all lines so far, the problems new ones."""

    import_id: Hex24
    product_id: ProductNumber
    offset_bytes: Count
    lines_done: Count
    updated: Count
    existing: Count
    refused: Count
    problems: Annotated[list[ImportProblem], Items(1_000)]


@dataclass(frozen=True, slots=True)
class ImportFinished:
    """Every line of the file is dealt with."""

    import_id: Hex24
    product_id: ProductNumber
    lines_done: Count
    updated: Count
    existing: Count
    refused: Count
