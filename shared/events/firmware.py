"""Events of a product's firmware (service ``firmware``). Stream ``firmware-<product id>``."""

from __future__ import annotations

from typing import Annotated

from shared.events.devices import GroupName
from shared.events.fields import (
    Count,
    Description,
    Digest,
    Event,
    FirmwareVersion,
    Hex24,
    Items,
    Personal,
    ProductNumber,
    Text,
    Title,
)


class VersionUploaded(Event, frozen=True):
    """A version exists; its image is the blob of this digest (FW-1). Version 1 did not say the account of whoever
    uploaded it."""

    product_id: ProductNumber
    version: FirmwareVersion
    title: Title
    description: Description
    file_name: Annotated[str, Text(255, 1)]
    size_bytes: Count
    sha256: Digest
    uploaded_by: Annotated[str, Text(320, 1), Personal("uploader_id")]
    uploader_id: Hex24 | None = None


class VersionDescribed(Event, frozen=True):
    """Its title and description as they are now."""

    product_id: ProductNumber
    version: FirmwareVersion
    title: Title
    description: Description


class VersionDeleted(Event, frozen=True):
    """It is gone, and no other version gets its number; no device ever ran it, and it was never released (FW-2)."""

    product_id: ProductNumber
    version: FirmwareVersion


class VersionFirstRan(Event, frozen=True):
    """For the first time a device that counts as the product's reported that it runs this version (FW-5)."""

    product_id: ProductNumber
    version: FirmwareVersion
    device_id: Hex24


class FirmwareReleased(Event, frozen=True):
    """This version is what the product's devices should run (FW-4). ``intelligent``: devices that are online are
    offered it now, the others at their next connection."""

    product_id: ProductNumber
    version: FirmwareVersion
    supersedes: FirmwareVersion | None
    intelligent: bool


class FirmwareReleasedToGroups(Event, frozen=True):
    """Devices in these groups, which are all that it is released to, should run this version, whatever is released to
    all (contract 9.4). ``taken``: other versions that were released to one of them until now."""

    product_id: ProductNumber
    version: FirmwareVersion
    groups: Annotated[list[GroupName], Items(1_000)]
    taken: Annotated[list[FirmwareVersion], Items(1_000)]
    intelligent: bool


class ReleaseWithdrawn(Event, frozen=True):
    """No version is the product's default any more; nothing is sent to devices because of it."""

    product_id: ProductNumber
    version: FirmwareVersion
