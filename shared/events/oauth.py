"""Events of OAuth clients and of log-ins at them (service ``orgs``; CUS-3, CUS-4)."""

from __future__ import annotations

from typing import Annotated, Literal

from shared.events.fields import Digest, Event, Hex24, Moment, ProductNumber, Text, Title
from shared.events.orgs import Client, Scope

RedirectUri = Annotated[str, Text(2_048, 1)]


class ClientCreated(Event, frozen=True):
    """Stream ``client-<id>``: a company's program. It is for one product, for all products of an organization, or for
    what an account has by itself; exactly one of ``product_id`` and ``account_id`` is set, or neither with
    ``org_id``, which stands beside a ``product_id``, too."""

    client_id: Client
    org_id: Hex24 | None
    product_id: ProductNumber | None
    account_id: Hex24 | None
    name: Title
    type: Literal["installed", "web"]
    secret_digest: Digest
    redirect_uri: RedirectUri | None
    scope: Scope


class ClientChanged(Event, frozen=True):
    """Stream ``client-<id>``: its name and what it may do from now on."""

    client_id: Client
    name: Title
    scope: Scope


class ClientDeleted(Event, frozen=True):
    """Stream ``client-<id>``: neither it nor any token made with it works any more."""

    client_id: Client


class AuthorizationGranted(Event, frozen=True):
    """Stream ``authorization-<code id>``: somebody lets a client act for them; its code is traded for a token once, by
    whoever knows the verifier behind the challenge (PKCE, S256)."""

    code_id: Hex24
    code_digest: Digest
    client_id: Client
    account_id: Hex24
    customer_id: Hex24
    redirect_uri: RedirectUri
    code_challenge: Annotated[str, Text(43, 43, r"[A-Za-z0-9_-]{43}")]
    scope: Scope
    expires_at: Moment


class AuthorizationUsed(Event, frozen=True):
    """Stream ``authorization-<code id>``: the code was traded for this token."""

    code_id: Hex24
    token_id: Hex24


class AuthorizationReplayed(Event, frozen=True):
    """Stream ``authorization-<code id>``: the code was shown once more, so the token that it gave is revoked."""

    code_id: Hex24
    token_id: Hex24
