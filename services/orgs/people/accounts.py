"""One user account. Stream ``account-<id>``. Rules ACC-1, ACC-2, ACC-4, ORG-1, EVT-5."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import assert_never

from services.orgs.people.account_commands import (
    AskReset,
    AskVerification,
    ChangeEmail,
    ChangePassword,
    ChangeProfile,
    Command,
    CreateAccount,
    EndReason,
    EndTokens,
    ForgetAccount,
    FoundOrganization,
    JoinOrganization,
    LeaveOrganization,
    ResetPassword,
    VerifyEmail,
)
from services.orgs.people.links import RESET_LIFE, VERIFY_LIFE, Link
from shared.aggregates import Aggregate
from shared.comparing import comparable
from shared.errors import NotFound, Refused
from shared.events.fields import FORGOTTEN
from shared.events.orgs import (
    AccountCreated,
    AccountForgotten,
    EmailChanged,
    EmailVerificationAsked,
    EmailVerified,
    OrganizationFounded,
    OrganizationJoined,
    OrganizationLeft,
    PasswordChanged,
    PasswordResetAsked,
    ProfileChanged,
    TokensEnded,
)

MISSING = "User not found."


@dataclass(frozen=True, slots=True)
class Account:
    """What logging in, joining and founding ask for; ``account_id`` is None for an account that does not exist. Whose
    key is lost has no ``password_hash`` that anything matches. ``founded`` is the last organization it founded,
    ``slugs`` those of all; ``org_id`` the one it belongs to now. Tokens of a generation before this one work no more.
    """

    account_id: str | None = None
    email: str = ""
    password_hash: str = ""
    profile: tuple[str, str, str] = ("", "", "")
    founded: OrganizationFounded | None = None
    slugs: frozenset[str] = frozenset()
    org_id: str | None = None
    invitation_id: str | None = None
    generation: int = 0
    verified: bool = False
    verification: Link | None = None
    reset: Link | None = None
    forgotten: bool = False

    @property
    def lives(self) -> bool:
        """Whether there is such an account."""
        return self.account_id is not None and not self.forgotten


Event = (
    AccountCreated
    | EmailVerificationAsked
    | EmailVerified
    | PasswordResetAsked
    | PasswordChanged
    | EmailChanged
    | ProfileChanged
    | TokensEnded
    | OrganizationFounded
    | OrganizationJoined
    | OrganizationLeft
    | AccountForgotten
)


def decide(state: Account, command: Command) -> list[Event]:
    """What this means now, or a refusal; nothing if it is true already."""
    if isinstance(command, CreateAccount):
        return [] if state.account_id else _created(command)
    if state.account_id is None:
        raise NotFound(MISSING)
    if isinstance(command, ForgetAccount):
        return [] if state.forgotten else [AccountForgotten(state.account_id)]
    if isinstance(command, LeaveOrganization):
        return _left(state, state.account_id, command)  # of somebody forgotten, too
    if state.forgotten:
        raise NotFound(MISSING)
    if isinstance(command, FoundOrganization | JoinOrganization):
        return _belonging(state, state.account_id, command)
    return _changed(state, state.account_id, command)


def _created(command: CreateAccount) -> list[Event]:
    created = AccountCreated(
        account_id=command.account_id,
        email=command.email,
        password_hash=command.password_hash,
        first_name=command.first_name,
        last_name=command.last_name,
        company_name=command.company_name,
    )
    if command.nonce is None or command.now is None:
        return [created]
    return [created, EmailVerificationAsked(command.account_id, command.nonce, command.now + VERIFY_LIFE)]


def _left(state: Account, account_id: str, command: LeaveOrganization) -> list[Event]:
    meant = (command.org_id, command.invitation_id) == (state.org_id, state.invitation_id)
    return [OrganizationLeft(account_id, command.org_id, command.reason)] if meant else []


def _belonging(state: Account, account_id: str, command: FoundOrganization | JoinOrganization) -> list[Event]:
    """Membership: in one organization at most (ACC-4)."""
    match command:
        case FoundOrganization(org_id, name, slug, plan):
            if state.org_id == org_id:
                return []
            refuse_second_organization(state, org_id)
            return [OrganizationFounded(account_id, state.email, org_id, name, slug, plan)]
        case JoinOrganization(org_id, invitation_id, role, email):
            if (state.org_id, state.invitation_id) == (org_id, invitation_id):
                return []
            refuse_second_organization(state, None)
            _must_be_whose_address_it_is(state, email)
            return [OrganizationJoined(account_id, state.email, org_id, invitation_id, role)]


def _must_be_whose_address_it_is(state: Account, email: str) -> None:
    """Anybody can sign up with the address of somebody who will be invited."""
    if comparable(state.email) != comparable(email):
        raise Refused("email_not_verified", "The invitation is for another address than the account has now.")
    if not state.verified:
        raise Refused("email_not_verified", "Confirm your e-mail address first, with the link that was mailed to it.")


def refuse_second_organization(state: Account, org_id: str | None) -> None:
    """Raises ``Refused`` if the account belongs to another organization than this one (ACC-4)."""
    if state.org_id is not None and state.org_id != org_id:
        raise Refused("already_in_organization", "This account belongs to an organization already.")


def _changed(
    state: Account,
    account_id: str,
    command: AskVerification
    | VerifyEmail
    | AskReset
    | ResetPassword
    | ChangePassword
    | ChangeEmail
    | ChangeProfile
    | EndTokens,
) -> list[Event]:
    match command:
        case AskVerification(nonce, now):
            fresh = state.verification is not None and state.verification.is_fresh(VERIFY_LIFE, now)
            return [] if state.verified or fresh else [EmailVerificationAsked(account_id, nonce, now + VERIFY_LIFE)]
        case VerifyEmail(nonce, now):
            if state.verification is None or not state.verification.opens(nonce, now):
                raise verification_over()
            return [EmailVerified(account_id)]
        case AskReset(nonce, now):
            fresh = state.reset is not None and state.reset.is_fresh(RESET_LIFE, now)
            return [] if fresh else [PasswordResetAsked(account_id, nonce, now + RESET_LIFE)]
        case ResetPassword(nonce, password_hash, now):
            if state.reset is None or not state.reset.opens(nonce, now):
                raise reset_over()
            proven: list[Event] = [] if state.verified else [EmailVerified(account_id)]  # the link came by mail
            changed = PasswordChanged(account_id, password_hash, "reset")
            return [changed, *_ended(state, account_id, "password_reset"), *proven]
        case ChangePassword(password_hash, end_tokens):
            ended = _ended(state, account_id, "password_changed") if end_tokens else []
            return [PasswordChanged(account_id, password_hash, "changed"), *ended]
        case ChangeEmail(email, end_tokens, nonce, now):
            if email == state.email:
                return []
            ended = _ended(state, account_id, "email_changed") if end_tokens else []
            asked = EmailVerificationAsked(account_id, nonce, now + VERIFY_LIFE)
            return [EmailChanged(account_id, email), asked, *ended]
        case ChangeProfile(first_name, last_name, company_name):
            profile = (first_name, last_name, company_name)
            return [] if profile == state.profile else [ProfileChanged(account_id, *profile)]
        case EndTokens(reason):
            return _ended(state, account_id, reason)
        case _:
            assert_never(command)


def _ended(state: Account, account_id: str, reason: EndReason) -> list[Event]:
    return [TokensEnded(account_id, state.generation + 1, reason)]


def verification_over() -> Refused:
    """What every verification link that does not work is answered with."""
    return Refused("invalid_verification_token", "The link was used already, or has lapsed; ask for a new one.")


def reset_over() -> Refused:
    """What every reset link that does not work is answered with."""
    return Refused("invalid_reset_token", "The link was used already, or has lapsed; ask for a new one.")


def evolve(state: Account, event: Event) -> Account:
    """The account after this event."""
    match event:
        case AccountCreated():
            profile = (event.first_name, event.last_name, event.company_name)
            return Account(event.account_id, event.email, _hash(event.password_hash), profile)
        case EmailVerificationAsked(_, nonce, expires_at):
            return replace(state, verification=Link(nonce, expires_at))
        case EmailVerified():
            return replace(state, verified=True, verification=None)
        case PasswordResetAsked(_, nonce, expires_at):
            return replace(state, reset=Link(nonce, expires_at))
        case PasswordChanged(_, password_hash):
            return replace(state, password_hash=_hash(password_hash), reset=None)
        case EmailChanged(_, email):
            return replace(state, email=email, verified=False, verification=None, reset=None)
        case ProfileChanged(_, first_name, last_name, company_name):
            return replace(state, profile=(first_name, last_name, company_name))
        case TokensEnded(_, generation):
            return replace(state, generation=generation)
        case OrganizationFounded(org_id=org_id, slug=slug):
            return replace(state, founded=event, org_id=org_id, invitation_id=None, slugs=state.slugs | {slug})
        case OrganizationJoined(org_id=org_id, invitation_id=invitation_id):
            return replace(state, org_id=org_id, invitation_id=invitation_id)
        case OrganizationLeft():
            return replace(state, org_id=None, invitation_id=None)
        case AccountForgotten():
            return _forgotten(state)
        case _:
            assert_never(event)


def _forgotten(state: Account) -> Account:
    return Account(
        account_id=state.account_id,
        email=FORGOTTEN,
        founded=state.founded and _by_nobody(state.founded),
        slugs=state.slugs,
        org_id=state.org_id,
        invitation_id=state.invitation_id,
        generation=state.generation,
        forgotten=True,
    )


def _hash(password_hash: str) -> str:
    return "" if password_hash == FORGOTTEN else password_hash


def _by_nobody(founded: OrganizationFounded) -> OrganizationFounded:
    return OrganizationFounded(
        account_id=founded.account_id,
        email=FORGOTTEN,
        org_id=founded.org_id,
        name=founded.name,
        slug=founded.slug,
        plan=founded.plan,
    )


ACCOUNTS: Aggregate[Account, Command] = Aggregate(Account(), decide, evolve)


def stream_of(account_id: str) -> str:
    """The stream of this account."""
    return f"account-{account_id}"
