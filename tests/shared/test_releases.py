from __future__ import annotations

from typing import Any

import pytest

from shared.events.firmware import FirmwareReleased, FirmwareReleasedToGroups, ReleaseWithdrawn
from shared.events.rollouts import (
    RolloutCancelled,
    RolloutCompleted,
    RolloutGates,
    RolloutHeld,
    RolloutPaused,
    RolloutPlanned,
    RolloutRegrouped,
    RolloutResumed,
    RolloutRolledBack,
    RolloutStage,
    RolloutStageBegan,
    RolloutStageSized,
)
from shared.projections.view import Row
from shared.releases import AT_FIRST, MOST_OVER, RELEASE_EVENTS, fold_releases, releases_of
from shared.rollouts import PLACES, Releases, Rollout, released_to, rollout_for

P = 1000
R, OTHER = "a" * 24, "b" * 24
GATES = RolloutGates(5, 5, 600, None, 10, "pause")


def planned(rollout_id: str = R, version: int = 7, groups: tuple[str, ...] = ()) -> RolloutPlanned:
    stage = RolloutStage(100, None, False, 0)
    return RolloutPlanned(P, rollout_id, version, [*groups], [stage], [], 100, None, GATES, False)


def began(rollout_id: str = R, version: int = 7, stage: int = 0, share: int = PLACES) -> RolloutStageBegan:
    return RolloutStageBegan(P, rollout_id, version, stage, share, None)


def after(*events: Any) -> Releases:
    row: Row = {**AT_FIRST, "platform_id": 6}
    for event in events:
        row = {**row, **fold_releases(row, event)}
    assert row["platform_id"] == 6
    return releases_of(row)


FIVE = FirmwareReleased(P, 5, None, False)
RUNNING = (FIVE, planned(), began())


def test_a_rollout_decides_from_its_first_stage_on():
    assert after(FIVE, planned()) == Releases(5, {}, (Rollout(R, 7, state="planned"),))
    assert rollout_for([], after(FIVE, planned())) is None
    assert released_to([], after(FIVE, planned()), 7, None) == 5  # whoever tests the version is brought back as ever
    assert after(*RUNNING).rollouts == (Rollout(R, 7, share=PLACES),)
    sized = RolloutStageSized(P, R, 0, 17, None)
    assert after(*RUNNING, sized, began(stage=1, share=99)).rollouts == (Rollout(R, 7, stage=1, share=99),)


@pytest.mark.parametrize(
    ("event", "turn_counts", "keeps"),
    [
        (RolloutStageSized(P, R, 0, 5, None), True, True),
        (RolloutPaused(P, R, "failed", "too many"), False, True),
        (RolloutCancelled(P, R, "no more"), False, True),
        (RolloutCompleted(P, R), True, True),  # the release is in the same append
        (RolloutRolledBack(P, R, None, "bad"), False, False),
    ],
)
def test_what_is_decided_of_a_rollout_is_one_event_whatever_turns_were_given(
    event: Any, turn_counts: bool, keeps: bool
):
    releases = after(*RUNNING, event)
    assert released_to([], releases, 5, R) == (7 if turn_counts else 5)
    assert released_to([], releases, 7, None) == (7 if keeps else 5)


def test_a_pause_says_which_gate_and_going_on_is_counted():
    paused = after(*RUNNING, RolloutPaused(P, R, "dark", "gone")).rollouts[0]
    assert (paused.state, paused.gate) == ("paused", "dark")
    resumed = after(*RUNNING, RolloutPaused(P, R, "dark", "gone"), RolloutResumed(P, R)).rollouts[0]
    assert (resumed.state, resumed.gate, resumed.resumed) == ("running", None, 1)


def test_one_that_is_over_stays_until_a_release_at_its_level_supersedes_it():
    over = (*RUNNING, RolloutCancelled(P, R, ""))
    assert after(*over, FirmwareReleasedToGroups(P, 6, ["lab"], [], False)).rollouts
    assert after(*over, FirmwareReleased(P, 8, 5, False)) == Releases(8)
    assert after(*over, ReleaseWithdrawn(P, 5)).rollouts  # who runs it keeps it all the same
    assert after(FIVE, planned(), RolloutCancelled(P, R, "")) == Releases(5)  # it never began


def test_a_release_to_some_groups_supersedes_it_in_those_alone():
    over = (FIVE, planned(groups=("lab", "hall")), began(), RolloutCancelled(P, R, ""))
    assert after(*over, FirmwareReleased(P, 8, 5, False)).rollouts[0].groups == ("lab", "hall")
    assert after(*over, FirmwareReleasedToGroups(P, 6, ["lab"], [], False)).rollouts[0].groups == ("hall",)
    assert not after(*over, FirmwareReleasedToGroups(P, 6, ["lab", "hall"], [], False)).rollouts
    lab = FirmwareReleasedToGroups(P, 6, ["lab"], [], False)
    again = after(FIVE, lab, *over[1:], FirmwareReleasedToGroups(P, 6, ["attic", "lab"], [], False))
    assert again.rollouts[0].groups == ("lab", "hall")  # nothing else is released to them than before
    running = (FIVE, planned(groups=("lab", "hall")), began())
    assert after(*running, FirmwareReleasedToGroups(P, 6, ["lab"], [], False)).rollouts[0].groups == ("lab", "hall")


def test_completed_it_is_a_release():
    releases = after(*RUNNING, RolloutCompleted(P, R), FirmwareReleased(P, 7, 5, False))
    assert releases == Releases(7)


def test_completed_to_groups_it_is_a_release_also_where_some_had_the_version_already():
    lab = FirmwareReleasedToGroups(P, 7, ["lab"], [], False)
    both = FirmwareReleasedToGroups(P, 7, ["hall", "lab"], [], False)
    releases = after(FIVE, lab, planned(groups=("lab", "hall")), began(), RolloutCompleted(P, R), both)
    assert releases == Releases(5, {"hall": 7, "lab": 7})


def test_a_rollout_follows_its_groups():
    releases = after(FIVE, planned(groups=("lab", "hall")), began(), RolloutRegrouped(P, R, ["attic", "hall"]))
    assert releases.rollouts[0].groups == ("attic", "hall")


def test_the_newest_rollout_stands_before_one_that_was_cancelled():
    releases = after(*RUNNING, RolloutCancelled(P, R, ""), planned(OTHER, 8), began(OTHER, 8))
    assert released_to([], releases, 7, None) == 7
    assert released_to([], releases, 7, OTHER) == 8
    assert rollout_for([], releases) == Rollout(OTHER, 8, share=PLACES)


def test_so_many_that_are_over_are_kept_and_no_more():
    events: list[Any] = [FIVE]
    for number in range(MOST_OVER + 5):
        rollout_id = f"{number:024x}"
        events += [planned(rollout_id, 7), began(rollout_id), RolloutCancelled(P, rollout_id, "")]
    rollouts = after(*events).rollouts
    assert len(rollouts) == MOST_OVER
    assert rollouts[0].rollout_id == f"{MOST_OVER + 4:024x}"


def test_what_decides_nothing_is_no_event_of_the_fold():
    assert RolloutHeld not in RELEASE_EVENTS
