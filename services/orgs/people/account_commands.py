"""What can be asked of a user account (``accounts`` decides). Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from shared.events.orgs import Plan, Role

EndReason = Literal["revoked", "password_changed", "password_reset", "email_changed"]


@dataclass(frozen=True, slots=True)
class CreateAccount:
    """Open it; the reservation of its e-mail address comes first. With a ``nonce`` a link is mailed to the address."""

    account_id: str
    email: str
    password_hash: str
    first_name: str
    last_name: str
    company_name: str
    nonce: str | None = None
    now: datetime | None = None


@dataclass(frozen=True, slots=True)
class AskVerification:
    """Mail a link that proves the address; it ends the one mailed before."""

    nonce: str
    now: datetime


@dataclass(frozen=True, slots=True)
class VerifyEmail:
    """The link with this nonce was followed."""

    nonce: str
    now: datetime


@dataclass(frozen=True, slots=True)
class AskReset:
    """Mail a link that sets a new password; it ends the one mailed before."""

    nonce: str
    now: datetime


@dataclass(frozen=True, slots=True)
class ResetPassword:
    """The link with this nonce was followed; all tokens end."""

    nonce: str
    password_hash: str
    now: datetime


@dataclass(frozen=True, slots=True)
class ChangePassword:
    """Whoever knows the present one, which the caller has checked, sets another."""

    password_hash: str
    end_tokens: bool


@dataclass(frozen=True, slots=True)
class ChangeEmail:
    """The same for the address; the reservation of the new one comes first."""

    email: str
    end_tokens: bool
    nonce: str
    now: datetime


@dataclass(frozen=True, slots=True)
class ChangeProfile:
    """Say something else of the person."""

    first_name: str
    last_name: str
    company_name: str


@dataclass(frozen=True, slots=True)
class EndTokens:
    """Let no token of before work any more."""

    reason: EndReason = "revoked"


@dataclass(frozen=True, slots=True)
class FoundOrganization:
    """Bind the account to a new organization; the reservation of the slug comes first."""

    org_id: str
    name: str
    slug: str
    plan: Plan


@dataclass(frozen=True, slots=True)
class JoinOrganization:
    """Bind it to an organization that has invited it, by this address."""

    org_id: str
    invitation_id: str
    role: Role
    email: str


@dataclass(frozen=True, slots=True)
class LeaveOrganization:
    """It is no member any more: the membership that it took with this invitation, or as founder, ends, and no later
    one."""

    org_id: str
    invitation_id: str | None
    reason: Literal["left", "removed", "invitation_over"]


@dataclass(frozen=True, slots=True)
class ForgetAccount:
    """Let nobody log in with it any more; the key of what is personal in it is destroyed afterwards."""


Command = (
    CreateAccount
    | AskVerification
    | VerifyEmail
    | AskReset
    | ResetPassword
    | ChangePassword
    | ChangeEmail
    | ChangeProfile
    | EndTokens
    | FoundOrganization
    | JoinOrganization
    | LeaveOrganization
    | ForgetAccount
)
