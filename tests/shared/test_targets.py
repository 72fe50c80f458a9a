from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.rollouts import Releases, released_to
from shared.targets import (
    MOST_FAILURES,
    Membership,
    Target,
    Way,
    counted_product,
    explain,
    runs_target,
    target,
    with_groups,
)

P, OTHER, PHOTON = 1000, 2000, 6
MEMBER = Membership(P)
FORCED = Membership(P, forced=True)


@pytest.mark.parametrize(
    ("membership", "reported", "counts_as"),
    [
        (MEMBER, P, P),
        (MEMBER, None, P),  # MQF-1: no report is the product that it was imported into
        (MEMBER, OTHER, None),
        (MEMBER, PHOTON, None),
        (FORCED, P, P),
        (FORCED, OTHER, P),
        (FORCED, PHOTON, P),
        (Membership(P, quarantined=True), P, None),
        (Membership(P, forced=True, quarantined=True), P, None),
        (Membership(P, denied=True), P, None),
        (Membership(None), P, None),
        (Membership(None), None, None),
    ],
)
def test_what_a_device_reports_is_the_truth_unless_it_is_forced(  # DEV-3, DEV-4
    membership: Membership, reported: int | None, counts_as: int | None
):
    assert counted_product(membership, reported) == counts_as


@pytest.mark.parametrize(
    ("membership", "released", "wanted"),
    [
        (MEMBER, None, None),
        (MEMBER, 5, Target(5, "release")),
        (Membership(P, locked_version=3), 5, Target(3, "lock")),  # FW-3
        (Membership(P, locked_version=3), None, Target(3, "lock")),
        (Membership(P, locked_version=0), 5, Target(0, "lock")),
        (Membership(P, development=True), 5, None),  # DEV-5
        (Membership(P, development=True, locked_version=3), 5, None),
        (Membership(P, development=True, locked_version=3, flash_pending=True), 5, Target(3, "lock")),
        (Membership(P, quarantined=True, locked_version=3), 5, None),  # DEV-4
        (Membership(P, denied=True, locked_version=3), 5, None),
        (Membership(None, locked_version=3), 5, None),
    ],
)
def test_the_first_rule_that_fits_decides(membership: Membership, released: int | None, wanted: Target | None):
    assert target(membership, P, released) == wanted


def test_a_device_that_reports_another_product_has_no_target_unless_it_is_forced():
    assert target(MEMBER, OTHER, 5) is None
    assert target(FORCED, OTHER, 5) == Target(5, "release")


@pytest.mark.parametrize(
    ("reported", "version", "runs"),
    [(P, 2, True), (None, 2, True), (P, 3, False), (P, None, False), (PHOTON, 2, False)],
)
def test_only_the_pair_of_product_and_version_is_the_target(  # contract 7.4
    reported: int | None, version: int | None, runs: bool
):
    assert runs_target(FORCED, Target(2, "release"), reported, version) is runs


numbers = st.integers(0, 4)
memberships = st.builds(
    Membership,
    st.sampled_from([None, P]),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.none() | numbers,
    st.booleans(),
)
states = st.sampled_from(
    [None, "started", "downloading", "downloaded", "verified", "applying", "interrupted", "failed"]
)
ways = st.builds(
    Way,
    st.sampled_from([None, P, PHOTON]),
    st.none() | numbers,
    st.booleans(),
    st.booleans(),
    st.none() | numbers,
    states,
    numbers,
)


@given(memberships, st.none() | numbers, ways)
def test_the_explanation_never_says_other_than_the_decision(membership: Membership, released: int | None, way: Way):
    told = explain(membership, released, way)
    wanted = target(membership, way.reported_product, released)
    assert told.target == wanted
    assert (told.delivery is None) == (wanted is None)
    assert (told.rule in ("locked", "released")) == (wanted is not None)
    counts = counted_product(membership, way.reported_product) is not None
    assert counts == (told.rule not in ("not_imported", "quarantined", "denied", "other_product"))
    if wanted is not None:
        runs = runs_target(membership, wanted, way.reported_product, way.reported_version)
        left_alone = way.update_version == wanted.version and way.failures >= MOST_FAILURES
        assert (told.delivery == "runs") == runs
        assert (told.delivery == "failing") == (left_alone and not runs)
        assert told.gets_released == (wanted.version == released and (runs or not left_alone))
    else:
        assert not told.gets_released


@pytest.mark.parametrize(
    ("way", "delivery"),
    [
        (Way(P, 5), "runs"),
        (Way(P, 4, online=True, update_version=5, update_state="failed", failures=3), "failing"),  # FW-7
        (Way(P, 4, online=True, update_version=4, update_state="failed", failures=3), "next_connection"),
        (Way(P, 4, online=True, update_version=5, update_state="downloading"), "updating"),
        (Way(P, 4, online=False, update_version=5, update_state="downloading"), "offline"),
        (Way(P, 4, online=False, update_version=5, update_state="applying"), "updating"),
        (Way(P, 4), "offline"),  # FW-4
        (Way(P, 4, online=True), "next_connection"),
        (Way(P, 4, online=True, applies_now=True), "offered"),
    ],
)
def test_a_target_is_on_its_way_or_why_not(way: Way, delivery: str):
    assert explain(MEMBER, 5, way).delivery == delivery


@pytest.mark.parametrize(
    ("groups", "released"),
    [([], 5), (["attic"], 5), (["lab"], 3), (["lab", "hall"], 7), (["attic", "hall"], 7)],
)
def test_a_device_gets_the_highest_release_of_its_groups_or_else_the_default(groups: list[str], released: int):
    releases = {"lab": 3, "hall": 7}
    assert released_to(groups, Releases(5, releases), None, None) == released  # contract 7.4
    assert released_to([], Releases(None, releases), None, None) is None


GROUPS = st.frozensets(st.sampled_from("abcd"))


@given(st.lists(st.tuples(st.integers(1, 3), GROUPS), max_size=6))
def test_a_group_has_one_release_at_a_time_and_a_version_the_groups_that_were_said_last(
    released: list[tuple[int, frozenset[str]]],
):  # contract 9.4
    releases: dict[str, int] = {}
    said: dict[int, set[str]] = {}
    for version, groups in released:
        releases = with_groups(releases, version, groups)
        said = {one: names - groups for one, names in said.items()} | {version: set(groups)}
    assert releases == {group: version for version, groups in said.items() for group in groups}
