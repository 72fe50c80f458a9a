"""What the gateway's directory answers: plain facts about tokens, organizations, products, devices and images."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from shared.targets import Membership, Target, counted_product, target


@dataclass(frozen=True, slots=True)
class TokenEntry:
    """Whose access token it is. ``org_id`` and ``org_slug`` are None for an account without an organization."""

    token_id: str
    account_id: str
    email: str
    client: str
    expires_at: datetime | None
    org_id: str | None


@dataclass(frozen=True, slots=True)
class OrgEntry:
    """An organization."""

    org_id: str
    slug: str
    name: str


@dataclass(frozen=True, slots=True)
class ProductEntry:
    """A product, with the version that is released in it; ``intelligent``: devices that are online are offered it
    now, the others at their next connection (FW-4)."""

    product_id: int
    org_id: str
    slug: str
    name: str
    device_type: str
    platform_id: int
    released_version: int | None
    intelligent: bool = False


@dataclass(frozen=True, slots=True)
class ImageEntry:
    """The image of one firmware version; ``sha256`` names its blob."""

    product_id: int
    version: int
    title: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class DeviceEntry:
    """What a connection is decided from, without asking anybody.

    ``reported_*`` is what the device said last, on whichever gateway, and ``recorded_product`` what it counted as by
    then; ``attempt_version`` is the version that was tried most recently, ``attempts`` the number of the last attempt
    at it, ``failures`` how often it failed in a row.
    """

    device_id: str
    membership: Membership
    reported_product: int | None
    reported_version: int | None
    reported_title: str
    reported_text: str
    ever_reported: bool
    released_version: int | None
    attempt_version: int | None
    attempts: int
    failures: int
    recorded_product: int | None = None

    @property
    def counted_product(self) -> int | None:
        """The product it counts as (DEV-3)."""
        return counted_product(self.membership, self.reported_product)

    @property
    def target(self) -> Target | None:
        """What it should run."""
        return target(self.membership, self.reported_product, self.released_version)
