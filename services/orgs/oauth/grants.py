"""Access tokens: whose a name and password are, making a token, trading a refresh token, and whose a token is (ACC-2).

Everything here is decided from streams, never from views, so it is true at once. Secrets are random: a repeated
command may answer with another token, and the one that nobody received runs out unused.
"""

from __future__ import annotations

import secrets
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.orgs.customers.customer_lookup import customer_of
from services.orgs.oauth import subjects, tokens
from services.orgs.oauth.clients import Client
from services.orgs.oauth.subjects import Subject
from services.orgs.oauth.tokens import REPLAYED_AFTER, TOKENS, IssueToken, RevokeToken, Token, UseRefreshToken
from services.orgs.people import passwords
from services.orgs.people.accounts import ACCOUNTS, Account
from services.orgs.people.addresses import account_of
from services.orgs.requests import LONGEST_EMAIL
from shared.context import Context
from shared.errors import NotFound, Refused
from shared.store.port import Position
from shared.streams import Streams
from shared.times import iso


def new_secret() -> str:
    """An access or refresh token that nobody has yet."""
    return secrets.token_hex(tokens.TOKEN_BYTES)


@dataclass(frozen=True, slots=True)
class Grants:
    """Commands and questions about tokens."""

    streams: Streams
    context: Context
    now: datetime

    def of_password(self, username: str, password: str, client: Client) -> Subject | None:
        """The account with this name and password, or at a company's client the customer; None for no such one. It
        takes the same time whether or not there is such a name."""
        if client.created is not None and client.owner.org_id is not None:
            return self._customer(username, password, client)
        account = self._account_of(username)
        matches = passwords.matches(account.password_hash or None, password)
        return subjects.of_account(self.streams, account) if matches and account.lives else None

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

    def issue(
        self, subject: Subject, client: str, life_s: int, scope: str = "", access: str | None = None
    ) -> dict[str, Any]:
        """A new token with its refresh token. ``access``: one that was drawn before."""
        access, refresh = access or new_secret(), new_secret()
        token_id = tokens.token_id(access)
        command = IssueToken(access, refresh, subject, client, life_s, scope, self.now)
        handled = self.streams.handle(TOKENS, tokens.stream_of(token_id), command, self.context)
        return {
            "access_token": access,
            "refresh_token": refresh,
            "expires_in": life_s,
            "token_id": token_id,
            "position": handled.position,
        }

    def trade(self, token_id: str | None, refresh_token: str, client: str, access: str) -> tuple[Subject, str]:
        """Give the token with this id up for the new one ``access``: for whom that is, and its scope. Of several who
        try at once one gets it. Whoever comes later ends what it was traded for: one of the two has stolen it (RFC 9700
        4.14.2). Refuses with ``invalid_grant``."""
        stream = tokens.stream_of(token_id or "")
        loaded = self.streams.load(TOKENS, stream)
        issued = loaded.state.issued
        subject = subjects.present(self.streams, issued) if issued is not None else None
        if issued is None or subject is None:
            raise tokens.invalid_refresh_token()
        use = UseRefreshToken(refresh_token, client, self.now, tokens.token_id(access))
        if tokens.is_replayed(loaded.state, use) and self.now - loaded.recorded[-1].at > REPLAYED_AFTER:
            self.end_successors(loaded.state)
        self.streams.handle(TOKENS, stream, use, self.context)
        return subject, issued.scope

    def end_successors(self, token: Token) -> None:
        """Let what a token was traded for work no more, and what that was traded for."""
        while token.successor_id is not None:
            stream = tokens.stream_of(token.successor_id)
            with suppress(NotFound):  # traded or ended; or never issued, for whoever traded it died
                self.streams.handle(TOKENS, stream, RevokeToken(None, "replayed"), self.context.step(stream))
            token = self.streams.load(TOKENS, stream).state

    def revoke(self, token_id: str, account_id: str | None) -> Position | None:
        """Let this account's, or customer's, token work no more; None: whosever it is. Raises ``NotFound``."""
        return self.streams.handle(TOKENS, tokens.stream_of(token_id), RevokeToken(account_id), self.context).position

    def find(self, access_token: object) -> dict[str, Any]:
        """For whom it acts; an expired one is found too. Raises ``NotFound`` for unknown and revoked ones, and for
        those that their account, customer or client has ended."""
        if not tokens.well_formed(access_token):
            raise NotFound("Token not found.")
        token = self.streams.load(TOKENS, tokens.stream_of(tokens.token_id(access_token))).state
        subject = None if token.issued is None or token.revoked else subjects.present(self.streams, token.issued)
        if token.issued is None or subject is None:
            raise NotFound("Token not found.")
        expires_at = token.issued.expires_at
        return {
            "token_id": token.issued.token_id,
            "subject": subject.kind,
            "account_id": subject.account_id,
            "customer_id": subject.customer_id,
            "product_id": subject.product_id,
            "org_id": subject.org_id,
            "role": subject.role,
            "email": subject.email,
            "client": token.issued.client,
            "scope": token.issued.scope,
            "expires_at": iso(expires_at) if expires_at else None,
        }

    def _account_of(self, username: str) -> Account:
        if len(username) > LONGEST_EMAIL:
            return ACCOUNTS.initial
        return account_of(self.streams, username)

    def _customer(self, username: str, password: str, client: Client) -> Subject | None:
        owner, email = client.owner, username if len(username) <= LONGEST_EMAIL else ""
        one = customer_of(self.streams, owner.product_id, owner.org_id or "", email)
        matches = passwords.matches(one.password_hash or None, password)
        return subjects.of_customer(one) if matches and one.lives else None
