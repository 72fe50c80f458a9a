"""What the gateway's directory answers: plain facts about tokens, organizations, products, devices and images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any, Literal

from shared.events.fields import KeyAlgorithm
from shared.events.gateway import UpdateCause
from shared.events.orgs import Provisioning, Role
from shared.rollouts import Releases, Rollout, Standing, standing, waits_for
from shared.targets import Membership, Target, counted_product, own_version, target


@dataclass(frozen=True, slots=True)
class TokenEntry:
    """Whose access token it is, see ``shared.auth.permissions.Caller``.

    ``subject``: an account, a customer, or an OAuth client itself, which has neither ``account_id`` nor ``email``;
    ``client`` is the client that it was made with.
    """

    token_id: str
    account_id: str | None
    email: str
    client: str
    expires_at: datetime | None
    org_id: str | None
    role: Role | None = None
    subject: Literal["account", "customer", "client"] = "account"
    customer_id: str | None = None
    product_id: int | None = None
    scope: str = ""


@dataclass(frozen=True, slots=True)
class OrgEntry:
    """An organization. ``inactive``: its subscription is inactive, so that its team may do next to nothing (BIL-7)."""

    org_id: str
    slug: str
    name: str
    inactive: bool = False


@dataclass(frozen=True, slots=True)
class ProductEntry:
    """A product, with the version that is released in it, and how its devices get in; ``intelligent``: devices that are
    online are offered it now, the others at their next connection (FW-4); ``programs_at_setup``: a new device gets it
    before anything else (PRD-5)."""

    product_id: int
    org_id: str
    slug: str
    name: str
    device_type: str
    platform_id: int
    released_version: int | None
    intelligent: bool = False
    trust_first_key: bool = False
    tls_only: bool = False
    provisioning: Provisioning = "off"
    provisioning_key: str | None = None
    provisioning_secret_digest: str | None = None
    claim_without_secret: bool = False
    firmware_name: str = ""
    version_width: int = 0
    programs_at_setup: bool = False


@dataclass(frozen=True, slots=True)
class AuthorityEntry:
    """Who signs certificates of devices of this organization, and of no other (MQC-6). ``certificate`` is PEM text;
    ``names_devices``: a common name that is a device ID identifies the device."""

    authority_id: str
    org_id: str
    certificate: str
    fingerprint: str
    names_devices: bool


@dataclass(frozen=True, slots=True)
class ImageEntry:
    """The image of one firmware version; ``sha256`` names its blob. ``signature``: that of its bytes, as hexadecimal,
    with the key of this id, if it was uploaded with one."""

    product_id: int
    version: int
    title: str
    size_bytes: int
    sha256: str
    signature: str | None = None
    signature_key: str | None = None


@dataclass(frozen=True, slots=True)
class FlashEntry:
    """A file that somebody wants on one device now (contract 9.5), with the product and version that it carries;
    ``flash_id`` names the wish, ``sha256`` the file's blob."""

    flash_id: str
    product_id: int
    version: int
    size_bytes: int
    sha256: str

    @property
    def image(self) -> ImageEntry:
        """What is to be sent."""
        return ImageEntry(self.product_id, self.version, "", self.size_bytes, self.sha256)


@dataclass(frozen=True, slots=True)
class DesiredEntry:
    """The attributes that the platform desires of a device. ``revision`` counts the changes; ``values`` has name to
    value and the revision of its last change, ``removed`` the names that are gone, with the revision that took them."""

    revision: int = 0
    values: Mapping[str, tuple[Any, int]] = field(default_factory=dict)
    removed: Mapping[str, int] = field(default_factory=dict)


NOTHING_TRIED: Mapping[int, int] = MappingProxyType({})
"""One for all devices: there is an entry for each connection."""


@dataclass(frozen=True, slots=True)
class DeviceEntry:
    """What a connection is decided from, without asking anybody. ``released_version``: the one that is released for it,
    to one of its groups or to all, apart from roll-outs; ``releases``: all that is released in its product, where
    something is being rolled out, else None; ``turn``: the roll-out that gave it a turn last, if that has not ended,
    ``turns_ended``: how many turns have.

    ``reported_*`` is what the device said last, on whichever gateway, and ``recorded_product`` what it counted as by
    then; ``attempt_version`` is the version that was tried most recently, ``attempts`` the number of the last attempt
    at it, ``failures`` how often it failed in a row, ``attempt_applying`` whether that attempt is being applied and
    nobody has told its fate yet, ``ever_updated`` whether one succeeded since the device came into its product.
    ``key_der`` is the public key on record, ``certificate`` the fingerprint of its client certificate. ``flash`` is the
    file that is to be flashed to it, until an attempt at that succeeds or fails.
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
    owner_id: str | None = None
    key_algorithm: KeyAlgorithm | None = None
    key_der: bytes | None = None
    certificate: str | None = None
    name: str = ""
    attempt_applying: bool = False
    ever_updated: bool = False
    flash: FlashEntry | None = None
    groups: tuple[str, ...] = ()
    releases: Releases | None = None
    turn: str | None = None
    turns_ended: int = 0
    attempt_cause: UpdateCause | None = None
    tried: Mapping[int, int] = field(default_factory=lambda: NOTHING_TRIED)
    updates_enabled: bool = True
    updates_forced: bool = False

    @property
    def counted_product(self) -> int | None:
        """The product it counts as (DEV-3)."""
        return counted_product(self.membership, self.reported_product)

    @property
    def target(self) -> Target | None:
        """What it should run."""
        return self.target_of(self.reported_product, self.reported_version)

    def standing(self, reported_product: int | None, reported_version: int | None) -> Standing:
        """What is released for it, if this is what it runs."""
        if self.releases is None:
            return Standing(self.released_version)
        version = own_version(self.membership.product_id, reported_product, reported_version)
        return standing(self.groups, self.releases, version, self.turn)

    def target_of(self, reported_product: int | None, reported_version: int | None) -> Target | None:
        """What it should run, if this is what it runs."""
        if self.releases is None:
            return target(self.membership, reported_product, self.released_version)
        released = self.standing(reported_product, reported_version)
        return target(self.membership, reported_product, released.version, released.rollout is not None)

    def waits_for(self, reported_product: int | None, reported_version: int | None) -> Rollout | None:
        """The running roll-out that it may ask for its turn, if this is what it runs (FW-6)."""
        if self.releases is None:
            return None
        version = own_version(self.membership.product_id, reported_product, reported_version)
        return waits_for(self.device_id, self.groups, self.releases, version, self.turn)
