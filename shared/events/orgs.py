"""Events of accounts, organizations, teams and products (service ``orgs``)."""

from __future__ import annotations

from typing import Annotated, Literal

from shared.events.fields import (
    Description,
    Digest,
    Email,
    Event,
    Forgets,
    Hex24,
    Moment,
    Personal,
    PlatformId,
    ProductNumber,
    Slug,
    Text,
    Title,
    Whole,
)

Plan = Literal["monthly", "yearly"]
Role = Literal["administrator", "owner", "developer", "support", "readonly"]
"""What a member may do, see ``shared.auth.permissions``; ``administrator`` is full access (ORG-5)."""
DeviceType = Literal["Core", "Photon", "P0", "P1", "Electron", "mqtt"]
Client = Annotated[str, Text(80, 1)]
"""The id of an OAuth client."""
Scope = Annotated[str, Text(256)]
"""Words with spaces between them."""
Provisioning = Literal["off", "imported", "create"]
FirmwareName = Annotated[str, Text(64, 1)]
VersionWidth = Annotated[int, Whole(0, 5)]
Certificate = Annotated[str, Text(16_384, 1)]
"""PEM text of one certificate."""
TheirEmail = Annotated[Email, Personal("account_id")]
TheirName = Annotated[str, Text(128), Personal("account_id")]


class NameReserved(Event, frozen=True):
    """Stream ``name-<kind>-<digest of the name>``: this name belongs to that holder, all over the installation. The
    digest of an e-mail address is keyed, so that it cannot be guessed; a customer's is such a digest itself."""

    kind: Literal[
        "email",
        "org_slug",
        "product_slug",
        "product_name",
        "firmware_name",
        "device_authority",
        "authority_subject",
        "client_id",
        "customer_email",
        "customer_link",
    ]
    name: Annotated[str, Text(320, 1), Personal("holder_stream", prefix="account-", only=("kind", "email"))]
    holder_stream: Annotated[str, Text(128, 1)]


class AccountCreated(Event, frozen=True):
    """Stream ``account-<id>``. The password is an argon2id hash in PHC form."""

    account_id: Hex24
    email: TheirEmail
    password_hash: Annotated[str, Text(512, 1), Personal("account_id")]
    first_name: TheirName
    last_name: TheirName
    company_name: TheirName


class EmailVerificationAsked(Event, frozen=True):
    """Stream ``account-<id>``: a link is mailed that proves the address until then, once (ACC-1). The link's secret is
    derived from the nonce under a key of the installation and stands nowhere."""

    account_id: Hex24
    nonce: Hex24
    expires_at: Moment


class EmailVerified(Event, frozen=True):
    """Stream ``account-<id>``: whoever has the account reads mail at its present address."""

    account_id: Hex24


class PasswordResetAsked(Event, frozen=True):
    """Stream ``account-<id>``: a link is mailed that sets a new password until then, once (ACC-1)."""

    account_id: Hex24
    nonce: Hex24
    expires_at: Moment


class PasswordChanged(Event, frozen=True):
    """Stream ``account-<id>``: the new password, an argon2id hash in PHC form."""

    account_id: Hex24
    password_hash: Annotated[str, Text(512, 1), Personal("account_id")]
    reason: Literal["changed", "reset"]


class ProfileChanged(Event, frozen=True):
    """Stream ``account-<id>``: what the account says of its person, all of it."""

    account_id: Hex24
    first_name: TheirName
    last_name: TheirName
    company_name: TheirName


class EmailChanged(Event, frozen=True):
    """Stream ``account-<id>``: the new address, which is not verified yet; its reservation comes first."""

    account_id: Hex24
    email: TheirEmail


class TokensEnded(Event, frozen=True):
    """Stream ``account-<id>``: tokens of earlier generations than this one work no more."""

    account_id: Hex24
    generation: Annotated[int, Whole(1, 2**31)]
    reason: Literal["revoked", "password_changed", "password_reset", "email_changed"]


class OrganizationJoined(Event, frozen=True):
    """Stream ``account-<id>``: the account takes this invitation and belongs to the organization (ACC-4); the
    organization then has it as a member."""

    account_id: Hex24
    email: TheirEmail
    org_id: Hex24
    invitation_id: Hex24
    role: Role


class OrganizationLeft(Event, frozen=True):
    """Stream ``account-<id>``: the account belongs to no organization any more. ``invitation_over``: the invitation
    that it took had ended in the meantime."""

    account_id: Hex24
    org_id: Hex24
    reason: Literal["left", "removed", "invitation_over"]


class AccountForgotten(Event, frozen=True):
    """Stream ``account-<id>``: nobody logs in with it any more, and nothing personal of it can be read (EVT-5)."""

    account_id: Annotated[Hex24, Forgets()]


class OrganizationFounded(Event, frozen=True):
    """Stream ``account-<id>``: from now on the account belongs to this organization (ACC-4); it is then created."""

    account_id: Hex24
    email: TheirEmail
    org_id: Hex24
    name: Title
    slug: Slug
    plan: Plan


class OrganizationCreated(Event, frozen=True):
    """Stream ``org-<id>``: it exists, with its creator as first member (ORG-1, ORG-2)."""

    org_id: Hex24
    name: Title
    slug: Slug
    plan: Plan
    owner_id: Hex24
    owner_email: Annotated[Email, Personal("owner_id")]


class MemberJoined(Event, frozen=True):
    """Stream ``org-<id>``: full access to the organization (ORG-5)."""

    org_id: Hex24
    account_id: Hex24
    email: TheirEmail
    role: Role


class OrganizationRenamed(Event, frozen=True):
    """Stream ``org-<id>``: its new name; the slug stays."""

    org_id: Hex24
    name: Title


class MemberInvited(Event, frozen=True):
    """Stream ``org-<id>``: this account may join until then (ORG-3)."""

    org_id: Hex24
    invitation_id: Hex24
    account_id: Hex24
    email: TheirEmail
    role: Role
    invited_by: Hex24
    expires_at: Moment


class InvitationAccepted(Event, frozen=True):
    """Stream ``org-<id>``: the account has joined; ``MemberJoined`` stands behind it."""

    org_id: Hex24
    invitation_id: Hex24
    account_id: Hex24


class InvitationDeclined(Event, frozen=True):
    """Stream ``org-<id>``: the account does not want to join."""

    org_id: Hex24
    invitation_id: Hex24
    account_id: Hex24


class InvitationWithdrawn(Event, frozen=True):
    """Stream ``org-<id>``: the team takes the invitation back, or there is no such account any more (ORG-4)."""

    org_id: Hex24
    invitation_id: Hex24
    account_id: Hex24


class MemberRoleChanged(Event, frozen=True):
    """Stream ``org-<id>``: what the member may do from now on (ORG-5)."""

    org_id: Hex24
    account_id: Hex24
    role: Role


class MemberRemoved(Event, frozen=True):
    """Stream ``org-<id>``: no member any more; never the last one (ORG-5)."""

    org_id: Hex24
    account_id: Hex24
    reason: Literal["left", "removed", "account_deleted"]


class TokenIssued(Event, frozen=True):
    """Stream ``token-<id>``. Digests only; ``hint`` is the last four characters. No ``expires_at``: never (ACC-2).

    ``subject`` says for whom it acts: the account; the customer (CUS-5) with devices of whose ``account_id`` it deals;
    or the OAuth client itself, which has no account. A customer's or client's reaches ``product_id``, or without one
    all products of ``org_id``. It ends with the ``generation`` of its account or customer. ``scope`` is empty for
    everything that the subject may do.
    """

    token_id: Hex24
    account_id: Hex24 | None
    client: Client
    token_digest: Digest
    refresh_digest: Digest
    hint: Annotated[str, Text(4, 4)]
    expires_at: Moment | None
    refresh_expires_at: Moment
    subject: Literal["account", "customer", "client"] = "account"
    customer_id: Hex24 | None = None
    product_id: ProductNumber | None = None
    org_id: Hex24 | None = None
    generation: Annotated[int, Whole(0, 2**31)] = 0
    scope: Scope = ""


class TokenRevoked(Event, frozen=True):
    """Stream ``token-<id>``: neither the token nor its refresh token works any more. ``successor_id``: the token that
    the refresh token was traded for."""

    token_id: Hex24
    account_id: Hex24 | None
    reason: Literal["revoked", "refreshed", "password_changed", "forgotten", "replayed"]
    successor_id: Hex24 | None = None


class ProductCreated(Event, frozen=True):
    """Stream ``product-<id>`` (PRD-1). ``platform_id`` is 65535 for ``mqtt``."""

    product_id: ProductNumber
    org_id: Hex24
    org_slug: Slug
    name: Title
    slug: Slug
    description: Description
    device_type: DeviceType
    platform_id: PlatformId
    type: Literal["Consumer", "Hobbyist", "Industrial"]
    hardware_version: Annotated[str, Text(64)]


class ProductChanged(Event, frozen=True):
    """Stream ``product-<id>``: what can be changed of it, all of it as it is from now on; number and slug stay."""

    product_id: ProductNumber
    name: Title
    description: Description
    type: Literal["Consumer", "Hobbyist", "Industrial"]
    hardware_version: Annotated[str, Text(64)]


class ProductRemoved(Event, frozen=True):
    """Stream ``product-<id>``: it is gone; its number, slug and firmware names are never another's (PRD-1)."""

    product_id: ProductNumber
    org_id: Hex24


PROGRAMMING, AT_SETUP = "firmware.programming", "ota_on_setup"
"""The question about how devices get their first firmware, and the answer that gateways act on (PRD-5)."""


class ConfigurationAnswered(Event, frozen=True):
    """Stream ``product-<id>``: these answers to the questionnaire of this version changed (PRD-2): a JSON object,
    ``section.question`` to the answer; null takes one back."""

    product_id: ProductNumber
    questionnaire: Annotated[int, Whole(1, 1_000)]
    answers: Annotated[str, Text(16_384, 2)]


class ManufacturingStarted(Event, frozen=True):
    """Stream ``product-<id>``: the product is ready to manufacture, all questions being answered (PRD-2)."""

    product_id: ProductNumber
    questionnaire: Annotated[int, Whole(1, 1_000)]


class DeviceAccessConfigured(Event, frozen=True):
    """Stream ``product-<id>``: how devices of the product get in, all of it as it is from now on. ``firmware_name`` is
    the title that its MQTT firmware reports, ``version_width`` how many digits versions are written with (MQF-1, 10).
    """

    product_id: ProductNumber
    trust_first_key: bool
    tls_only: bool
    provisioning: Provisioning
    claim_without_secret: bool
    firmware_name: FirmwareName
    version_width: VersionWidth


class ProvisioningKeyIssued(Event, frozen=True):
    """Stream ``product-<id>``: devices that have no token yet show this key with its secret, and no other."""

    product_id: ProductNumber
    key: Annotated[str, Text(64, 1)]
    secret_digest: Digest


class DeviceAuthorityAdded(Event, frozen=True):
    """Stream ``authorities-<org_id>``: who signs certificates of the organization's devices (MQC-6). The fingerprint is
    the certificate's; ``names_devices``: a common name that is a device ID identifies the device."""

    org_id: Hex24
    authority_id: Hex24
    certificate: Certificate
    fingerprint: Digest
    names_devices: bool


class DeviceAuthorityRemoved(Event, frozen=True):
    """Stream ``authorities-<org_id>``: what it signed lets no device in any more."""

    org_id: Hex24
    authority_id: Hex24
