"""Identifiers: what they look like and how they are derived. Pure; randomness comes in as bytes."""

from __future__ import annotations

import hashlib
import re
from typing import NewType
from uuid import UUID, uuid5

AccountId = NewType("AccountId", str)
"""24 lower-case hex digits."""
OrgId = NewType("OrgId", str)
"""24 lower-case hex digits."""
ProductId = NewType("ProductId", int)
"""1000 to 65534: it fits the 16-bit field of the device protocol (PRD-1)."""
DeviceId = NewType("DeviceId", str)
"""24 lower-case hex digits."""

FIRST_PRODUCT_ID = 1000
LAST_PRODUCT_ID = 65_534
MAX_FIRMWARE_VERSION = 65_534
NO_VERSION = 65_535
"""What a device reports that has no product firmware compiled in."""

_DEVICE_ID = re.compile(r"[0-9a-f]{24}")
_UUID_BITS = ~(0xF000 << 64 | 0xC000 << 48)
_UUID_VERSION_4 = 4 << 76 | 0x8000 << 48
_UUID_VERSION_5 = 5 << 76 | 0x8000 << 48
_NAMESPACE = UUID("6d1c1f6e-5a2b-4f0e-9c7e-0f10711a0001")


def device_id(text: str) -> DeviceId | None:
    """The device ID that this text is, any case forgiven, or None if it is none."""
    lowered = text.strip().lower()
    return DeviceId(lowered) if _DEVICE_ID.fullmatch(lowered) else None


def event_id(command_id: UUID, index: int, stream: str = "") -> UUID:
    """The id of the ``index``-th event of a command in a stream: the same whenever the command is repeated.

    It is ``uuid5(command_id, f"{stream}/{index}")`` in two thirds of its time, for every event has one."""
    name = f"{stream}/{index}".encode()
    number = int.from_bytes(hashlib.sha1(command_id.bytes + name, usedforsecurity=False).digest()[:16])
    return UUID(int=number & _UUID_BITS | _UUID_VERSION_5)


def random_uuid(random: bytes) -> UUID:
    """The UUID of 16 random bytes, as ``uuid4`` makes it."""
    return UUID(int=int.from_bytes(random) & _UUID_BITS | _UUID_VERSION_4)


def derived_uuid(*parts: str) -> UUID:
    """A UUID that is the same for the same parts, for command ids of reactions and jobs."""
    return uuid5(_NAMESPACE, "\x1f".join(parts))


def record_id(command_id: UUID, kind: str) -> str:
    """24 hex digits for the thing that this command creates: the same whenever the command is repeated."""
    return uuid5(command_id, kind).hex[:24]


def digest(secret: str) -> str:
    """SHA-256 of a secret with enough entropy of its own (tokens), as lower-case hex; passwords use argon2."""
    return hashlib.sha256(secret.encode()).hexdigest()
