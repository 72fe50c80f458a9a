"""Joining and leaving organizations, which takes two streams (ORG-3 to ORG-5, ACC-4).

Who joins: the account's stream first, where its exact version keeps it in one organization; then the organization's,
where the invitation may have ended meanwhile, and then the account leaves again. Who leaves: the organization's
stream first, where the last member stays; then the account's. What a crash leaves undone, the reactions to
``OrganizationJoined`` and ``MemberRemoved`` finish.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from services.orgs.people import accounts
from services.orgs.people.account_commands import JoinOrganization, LeaveOrganization
from services.orgs.people.accounts import ACCOUNTS, Account, refuse_second_organization
from services.orgs.people.addresses import account_of
from services.orgs.teams import organizations
from services.orgs.teams.organization_commands import (
    AcceptInvitation,
    ChangeRole,
    Command,
    DeclineInvitation,
    InviteMember,
    RemoveMember,
    RenameOrganization,
    WithdrawInvitation,
)
from services.orgs.teams.organizations import NO_INVITATION, NO_MEMBER, ORGANIZATIONS
from shared.context import Context
from shared.errors import NotFound, Refused
from shared.events.orgs import OrganizationJoined, Role
from shared.ids import record_id
from shared.store.port import Position
from shared.streams import Streams


@dataclass(frozen=True, slots=True)
class Membership:
    """One command about a team; every method may be repeated."""

    streams: Streams
    context: Context
    now: datetime

    def rename(self, org_id: str, name: str) -> Position | None:
        """Raises ``NotFound``."""
        return self._org(org_id, RenameOrganization(name))

    def invite(self, org_id: str, email: str, role: Role, by: str) -> Position | None:
        """Refuses with ``user_not_found``, ``already_in_organization``, ``invitation_pending`` (ORG-3)."""
        account = account_of(self.streams, email)
        if account.account_id is None or account.forgotten:
            raise Refused("user_not_found", "There is no account with this e-mail address.")
        command = InviteMember(
            invitation_id=record_id(self.context.command_id, "invitation"),
            account_id=account.account_id,
            email=account.email,
            role=role,
            belongs=account.org_id is not None,
            by=by,
            now=self.now,
        )
        return self._org(org_id, command)

    def remove(self, org_id: str, email: str, by: str | None) -> Position | None:
        """Remove a member, or withdraw an invitation; with one's own address, leave. Raises ``NotFound``, and refuses
        with ``last_member``, ``last_administrator``, ``permission_denied``."""
        account_id = account_of(self.streams, email).account_id
        team = self.streams.load(ORGANIZATIONS, organizations.stream_of(org_id)).state
        if account_id is not None and account_id in team.members:
            return self.let_go(org_id, account_id, "left" if by == account_id else "removed", by)
        if account_id is None or team.invited(account_id, self.now) is None:
            raise NotFound(NO_MEMBER)
        return self._org(org_id, WithdrawInvitation(account_id, self.now))

    def let_go(
        self, org_id: str, account_id: str, reason: Literal["left", "removed", "account_deleted"], by: str | None
    ) -> Position | None:
        """End a membership."""
        self._org(org_id, RemoveMember(account_id, reason, by))
        return self.finish_leaving(org_id, account_id, "left" if reason == "left" else "removed")

    def finish_leaving(self, org_id: str, account_id: str, reason: Literal["left", "removed"]) -> Position | None:
        """Let the account know that it is a member no more."""
        seen = self._account(account_id)  # before the team, so that whoever joins from here on is left alone
        team = self.streams.load(ORGANIZATIONS, organizations.stream_of(org_id)).state
        if account_id in team.members or seen.invitation_id in team.pending:
            return None  # it has joined again since, or is about to
        leave = LeaveOrganization(org_id, seen.invitation_id, reason)
        return self.streams.handle(ACCOUNTS, accounts.stream_of(account_id), leave, self.context).position

    def part(self, account_id: str, inviting_orgs: Iterable[str]) -> None:
        """End the membership of somebody who was forgotten, and what invites them. An organization that would be left
        with nobody, or with nobody who may do everything, keeps the seat (ORG-5)."""
        org_id = self._account(account_id).org_id
        if org_id is not None:
            with suppress(NotFound, Refused):  # no member any more; needed
                self.let_go(org_id, account_id, "account_deleted", None)
        for inviting in inviting_orgs:
            self.withdraw(inviting, account_id)

    def change_role(self, org_id: str, email: str, role: Role, by: str) -> Position | None:
        """Raises ``NotFound``, and refuses with ``last_administrator`` and ``permission_denied``."""
        account_id = account_of(self.streams, email).account_id
        if account_id is None:
            raise NotFound(NO_MEMBER)
        return self._org(org_id, ChangeRole(account_id, role, by))

    def decline(self, org_id: str, invitation_id: str, account_id: str) -> Position | None:
        """Raises ``NotFound``, refuses with ``already_answered``."""
        return self._org(org_id, DeclineInvitation(invitation_id, account_id, self.now))

    def withdraw(self, org_id: str, account_id: str) -> None:
        """Let the account be invited no longer."""
        self._org(org_id, WithdrawInvitation(account_id, self.now))

    def accept(self, org_id: str, invitation_id: str, account_id: str) -> Position | None:
        """Join. Raises ``NotFound``, refuses with ``already_answered`` and ``already_in_organization``, and with
        ``email_not_verified`` whoever has not shown that the address which was invited is theirs."""
        team = self.streams.load(ORGANIZATIONS, organizations.stream_of(org_id)).state
        invitation = team.pending.get(invitation_id)
        account = self._account(account_id)
        if invitation is None or account.invitation_id == invitation_id:
            return self._accepted(org_id, invitation_id, account)
        refuse_second_organization(account, None)
        if invitation.account_id != account_id or invitation.expires_at <= self.now:
            raise NotFound(NO_INVITATION)
        join = JoinOrganization(org_id, invitation_id, invitation.role, invitation.email)
        joined = self.streams.handle(ACCOUNTS, accounts.stream_of(account_id), join, self.context).state
        return self._accepted(org_id, invitation_id, joined)

    def finish_joining(self, joined: OrganizationJoined) -> Position | None:
        """Make the account a member, should the process that bound it have died."""
        account = self._account(joined.account_id)
        if (account.org_id, account.invitation_id) != (joined.org_id, joined.invitation_id):
            return None  # it has left since
        try:
            return self._accepted(joined.org_id, joined.invitation_id, account)
        except (NotFound, Refused):
            return None  # it is bound no more

    def _accepted(self, org_id: str, invitation_id: str, account: Account) -> Position | None:
        account_id = account.account_id
        if account_id is None or account.forgotten:
            raise NotFound(NO_INVITATION)
        try:
            return self._org(org_id, AcceptInvitation(invitation_id, account_id, account.email, self.now))
        except (NotFound, Refused):
            if (account.org_id, account.invitation_id) == (org_id, invitation_id):
                leave = LeaveOrganization(org_id, invitation_id, "invitation_over")
                step = self.context.step("invitation over")
                self.streams.handle(ACCOUNTS, accounts.stream_of(account_id), leave, step)
            raise

    def _account(self, account_id: str) -> Account:
        return self.streams.load(ACCOUNTS, accounts.stream_of(account_id)).state

    def _org(self, org_id: str, command: Command) -> Position | None:
        return self.streams.handle(ORGANIZATIONS, organizations.stream_of(org_id), command, self.context).position
