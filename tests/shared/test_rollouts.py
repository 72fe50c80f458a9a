from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.rollouts import (
    PLACES,
    Releases,
    Rollout,
    Standing,
    State,
    part_in,
    place,
    released_to,
    rollout_for,
    standing,
    waits_for,
)

DEVICE = "0123456789abcdef01234567"
R, OTHER = "a" * 24, "b" * 24
DEFAULT = Releases(5, {"lab": 3}, (Rollout(R, 7),))


@pytest.mark.parametrize(
    ("state", "reported", "turn", "released"),
    [
        ("running", 5, None, 5),
        ("running", 5, OTHER, 5),
        ("running", 5, R, 7),
        ("running", 7, None, 7),  # runs it already: nobody takes it away
        ("paused", 5, R, 5),
        ("paused", 7, None, 7),
        ("cancelled", 5, R, 5),
        ("cancelled", 7, R, 7),
    ],
)
def test_the_new_version_is_for_whoever_had_its_turn_or_runs_it(
    state: State, reported: int, turn: str | None, released: int
):
    releases = Releases(5, {}, (Rollout(R, 7, state=state),))
    assert released_to([], releases, reported, turn) == released


def test_a_rollout_of_the_default_leaves_groups_with_a_release_alone():
    assert released_to(["lab"], DEFAULT, 3, R) == 3
    assert rollout_for(["lab"], DEFAULT) is None
    assert rollout_for(["attic"], DEFAULT) == DEFAULT.rollouts[0]


def test_a_rollout_to_groups_is_for_their_devices_only():
    releases = Releases(5, {}, (Rollout(R, 7, groups=("lab", "hall")), Rollout(OTHER, 6)))
    assert released_to(["hall"], releases, 5, R) == 7
    assert released_to(["hall"], releases, 5, None) == 5
    assert released_to([], releases, 5, R) == 5
    assert rollout_for(["hall", "attic"], releases) == releases.rollouts[0]
    assert rollout_for(["attic"], releases) == releases.rollouts[1]


@given(st.binary(min_size=12, max_size=12), st.binary(min_size=12, max_size=12))
def test_a_device_has_one_place_and_every_rollout_another_order(rollout: bytes, device: bytes):
    mine = place(rollout.hex(), device.hex())
    assert 0 <= mine < PLACES
    assert mine == place(rollout.hex(), device.hex())
    assert mine != place(rollout.hex(), device[::-1].hex()) or device == device[::-1]


def test_places_are_spread_evenly():
    places = sorted(place(R, f"{n:024x}") for n in range(10_000))
    for percent in (1, 10, 50):
        share = sum(one < PLACES * percent // 100 for one in places) / 100
        assert abs(share - percent) < 2


ALL = Releases(5, {}, (Rollout(R, 7, share=PLACES),))


def with_state(state: State, **more: Any) -> Releases:
    return Releases(5, {}, (Rollout(R, 7, state=state, share=PLACES, **more),))


def test_whoever_ran_what_was_rolled_back_goes_back_at_once():
    back = with_state("rolled_back")
    assert standing([], back, 7, R) == Standing(5, at_once=True)
    assert standing([], back, 6, R) == Standing(5)  # a release is for its next connection
    assert standing([], Releases(None, {}, back.rollouts), 7, R) == Standing(None)
    of_lab = Releases(5, {"lab": 4}, (Rollout(R, 7, ("lab",), state="rolled_back"),))
    assert standing(["lab"], of_lab, 7, None) == Standing(4, at_once=True)
    assert standing(["hall"], of_lab, 7, None) == Standing(5)


@pytest.mark.parametrize(
    ("releases", "reported", "turn", "waits"),
    [
        (ALL, 5, None, True),
        (ALL, None, None, True),
        (ALL, 5, OTHER, True),
        (ALL, 5, R, False),  # it has its turn
        (ALL, 7, None, False),  # it runs it
        (with_state("paused"), 5, None, False),
        (with_state("planned"), 5, None, False),
        (with_state("cancelled"), 5, None, False),
        (Releases(5, {}, (Rollout(R, 7, share=place(R, DEVICE)),)), 5, None, False),  # a later stage
        (Releases(5, {}, (Rollout(R, 7, share=place(R, DEVICE) + 1),)), 5, None, True),
    ],
)
def test_a_device_may_ask_for_its_turn_in_a_running_rollout_whose_share_it_is_in(
    releases: Releases, reported: int | None, turn: str | None, waits: bool
):
    assert (waits_for(DEVICE, [], releases, reported, turn) is not None) == waits


@pytest.mark.parametrize(("state", "waits"), [("running", False), ("paused", False), ("cancelled", True)])
def test_who_has_its_turn_in_one_rollout_asks_no_other_meanwhile(state: State, waits: bool):
    other = Rollout(OTHER, 6, state=state, share=PLACES)
    releases = Releases(5, {}, (Rollout(R, 7, ("lab",), share=PLACES), other))
    assert (waits_for(DEVICE, ["lab"], releases, 5, OTHER) is not None) == waits
    assert waits_for(DEVICE, ["lab"], releases, 5, None) == releases.rollouts[0]


def test_nobody_asks_for_a_turn_that_would_bring_them_nothing():
    releases = Releases(5, {"hall": 9}, (Rollout(R, 7, ("lab",), share=PLACES),))
    assert waits_for(DEVICE, ["lab"], releases, 5, None) is not None
    assert waits_for(DEVICE, ["lab", "hall"], releases, 9, None) is None  # 9 is the higher release of its groups


@pytest.mark.parametrize(
    ("releases", "reported", "turn", "word"),
    [
        (ALL, 5, None, "waits"),
        (ALL, 5, R, "turn"),
        (ALL, 7, None, "runs"),
        (with_state("paused", gate="failed"), 5, R, "paused"),
        (with_state("paused"), 7, R, "runs"),
        (with_state("cancelled"), 7, None, "keeps"),
        (with_state("cancelled"), 5, R, None),
        (with_state("rolled_back"), 7, None, "goes_back"),
        (with_state("planned"), 7, None, None),
        (Releases(5, {}, (Rollout(R, 7),)), 5, None, "later"),
    ],
)
def test_a_device_has_one_part_in_a_rollout(releases: Releases, reported: int, turn: str | None, word: str | None):
    part = part_in(DEVICE, [], releases, reported, turn)
    assert (part and part.word) == word
