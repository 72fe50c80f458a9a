"""One organization and its team. Stream ``org-<id>``. Rules ORG-1 to ORG-5."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import assert_never

from services.orgs.teams.organization_commands import (
    AcceptInvitation,
    ChangeRole,
    Command,
    CreateOrganization,
    DeclineInvitation,
    InviteMember,
    RemoveMember,
    RenameOrganization,
    WithdrawInvitation,
)
from shared.aggregates import Aggregate
from shared.errors import NotFound, Refused
from shared.events.orgs import (
    InvitationAccepted,
    InvitationDeclined,
    InvitationWithdrawn,
    MemberInvited,
    MemberJoined,
    MemberRemoved,
    MemberRoleChanged,
    OrganizationCreated,
    OrganizationFounded,
    OrganizationRenamed,
    Role,
)

INVITATION_LIFE = timedelta(days=14)
MAX_PENDING = 200
"""Invitations that an organization may have open."""
FULL_ACCESS: frozenset[Role] = frozenset({"administrator", "owner"})
MISSING = "Organization not found."
NO_MEMBER = "There is no such member or invitation."
NO_INVITATION = "Invitation not found."


@dataclass(frozen=True, slots=True)
class Invitation:
    """One that was not answered yet, nor withdrawn."""

    account_id: str
    role: Role
    expires_at: datetime
    email: str = ""


@dataclass(frozen=True, slots=True)
class Organization:
    """``created`` is None for an organization that does not exist. ``members``: their roles by account; ``pending`` and
    ``answered``: invitations by their ids; ``joined``: by account, the one that was accepted last."""

    created: OrganizationCreated | None = None
    name: str = ""
    members: Mapping[str, Role] = field(default_factory=dict)
    pending: Mapping[str, Invitation] = field(default_factory=dict)
    answered: Mapping[str, str] = field(default_factory=dict)
    joined: Mapping[str, str] = field(default_factory=dict)

    def invited(self, account_id: str, now: datetime) -> str | None:
        """The id of the invitation that this account can answer now."""
        found = (id_ for id_, one in self.pending.items() if one.account_id == account_id and now < one.expires_at)
        return next(found, None)


Event = (
    OrganizationCreated
    | OrganizationRenamed
    | MemberInvited
    | InvitationAccepted
    | InvitationDeclined
    | InvitationWithdrawn
    | MemberJoined
    | MemberRoleChanged
    | MemberRemoved
)


def decide(state: Organization, command: Command) -> list[Event]:
    """What this means now, or a refusal; nothing if it is true already."""
    if isinstance(command, CreateOrganization):
        return [] if state.created is not None else _created(command.founded)
    if state.created is None:
        raise NotFound(MISSING)
    org_id = state.created.org_id
    match command:
        case RenameOrganization(name):
            return [] if name == state.name else [OrganizationRenamed(org_id, name)]
        case InviteMember():
            return [_invited(state, org_id, command)]
        case AcceptInvitation(invitation_id, account_id, email, now):
            if account_id in state.members and state.joined.get(account_id) == invitation_id:
                return []
            invitation = _answerable(state, invitation_id, account_id, now)
            joined = MemberJoined(org_id, account_id, email, invitation.role)
            return [InvitationAccepted(org_id, invitation_id, account_id), joined]
        case DeclineInvitation(invitation_id, account_id, now):
            _answerable(state, invitation_id, account_id, now)
            return [InvitationDeclined(org_id, invitation_id, account_id)]
        case WithdrawInvitation(account_id, now):
            invitation_id = state.invited(account_id, now) or ""
            return [InvitationWithdrawn(org_id, invitation_id, account_id)] if invitation_id else []
        case RemoveMember():
            return [_removed(state, org_id, command)]
        case ChangeRole(account_id, role, by):
            return _role_changed(state, org_id, account_id, role, by)
        case _:
            assert_never(command)


def _created(founded: OrganizationFounded) -> list[Event]:
    """The organization with its founder as first and only member (ORG-2)."""
    return [
        OrganizationCreated(
            org_id=founded.org_id,
            name=founded.name,
            slug=founded.slug,
            plan=founded.plan,
            owner_id=founded.account_id,
            owner_email=founded.email,
        ),
        MemberJoined(org_id=founded.org_id, account_id=founded.account_id, email=founded.email, role="administrator"),
    ]


def _invited(state: Organization, org_id: str, command: InviteMember) -> MemberInvited:
    """Each refusal of ORG-3 has its own code."""
    if command.belongs or command.account_id in state.members:
        raise Refused("already_in_organization", "This account belongs to an organization already.")
    if state.invited(command.account_id, command.now) is not None:
        raise Refused("invitation_pending", "This account is invited already, and has not answered yet.")
    if sum(command.now < one.expires_at for one in state.pending.values()) >= MAX_PENDING:
        raise Refused("too_many_invitations", f"{MAX_PENDING} invitations are open; withdraw some first.")
    _only_owners_for_owners(state, command.role, None, command.by)
    return MemberInvited(
        org_id=org_id,
        invitation_id=command.invitation_id,
        account_id=command.account_id,
        email=command.email,
        role=command.role,
        invited_by=command.by,
        expires_at=command.now + INVITATION_LIFE,
    )


def _answerable(state: Organization, invitation_id: str, account_id: str, now: datetime) -> Invitation:
    found = state.pending.get(invitation_id)
    if found is not None and found.account_id == account_id and now < found.expires_at:
        return found
    if state.answered.get(invitation_id) == account_id:
        raise Refused("already_answered", "This invitation was answered already.")
    raise NotFound(NO_INVITATION)


def _removed(state: Organization, org_id: str, command: RemoveMember) -> MemberRemoved:
    role = state.members.get(command.account_id)
    if role is None:
        raise NotFound(NO_MEMBER)
    if len(state.members) == 1:
        raise Refused("last_member", "The last member of an organization cannot leave it.")
    if command.by is not None and command.by != command.account_id:
        _only_owners_for_owners(state, None, role, command.by)
    _someone_keeps_full_access(state, command.account_id)
    return MemberRemoved(org_id, command.account_id, command.reason)


def _role_changed(state: Organization, org_id: str, account_id: str, role: Role, by: str) -> list[Event]:
    present = state.members.get(account_id)
    if present is None:
        raise NotFound(NO_MEMBER)
    if present == role:
        return []
    _only_owners_for_owners(state, role, present, by)
    if role not in FULL_ACCESS:
        _someone_keeps_full_access(state, account_id)
    return [MemberRoleChanged(org_id, account_id, role)]


def _only_owners_for_owners(state: Organization, wanted: Role | None, present: Role | None, by: str) -> None:
    """While an organization has owners, nobody else makes, unmakes or removes one."""
    has_owners = "owner" in state.members.values()
    if has_owners and "owner" in (wanted, present) and state.members.get(by) != "owner":
        raise Refused("permission_denied", "This organization has owners, and only they decide about owners.")


def _someone_keeps_full_access(state: Organization, but: str) -> None:
    if not any(role in FULL_ACCESS for account_id, role in state.members.items() if account_id != but):
        raise Refused("last_administrator", "Somebody else must have full access first.")


def evolve(state: Organization, event: Event) -> Organization:
    """The organization after this event."""
    match event:
        case OrganizationCreated():
            return Organization(event, event.name)
        case OrganizationRenamed(_, name):
            return replace(state, name=name)
        case MemberInvited():
            invitation = Invitation(event.account_id, event.role, event.expires_at, event.email)
            return replace(state, pending={**state.pending, event.invitation_id: invitation})
        case InvitationAccepted(_, invitation_id, account_id):
            joined = {**state.joined, account_id: invitation_id}
            return replace(_answered(state, invitation_id, account_id), joined=joined)
        case InvitationDeclined(_, invitation_id, account_id):
            return _answered(state, invitation_id, account_id)
        case InvitationWithdrawn(_, invitation_id, _):
            return replace(state, pending=_without(state.pending, invitation_id))
        case MemberJoined(account_id=account_id, role=role) | MemberRoleChanged(account_id=account_id, role=role):
            return replace(state, members={**state.members, account_id: role})
        case MemberRemoved(account_id=account_id):
            members = {other: role for other, role in state.members.items() if other != account_id}
            return replace(state, members=members)
        case _:
            assert_never(event)


def _answered(state: Organization, invitation_id: str, account_id: str) -> Organization:
    answered = {**state.answered, invitation_id: account_id}
    return replace(state, pending=_without(state.pending, invitation_id), answered=answered)


def _without(pending: Mapping[str, Invitation], invitation_id: str) -> dict[str, Invitation]:
    return {id_: one for id_, one in pending.items() if id_ != invitation_id}


ORGANIZATIONS: Aggregate[Organization, Command] = Aggregate(Organization(), decide, evolve)


def stream_of(org_id: str) -> str:
    """The stream of this organization."""
    return f"org-{org_id}"
