from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.orgs.people.account_commands import LeaveOrganization
from services.orgs.people.accounts import ACCOUNTS, stream_of
from services.orgs.people.creation import organization_row
from shared.errors import NotFound, Refused, Unavailable

ADA, GRACE = "ada@example.com", "grace@example.com"

runs = st.tuples(st.sampled_from(["command", "reaction"]), st.none() | st.integers(1, 4), st.booleans())
"""Who runs, at which of its appends it dies, and whether that append is still stored."""


def test_an_address_has_one_account_in_whatever_case(world) -> None:  # ACC-1
    world.account(ADA)
    with pytest.raises(Refused) as refusal:
        world.account("ADA@Example.com")
    assert refusal.value.code == "username_taken"
    assert len(world.of_type("AccountCreated")) == 1


def test_an_address_whose_account_never_came_to_be_is_free_after_a_minute(world, died) -> None:
    world.dies_at(2, after=False)
    with pytest.raises(died):
        world.creation("first").account(ADA, "hash", ("", "", ""))
    world.dies_at(None, after=False)
    with pytest.raises(Refused):
        world.creation("second").account(ADA, "hash", ("", "", ""))
    world.pass_time(61)
    account_id, _ = world.creation("third").account(ADA, "hash", ("", "", ""))
    assert [event.account_id for event in world.of_type("AccountCreated")] == [account_id]


@given(st.lists(st.tuples(st.integers(1, 2), st.booleans()), max_size=4))
def test_signing_up_again_and_again_with_crashes_makes_one_account(new_world, died, crashes) -> None:
    world = new_world()
    for at, after in crashes:
        world.dies_at(at, after=after)
        try:
            world.creation("sign up").account(ADA, "hash", ("", "", ""))
        except died:
            world.pass_time(100)
    world.dies_at(None, after=False)
    account_id, position = world.creation("sign up").account(ADA, "hash", ("", "", ""))
    assert [event.account_id for event in world.of_type("AccountCreated")] == [account_id]
    asked = [event.position for event in world.store.events if event.type == "EmailVerificationAsked"]
    assert asked == [position]


def test_an_organization_has_its_founder_and_a_slug_of_its_name(world) -> None:  # ORG-1, ORG-2
    account_id = world.account(ADA)
    founded = world.creation("found").organization(account_id, "Acme Lamps", None, "yearly")
    row, position = organization_row(world.streams, founded.org_id)
    assert row == {
        "org_id": founded.org_id,
        "name": "Acme Lamps",
        "slug": "acme-lamps",
        "plan": "yearly",
        "owner_id": account_id,
        "owner_email": ADA,
        "created_at": world.store.now,
    }
    assert [event.account_id for event in world.of_type("MemberJoined")] == [account_id]
    assert position == world.store.events[-1].position


@given(st.lists(runs, max_size=6), st.sampled_from([0, 40, 100]), st.sampled_from([None, "d" * 24]))
def test_founding_with_crashes_and_reactions_in_any_order_makes_one_organization(
    new_world, died, schedule, pause_s, draft_id
) -> None:
    world = new_world()
    account_id = world.account(ADA)

    def command():
        return world.creation("found").organization(account_id, "Acme", None, "monthly", draft_id)

    def reaction() -> None:
        for founded in world.of_type("OrganizationFounded"):
            world.creation("react").finish(founded)

    for who, at, after in schedule:
        world.dies_at(at, after=after)
        try:
            command() if who == "command" else reaction()
        except died:
            world.pass_time(pause_s)
    world.dies_at(None, after=False)
    founded = command()
    assert world.of_type("OrganizationFounded") == [founded]
    assert [event.org_id for event in world.of_type("OrganizationCreated")] == [founded.org_id]
    assert [event.account_id for event in world.of_type("MemberJoined")] == [account_id]


@given(st.integers(1, 3), st.booleans())
def test_of_two_who_want_one_slug_at_the_same_time_one_gets_it(new_world, at, derived) -> None:
    world = new_world()
    ada, grace = world.account(ADA), world.account(GRACE)
    slug = None if derived else "acme"

    def other() -> None:
        world.store.before = lambda number: None
        try:
            world.creation("grace founds").organization(grace, "Acme", slug, "monthly")
        except Refused as refusal:
            outcomes.append(refusal.code)

    outcomes: list[str] = []
    world.others_go_first_at(at, other)
    try:
        world.creation("ada founds").organization(ada, "Acme", slug, "monthly")
    except Refused as refusal:
        outcomes.append(refusal.code)
    slugs = sorted(event.slug for event in world.of_type("OrganizationCreated"))
    assert (slugs, outcomes) == ((["acme", "acme-2"], []) if derived else (["acme"], ["slug_taken"]))


def test_a_slug_that_was_founded_with_is_never_taken_over_even_if_the_organization_is_late(world, died) -> None:
    ada, grace = world.account(ADA), world.account(GRACE)
    world.dies_at(3, after=False)
    with pytest.raises(died):
        world.creation("ada founds").organization(ada, "Acme", "acme", "monthly")
    world.dies_at(None, after=False)
    world.pass_time(3_600)
    with pytest.raises(Refused) as refusal:
        world.creation("grace founds").organization(grace, "Acme", "acme", "monthly")
    assert refusal.value.code == "slug_taken"


def test_a_late_repeat_finds_its_slug_taken_over_by_another(world, died) -> None:
    ada, grace = world.account(ADA), world.account(GRACE)
    world.dies_at(2, after=False)
    with pytest.raises(died):
        world.creation("ada founds").organization(ada, "Acme", "acme", "monthly")
    world.dies_at(None, after=False)
    world.pass_time(61)
    world.creation("grace founds").organization(grace, "Acme", "acme", "monthly")
    with pytest.raises(Refused) as refusal:
        world.creation("ada founds").organization(ada, "Acme", "acme", "monthly")
    assert refusal.value.code == "slug_taken"
    assert [event.owner_email for event in world.of_type("OrganizationCreated")] == [GRACE]


def test_the_second_organization_of_an_account_is_refused_and_reserves_nothing(world) -> None:  # ACC-4
    world.organization(ADA)
    before = len(world.store.events)
    with pytest.raises(Refused) as refusal:
        world.creation("again").organization(world.account(ADA), "Other", "other", "monthly")
    assert refusal.value.code == "already_in_organization"
    assert len(world.store.events) == before


def test_two_organizations_founded_by_one_account_at_the_same_time_are_one(world) -> None:  # ACC-4
    account_id = world.account(ADA)
    world.others_go_first_at(2, lambda: world.creation("quicker").organization(account_id, "Quicker", None, "monthly"))
    with pytest.raises(Refused) as refusal:
        world.creation("slower").organization(account_id, "Slower", None, "monthly")
    assert refusal.value.code == "already_in_organization"
    assert [event.name for event in world.of_type("OrganizationCreated")] == ["Quicker"]


@pytest.mark.parametrize("append", [1, 2, 3])
def test_a_lost_answer_of_the_store_changes_nothing(world, append) -> None:
    account_id = world.account(ADA)
    world.loses_answer_of(append)
    world.creation("found").organization(account_id, "Acme", None, "monthly")
    assert [event.slug for event in world.of_type("OrganizationCreated")] == ["acme"]


def test_a_store_that_is_away_is_said_to_be(world) -> None:
    account_id = world.account(ADA)
    world.is_away()
    with pytest.raises(Unavailable):
        world.creation("found").organization(account_id, "Acme", None, "monthly")


def test_a_draft_makes_one_organization_also_for_whoever_has_left_it(world) -> None:  # ORG-1
    ada, draft = world.account(ADA), "d" * 24
    for _ in range(2):
        assert world.creation("found").organization(ada, "Acme", None, "monthly", draft).org_id == draft
    leave = LeaveOrganization(draft, None, "left")
    world.streams.handle(ACCOUNTS, stream_of(ada), leave, world.context("leave"))
    assert world.creation("found").organization(ada, "Acme", None, "monthly", draft).org_id == draft  # a late repeat
    with pytest.raises(Refused) as refused:
        world.creation("again").organization(ada, "Acme", None, "monthly", draft)
    assert refused.value.code == "card_required"


def test_nobody_founds_without_an_account(world) -> None:
    with pytest.raises(NotFound):
        world.creation("found").organization("f" * 24, "Acme", None, "monthly")
    assert world.store.events == []


def test_an_organization_that_does_not_exist_is_not_found(world) -> None:
    with pytest.raises(NotFound):
        organization_row(world.streams, "f" * 24)
