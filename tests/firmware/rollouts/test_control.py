from __future__ import annotations

from typing import Any

import msgspec
import pytest

from services.firmware import versions as v
from services.firmware.rollouts import control as c
from services.firmware.versions import Versions, decide, evolve
from shared.errors import NotFound, Refused
from shared.events import rollouts as r
from shared.events.firmware import FirmwareReleased, FirmwareReleasedToGroups, VersionFirstRan, VersionUploaded
from shared.rollout_plans import planned

P, R, OTHER = 1000, "a" * 24, "b" * 24
DEVICE = "53ff6f066667574834212367"


def uploaded(version: int) -> VersionUploaded:
    return VersionUploaded(P, version, f"v{version}", "", "f.bin", 1, "0" * 64, "anna@example.com", "a" * 24)


def plan(version: int = 7, rollout_id: str = R, **given: Any) -> r.RolloutPlanned:
    return planned(P, rollout_id, {"version": version, **given})


def after(*steps: Any) -> Versions:
    """Versions 5, 6 and 7 ran, 5 is released; then these events and commands."""
    state = Versions()
    for version in (5, 6, 7):
        state = evolve(evolve(state, uploaded(version)), VersionFirstRan(P, version, DEVICE))
    state = evolve(state, FirmwareReleased(P, 5, None, False))
    for step in steps:
        for event in [step] if isinstance(step, msgspec.Struct) else decide(state, step):
            state = evolve(state, event)
    return state


def refusal(state: Versions, command: v.Command) -> str:
    with pytest.raises(Refused) as refused:
        decide(state, command)
    return refused.value.code


def course(state: Versions, rollout_id: str = R) -> c.Course:
    return state.rollouts[rollout_id]


PLAN, APPROVE = c.PlanRollout(plan()), c.ApproveRollout(R)
BEGIN = c.BeginStage(R, 0, 100, 1)
RUNNING = after(PLAN, APPROVE, BEGIN)
LAST = after(PLAN, APPROVE, BEGIN, c.BeginStage(R, 1, 200, 10), c.BeginStage(R, 2, 2**52, None))


def test_a_plan_waits_for_approval():
    state = after(PLAN)
    assert course(state).state == "planned"
    assert decide(state, BEGIN) == []
    assert decide(state, APPROVE) == [r.RolloutApproved(P, R, 0)]
    assert decide(after(PLAN, APPROVE), BEGIN) == [r.RolloutStageBegan(P, R, 7, 0, 100, 1)]


def test_only_a_version_that_ran_is_rolled_out():  # FW-5
    assert refusal(evolve(Versions(), uploaded(7)), PLAN) == "firmware_not_running"
    with pytest.raises(NotFound):
        decide(Versions(), PLAN)


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"stages": []}, "no_stages"),
        ({"stages": [{"percent": 50}]}, "last_stage_not_all"),
        ({"stages": [{"devices": 5}]}, "last_stage_not_all"),
        ({"stages": [{"percent": 50}, {"percent": 50}, {"percent": 100}]}, "stages_do_not_rise"),
        ({"stages": [{"devices": 5}, {"percent": 10}, {"devices": 4}, {"percent": 100}]}, "stages_do_not_rise"),
        ({"windows": [{"from": "08:00", "until": "08:00"}]}, "window_empty"),
        ({"version": 5}, "already_released"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(given: dict[str, Any], code: str):
    assert refusal(after(), c.PlanRollout(plan(**{"version": 7, **given}))) == code


def test_an_id_is_used_once():
    assert refusal(after(PLAN), PLAN) == "rollout_exists"


def test_a_second_rollout_and_a_release_at_the_same_level_are_refused():
    second = c.PlanRollout(plan(6, OTHER))
    for state in (after(PLAN), RUNNING, after(PLAN, APPROVE, BEGIN, c.PauseRollout(R))):
        assert refusal(state, second) == "rollout_active"
        assert refusal(state, v.ReleaseVersion(P, 6)) == "rollout_active"
        assert refusal(state, v.WithdrawRelease(P, 5)) == "rollout_active"
        assert decide(state, v.ReleaseVersion(P, 5)) == []
        assert decide(state, v.ReleaseToGroups(P, 6, frozenset({"lab"}))) != []
    assert decide(after(PLAN, c.CancelRollout(R)), second) == [second.plan]


def test_a_group_is_a_level_of_its_own():
    to_groups = c.PlanRollout(plan(7, OTHER, groups=["lab", "hall"]))
    state = after(PLAN, to_groups)
    assert refusal(state, v.ReleaseToGroups(P, 6, frozenset({"lab", "attic"}))) == "rollout_active"
    assert refusal(state, c.PlanRollout(plan(6, "c" * 24, groups=["hall"]))) == "rollout_active"
    assert decide(state, v.ReleaseToGroups(P, 6, frozenset({"attic"}))) != []
    released = after(v.ReleaseToGroups(P, 6, frozenset({"lab"})), to_groups)
    assert refusal(released, v.ReleaseToGroups(P, 6, frozenset())) == "rollout_active"


def test_operators_stop_it_at_any_moment_and_mean_it():
    assert decide(RUNNING, c.PauseRollout(R, "hm")) == [r.RolloutPaused(P, R, None, "hm")]
    paused = after(PLAN, APPROVE, BEGIN, c.PauseRollout(R))
    assert decide(paused, c.PauseRollout(R)) == []
    assert decide(paused, c.BeginStage(R, 1, 200, 10)) == []
    assert refusal(paused, APPROVE) == "rollout_paused"
    assert decide(paused, c.ResumeRollout(R)) == [r.RolloutResumed(P, R)]
    for stopped in (RUNNING, paused):
        assert decide(stopped, c.CancelRollout(R, "no")) == [r.RolloutCancelled(P, R, "no")]
        assert decide(stopped, c.RollBackRollout(R, "bad")) == [r.RolloutRolledBack(P, R, None, "bad")]
    assert decide(RUNNING, c.ResumeRollout(R)) == []


def test_what_is_not_there_or_not_begun_or_over_says_so():
    with pytest.raises(NotFound):
        decide(after(), APPROVE)
    for command in (c.PauseRollout(R), c.ResumeRollout(R), c.RollBackRollout(R)):
        assert refusal(after(PLAN), command) == "rollout_not_begun"
    cancelled = after(PLAN, APPROVE, BEGIN, c.CancelRollout(R))
    assert decide(cancelled, c.CancelRollout(R)) == []
    for command in (APPROVE, c.PauseRollout(R), c.ResumeRollout(R)):
        assert refusal(cancelled, command) == "rollout_over"
    rolled_back = after(PLAN, APPROVE, BEGIN, c.RollBackRollout(R))
    assert decide(rolled_back, c.RollBackRollout(R)) == []
    assert refusal(rolled_back, c.CancelRollout(R)) == "rollout_over"


def test_a_stage_that_holds_waits_for_approval():
    stages = [{"percent": 1}, {"percent": 10, "hold": True}, {"percent": 100}]
    steps = [c.PlanRollout(plan(stages=stages)), APPROVE, BEGIN]
    state = after(*steps)
    assert decide(state, c.BeginStage(R, 1, 200, 10)) == []
    assert decide(state, APPROVE) == []  # it is what was asked for already
    assert decide(state, c.HoldRollout(R, 0)) == [r.RolloutHeld(P, R, 0)]
    held = [*steps, c.HoldRollout(R, 0)]
    assert decide(after(*held), c.HoldRollout(R, 0)) == []
    paused = after(*held, c.PauseRollout(R), c.ResumeRollout(R))
    assert course(paused).state == "held"
    assert decide(after(*held), APPROVE) == [r.RolloutApproved(P, R, 1)]
    approved = after(*held, APPROVE)
    assert decide(approved, c.HoldRollout(R, 0)) == []
    assert decide(approved, c.BeginStage(R, 1, 200, 10)) != []
    last = after(*held, APPROVE, c.BeginStage(R, 1, 200, 10), c.BeginStage(R, 2, 2**52, None))
    assert refusal(last, APPROVE) == "nothing_to_approve"


def test_what_comes_too_late_changes_nothing():
    assert decide(RUNNING, BEGIN) == []
    assert decide(RUNNING, c.BeginStage(R, 2, 2**52, None)) == []
    assert decide(RUNNING, c.SizeStage(R, 0, 100, 1)) == []
    assert decide(RUNNING, c.SizeStage(R, 1, 100, 2)) == []
    assert decide(RUNNING, c.SizeStage(R, 0, 120, 2)) == [r.RolloutStageSized(P, R, 0, 120, 2)]
    assert decide(LAST, c.SizeStage(R, 2, 120, 2)) == []
    assert decide(RUNNING, c.CompleteRollout(R)) == []


def test_the_last_stage_becomes_a_release_in_the_same_append():
    assert decide(LAST, c.CompleteRollout(R)) == [r.RolloutCompleted(P, R), FirmwareReleased(P, 7, 5, False)]
    done = after(PLAN, APPROVE, BEGIN, c.BeginStage(R, 1, 2, 3), c.BeginStage(R, 2, 2**52, None), c.CompleteRollout(R))
    assert (done.released, course(done).state) == (7, "completed")
    assert refusal(done, c.RollBackRollout(R)) == "rollout_over"


def test_a_rollout_to_groups_is_released_to_them_beside_those_that_have_it():
    one = {"stages": [{"percent": 100}], "groups": ["lab", "hall"]}
    has, takes = v.ReleaseToGroups(P, 7, frozenset({"attic"})), v.ReleaseToGroups(P, 6, frozenset({"lab"}))
    state = after(has, takes, c.PlanRollout(plan(**one)), APPROVE, c.BeginStage(R, 0, 2**52, None))
    assert decide(state, c.CompleteRollout(R)) == [
        r.RolloutCompleted(P, R),
        FirmwareReleasedToGroups(P, 7, ["attic", "hall", "lab"], [6], False),
    ]


def test_there_must_be_something_to_roll_back_to():
    without = evolve(after(), v.ReleaseWithdrawn(P, 5))
    rolls_back = c.PlanRollout(plan(gates={"then": "roll_back"}))
    assert refusal(without, rolls_back) == "nothing_to_roll_back_to"
    running = after(v.WithdrawRelease(P, 5), PLAN, APPROVE, BEGIN)
    assert refusal(running, c.RollBackRollout(R)) == "nothing_to_roll_back_to"
    (paused,) = decide(running, c.RollBackRollout(R, "3 of 10 failed.", "failed"))
    assert isinstance(paused, r.RolloutPaused)
    assert paused.gate == "failed"


def test_a_gate_that_comes_after_somebody_stopped_it_changes_nothing():
    paused = after(PLAN, APPROVE, BEGIN, c.PauseRollout(R))
    assert decide(paused, c.RollBackRollout(R, "x", "failed")) == []
    assert decide(paused, c.PauseRollout(R, "x", "failed")) == []


def test_a_cancelled_rollout_can_be_rolled_back_until_something_else_is_released():
    cancelled = [PLAN, APPROVE, BEGIN, c.CancelRollout(R)]
    assert decide(after(*cancelled), c.RollBackRollout(R)) == [r.RolloutRolledBack(P, R, None, "")]
    assert refusal(after(*cancelled, v.ReleaseVersion(P, 6)), c.RollBackRollout(R)) == "rollout_over"
    elsewhere = after(*cancelled, v.ReleaseToGroups(P, 6, frozenset({"lab"})))
    assert decide(elsewhere, c.RollBackRollout(R)) != []


def test_a_release_to_one_group_supersedes_a_cancelled_rollout_there_alone():
    to_groups = c.PlanRollout(plan(groups=["lab", "hall"]))
    steps = [to_groups, APPROVE, BEGIN, c.CancelRollout(R), v.ReleaseToGroups(P, 6, frozenset({"lab"}))]
    assert course(after(*steps)).groups == {"hall"}
    both = after(*steps, v.ReleaseToGroups(P, 6, frozenset({"lab", "hall"})))
    assert course(both).superseded


def test_rollouts_follow_their_groups():
    to_groups = c.PlanRollout(plan(groups=["lab", "hall"]))
    state = after(to_groups)
    assert decide(state, v.FollowGroup(P, "lab", "attic")) == [r.RolloutRegrouped(P, R, ["attic", "hall"])]
    assert decide(state, v.FollowGroup(P, "lab")) == [r.RolloutRegrouped(P, R, ["hall"])]
    assert decide(state, v.FollowGroup(P, "cellar")) == []
    alone = after(to_groups, v.FollowGroup(P, "lab"))
    assert decide(alone, v.FollowGroup(P, "hall")) == [r.RolloutCancelled(P, R, "group hall was deleted")]


def test_a_version_that_is_rolled_out_is_not_deleted():
    assert refusal(RUNNING, v.DeleteVersion(P, 7)) == "firmware_ran"


def test_a_group_that_loses_its_release_supersedes_a_cancelled_rollout_too():
    has = v.ReleaseToGroups(P, 6, frozenset({"lab"}))
    steps = [has, c.PlanRollout(plan(groups=["lab"])), APPROVE, BEGIN, c.CancelRollout(R)]
    assert not course(after(*steps)).superseded
    assert course(after(*steps, v.ReleaseToGroups(P, 6, frozenset()))).superseded
