"""OAuth 2.0 as Authlib speaks it, over our streams (contract 2.1 and 2.2).

Authlib decides what a request is, whether its client may make it and what is answered; the grants below say whose
passwords, codes and refresh tokens are, and keep what was decided. Refusals of ours pass through Authlib as they are.
"""

# Authlib has no types.
# mypy: disable-error-code="misc"

from __future__ import annotations

import base64
import logging
import secrets
from collections.abc import Mapping
from typing import Any

from authlib.oauth2.rfc6749 import AuthorizationServer, ClientMixin, OAuth2Request
from authlib.oauth2.rfc6749.errors import InvalidScopeError, OAuth2Error
from authlib.oauth2.rfc6749.grants import (
    AuthorizationCodeGrant,
    ClientCredentialsGrant,
    RefreshTokenGrant,
    ResourceOwnerPasswordCredentialsGrant,
)
from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload
from authlib.oauth2.rfc7636 import CodeChallenge

from services.orgs.customers.customer_lookup import customer, customer_of
from services.orgs.oauth import codes, subjects, tokens
from services.orgs.oauth.clients import CLIENTS, Client
from services.orgs.oauth.codes import CODES, GrantCode, ReplayCode, UseCode
from services.orgs.oauth.grants import Grants, new_secret
from services.orgs.oauth.subjects import Subject
from services.orgs.oauth.tokens import TOKENS, RevokeToken
from shared.auth.permissions import ONLY_CUSTOMERS
from shared.errors import NotFound, Refused
from shared.ids import digest

logging.getLogger("authlib").setLevel(logging.INFO)
"""Authlib writes every token that it gives out into the debug log, in clear, and who logs in."""

CUSTOMER_SCOPE = "customer="
EVERYTHING = "*:*"
"""The scope that is none."""
CODE_BYTES = 24
BY_SECRET = ["client_secret_basic", "client_secret_post"]
ANY_WAY = [*BY_SECRET, "none"]
ONLY_S256 = ["S256"]
WHOLE_URI = "https://gateway/oauth"
"""Authlib wants to see that the request came over TLS, which is the business of whatever stands before the gateway."""


class Registered(ClientMixin):
    """A client as Authlib asks it. One without a record is built in: whatever secret it shows (contract 2.1)."""

    def __init__(self, client_id: str, client: Client) -> None:
        self.client_id, self.client = client_id, client

    @property
    def is_public(self) -> bool:
        return self.client.created is None

    def get_client_id(self) -> str:
        return self.client_id

    def get_default_redirect_uri(self) -> str | None:
        return self.client.created.redirect_uri if self.client.created is not None else None

    def get_allowed_scope(self, scope: str | None) -> str:
        return self.client.scope

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        return redirect_uri == self.get_default_redirect_uri()

    def check_client_secret(self, client_secret: str) -> bool:
        made = self.client.created
        return made is None or secrets.compare_digest(made.secret_digest, digest(client_secret))

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return method != "none" or self.is_public

    def check_response_type(self, response_type: str) -> bool:
        made = self.client.created
        return made is not None and made.type == "web" and made.account_id is None and response_type == "code"

    def check_grant_type(self, grant_type: str) -> bool:
        if self.is_public:
            return grant_type in ("password", "refresh_token")
        return grant_type != "password" or ONLY_CUSTOMERS not in self.client.scope.split()


class Request(OAuth2Request):
    """What the gateway passed on: fields of the form or query, and the client's credentials from Basic."""

    def __init__(self, fields: Mapping[str, str], basic: tuple[str, str] | None, method: str) -> None:
        headers = {}
        if basic is not None:
            headers["Authorization"] = "Basic " + base64.b64encode(":".join(basic).encode()).decode()
        super().__init__(method, WHOLE_URI, headers=headers)
        self.payload = BasicOAuth2Payload(dict(fields))

    @property
    def form(self) -> Mapping[str, str]:
        return self.payload.data  # type: ignore[no-any-return]

    @property
    def args(self) -> Mapping[str, str]:
        return self.payload.data  # type: ignore[no-any-return]


class Password(ResourceOwnerPasswordCredentialsGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = ANY_WAY

    def authenticate_user(self, username: str, password: str) -> Subject:
        client = self.request.client or self.server.authenticate_client(self.request, self.TOKEN_ENDPOINT_AUTH_METHODS)
        found: Subject | None = self.server.grants.of_password(username, password, client.client)
        if found is None:
            raise Refused("invalid_grant", "User credentials are invalid")
        return found


class Refresh(RefreshTokenGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = ANY_WAY
    INCLUDE_NEW_REFRESH_TOKEN = True

    def authenticate_refresh_token(self, refresh_token: str) -> Traded:
        server: Server = self.server
        client_id = self.request.client.get_client_id()
        server.drawn = new_secret()
        token_id = server.token_of_refresh(refresh_token)
        return Traded(*server.grants.trade(token_id, refresh_token, client_id, server.drawn), client_id)

    def authenticate_user(self, refresh_token: Traded) -> Subject:
        return refresh_token.subject

    def revoke_old_credential(self, refresh_token: Traded) -> None:
        """That was done when it was traded, so that nobody trades it twice."""


class Traded:
    """A refresh token that was given up."""

    def __init__(self, subject: Subject, scope: str, client_id: str) -> None:
        self.subject, self.scope, self.client_id = subject, scope, client_id

    def get_scope(self) -> str:
        return self.scope

    def check_client(self, client: Registered) -> bool:
        return self.client_id == client.get_client_id()


class ClientCredentials(ClientCredentialsGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = BY_SECRET

    def validate_token_request(self) -> None:
        super().validate_token_request()
        self.request.user = self._subject(self.request.client.client, self.request.payload.scope or "")

    def create_token_response(self) -> Any:
        """With the scope that was asked for (contract 2.1), which names a person, so the token does not keep it."""
        token = self.generate_token(user=self.request.user)
        self.save_token(token)
        asked = self.request.payload.scope
        return 200, {**token, "scope": asked} if asked else token, self.TOKEN_RESPONSE_HEADER

    def _subject(self, client: Client, scope: str) -> Subject:
        server: Server = self.server
        if ONLY_CUSTOMERS in client.scope.split():
            raise InvalidScopeError("This client may only create customers.")
        if scope.startswith(CUSTOMER_SCOPE):
            return self._customer(server, client, scope.removeprefix(CUSTOMER_SCOPE))
        if scope:
            raise InvalidScopeError("The scope is customer= and an address, or none.")
        if client.owner.account_id is None:
            return subjects.of_client(client)
        account = subjects.find_account(server.grants.streams, client.owner.account_id)
        if not account.lives:
            raise Refused("invalid_client", "The client's owner has no account any more.")
        return subjects.of_account(server.grants.streams, account)

    def _customer(self, server: Server, client: Client, email: str) -> Subject:
        owner = client.owner
        one = customer_of(server.grants.streams, owner.product_id, owner.org_id or "", email)
        if owner.org_id is None or not one.lives:
            raise InvalidScopeError("There is no such customer here.")
        return subjects.of_customer(one)


class AuthorizationCode(AuthorizationCodeGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = BY_SECRET

    def generate_authorization_code(self) -> str:
        return secrets.token_hex(CODE_BYTES)

    def save_authorization_code(self, code: str, request: Any) -> None:
        server, subject = self.server, request.user
        command = GrantCode(
            code=code,
            client_id=request.client.get_client_id(),
            account_id=subject.account_id,
            customer_id=subject.customer_id,
            redirect_uri=request.payload.redirect_uri or request.client.get_default_redirect_uri(),
            code_challenge=request.payload.data["code_challenge"],
            scope=request.scope or "",
            now=server.grants.now,
        )
        handled = server.grants.streams.handle(CODES, codes.stream_of(code), command, server.grants.context)
        server.position = handled.position

    def query_authorization_code(self, code: str, client: Registered) -> Granted:
        grants: Grants = self.server.grants
        state = grants.streams.load(CODES, codes.stream_of(code)).state
        granted = state.granted
        if granted is None or granted.client_id != client.get_client_id() or granted.expires_at <= grants.now:
            raise codes.invalid_code()
        if state.token_id is not None:
            self._replayed(grants, code, state.token_id)
        return Granted(code, granted)

    def _replayed(self, grants: Grants, code: str, token_id: str) -> None:
        context = grants.context.step("replayed")
        grants.streams.handle(CODES, codes.stream_of(code), ReplayCode(), context)
        try:
            revoke = RevokeToken(None, "replayed")
            grants.streams.handle(TOKENS, tokens.stream_of(token_id), revoke, context)
        except NotFound:  # its owner was faster, or it was traded
            grants.end_successors(grants.streams.load(TOKENS, tokens.stream_of(token_id)).state)
            raise codes.invalid_code() from None
        raise codes.invalid_code()

    def authenticate_user(self, authorization_code: Granted) -> Subject | None:
        """Nobody once the account has ended its tokens since: whoever consented may have been somebody else."""
        granted, streams = authorization_code.granted, self.server.grants.streams
        one = customer(streams, granted.customer_id)
        ended_at = subjects.tokens_ended_at(streams, granted.account_id)
        is_over = ended_at is not None and ended_at >= granted.expires_at - codes.LIFE
        return subjects.of_customer(one) if one.lives and not is_over else None

    def save_token(self, token: Mapping[str, Any]) -> None:
        """The code is used up: of two who trade it at once one gets a token, and nobody is told the other's."""
        granted, grants = self.request.authorization_code, self.server.grants
        use = UseCode(tokens.token_id(token["access_token"]), grants.now)
        try:
            grants.streams.handle(CODES, codes.stream_of(granted.code), use, grants.context)
        except Refused:
            never_told = grants.context.step("never told")
            grants.streams.handle(TOKENS, tokens.stream_of(use.token_id), RevokeToken(None), never_told)
            raise
        self.server.save_token(token, self.request)

    def delete_authorization_code(self, authorization_code: Granted) -> None:
        """It is used up already, and stays known, so that one who shows it again is noticed."""


class Granted:
    """A code that was given out, as Authlib asks it."""

    code_challenge_method = "S256"

    def __init__(self, code: str, granted: Any) -> None:
        self.code, self.granted = code, granted
        self.code_challenge = granted.code_challenge

    def get_redirect_uri(self) -> str:
        return str(self.granted.redirect_uri)

    def get_scope(self) -> str:
        return str(self.granted.scope)


class ProofKey(CodeChallenge):
    """PKCE, without which nobody logs in with us, and with S256 alone (contract 2.2)."""

    SUPPORTED_CODE_CHALLENGE_METHOD = ONLY_S256

    def validate_code_challenge(self, grant: Any, redirect_uri: str) -> None:
        data = grant.request.payload.data
        if len(data.get("code_challenge") or "") != 43 or data.get("code_challenge_method") != "S256":
            raise OAuth2Error(
                "PKCE is needed: code_challenge, and code_challenge_method=S256.", error="invalid_request"
            )
        super().validate_code_challenge(grant, redirect_uri)


class Server(AuthorizationServer):
    """One command's authorization server. ``built_in`` are clients that need no registration; ``drawn`` is the access
    token that a refresh token was traded for."""

    def __init__(self, grants: Grants, built_in: frozenset[str], token_of_refresh: Any, life_s: int) -> None:
        super().__init__()
        self.grants, self.token_of_refresh, self.position = grants, token_of_refresh, None
        self._built_in, self._life_s = built_in, life_s
        self.drawn: str | None = None
        self.register_grant(Password)
        self.register_grant(Refresh)
        self.register_grant(ClientCredentials)
        self.register_grant(AuthorizationCode, [ProofKey(required=True)])
        self.register_token_generator("default", self._generate)

    def query_client(self, client_id: str) -> Registered | None:
        client = subjects.find_client(self.grants.streams, client_id) if len(client_id) <= 80 else CLIENTS.initial
        if subjects.works(self.grants.streams, client):
            return Registered(client_id, client)
        return Registered(client_id, CLIENTS.initial) if client_id in self._built_in else None

    def _generate(self, client: Registered, user: Subject, scope: str | None, **_: Any) -> dict[str, Any]:
        allowed = client.client.scope
        scope = "" if EVERYTHING in allowed else allowed
        return self.grants.issue(user, client.get_client_id(), self._life_s, scope, self.drawn)

    def save_token(self, token: Mapping[str, Any], request: Any) -> None:
        """It was appended when it was made: there is no second write."""
        self.position = token["position"]

    def create_oauth2_request(self, request: Request) -> Request:
        return request

    def handle_response(self, status: int, body: Any, headers: Any) -> tuple[int, Any, Any]:
        return status, body, headers

    def send_signal(self, name: str, *args: Any, **kwargs: Any) -> None:
        """Nobody listens."""
