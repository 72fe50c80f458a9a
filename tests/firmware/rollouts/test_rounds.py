from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.firmware.rollouts import control
from services.firmware.rollouts.course import Course
from services.firmware.rollouts.moments import Moments
from services.firmware.rollouts.rounds import (
    SETTLE_S,
    Errors,
    deadlines,
    in_all,
    next_step,
    stop,
    tripped,
)
from services.firmware.rollouts.turns import Figures, Turns
from shared.events.rollouts import RolloutGates, RolloutStage, RolloutTurnsEnded, RolloutTurnsGiven
from shared.rollout_plans import planned
from shared.store.port import Position

P, R = 1000, "a" * 24
NOON = datetime(2030, 1, 7, 12, tzinfo=UTC)
STAGES = [{"devices": 3, "soak_s": 600}, {"percent": 50, "hold": True, "soak_s": 600}, {"percent": 100, "soak_s": 600}]
GATES = RolloutGates(20, 20, 600, 200, 5, "pause")
BEGAN = Moments(stage_at=NOON)


def course(**given: Any) -> Course:
    plan = planned(P, R, {"version": 7, "stages": STAGES, "gates": {"at_least": 2}})
    return replace(Course(plan, state="running", stage=0, approved=0, share=9, allowed=3), **given)


def turns(succeeded: int = 0, in_flight: int = 0, stage: int = 0) -> Turns:
    one = Turns()
    ids = [f"{number:024x}" for number in range(succeeded + in_flight)]
    one.apply(RolloutTurnsGiven(P, R, 7, stage, ids, []), NOON, Position(1))
    one.apply(RolloutTurnsEnded(P, R, ids[:succeeded], [], [], []), NOON, Position(2))
    return one


def after(seconds: int) -> datetime:
    return NOON + timedelta(seconds=seconds)


def test_a_stage_that_is_through_and_was_watched_is_followed_by_the_next():
    done = turns(succeeded=3)
    held = course()
    assert next_step(held, BEGAN, done, False, after(599)) is None
    assert next_step(held, BEGAN, done, False, after(600)) == "hold"
    assert next_step(replace(held, approved=1), BEGAN, done, False, after(600)) == "begin"
    assert next_step(replace(held, state="held"), BEGAN, done, False, after(600)) is None


def test_a_stage_is_watched_from_its_last_turn():
    done = turns(succeeded=3)
    done.moved_at = after(300)
    assert next_step(course(), BEGAN, done, False, after(899)) is None
    assert next_step(course(), BEGAN, done, False, after(900)) == "hold"


@pytest.mark.parametrize(
    ("so_far", "someone_waits"),
    [
        (turns(succeeded=2, in_flight=1), False),
        (turns(succeeded=2), True),
        (turns(succeeded=1), False),  # too few to judge by
        (turns(), False),
    ],
)
def test_a_stage_is_not_through_while_something_is_under_way_or_without_evidence(so_far: Turns, someone_waits: bool):
    assert next_step(course(), BEGAN, so_far, someone_waits, after(9_999)) is None


def test_a_stage_that_is_for_nobody_is_through():
    assert next_step(course(allowed=0), BEGAN, turns(), False, after(600)) == "hold"


def test_each_stage_shows_its_own_evidence():
    second = course(stage=1, allowed=10)
    assert next_step(second, BEGAN, turns(succeeded=3, stage=0), False, after(9_999)) is None
    assert next_step(second, BEGAN, turns(succeeded=3, stage=1), False, after(9_999)) == "begin"


def test_the_last_stage_is_watched_from_its_beginning_and_then_it_is_complete():
    last = course(stage=2, allowed=None)
    late = turns(succeeded=3)
    late.moved_at = after(590)
    assert next_step(last, BEGAN, late, False, after(599)) is None
    assert next_step(last, BEGAN, late, False, after(600)) == "complete"
    assert next_step(last, BEGAN, turns(in_flight=1), False, after(600)) is None


def test_every_stage_takes_a_moment_so_that_devices_can_ask():
    one = planned(P, R, {"version": 7, "stages": [{"percent": 100, "soak_s": 0}]})
    last = replace(course(), plan=one, allowed=None)
    assert next_step(last, BEGAN, Turns(), False, after(SETTLE_S - 1)) is None
    assert next_step(last, BEGAN, Turns(), False, after(SETTLE_S)) == "complete"


def test_the_first_stage_begins_when_it_is_approved():
    assert next_step(course(stage=-1), Moments(), Turns(), False, NOON) == "begin"
    assert next_step(course(stage=-1, approved=-1), Moments(), Turns(), False, NOON) is None
    assert next_step(course(stage=-1, state="paused"), Moments(), Turns(), False, NOON) is None


@pytest.mark.parametrize(
    ("figures", "away", "gate"),
    [
        (Figures(4, 1, 0), 0, "failed"),
        (Figures(3, 1, 0), 0, None),  # the fate of too few is known
        (Figures(8, 1, 0), 0, None),
        (Figures(5, 0, 2), 0, "dark"),
        (Figures(10, 0, 1), 2, "dark"),
        (Figures(10, 0, 1), 1, None),
        (Figures(0, 0, 0), 0, None),
    ],
)
def test_a_gate_trips_at_its_share_of_the_devices_that_are_known(figures: Figures, away: int, gate: str | None):
    found = tripped(GATES, figures, away, None)
    assert (None if found is None else found[0]) == gate


def test_a_gate_that_nobody_wants_does_not_trip():
    assert tripped(RolloutGates(None, None, 600, None, 1, "pause"), Figures(0, 9, 9), 9, Errors(9, 9, 0, 9)) is None


@pytest.mark.parametrize(
    ("errors", "trips"),
    [
        (Errors(20, 10, 10, 10), True),
        (Errors(19, 10, 10, 10), False),
        (Errors(20, 4, 1, 10), False),  # too few devices
        (Errors(20, 10, 0, 0), False),  # nothing to compare with
        (Errors(2, 10, 0, 10), True),
        (Errors(1, 10, 0, 10), False),
    ],
)
def test_errors_are_compared_device_for_device(errors: Errors, trips: bool):
    found = tripped(GATES, Figures(9, 0, 0), 0, errors)
    assert (found is not None) is trips
    assert found is None or found[0] == "errors"


def test_a_gate_pauses_or_rolls_back_as_it_was_planned():
    assert stop(course(), "dark", "why") == control.PauseRollout(R, "why", "dark")
    back = planned(P, R, {"version": 7, "gates": {"then": "roll_back"}})
    assert stop(replace(course(), plan=back), "dark", "why") == control.RollBackRollout(R, "why", "dark")


def test_turns_that_are_broken_off_end_soon_and_what_is_applied_is_waited_for():
    runs = {one.state: one.seconds for one in deadlines(course())}
    stands = {one.state: one.seconds for one in deadlines(course(state="paused"))}
    assert stands["given"] < runs["given"]
    assert stands["updating"] < runs["updating"]
    assert stands["applying"] == runs["applying"]


@pytest.mark.parametrize(
    ("percent", "devices", "eligible", "succeeded", "allowed"),
    [
        (10, None, 1_000, 0, 100),
        (50, None, 900, 100, 500),  # of all, not of those that are left
        (10, None, 9, 0, 1),
        (10, None, 0, 0, 0),
        (33, None, 10, 0, 3),
        (None, 5, 3, 0, 3),
        (None, 5, 100, 4, 5),
        (100, None, 10, 0, None),
    ],
)
def test_a_stage_comes_to_an_exact_number(
    percent: int | None, devices: int | None, eligible: int, succeeded: int, allowed: int | None
):
    assert in_all(RolloutStage(percent, devices, False, 0), eligible, succeeded) == allowed
