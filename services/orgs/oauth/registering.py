"""Managing OAuth clients (CUS-4, contract 4)."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from services.orgs import requests
from services.orgs.names import slug_of
from services.orgs.oauth import clients
from services.orgs.oauth.clients import CLIENTS, ChangeClient, Client, ClientType, CreateClient, DeleteClient, Owner
from services.orgs.oauth.tokens import TOKEN_BYTES
from shared.auth.permissions import ONLY_CUSTOMERS
from shared.context import Context
from shared.errors import Refused
from shared.ids import digest
from shared.store.port import Position
from shared.streams import Streams

SCOPES = {ONLY_CUSTOMERS: ONLY_CUSTOMERS, "create_customer": ONLY_CUSTOMERS, "*:*": "*:*"}
"""What a client may be limited to, in the words of today and of 2015."""
LONGEST_SLUG = 60
MAX_REDIRECT = 2_048
LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Registering:
    """One command about a client."""

    streams: Streams
    context: Context
    now: datetime

    def create(self, owner: Owner, name: object, kind: object, redirect_uri: object, scope: object) -> dict[str, Any]:
        """A new client with its secret, which is shown this once."""
        wanted, client_type = requests.title("name", name), _type(kind)
        target, allowed = _redirect_uri(redirect_uri, client_type), scope_text(scope) or ""
        secret = secrets.token_hex(TOKEN_BYTES)
        # A repeated command would find the digest of a secret that nobody has any more; so every run is one of its own.
        context = self.context.step(secret)
        while True:
            client_id = f"{slug_of(wanted, 'app')[:LONGEST_SLUG].strip('-')}-{secrets.randbelow(9_000_000) + 1_000}"
            command = CreateClient(client_id, owner, wanted, client_type, digest(secret), target, allowed)
            handled = self.streams.handle(CLIENTS, clients.stream_of(client_id), command, context)
            if handled.events:
                return {"client": {**client_object(handled.state), "secret": secret}, "position": handled.position}

    def change(self, owner: Owner, client_id: str, name: object, scope: object) -> dict[str, Any]:
        """Another name or scope. Raises ``NotFound``."""
        command = ChangeClient(owner, None if name is None else requests.title("name", name), scope_text(scope))
        handled = self.streams.handle(CLIENTS, clients.stream_of(client_id), command, self.context)
        return {"client": client_object(handled.state), "position": handled.position}

    def delete(self, owner: Owner, client_id: str) -> Position | None:
        """Gone, with all its tokens. Raises ``NotFound``."""
        return self.streams.handle(CLIENTS, clients.stream_of(client_id), DeleteClient(owner), self.context).position


def client_object(client: Client) -> dict[str, Any]:
    """A client as the contract shows it, without its secret."""
    made = client.created
    if made is None:
        return {}
    shown = {
        "id": made.client_id,
        "name": client.name,
        "type": made.type,
        "redirect_uri": made.redirect_uri,
        "scope": client.scope or None,
        "org_id": made.org_id,
        "product_id": made.product_id,
    }
    return {name: value for name, value in shown.items() if value is not None}


def _type(value: object) -> ClientType:
    if value not in ("installed", "web"):
        raise Refused("invalid_request", "type must be installed or web.")
    return value


def scope_text(value: object) -> str | None:
    """A text of words, or a list of them; ``none`` and an empty one clear it; None leaves it as it is."""
    if value is None:
        return None
    words = value.split() if isinstance(value, str) else value
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise Refused("invalid_request", "scope must be a text or a list of texts.")
    if words == ["none"]:
        return ""
    unknown = [word for word in words if word not in SCOPES]
    if unknown:
        raise Refused("invalid_scope", f"There are the scopes {', '.join(sorted(set(SCOPES.values())))}, no others.")
    return " ".join(dict.fromkeys(SCOPES[word] for word in words))


def _redirect_uri(value: object, kind: ClientType) -> str | None:
    """Where browsers are sent back to: over TLS, to the own machine, or to an app by its own scheme (RFC 8252)."""
    if value in (None, ""):
        if kind == "web":
            raise Refused("invalid_request", "redirect_uri is missing; clients of the type web need one.")
        return None
    text = requests.text("redirect_uri", value, MAX_REDIRECT)
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise Refused("invalid_request", "redirect_uri is no URI.") from None
    if not text.isascii() or " " in text or parts.fragment or "#" in text or parts.username is not None:
        raise Refused("invalid_request", "redirect_uri must be ASCII, without fragment and credentials.")
    is_web = (parts.scheme == "https" and bool(host)) or (parts.scheme == "http" and host in LOOPBACK)
    if not is_web and ("." not in parts.scheme):
        raise Refused(
            "invalid_request", "redirect_uri must begin with https://, or an app's own scheme with a dot in it."
        )
    return text
