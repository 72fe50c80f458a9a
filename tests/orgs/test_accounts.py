from __future__ import annotations

import pytest

from services.orgs.accounts import ACCOUNTS, Account, CreateAccount, FoundOrganization, decide
from shared.errors import NotFound, Refused
from shared.events.orgs import AccountCreated, OrganizationFounded

CREATED = AccountCreated("a" * 24, "ada@example.com", "$argon2id$", "Ada", "Lovelace", "")
FOUNDED = OrganizationFounded("a" * 24, "ada@example.com", "b" * 24, "Acme", "acme", "yearly")
FOUND = FoundOrganization("b" * 24, "Acme", "acme", "yearly")


def after(*events: AccountCreated | OrganizationFounded) -> Account:
    state = ACCOUNTS.initial
    for event in events:
        state = ACCOUNTS.evolve(state, event)
    return state


def test_an_account_is_created_once() -> None:
    command = CreateAccount("a" * 24, "ada@example.com", "$argon2id$", "Ada", "Lovelace", "")
    assert decide(after(), command) == [CREATED]
    assert decide(after(CREATED), command) == []


def test_an_account_founds_an_organization_with_its_own_address() -> None:  # ORG-1
    assert decide(after(CREATED), FOUND) == [FOUNDED]


def test_founding_the_same_organization_again_changes_nothing() -> None:
    assert decide(after(CREATED, FOUNDED), FOUND) == []


def test_an_account_belongs_to_at_most_one_organization() -> None:  # ACC-4
    with pytest.raises(Refused) as refusal:
        decide(after(CREATED, FOUNDED), FoundOrganization("c" * 24, "Other", "other", "monthly"))
    assert refusal.value.code == "already_in_organization"


def test_nobody_founds_nothing() -> None:
    with pytest.raises(NotFound):
        decide(after(), FOUND)
