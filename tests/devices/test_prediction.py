from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.devices.places import Places
from services.devices.prediction import Facts, Verdict, allowed_at, judge, predict, stage_at
from shared.rollouts import PLACES, Releases, Rollout, released_to
from shared.targets import Membership, Way

P = 1000
ROLLOUT = Rollout("a" * 24, 7)
TO_LAB = Rollout("b" * 24, 7, groups=("lab",))
NOW = Rollout("a" * 24, 7, intelligent=True)
OF_LAB = Rollout("c" * 24, 9, groups=("lab",), share=PLACES)
MEMBER = Membership(P)
RELEASES = Releases(5, {"attic": 4})
OLD = Way(reported_product=P, reported_version=5)
ONLINE = Way(reported_product=P, reported_version=5, online=True)


def tried(state: str, failures: int = 0) -> Way:
    return Way(P, 5, True, update_version=7, update_state=state, failures=failures)


@pytest.mark.parametrize(
    ("member", "groups", "way", "rollout", "would", "reason", "target"),
    [
        (MEMBER, (), OLD, ROLLOUT, "update", "offline", 7),
        (MEMBER, (), ONLINE, ROLLOUT, "update", "next_connection", 7),
        (MEMBER, (), ONLINE, NOW, "update", "offered", 7),
        (MEMBER, (), tried("downloading"), ROLLOUT, "update", "updating", 7),
        (MEMBER, (), tried("failed", 2), NOW, "update", "offered", 7),
        (MEMBER, (), tried("failed", 3), NOW, "stay", "failing", 7),
        (MEMBER, (), Way(), ROLLOUT, "update", "offline", 7),
        (MEMBER, (), Way(P, 7), ROLLOUT, "stay", "runs", 7),
        (MEMBER, (), Way(P, 5, True, takes_updates=False), NOW, "update", "not_now", 7),
        (MEMBER, (), Way(2000, 5), ROLLOUT, "stay", "other_product", None),
        (Membership(P, forced=True), (), Way(2000, 7), ROLLOUT, "update", "offline", 7),
        (Membership(P, quarantined=True), (), OLD, ROLLOUT, "stay", "quarantined", None),
        (Membership(P, denied=True), (), OLD, ROLLOUT, "stay", "denied", None),
        (Membership(P, development=True), (), OLD, ROLLOUT, "stay", "development", None),
        (Membership(P, locked_version=3), (), OLD, ROLLOUT, "stay", "locked", 3),
        (MEMBER, ("attic",), OLD, ROLLOUT, "stay", "group_release", 4),
        (MEMBER, ("lab",), OLD, ROLLOUT, "update", "offline", 7),
        (MEMBER, ("lab", "attic"), OLD, TO_LAB, "update", "offline", 7),
        (MEMBER, ("attic",), OLD, TO_LAB, "stay", "other_groups", 4),
        (MEMBER, (), OLD, TO_LAB, "stay", "other_groups", 5),
        (Membership(P, development=True), (), OLD, TO_LAB, "stay", "development", None),
    ],
)
def test_what_would_become_of_a_device_and_why(  # FW-6
    member: Membership, groups: tuple[str, ...], way: Way, rollout: Rollout, would: str, reason: str, target: int | None
):
    verdict = predict(Facts(member, groups, way), RELEASES, rollout)
    assert (verdict.would, verdict.reason, verdict.target) == (would, reason, target)


def test_a_group_with_a_higher_release_is_left_alone():
    facts = Facts(MEMBER, ("lab", "attic"), OLD)
    assert predict(facts, Releases(5, {"attic": 8}), TO_LAB) == Verdict("stay", "group_release", 8)


def test_a_group_with_a_rollout_of_its_own_has_no_part_in_the_one_of_all():
    verdict = predict(Facts(MEMBER, ("lab",), OLD), Releases(5, {}, (OF_LAB,)), ROLLOUT)
    assert (verdict.would, verdict.reason) == ("stay", "other_rollout")


def test_what_is_in_force_decides_for_a_device_that_has_a_turn():
    facts = Facts(MEMBER, (), OLD, turn="a" * 24)
    assert judge(facts, Releases(5, {}, (Rollout("a" * 24, 7),)), 7).would == "update"
    assert judge(facts, Releases(5, {}, (Rollout("a" * 24, 7, state="paused"),)), 7).would == "stay"


def test_the_rollout_may_be_planned_already_paused_or_at_any_stage():
    facts = Facts(MEMBER, (), OLD)
    for known in (Rollout("a" * 24, 7, state="paused", stage=1, share=5), Rollout("a" * 24, 7, share=PLACES)):
        assert predict(facts, Releases(5, {}, (known,)), ROLLOUT) == predict(facts, Releases(5), ROLLOUT)


members = st.builds(
    Membership,
    product_id=st.just(P),
    forced=st.booleans(),
    quarantined=st.booleans(),
    denied=st.booleans(),
    development=st.booleans(),
    locked_version=st.sampled_from([None, 5, 7]),
    flash_pending=st.booleans(),
)
ways = st.builds(
    Way,
    reported_product=st.sampled_from([None, P, 2000]),
    reported_version=st.sampled_from([None, 5, 7]),
    online=st.booleans(),
    update_version=st.sampled_from([None, 5, 7]),
    update_state=st.sampled_from([None, "started", "applying", "failed", "succeeded"]),
    failures=st.integers(0, 4),
)
groups_of = st.lists(st.sampled_from(["lab", "attic", "hall"]), unique=True).map(tuple)


@given(members, groups_of, ways, st.sampled_from([ROLLOUT, NOW, TO_LAB]))
def test_what_is_predicted_is_what_the_rule_of_releases_says(
    member: Membership, groups: tuple[str, ...], way: Way, rollout: Rollout
):
    verdict = predict(Facts(member, groups, way), RELEASES, rollout)
    then = Releases(5, {"attic": 4}, (rollout,))
    released = released_to(groups, then, way.reported_version, rollout.rollout_id)
    if verdict.would == "update":
        assert (verdict.target == released == 7 and way.reported_version != 7) or member.forced
    else:
        assert judge(Facts(member, groups, way), RELEASES, 7).would == "stay"


@pytest.mark.parametrize(
    ("percent", "devices", "eligible", "allowed"),
    [
        (10, None, 1_000, 100),
        (10, None, 19, 1),
        (1, None, 5, 1),
        (1, None, 0, 0),
        (99, None, 1_000, 990),
        (None, 5, 1_000, 5),
        (None, 5, 3, 3),
        (100, None, 1_000, None),
    ],
)
def test_a_stage_is_a_part_of_the_devices_that_would_get_it(
    percent: int | None, devices: int | None, eligible: int, allowed: int | None
):
    assert allowed_at(percent, devices, eligible) == allowed


def test_a_device_is_in_the_first_stage_that_reaches_it():
    assert [stage_at(place, [10, 20, PLACES]) for place in (0, 9, 10, 19, 20, PLACES - 1)] == [0, 0, 1, 1, 2, 2]
    assert stage_at(30, [10, 20]) is None


@given(st.lists(st.integers(0, PLACES - 1), max_size=200), st.data())
def test_the_place_behind_the_first_ones_is_found_without_sorting_all(found: list[int], data: st.DataObject):
    places = Places()
    places.extend(found)
    count = data.draw(st.integers(0, len(found)))
    assert len(places) == len(found)
    assert places.behind(count) == (sorted(found)[count - 1] + 1 if count else 0)
