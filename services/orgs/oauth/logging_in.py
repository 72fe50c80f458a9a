"""What the token endpoint and the authorization endpoint do (contract 2.1 and 2.2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from authlib.common.urls import add_params_to_uri
from authlib.oauth2.base import invalid_error_characters
from authlib.oauth2.rfc6749.errors import OAuth2Error

from services.orgs.customers.customer_requests import must_be_open
from services.orgs.customers.serving_customers import Place, ServingCustomers
from services.orgs.oauth import subjects
from services.orgs.oauth.clients import Client
from services.orgs.oauth.grants import Grants
from services.orgs.oauth.server import Request, Server
from services.orgs.oauth.tokens import DEFAULT_LIFE_S
from services.orgs.people import passwords
from services.orgs.people.accounts import ACCOUNTS
from services.orgs.people.addresses import account_of
from services.orgs.requests import LONGEST_EMAIL
from shared.errors import Refused

TokenOfRefresh = Callable[[object], str | None]


@dataclass(frozen=True, slots=True)
class LoggingIn:
    """One request at one of the two endpoints. ``built_in``: clients that need no registration."""

    grants: Grants
    built_in: frozenset[str]
    token_of_refresh: TokenOfRefresh

    def token(self, fields: Mapping[str, str], basic: tuple[str, str] | None, life_s: int | None) -> dict[str, Any]:
        """A token for what the fields show. Refuses with the codes of contract 1.6."""
        _must_be_plain(fields)
        server, request = self._server(DEFAULT_LIFE_S if life_s is None else life_s), Request(fields, basic, "POST")
        try:
            grant = server.get_token_grant(request)
            grant.validate_token_request()
            _, answer, _ = grant.create_token_response()
        except OAuth2Error as error:
            _refuse(error)
        return dict(answer)

    def client(self, client_id: str, client_secret: str | None) -> Client:
        """The registered client with this secret; None: with any, for what needs none. Refuses with
        ``invalid_client``."""
        found = self._server(0).query_client(client_id)
        if found is None or found.is_public or not (client_secret is None or found.check_client_secret(client_secret)):
            raise Refused("invalid_client", "The client is not known here, or its secret is wrong.")
        return found.client

    def consent(self, fields: Mapping[str, str]) -> Client:
        """The client that asks somebody to let it act for them. Refuses what is not as it was registered."""
        _must_be_plain(fields)
        server = self._server(0)
        try:
            grant = server.get_consent_grant(Request(fields, None, "GET"))
        except OAuth2Error as error:
            _refuse(error)
        found: Client = grant.request.client.client
        return found

    def authorize(self, fields: Mapping[str, str], username: str, password: str, *, allowed: bool) -> dict[str, Any]:
        """Where the browser is sent, with a code or with the refusal. Refuses with ``invalid_grant`` for a password
        that is not the account's, and with the same as ``consent``."""
        _must_be_plain(fields)
        server = self._server(0)
        try:
            grant = server.get_consent_grant(Request(fields, None, "POST"))
        except OAuth2Error as error:
            _refuse(error)
        if not allowed:
            params = [("error", "access_denied"), *([("state", fields["state"])] if fields.get("state") else [])]
            return {"redirect_uri": add_params_to_uri(grant.redirect_uri, params), "position": None}
        subject = self._linked(grant.request.client.client, username, password)
        _, _, headers = grant.create_authorization_response(grant.redirect_uri, subject)
        return {"redirect_uri": dict(headers)["Location"], "position": server.position}

    def _linked(self, client: Client, username: str, password: str) -> subjects.Subject:
        """The customer that the account with this name and password is, or becomes now (CUS-3)."""
        grants = self.grants
        account = account_of(grants.streams, username) if len(username) <= LONGEST_EMAIL else ACCOUNTS.initial
        if not passwords.matches(account.password_hash or None, password) or account.account_id is None:
            raise Refused("invalid_grant", "User credentials are invalid")
        place = Place(client.owner.org_id or "", client.owner.product_id)
        must_be_open(grants.streams, place, "log_in_with_us")
        serving = ServingCustomers(grants.streams, grants.context, grants.now)
        return subjects.of_customer(serving.link(place, account.account_id, account.email)[0])

    def _server(self, life_s: int) -> Server:
        return Server(self.grants, self.built_in, self.token_of_refresh, life_s)


def _must_be_plain(fields: Mapping[str, str]) -> None:
    """RFC 6749 lets errors hold certain characters alone, and Authlib repeats these fields in its errors."""
    for name in ("grant_type", "response_type", "client_id", "redirect_uri", "code_challenge_method"):
        if invalid_error_characters(fields.get(name, "")):
            raise Refused("invalid_request", f"{name} has characters that it cannot have.")


def _refuse(error: OAuth2Error) -> NoReturn:
    code = str(error.error)
    reason = {
        "invalid_client": "The client is not known here, or its secret is wrong.",
        "unsupported_grant_type": "This grant type is not supported here.",
    }.get(code, str(error.description or code))
    raise Refused(code, reason) from None
