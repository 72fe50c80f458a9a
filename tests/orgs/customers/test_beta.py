from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.orgs.customers import guesses
from services.orgs.customers.beta import ALPHABET, BETA, Beta, ForgetInvitee, Invite, UseCode, decide, is_good
from services.orgs.customers.beta_codes import BetaCodes
from services.orgs.customers.guesses import GUESSES, MOST, WINDOW, Guess
from shared.errors import Refused
from shared.events.customers import ActivationCodeUsed, BetaInvited, InviteeForgotten

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ADA, BOB, DEVICE, P = "a" * 24, "b" * 24, "d" * 24, 1000


def after(*events: Any) -> Beta:
    state = BETA.initial
    for event in events:
        state = BETA.evolve(state, event)
    return state


def codes(world: Any, command: str) -> BetaCodes:
    return BetaCodes(world.streams, world.context(command), world.store.now)


def test_each_invitee_gets_a_code_and_keeps_it() -> None:  # PRD-4
    invited = BetaInvited(P, ADA, "ada@example.com", "AAAA")
    assert decide(after(), Invite(P, {ADA: "ada@example.com"}, ("AAAA",))) == [invited]
    again = Invite(P, {ADA: "ada@example.com", BOB: "bob@example.com"}, ("AAAA", "AAAA", "BBBB"))
    assert decide(after(invited), again) == [BetaInvited(P, BOB, "bob@example.com", "BBBB")]


def test_a_code_is_never_given_out_twice_not_even_of_somebody_who_is_forgotten() -> None:
    state = after(BetaInvited(P, ADA, "x@example.com", "AAAA"), InviteeForgotten(P, ADA))
    with pytest.raises(Refused) as refusal:
        decide(state, Invite(P, {BOB: "bob@example.com"}, ("AAAA",)))
    assert refusal.value.code == "too_many_activation_codes"


def test_a_code_is_good_once_for_whom_it_is_in_any_case() -> None:
    state = after(BetaInvited(P, ADA, "x@example.com", "AB23"))
    assert is_good(state, ADA, " ab23 ")
    assert not any(is_good(state, who, code) for who, code in ((BOB, "AB23"), (ADA, "AB24"), (ADA, None), (ADA, 7)))
    used = ActivationCodeUsed(P, ADA, ADA, DEVICE)
    assert decide(state, UseCode(P, ADA, ADA, DEVICE)) == [used]
    assert not is_good(BETA.evolve(state, used), ADA, "AB23")
    assert decide(BETA.evolve(state, used), UseCode(P, ADA, ADA, DEVICE)) == []


def test_a_forgotten_invitee_has_no_code() -> None:  # EVT-5
    state = after(BetaInvited(P, ADA, "x@example.com", "AB23"))
    forgotten = InviteeForgotten(P, ADA)
    assert decide(state, ForgetInvitee(P, ADA)) == [forgotten]
    assert not is_good(BETA.evolve(state, forgotten), ADA, "AB23")
    assert decide(after(), ForgetInvitee(P, ADA)) == []


def test_ten_wrong_codes_in_an_hour_are_too_many() -> None:  # PRD-4
    state: Any = ()
    for number in range(MOST):
        (event,) = guesses.decide(state, Guess(P, ADA, True, NOW + timedelta(seconds=number)))
        state = GUESSES.evolve(state, event)
    for wrong in (True, False):
        with pytest.raises(Refused) as refusal:
            guesses.decide(state, Guess(P, ADA, wrong, NOW + timedelta(minutes=59)))
        assert refusal.value.code == "too_many_requests"
    assert guesses.decide(state, Guess(P, ADA, False, NOW + WINDOW)) == []


def test_codes_are_judged_by_the_address_of_whoever_states_them(world: Any) -> None:  # PRD-4
    ada, bob = world.account("Ada@Example.com"), world.account("bob@example.com")
    invited, problems, _ = codes(world, "invite").invite(P, ["ada@example.COM", "", "no address", "eve@example.com"])
    assert [problem["line"] for problem in problems] == [3]
    assert len(invited) == 2
    code = next(event.code for event in world.of_type("BetaInvited") if event.invitee_id == invited[0])
    assert set(code) <= set(ALPHABET)
    assert codes(world, "check").check(P, ada, code.lower()) == invited[0]
    for owner, stated in ((bob, code), (ada, "ZZZZ"), ("f" * 24, code)):
        with pytest.raises(Refused) as refusal:
            codes(world, f"wrong {owner}").check(P, owner, stated)
        assert refusal.value.code == "invalid_activation_code"


def test_guessing_goes_on_for_ten_codes(world: Any) -> None:
    ada = world.account("ada@example.com")
    codes(world, "invite").invite(P, ["ada@example.com"])
    (invited,) = world.of_type("BetaInvited")
    for number in range(MOST):
        with pytest.raises(Refused):
            codes(world, f"guess {number}").check(P, ada, "????")
    with pytest.raises(Refused) as refusal:
        codes(world, "right").check(P, ada, invited.code)
    assert refusal.value.code == "too_many_requests"
    world.pass_time(WINDOW.total_seconds())
    assert codes(world, "later").check(P, ada, invited.code) == invited.invitee_id


def test_a_code_is_open_for_the_device_that_it_was_used_for(world: Any) -> None:
    (invitee,), _, _ = codes(world, "invite").invite(P, ["ada@example.com"])
    assert codes(world, "ask").is_open(P, invitee, DEVICE)
    codes(world, "use").use(P, invitee, ADA, DEVICE)
    assert codes(world, "ask").is_open(P, invitee, DEVICE)
    assert not codes(world, "ask").is_open(P, invitee, "e" * 24)
    assert not codes(world, "ask").is_open(P, None, DEVICE)


@given(st.lists(st.lists(st.sampled_from(["ada@a.example", "bob@a.example", "eve@a.example"]), max_size=3), max_size=4))
def test_however_often_people_are_invited_each_has_one_code_of_their_own(new_world: Any, calls: Any) -> None:
    world = new_world()
    for number, emails in enumerate(calls):
        codes(world, f"invite {number}").invite(P, emails)
    events = world.of_type("BetaInvited")
    assert len({event.code for event in events}) == len({event.email for event in events}) == len(events)
    assert {event.email for event in events} == {email for emails in calls for email in emails}
