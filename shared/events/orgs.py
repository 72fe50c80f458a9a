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
)

Plan = Literal["monthly", "yearly"]
Role = Literal["administrator"]
DeviceType = Literal["Core", "Photon", "P0", "P1", "Electron", "mqtt"]
Client = Annotated[str, Text(64, 1)]
TheirEmail = Annotated[Email, Personal("account_id")]
TheirName = Annotated[str, Text(128), Personal("account_id")]


class NameReserved(Event, frozen=True):
    """Stream ``name-<kind>-<digest of the name>``: this name belongs to that holder, all over the installation. The
    digest of an e-mail address is keyed, so that it cannot be guessed."""

    kind: Literal["email", "org_slug", "product_slug", "product_name"]
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


class TokenIssued(Event, frozen=True):
    """Stream ``token-<id>``. Digests only; ``hint`` is the last four characters. No ``expires_at``: never (ACC-2)."""

    token_id: Hex24
    account_id: Hex24
    client: Client
    token_digest: Digest
    refresh_digest: Digest
    hint: Annotated[str, Text(4, 4)]
    expires_at: Moment | None
    refresh_expires_at: Moment


class TokenRevoked(Event, frozen=True):
    """Stream ``token-<id>``: neither the token nor its refresh token works any more."""

    token_id: Hex24
    account_id: Hex24
    reason: Literal["revoked", "refreshed", "password_changed", "forgotten"]


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
