"""What people do with their own account: prove its address, change it, end it (ACC-1, EVT-5)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from services.orgs.names import comparable
from services.orgs.people import accounts, passwords
from services.orgs.people.account_commands import (
    AskReset,
    AskVerification,
    ChangeEmail,
    ChangePassword,
    ChangeProfile,
    Command,
    EndTokens,
    ResetPassword,
    VerifyEmail,
)
from services.orgs.people.accounts import ACCOUNTS, MISSING, Account, reset_over, verification_over
from services.orgs.people.addresses import account_of, reserve_address
from services.orgs.people.forgetting import Forgetting
from services.orgs.people.mail_links import is_link, subject_of
from services.orgs.requests import LONGEST_EMAIL, refused
from services.orgs.teams.membership import Membership
from shared.context import Context
from shared.errors import NotFound
from shared.ids import record_id
from shared.store.port import Position
from shared.streams import Streams


@dataclass(frozen=True, slots=True)
class OwnAccount:
    """One command of a person about their account; every method may be repeated."""

    streams: Streams
    context: Context
    now: datetime

    def ask_verification(self, account_id: str) -> Position | None:
        """Mail a link to the address, unless that was done a moment ago or it is verified."""
        return self._handle(account_id, AskVerification(self._nonce("verification"), self.now))

    def verify(self, token: object) -> Position | None:
        """The link was followed. Refuses with ``invalid_verification_token``."""
        account_id = subject_of(token) or ""
        if (before := self._repeated(account_id)) is not None:
            return before
        link = self._account(account_id).verification
        if link is None or not is_link(self.streams, str(token), "verify", account_id, link):
            raise verification_over()
        return self._handle(account_id, VerifyEmail(link.nonce, self.now))

    def ask_reset(self, username: str) -> Position | None:
        """Mail a link, if there is such an account; nobody is told whether there is."""
        account = account_of(self.streams, username) if len(username) <= LONGEST_EMAIL else ACCOUNTS.initial
        if account.account_id is None or account.forgotten:
            return None
        return self._handle(account.account_id, AskReset(self._nonce("reset"), self.now))

    def reset_password(self, token: object, password: str, username: str | None) -> Position | None:
        """The link was followed; all tokens end. ``username``, where it is said, must be the account's. Refuses with
        ``invalid_reset_token`` and ``invalid_password``."""
        account_id = subject_of(token) or ""
        if (before := self._repeated(account_id)) is not None:
            return before
        account = self._account(account_id)
        is_theirs = username is None or comparable(username) == comparable(account.email)
        if account.reset is None or not is_link(self.streams, str(token), "reset", account_id, account.reset):
            raise reset_over()
        if not is_theirs or not account.reset.opens(account.reset.nonce, self.now):
            raise reset_over()
        command = ResetPassword(account.reset.nonce, passwords.hashed(password), self.now)
        return self._handle(account_id, command)

    def change_password(self, account_id: str, current: str, password: str, *, end_tokens: bool) -> Position | None:
        """Refuses with ``invalid_password`` for the present one, too."""
        if (before := self._repeated(account_id)) is not None:
            return before
        self._must_know(account_id, current)
        return self._handle(account_id, ChangePassword(passwords.hashed(password), end_tokens))

    def change_email(self, account_id: str, current: str, email: str, *, end_tokens: bool) -> Position | None:
        """A link is mailed to the new address. Refuses with ``invalid_password`` and ``username_taken``."""
        self._must_know(account_id, current)
        if not reserve_address(self.streams, self.context, self.now, email, accounts.stream_of(account_id)):
            raise refused("username_taken", "There is an account with this e-mail address.")
        command = ChangeEmail(email, end_tokens, self._nonce("verification"), self.now)
        return self._handle(account_id, command)

    def change_profile(self, account_id: str, info: tuple[str, str, str]) -> Position | None:
        """Raises ``NotFound``."""
        return self._handle(account_id, ChangeProfile(*info))

    def end_tokens(self, account_id: str) -> Position | None:
        """Let no token of the account work any more."""
        return self._handle(account_id, EndTokens())

    def delete(self, account_id: str, password: str, inviting_orgs: Iterable[str]) -> Position | None:
        """End the account and forget the person. Refuses with ``invalid_password``, and with ``last_member`` and
        ``last_administrator`` while an organization needs them."""
        forgetting = Forgetting(self.streams, self.context, self.now)
        if self._repeated(account_id) is not None:
            return forgetting.account(account_id)
        account = self._must_know(account_id, password)
        # the account's stream gets a second append below, as another step
        membership = Membership(self.streams, self.context.step("membership"), self.now)
        if account.org_id is not None:
            membership.let_go(account.org_id, account_id, "account_deleted", None)
        for org_id in inviting_orgs:
            membership.withdraw(org_id, account_id)
        return forgetting.account(account_id)

    def _must_know(self, account_id: str, password: str) -> Account:
        account = self._account(account_id)
        if not account.lives:
            raise NotFound(MISSING)
        if not passwords.matches(account.password_hash or None, password):
            raise refused("invalid_password", "The current password is wrong.")
        return account

    def _repeated(self, account_id: str) -> Position | None:
        """How far this very command went if it ran before: the password, or link, that it took is another now."""
        before = self.streams.repeated(ACCOUNTS, accounts.stream_of(account_id), self.context)
        return None if before is None else before.position

    def _nonce(self, kind: str) -> str:
        return record_id(self.context.command_id, kind)

    def _account(self, account_id: str) -> Account:
        return self.streams.load(ACCOUNTS, accounts.stream_of(account_id)).state

    def _handle(self, account_id: str, command: Command) -> Position | None:
        return self.streams.handle(ACCOUNTS, accounts.stream_of(account_id), command, self.context).position
