import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.rollouts import PLACES, Releases, Rollout, State, place, released_to, rollout_for

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
