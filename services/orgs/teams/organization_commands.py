"""What can be asked of an organization and its team (``organizations`` decides). Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from shared.events.orgs import OrganizationFounded, Role


@dataclass(frozen=True, slots=True)
class CreateOrganization:
    """Carry out what an account has founded."""

    founded: OrganizationFounded


@dataclass(frozen=True, slots=True)
class RenameOrganization:
    """Call it something else; the slug stays."""

    name: str


@dataclass(frozen=True, slots=True)
class InviteMember:
    """Ask an account to join. ``belongs``: it is in some organization."""

    invitation_id: str
    account_id: str
    email: str
    role: Role
    belongs: bool
    by: str
    now: datetime


@dataclass(frozen=True, slots=True)
class AcceptInvitation:
    """The account, which has bound itself to the organization, joins."""

    invitation_id: str
    account_id: str
    email: str
    now: datetime


@dataclass(frozen=True, slots=True)
class DeclineInvitation:
    """The account does not want to."""

    invitation_id: str
    account_id: str
    now: datetime


@dataclass(frozen=True, slots=True)
class WithdrawInvitation:
    """The team takes it back; nothing if it is over."""

    account_id: str
    now: datetime


@dataclass(frozen=True, slots=True)
class RemoveMember:
    """Let this member go. ``by``: who wants it; None: nobody of the team, so nothing protects an owner."""

    account_id: str
    reason: Literal["left", "removed", "account_deleted"]
    by: str | None


@dataclass(frozen=True, slots=True)
class ChangeRole:
    """Let this member do more, or less."""

    account_id: str
    role: Role
    by: str


Command = (
    CreateOrganization
    | RenameOrganization
    | InviteMember
    | AcceptInvitation
    | DeclineInvitation
    | WithdrawInvitation
    | RemoveMember
    | ChangeRole
)
