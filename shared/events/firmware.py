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
    PlatformId,
    ProductNumber,
    Text,
    Title,
    Whole,
)

KeyId = Annotated[str, Text(16, 16, r"[0-9a-f]{16}")]
"""The beginning of the SHA-256 of a public key of 32 bytes."""
Signature = Annotated[str, Text(128, 128, r"[0-9a-f]{128}")]
"""An Ed25519 signature as lower-case hex."""
Byte = Annotated[int, Whole(0, 255)]
Short = Annotated[int, Whole(0, 65_535)]


class ModuleDependency(Event, frozen=True):
    """A part of the system that a module needs, and its lowest version."""

    function: Byte
    index: Byte
    version: Short


class ReadModule(Event, frozen=True):
    """What a Particle module says of itself besides product and version (contract 18). ``app_hash`` is the SHA-256 in
    its suffix, which devices report; ``app_hash_right``: it is that of the bytes before it."""

    platform_id: PlatformId
    function: Byte
    index: Byte
    module_version: Short
    dependencies: Annotated[list[ModuleDependency], Items(2)]
    app_hash: Digest
    app_hash_right: bool


class VersionUploaded(Event, frozen=True):
    """A version exists; its image is the blob of this digest (FW-1). Version 1 did not say the account of whoever
    uploaded it, version 2 nothing of ``module`` (what the image is read as, if it is a Particle module) and signatures:
    ``signature`` is that of the image's bytes with ``signature_key``, which the product had then."""

    product_id: ProductNumber
    version: FirmwareVersion
    title: Title
    description: Description
    file_name: Annotated[str, Text(255, 1)]
    size_bytes: Count
    sha256: Digest
    uploaded_by: Annotated[str, Text(320, 1), Personal("uploader_id")]
    uploader_id: Hex24 | None = None
    module: ReadModule | None = None
    signature: Signature | None = None
    signature_key: KeyId | None = None


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


class SigningKeyAdded(Event, frozen=True):
    """Images that are signed with the private half of this Ed25519 key are the product's. ``public_key``: its 32 bytes
    in base64."""

    product_id: ProductNumber
    key_id: KeyId
    name: Title
    public_key: Annotated[str, Text(44, 44, r"[A-Za-z0-9+/]{43}=")]


class SigningKeyRemoved(Event, frozen=True):
    """Nothing is accepted any more because this key has signed it; what was accepted stays."""

    product_id: ProductNumber
    key_id: KeyId


class SignaturesRequired(Event, frozen=True):
    """Whether from now on only signed images are accepted."""

    product_id: ProductNumber
    required: bool
