"""Forgetting a person (EVT-5): the account ends, then its key is destroyed.

Stream ``account-<id>`` says it first, so a crash in between is mended by repeating the command, or by the reaction to
``AccountForgotten``. From that event on, nobody logs in and no token works; revoking the tokens only tidies up.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from services.orgs.oauth import tokens
from services.orgs.oauth.tokens import TOKENS, RevokeToken
from services.orgs.people import accounts
from services.orgs.people.account_commands import ForgetAccount
from services.orgs.people.accounts import ACCOUNTS
from shared.context import Context
from shared.errors import Misuse, NotFound
from shared.store.port import Position
from shared.streams import Streams


@dataclass(frozen=True, slots=True)
class Forgetting:
    """One command that forgets; every method may be repeated."""

    streams: Streams
    context: Context
    now: datetime

    def account(self, account_id: str) -> Position | None:
        """Forget the person with this account. Raises ``NotFound``, and ``Unavailable`` when it must be repeated."""
        handled = self.streams.handle(ACCOUNTS, accounts.stream_of(account_id), ForgetAccount(), self.context)
        self.finish(account_id)
        return handled.position

    def finish(self, account_id: str, live_tokens: Iterable[str] = ()) -> None:
        """Destroy the key of an account whose stream says that it was forgotten, and revoke these tokens of it."""
        if not self.streams.load(ACCOUNTS, accounts.stream_of(account_id)).state.forgotten:
            raise Misuse(f"account {account_id} was not forgotten; its key stays")
        self.streams.contracts.keys.destroy(account_id)
        for token_id in live_tokens:
            self._revoke(token_id, account_id)

    def _revoke(self, token_id: str, account_id: str) -> None:
        command = RevokeToken(account_id, "forgotten")
        try:
            self.streams.handle(TOKENS, tokens.stream_of(token_id), command, self.context)
        except NotFound:
            return  # revoked meanwhile, which is all that is wanted
