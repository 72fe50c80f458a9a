from __future__ import annotations

import re
from typing import Any

import pytest

from services.orgs.people.passwords import hashed
from shared.errors import NotFound, Refused

ADA, PASSWORD = "ada@example.com", "correct horse"


@pytest.fixture(scope="module")
def kept() -> str:
    return hashed(PASSWORD)


@pytest.fixture
def ada(world, kept) -> str:
    return world.account(ADA, kept)


def log_in(world, command: str = "log in", life_s: int = 3600):
    return world.log_in(command, ADA, PASSWORD, "particle", life_s)


def test_logging_in_gives_a_token_that_says_whose_it_is_at_once(world, ada) -> None:  # ACC-2
    given = log_in(world)
    assert re.fullmatch(r"[0-9a-f]{40}", given["access_token"])
    assert re.fullmatch(r"[0-9a-f]{40}", given["refresh_token"])
    assert given["expires_in"] == 3600
    assert given["position"] == world.store.events[-1].position
    assert world.grants("ask").find(given["access_token"]) == {
        "token_id": given["token_id"],
        "account_id": ada,
        "client": "particle",
        "expires_at": "2026-03-01T13:00:00.000Z",
        "email": ADA,
        "org_id": None,
        "role": None,
        "subject": "account",
        "customer_id": None,
        "product_id": None,
        "scope": "",
    }


def test_a_token_for_ever_has_no_expiry(world, ada) -> None:
    given = log_in(world, life_s=0)
    assert given["expires_in"] == 0
    assert world.grants("ask").find(given["access_token"])["expires_at"] is None


def test_a_token_says_the_organization_of_its_account(world, ada) -> None:
    org_id = world.creation("found").organization(ada, "Acme", None, "monthly").org_id
    assert world.grants("ask").find(log_in(world)["access_token"])["org_id"] == org_id


def test_the_address_may_be_written_in_any_case(world, ada) -> None:  # ACC-1
    assert world.log_in("log in", " ADA@Example.COM ", PASSWORD, "particle", 60)["access_token"]


@pytest.mark.parametrize(
    ("username", "password"),
    [
        (ADA, "wrong horse"),
        ("nobody@example.com", PASSWORD),
        ("x" * 1_000_000, PASSWORD),
        ("", ""),
        ("\ud800", "\ud800"),
    ],
)
def test_wrong_credentials_are_refused_alike(world, ada, username, password) -> None:
    with pytest.raises(Refused) as refusal:
        world.log_in("log in", username, password, "particle", 60)
    assert (refusal.value.code, refusal.value.reason) == ("invalid_grant", "User credentials are invalid")


def test_an_address_that_is_reserved_only_logs_nobody_in(world, died, kept) -> None:
    world.dies_at(2, after=False)
    with pytest.raises(died):
        world.account(ADA, kept)
    with pytest.raises(Refused):
        log_in(world)


def test_a_repeated_log_in_answers_with_another_token_and_both_work(world, ada) -> None:
    first, second = log_in(world), log_in(world)
    assert first["access_token"] != second["access_token"]
    for given in (first, second):
        assert world.grants("ask").find(given["access_token"])["account_id"] == ada


def test_a_refresh_replaces_both_tokens(world, ada) -> None:
    old = log_in(world)
    new = world.refresh("refresh", old["token_id"], old["refresh_token"], "particle")
    assert new["expires_in"] == 7_776_000
    assert world.grants("ask").find(new["access_token"])["account_id"] == ada
    with pytest.raises(NotFound):
        world.grants("ask").find(old["access_token"])
    with pytest.raises(Refused) as refusal:
        world.refresh("again", old["token_id"], old["refresh_token"], "particle")
    assert refusal.value.code == "invalid_grant"


def works(world: Any, given: dict[str, Any]) -> bool:
    try:
        return bool(world.grants("find").find(given["access_token"]))
    except NotFound:
        return False


def test_a_used_refresh_token_that_is_shown_again_ends_all_that_came_of_it(world: Any, ada: str) -> None:
    first = log_in(world)
    second = world.refresh("refresh", first["token_id"], first["refresh_token"], "particle")
    third = world.refresh("refresh on", second["token_id"], second["refresh_token"], "particle")
    other = log_in(world, command="another log in")
    world.pass_time(11)
    with pytest.raises(Refused):
        world.refresh("by whom?", first["token_id"], first["refresh_token"], "another client")
    with pytest.raises(Refused):
        world.refresh("guessed", first["token_id"], "f" * 40, "particle")
    assert [works(world, given) for given in (first, second, third, other)] == [False, False, True, True]
    with pytest.raises(Refused) as refusal:
        world.refresh("replayed", first["token_id"], first["refresh_token"], "particle")
    assert refusal.value.code == "invalid_grant"
    assert [works(world, given) for given in (first, second, third, other)] == [False, False, False, True]
    with pytest.raises(Refused):
        world.refresh("its holder", third["token_id"], third["refresh_token"], "particle")


def test_a_refresh_that_is_sent_twice_ends_nothing(world: Any, ada: str) -> None:
    first = log_in(world)
    second = world.refresh("refresh", first["token_id"], first["refresh_token"], "particle")
    world.pass_time(10)
    with pytest.raises(Refused):
        world.refresh("sent again", first["token_id"], first["refresh_token"], "particle")
    assert works(world, second)


def test_a_refresh_that_died_between_old_and_new_is_completed_by_its_repeat(world, ada, died) -> None:
    old = log_in(world)
    world.dies_at(2, after=False)
    with pytest.raises(died):
        world.refresh("refresh", old["token_id"], old["refresh_token"], "particle")
    world.dies_at(None, after=False)
    new = world.refresh("refresh", old["token_id"], old["refresh_token"], "particle")
    assert world.grants("ask").find(new["access_token"])["account_id"] == ada


def test_two_who_refresh_with_one_token_at_the_same_time_get_one_new_token(world, ada) -> None:
    old = log_in(world)
    world.others_go_first_at(1, lambda: world.refresh("quick", old["token_id"], old["refresh_token"], "particle"))
    with pytest.raises(Refused):
        world.refresh("slow", old["token_id"], old["refresh_token"], "particle")
    assert len(world.of_type("TokenIssued")) == 2


def test_a_revoked_token_is_unknown_at_once_and_revoking_may_be_repeated(world, ada) -> None:
    given = log_in(world)
    position = world.grants("revoke").revoke(given["token_id"], ada)
    assert position == world.grants("revoke").revoke(given["token_id"], ada) == world.store.events[-1].position
    with pytest.raises(NotFound):
        world.grants("ask").find(given["access_token"])
    with pytest.raises(NotFound):
        world.grants("revoke it again").revoke(given["token_id"], ada)


def test_nobody_revokes_the_token_of_another(world, ada) -> None:
    given = log_in(world)
    with pytest.raises(NotFound):
        world.grants("revoke").revoke(given["token_id"], "b" * 24)
    assert world.grants("ask").find(given["access_token"])


@pytest.mark.parametrize("token", ["", "0" * 40, "null", "\ud800", "A" * 40, "0" * 1_000_000])
def test_what_is_no_token_is_not_found(world, ada, token) -> None:
    with pytest.raises(NotFound):
        world.grants("ask").find(token)


def test_a_password_is_checked_without_giving_a_token(world, ada) -> None:
    assert world.grants("check").check(ADA.upper(), PASSWORD) == {"account_id": ada, "email": ADA}
    for username, password, code in (
        (ADA, "wrong horse", "bad_password"),
        ("bo@example.com", PASSWORD, "unknown_user"),
    ):
        with pytest.raises(Refused) as refusal:
            world.grants("check").check(username, password)
        assert refusal.value.code == code
