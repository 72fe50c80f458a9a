"""Logging in: access tokens for a password or a refresh token, and whose a token is (ACC-2).

Everything here is decided from streams, never from views, so it is true at once. Secrets are random: a repeated
command may answer with another token, and the one that nobody received runs out unused.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.orgs import accounts, passwords, tokens
from services.orgs.accounts import ACCOUNTS, Account
from services.orgs.addresses import account_of
from services.orgs.requests import LONGEST_EMAIL
from services.orgs.tokens import DEFAULT_LIFE_S, TOKENS, IssueToken, RevokeToken, UseRefreshToken
from shared.context import Context
from shared.errors import NotFound, Refused
from shared.store.port import Position
from shared.streams import Streams
from shared.times import iso


@dataclass(frozen=True, slots=True)
class Grants:
    """Commands and questions about tokens."""

    streams: Streams
    context: Context
    now: datetime

    def by_password(self, username: str, password: str, client: str, life_s: int) -> dict[str, Any]:
        """A new token. Refuses with ``invalid_grant``, in the same time whether or not the account exists."""
        account = self._account_of(username)
        if not passwords.matches(account.password_hash or None, password) or account.account_id is None:
            raise Refused("invalid_grant", "User credentials are invalid")
        return self._issue(account.account_id, client, life_s)

    def check(self, username: str, password: str) -> dict[str, Any]:
        """Whose name and password these are. Refuses with ``unknown_user`` and ``bad_password`` (contract 2.3), in the
        same time."""
        account = self._account_of(username)
        matches = passwords.matches(account.password_hash or None, password)
        if account.account_id is None:
            raise Refused("unknown_user", "Unknown user")
        if not matches:
            raise Refused("bad_password", "Bad password")
        return {"account_id": account.account_id, "email": account.email}

    def by_refresh_token(self, token_id: str | None, refresh_token: str, client: str) -> dict[str, Any]:
        """A new token of the default life in place of the one with this id. Refuses with ``invalid_grant``."""
        if token_id is None or self._is_forgotten(token_id):
            raise tokens.invalid_refresh_token()
        stream = tokens.stream_of(token_id)
        command = UseRefreshToken(refresh_token, client, self.now)
        issued = self.streams.handle(TOKENS, stream, command, self.context).state.issued
        if issued is None:
            raise tokens.invalid_refresh_token()
        return self._issue(issued.account_id, client, DEFAULT_LIFE_S)

    def revoke(self, token_id: str, account_id: str) -> Position | None:
        """Let this account's token work no more. Raises ``NotFound``."""
        return self.streams.handle(TOKENS, tokens.stream_of(token_id), RevokeToken(account_id), self.context).position

    def find(self, access_token: object) -> dict[str, Any]:
        """Whose token it is; an expired one is found too. Raises ``NotFound`` for unknown and revoked ones."""
        if not tokens.well_formed(access_token):
            raise NotFound("Token not found.")
        token = self.streams.load(TOKENS, tokens.stream_of(tokens.token_id(access_token))).state
        if token.issued is None or token.revoked:
            raise NotFound("Token not found.")
        account = self._account(token.issued.account_id)
        if account.forgotten:  # EVT-5: at once, whether or not the token is revoked already
            raise NotFound("Token not found.")
        expires_at = token.issued.expires_at
        return {
            "token_id": token.issued.token_id,
            "account_id": token.issued.account_id,
            "client": token.issued.client,
            "expires_at": iso(expires_at) if expires_at else None,
            "email": account.email,
            "org_id": account.founded.org_id if account.founded else None,
        }

    def _account_of(self, username: str) -> Account:
        if len(username) > LONGEST_EMAIL:
            return ACCOUNTS.initial
        return account_of(self.streams, username)

    def _is_forgotten(self, token_id: str) -> bool:
        issued = self.streams.load(TOKENS, tokens.stream_of(token_id)).state.issued
        return issued is not None and self._account(issued.account_id).forgotten

    def _account(self, account_id: str) -> Account:
        return self.streams.load(ACCOUNTS, accounts.stream_of(account_id)).state

    def _issue(self, account_id: str, client: str, life_s: int) -> dict[str, Any]:
        access, refresh = secrets.token_hex(tokens.TOKEN_BYTES), secrets.token_hex(tokens.TOKEN_BYTES)
        command = IssueToken(access, refresh, account_id, client, life_s, self.now)
        token_id = tokens.token_id(access)
        handled = self.streams.handle(TOKENS, tokens.stream_of(token_id), command, self.context)
        return {
            "access_token": access,
            "refresh_token": refresh,
            "expires_in": life_s,
            "token_id": token_id,
            "position": handled.position,
        }
