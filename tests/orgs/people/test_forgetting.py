"""Forgetting a person, from the streams alone (EVT-5)."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest

from services.orgs.names import stream_of
from services.orgs.people import accounts
from services.orgs.people.account_commands import ForgetAccount, FoundOrganization
from services.orgs.people.accounts import ACCOUNTS, Account, decide, evolve
from services.orgs.people.addresses import account_of
from services.orgs.people.forgetting import Forgetting
from services.orgs.people.passwords import hashed
from shared.errors import Misuse, NotFound, Refused
from shared.events.fields import FORGOTTEN
from shared.events.orgs import AccountCreated, AccountForgotten, OrganizationFounded
from shared.people.keys import DESTROYED
from shared.store.port import NO_STREAM, New
from tests.keys import MemoryTable, contracts_with_keys

ADA, BOB, PASSWORD = "ada@example.com", "bob@example.com", "correct horse"
ID = "a" * 24
CREATED = AccountCreated(ID, ADA, "$argon2id$", "Ada", "Lovelace", "")
FOUNDED = OrganizationFounded(ID, ADA, "b" * 24, "Acme", "acme", "yearly")


def after(*events: Any) -> Account:
    state = ACCOUNTS.initial
    for event in events:
        state = evolve(state, event)
    return state


@pytest.fixture(scope="module")
def kept() -> str:
    return hashed(PASSWORD)


@pytest.fixture
def table(world) -> MemoryTable:
    made = MemoryTable()
    world.contracts = contracts_with_keys(made)
    return made


@pytest.fixture
def ada(world, table, kept) -> str:
    return world.account(ADA, kept)


def forget(world, account_id: str, command: str = "forget") -> Any:
    return Forgetting(world.streams, world.context(command), world.store.now).account(account_id)


def log_in(world, command: str = "log in") -> dict[str, Any]:
    return world.log_in(command, ADA, PASSWORD, "particle", 3600)


def refusal(call: Any, *arguments: Any) -> str:
    with pytest.raises(Refused) as refused:
        call(*arguments)
    return refused.value.code


def test_an_account_is_forgotten_once() -> None:
    assert decide(after(CREATED), ForgetAccount()) == [AccountForgotten(ID)]
    assert decide(after(CREATED, AccountForgotten(ID)), ForgetAccount()) == []


def test_an_account_that_does_not_exist_cannot_be_forgotten(world, table) -> None:
    with pytest.raises(NotFound):
        decide(after(), ForgetAccount())
    with pytest.raises(NotFound):
        forget(world, ID)
    assert table.people == {}


def test_nothing_personal_is_left_of_a_forgotten_account() -> None:
    state = after(CREATED, FOUNDED, AccountForgotten(ID))
    assert state.forgotten
    assert (state.email, state.password_hash) == (FORGOTTEN, "")
    assert state.founded is not None
    assert (state.founded.email, state.founded.org_id) == (FORGOTTEN, FOUNDED.org_id)


def test_a_forgotten_account_founds_nothing(world, ada) -> None:
    with pytest.raises(NotFound):
        decide(after(CREATED, AccountForgotten(ID)), FoundOrganization("b" * 24, "Acme", "acme", "monthly"))
    forget(world, ada)
    with pytest.raises(NotFound):
        world.creation("found").organization(ada, "Acme", None, "monthly")


def test_who_is_forgotten_cannot_log_in_and_no_token_works_any_more(world, ada) -> None:
    given = log_in(world)
    position = forget(world, ada)
    assert position == world.store.events[-1].position
    assert refusal(log_in, world, "again") == "invalid_grant"
    assert refusal(world.grants("check").check, ADA, PASSWORD) == "unknown_user"
    with pytest.raises(NotFound):
        world.grants("find").find(given["access_token"])
    refresh = (given["token_id"], given["refresh_token"], "particle")
    assert refusal(world.refresh, "refresh", *refresh) == "invalid_grant"


def test_the_events_stay_and_say_forgotten_for_ever(world, table, ada) -> None:
    world.creation("found").organization(ada, "Acme", None, "monthly")
    before = [(event.id, event.data) for event in world.store.events]
    forget(world, ada)
    assert [(event.id, event.data) for event in world.store.events][:-1] == before
    assert table.people[ada] is DESTROYED
    world.contracts = contracts_with_keys(table)  # another process
    assert world.of_type("AccountCreated")[0].email == FORGOTTEN
    assert world.of_type("AccountCreated")[0].last_name == FORGOTTEN
    assert world.of_type("OrganizationCreated")[0].owner_email == FORGOTTEN
    assert world.of_type("MemberJoined")[0].email == FORGOTTEN
    assert [event.name for event in world.of_type("NameReserved")] == [FORGOTTEN, "acme"]
    for event in world.store.events:
        assert b"example.com" not in event.data


def test_forgetting_one_leaves_the_others(world, ada, kept) -> None:
    bob = world.account(BOB, kept)
    forget(world, ada)
    assert world.log_in("bob", BOB, PASSWORD, "particle", 60)["access_token"]
    assert account_of(world.streams, BOB).account_id == bob


def test_forgetting_twice_is_harmless(world, ada) -> None:
    first = forget(world, ada)
    assert forget(world, ada, "once more") == first
    assert len(world.of_type("AccountForgotten")) == 1


def test_the_address_may_be_used_again_at_once_and_by_somebody_else(world, ada, kept) -> None:  # ACC-1
    with pytest.raises(Refused):
        world.creation("too early").account(ADA.upper(), kept, ("", "", ""))
    forget(world, ada)
    again, _ = world.creation("sign up again").account(ADA.upper(), kept, ("Other", "", ""))
    assert again != ada
    assert account_of(world.streams, ADA).account_id == again
    assert log_in(world)["access_token"]
    with pytest.raises(Refused):
        world.creation("third").account(ADA, kept, ("", "", ""))


@pytest.mark.parametrize("is_stored", [False, True])
def test_a_crash_at_the_append_is_mended_by_repeating(world, table, ada, died, is_stored: bool) -> None:
    world.dies_at(1, after=is_stored)
    with pytest.raises(died):
        forget(world, ada)
    world.dies_at(None, after=is_stored)
    assert isinstance(table.people[ada], bytes)
    assert (refusal(log_in, world) == "invalid_grant") if is_stored else log_in(world)
    forget(world, ada)
    assert table.people[ada] is DESTROYED
    assert len(world.of_type("AccountForgotten")) == 1


def test_a_crash_between_the_event_and_the_key_is_mended_by_the_reaction(world, table, ada) -> None:
    tokens = [log_in(world, f"log in {number}")["token_id"] for number in range(3)]
    world.grants("revoke").revoke(tokens[0], ada)
    world.streams.handle(ACCOUNTS, accounts.stream_of(ada), ForgetAccount(), world.context("forget"))
    for _ in range(2):  # a redelivery changes nothing
        Forgetting(world.streams, world.context("reaction"), world.store.now).finish(ada, tokens)
    assert table.people[ada] is DESTROYED
    revoked = [(event.token_id, event.reason) for event in world.of_type("TokenRevoked")]
    assert sorted(revoked) == sorted([(tokens[0], "revoked"), (tokens[1], "forgotten"), (tokens[2], "forgotten")])


def test_nobody_loses_a_key_by_a_message_that_the_stream_does_not_confirm(world, table, ada) -> None:
    with pytest.raises(Misuse, match="was not forgotten"):
        Forgetting(world.streams, world.context("reaction"), world.store.now).finish(ada)
    assert isinstance(table.people[ada], bytes)


def test_an_organization_that_was_founded_is_completed_without_its_forgotten_founder(world, ada, died) -> None:
    world.dies_at(3, after=False)  # slug, founding, then the organization
    with pytest.raises(died):
        world.creation("found").organization(ada, "Acme", None, "monthly")
    world.dies_at(None, after=False)
    founded = world.of_type("OrganizationFounded")[0]
    forget(world, ada)
    world.creation("reaction").finish(founded)
    assert world.of_type("OrganizationCreated")[0].owner_email == FORGOTTEN
    assert json.loads(world.store.events[-1].data)["email"] == FORGOTTEN


def test_an_address_cannot_be_guessed_from_the_name_of_its_stream(world, ada) -> None:
    streams = {event.stream for event in world.store.events if event.type == "NameReserved"}
    world.contracts = contracts_with_keys()  # another installation
    world.store.events.clear()
    world.account(ADA)
    assert streams.isdisjoint({event.stream for event in world.store.events})


def test_whose_key_is_lost_cannot_log_in_and_the_address_is_free(world, table, ada, kept) -> None:
    table.people.clear()
    world.contracts = contracts_with_keys(table)
    assert refusal(log_in, world) == "invalid_grant"
    world.pass_time(61)
    assert world.creation("again").account(ADA, kept, ("", "", ""))[0] != ada


def test_an_account_from_before_there_were_keys_logs_in_and_can_be_forgotten(world, table, kept) -> None:
    _as_release_0_1_did(world, kept)
    assert log_in(world)["access_token"]
    with pytest.raises(Refused) as refused:
        world.creation("sign up").account(ADA, kept, ("", "", ""))
    assert refused.value.code == "username_taken"
    world.creation("found").organization(ID, "Acme", None, "monthly")
    forget(world, ID)
    assert table.people[ID] is DESTROYED
    assert refusal(log_in, world, "again") == "invalid_grant"
    assert world.creation("sign up again").account(ADA, kept, ("", "", ""))[0] != ID


def _as_release_0_1_did(world: Any, password_hash: str) -> None:
    account = {"account_id": ID, "email": ADA, "password_hash": password_hash}
    account |= {"first_name": "", "last_name": "", "company_name": ""}
    name = {"kind": "email", "name": ADA, "holder_stream": f"account-{ID}"}
    meta = b'{"schema":1,"actor":"anonymous","command":"c","correlation":"c"}'
    for stream, kind, data in (
        (stream_of("email", ADA), "NameReserved", name),
        (f"account-{ID}", "AccountCreated", account),
    ):
        world.store.append(stream, NO_STREAM, [New(uuid4(), kind, json.dumps(data).encode(), meta)])
