"""One user account. Stream ``account-<id>``. Rules ACC-1, ACC-4, ORG-1, EVT-5."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import assert_never

from shared.aggregates import Aggregate
from shared.errors import NotFound, Refused
from shared.events.fields import FORGOTTEN
from shared.events.orgs import AccountCreated, AccountForgotten, OrganizationFounded, Plan


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
class ForgetAccount:
    """Let nobody log in with it any more; the key of what is personal in it is destroyed afterwards."""


@dataclass(frozen=True, slots=True)
class Account:
    """What logging in and founding ask for; ``account_id`` is None for an account that does not exist. Whose key is
    lost has no ``password_hash`` that anything matches."""

    account_id: str | None = None
    email: str = ""
    password_hash: str = ""
    founded: OrganizationFounded | None = None
    forgotten: bool = False


Command = CreateAccount | FoundOrganization | ForgetAccount
Event = AccountCreated | OrganizationFounded | AccountForgotten


def decide(state: Account, command: Command) -> list[Event]:
    """What this means now; nothing if it is true already."""
    match command:
        case CreateAccount():
            return [] if state.account_id else [_created(command)]
        case FoundOrganization():
            return _found(state, command)
        case ForgetAccount():
            return _forgotten(state)
        case _:
            assert_never(command)


def _forgotten(state: Account) -> list[Event]:
    if state.account_id is None:
        raise NotFound("User not found.")
    return [] if state.forgotten else [AccountForgotten(state.account_id)]


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
    if state.account_id is None or state.forgotten:
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
            return Account(account_id, email, "" if password_hash == FORGOTTEN else password_hash)
        case OrganizationFounded():
            return replace(state, founded=event)
        case AccountForgotten():
            founded = state.founded and _by_nobody(state.founded)
            return replace(state, email=FORGOTTEN, password_hash="", founded=founded, forgotten=True)
        case _:
            assert_never(event)


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
