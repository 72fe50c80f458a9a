"""One user account. Stream ``account-<id>``. Rules ACC-1, ACC-4, ORG-1."""

from __future__ import annotations

from dataclasses import dataclass, replace

from shared.aggregates import Aggregate
from shared.errors import NotFound, Refused
from shared.events.orgs import AccountCreated, OrganizationFounded, Plan


@dataclass(frozen=True, slots=True)
class CreateAccount:
    """Open it; the reservation of its e-mail address comes first."""

    account_id: str
    email: str
    password_hash: str
    first_name: str
    last_name: str
    company_name: str


@dataclass(frozen=True, slots=True)
class FoundOrganization:
    """Bind the account to a new organization; the reservation of the slug comes first."""

    org_id: str
    name: str
    slug: str
    plan: Plan


@dataclass(frozen=True, slots=True)
class Account:
    """What logging in and founding ask for; ``account_id`` is None for an account that does not exist."""

    account_id: str | None = None
    email: str = ""
    password_hash: str = ""
    founded: OrganizationFounded | None = None


Command = CreateAccount | FoundOrganization
Event = AccountCreated | OrganizationFounded


def decide(state: Account, command: Command) -> list[Event]:
    """What this means now; nothing if it is true already."""
    match command:
        case CreateAccount():
            return [] if state.account_id else [_created(command)]
        case FoundOrganization():
            return _found(state, command)


def _created(command: CreateAccount) -> AccountCreated:
    return AccountCreated(
        account_id=command.account_id,
        email=command.email,
        password_hash=command.password_hash,
        first_name=command.first_name,
        last_name=command.last_name,
        company_name=command.company_name,
    )


def _found(state: Account, command: FoundOrganization) -> list[Event]:
    if state.account_id is None:
        raise NotFound("User not found.")
    if state.founded is not None and state.founded.org_id == command.org_id:
        return []
    refuse_second_organization(state, command.org_id)
    return [
        OrganizationFounded(
            account_id=state.account_id,
            email=state.email,
            org_id=command.org_id,
            name=command.name,
            slug=command.slug,
            plan=command.plan,
        )
    ]


def refuse_second_organization(state: Account, org_id: str) -> None:
    """Raises ``Refused`` if the account belongs to another organization than this one (ACC-4)."""
    if state.founded is not None and state.founded.org_id != org_id:
        raise Refused("already_in_organization", "This account belongs to an organization already.")


def evolve(state: Account, event: Event) -> Account:
    """The account after this event."""
    match event:
        case AccountCreated(account_id=account_id, email=email, password_hash=password_hash):
            return Account(account_id, email, password_hash)
        case OrganizationFounded():
            return replace(state, founded=event)


ACCOUNTS: Aggregate[Account, Command] = Aggregate(Account(), decide, evolve)


def stream_of(account_id: str) -> str:
    """The stream of this account."""
    return f"account-{account_id}"
