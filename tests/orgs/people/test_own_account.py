"""Links by mail, and changing and ending an account, from the streams alone (ACC-1)."""

from __future__ import annotations

from typing import Any

import pytest

from services.orgs.people import accounts
from services.orgs.people.accounts import ACCOUNTS
from services.orgs.people.addresses import account_of
from services.orgs.people.links import RESET_LIFE
from services.orgs.people.mail_links import Purpose, link_token, subject_of
from services.orgs.people.own_account import OwnAccount
from services.orgs.people.passwords import hashed
from services.orgs.teams.membership import Membership
from shared.errors import NotFound, Refused

ADA, BOB, PASSWORD = "ada@example.com", "bob@example.com", "correct horse"


@pytest.fixture(scope="module")
def kept() -> str:
    return hashed(PASSWORD)


@pytest.fixture
def ada(world: Any, kept: str) -> str:
    return world.account(ADA, kept)


def own(world: Any, command: str) -> OwnAccount:
    return OwnAccount(world.streams, world.context(command), world.store.now)


def state(world: Any, account_id: str) -> Any:
    return world.streams.load(ACCOUNTS, accounts.stream_of(account_id)).state


def mailed(world: Any, purpose: Purpose) -> str:
    """The link of the last event that a mail is sent for."""
    kind = {"verify": "EmailVerificationAsked", "reset": "PasswordResetAsked"}[purpose]
    event = world.of_type(kind)[-1]
    return link_token(world.streams, purpose, event.account_id, event.nonce)


def refusal(act: Any) -> str:
    with pytest.raises(Refused) as refused:
        act()
    return refused.value.code


def log_in(world: Any, password: str, email: str = ADA) -> Any:
    return world.log_in(f"log in {email} {password}", email, password, "particle", 3600)


def test_the_mailed_link_proves_the_address_and_no_other_does(world: Any, ada: str) -> None:
    link = mailed(world, "verify")
    flipped = link[:-1] + ("0" if link[-1] != "0" else "1")
    reset = link_token(world.streams, "reset", ada, state(world, ada).verification.nonce)
    for wrong in ("", "x", flipped, reset, ada, f"{'9' * 24}.{'a' * 40}", None, 7):
        assert refusal(lambda wrong=wrong: own(world, "wrong").verify(wrong)) == "invalid_verification_token"
    own(world, "verify").verify(link)
    assert state(world, ada).verified
    assert refusal(lambda: own(world, "once more").verify(link)) == "invalid_verification_token"


def test_a_link_says_whose_it_is_and_nothing_that_is_stored_opens_it(world: Any, ada: str) -> None:
    link = mailed(world, "verify")
    assert subject_of(link) == ada
    assert not [event for event in world.store.events if link[25:].encode() in event.data]


def test_a_forgotten_password_is_set_anew_by_link_and_all_tokens_end(world: Any, ada: str) -> None:  # ACC-1
    token = log_in(world, PASSWORD)["access_token"]
    own(world, "ask").ask_reset(ADA.upper())
    link = mailed(world, "reset")
    own(world, "reset").reset_password(link, "battery staple", ADA)
    with pytest.raises(NotFound):
        world.grants("find").find(token)
    assert refusal(lambda: log_in(world, PASSWORD)) == "invalid_grant"
    assert world.grants("find").find(log_in(world, "battery staple")["access_token"])["account_id"] == ada
    assert refusal(lambda: own(world, "replay").reset_password(link, "another one", ADA)) == "invalid_reset_token"


def test_a_reset_link_is_over_after_an_hour_and_only_for_its_account(world: Any, ada: str) -> None:
    own(world, "ask").ask_reset(ADA)
    link = mailed(world, "reset")
    assert refusal(lambda: own(world, "other").reset_password(link, "battery staple", BOB)) == "invalid_reset_token"
    world.pass_time(RESET_LIFE.total_seconds())
    assert refusal(lambda: own(world, "late").reset_password(link, "battery staple", ADA)) == "invalid_reset_token"


def test_nobody_is_mailed_who_has_no_account(world: Any, ada: str) -> None:
    for username in (BOB, "", "x" * 4_000, "@"):
        assert own(world, "ask").ask_reset(username) is None
    assert not world.of_type("PasswordResetAsked")


def test_a_password_is_changed_by_whoever_knows_it(world: Any, ada: str) -> None:
    token = log_in(world, PASSWORD)["access_token"]
    wrong = own(world, "wrong")
    assert refusal(lambda: wrong.change_password(ada, "guess", "battery staple", end_tokens=True)) == "invalid_password"
    own(world, "change").change_password(ada, PASSWORD, "battery staple", end_tokens=False)
    assert world.grants("find").find(token)["account_id"] == ada
    own(world, "again").change_password(ada, "battery staple", PASSWORD, end_tokens=True)
    with pytest.raises(NotFound):
        world.grants("find").find(token)


def test_a_command_that_is_repeated_answers_as_it_did_though_the_password_is_another(world: Any, ada: str) -> None:
    def twice(act: Any) -> None:
        first, before = act(), len(world.store.events)
        assert first is not None
        assert act() == first
        assert len(world.store.events) == before

    proof = mailed(world, "verify")
    twice(lambda: own(world, "verify").verify(proof))
    twice(lambda: own(world, "change").change_password(ada, PASSWORD, "battery staple", end_tokens=True))
    own(world, "ask").ask_reset(ADA)
    link = mailed(world, "reset")
    twice(lambda: own(world, "reset").reset_password(link, "tuned piano", ADA))
    assert refusal(lambda: own(world, "late").verify(proof)) == "invalid_verification_token"
    twice(lambda: own(world, "delete").delete(ada, "tuned piano", []))


def test_a_refresh_token_ends_with_the_tokens(world: Any, ada: str) -> None:
    given = log_in(world, PASSWORD)
    own(world, "end").end_tokens(ada)
    traded = (given["token_id"], given["refresh_token"], "particle")
    assert refusal(lambda: world.refresh("refresh", *traded)) == "invalid_grant"


def test_an_address_is_changed_and_the_old_one_is_free_again(world: Any, ada: str, kept: str) -> None:  # ACC-1
    world.account(BOB)
    taken = own(world, "taken")
    assert refusal(lambda: taken.change_email(ada, PASSWORD, "BOB@example.com", end_tokens=False)) == "username_taken"
    own(world, "change").change_email(ada, PASSWORD, "ada@example.org", end_tokens=False)
    assert account_of(world.streams, "ADA@example.org").account_id == ada
    assert account_of(world.streams, ADA).account_id is None
    assert refusal(lambda: log_in(world, PASSWORD)) == "invalid_grant"
    world.pass_time(61)
    other, _ = world.creation("somebody else").account(ADA, kept, ("", "", ""))
    assert account_of(world.streams, ADA).account_id == other


@pytest.mark.parametrize(
    "spelled", ["ADA@EXAMPLE.COM", " ada@example.com ", "\uff41da@example.com", "ada@exam\u200bple.com"]
)
def test_an_address_is_the_same_whatever_its_case_and_width(world: Any, ada: str, spelled: str) -> None:  # ACC-1
    is_same = "\u200b" not in spelled
    assert (account_of(world.streams, spelled).account_id == ada) is is_same


def test_a_deleted_account_leaves_its_team_and_is_nobody_s(world: Any, ada: str, kept: str) -> None:
    bob = world.verified(BOB, kept)
    org_id = world.creation("found").organization(ada, "Acme", None, "monthly").org_id
    assert refusal(lambda: own(world, "delete").delete(ada, PASSWORD, [])) == "last_member"
    membership = Membership(world.streams, world.context("invite"), world.store.now)
    membership.invite(org_id, BOB, "administrator", ada)
    (invitation,) = world.of_type("MemberInvited")
    Membership(world.streams, world.context("accept"), world.store.now).accept(org_id, invitation.invitation_id, bob)
    assert refusal(lambda: own(world, "delete").delete(ada, "guess", [])) == "invalid_password"
    own(world, "delete").delete(ada, PASSWORD, [])
    assert [event.reason for event in world.of_type("MemberRemoved")] == ["account_deleted"]
    assert state(world, ada).forgotten
    assert refusal(lambda: log_in(world, PASSWORD)) == "invalid_grant"
