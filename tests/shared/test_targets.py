from __future__ import annotations

import pytest

from shared.targets import Membership, Target, counted_product, runs_target, target

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
