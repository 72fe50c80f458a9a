from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.firmware.rollouts.course import Course, State
from services.firmware.rollouts.turns import Candidate, Figures, Outcome, Turns, end, first_turns_left, forgotten, give
from shared.events.rollouts import RolloutTurnsEnded, RolloutTurnsGiven
from shared.rollout_plans import planned
from shared.store.port import Position

P, R = 1000, "a" * 24
NOON = datetime(2030, 1, 7, 12, tzinfo=UTC)


def ids(*numbers: int) -> list[str]:
    return [f"{number:024x}" for number in numbers]


def course(allowed: int | None = 10, state: State = "running", stage: int = 0, **given: Any) -> Course:
    return Course(planned(P, R, {"version": 7, **given}), state=state, stage=stage, allowed=allowed)


def waiting(*numbers: int, again: bool = False) -> list[Candidate]:
    return [Candidate(device_id, again) for device_id in ids(*numbers)]


def after(*events: RolloutTurnsGiven | RolloutTurnsEnded, at: datetime = NOON) -> Turns:
    turns = Turns()
    for position, event in enumerate(events, 1):
        turns.apply(event, at, Position(position))
    return turns


def given(*numbers: int, again: tuple[int, ...] = ()) -> RolloutTurnsGiven:
    return RolloutTurnsGiven(P, R, 7, 0, ids(*numbers), ids(*again))


def ended(**outcomes: tuple[int, ...]) -> RolloutTurnsEnded:
    all_of_them: dict[str, tuple[int, ...]] = {"succeeded": (), "failed": (), "dark": (), "left": (), **outcomes}
    return RolloutTurnsEnded(P, R, **{outcome: ids(*numbers) for outcome, numbers in all_of_them.items()})


def test_those_that_wait_get_their_turn_in_their_order():
    assert give(Turns(), course(), waiting(3, 1, 2), NOON) == given(3, 1, 2)
    assert give(Turns(), course(), [], NOON) is None


def test_never_more_are_under_way_than_may_be():
    turns = after(given(1, 2))
    assert give(turns, course(at_once=3), waiting(3, 4), NOON) == given(3)
    assert give(after(given(1, 2), ended(left=(1,))), course(at_once=2), waiting(3, 4), NOON) == given(3)
    assert give(turns, course(at_once=2), waiting(3), NOON) is None


def test_a_device_whose_turn_has_not_ended_gets_no_other():
    assert give(after(given(1)), course(), waiting(1, 2), NOON) == given(2)


def test_never_more_than_the_stage_allows_have_a_turn_and_who_had_one_may_have_it_again():
    turns = after(given(1, 2), ended(succeeded=(1,), failed=(2,)))
    assert first_turns_left(turns, course(allowed=3)) == 1
    assert give(turns, course(allowed=3), waiting(3, 4), NOON) == given(3)
    assert give(turns, course(allowed=2), [*waiting(3), *waiting(2, again=True)], NOON) == given(again=(2,))
    assert give(turns, course(allowed=1), waiting(3), NOON) is None  # the stage became smaller
    assert give(turns, course(allowed=None), waiting(3, 4), NOON) == given(3, 4)


@pytest.mark.parametrize("state", ["planned", "held", "paused", "cancelled", "rolled_back", "completed"])
def test_turns_are_given_while_it_runs_and_not_otherwise(state: State):
    assert give(Turns(), course(state=state), waiting(1), NOON) is None
    assert give(Turns(), course(stage=-1), waiting(1), NOON) is None


def test_turns_are_given_within_windows_and_not_too_many_an_hour():
    assert give(Turns(), course(windows=[{"from": "12:00", "until": "13:00"}]), waiting(1), NOON) is not None
    assert give(Turns(), course(windows=[{"from": "13:00", "until": "14:00"}]), waiting(1), NOON) is None
    turns = after(given(1, 2), ended(left=(1, 2)), given(again=(1,)))
    later = NOON + timedelta(minutes=59)
    assert give(turns, course(per_hour=4), waiting(3, 4), later) == given(3)
    assert give(turns, course(per_hour=3), waiting(3, 4), later) is None
    assert give(turns, course(per_hour=3), waiting(3, 4), NOON + timedelta(hours=1)) == given(3, 4)


def test_an_event_names_a_bounded_number_of_devices():
    event = give(Turns(), course(allowed=None, at_once=1_000), waiting(*range(700)), NOON)
    assert event is not None
    assert len(event.devices) == 500
    turns = after(event)
    outcomes: dict[str, Outcome] = dict.fromkeys(ids(*range(700)), "left")
    told = end(turns, course(), outcomes)
    assert told is not None
    assert len(told.left) == 500


def test_only_turns_that_are_under_way_end_but_late_success_is_news():
    turns = after(given(1, 2), ended(dark=(1,)))
    outcomes: dict[str, Outcome] = dict(zip(ids(1, 2, 3), ("succeeded", "failed", "left"), strict=True))
    assert end(turns, course(), outcomes) == ended(succeeded=(1,), failed=(2,))
    assert end(turns, course(), dict.fromkeys(ids(1), "failed")) is None


def test_a_gate_counts_devices_and_not_their_attempts():
    turns = after(
        given(1, 2, 3), ended(failed=(1,), dark=(2,)), given(again=(1,)), ended(failed=(1,)), ended(succeeded=(2, 3))
    )
    assert turns.figures() == Figures(succeeded=2, failed=1, dark=0)
    assert turns.figures().known == 3


def test_what_was_counted_before_it_was_resumed_is_not_counted_again():
    turns = after(given(1, 2, 3, 4), ended(failed=(1,), succeeded=(2,)), ended(failed=(3,)), ended(succeeded=(4,)))
    assert turns.figures(Position(2)) == Figures(1, 1, 0)
    assert turns.figures(Position(4)) == Figures(0, 0, 0)


def test_what_is_under_way_for_too_long_is_known():
    turns = after(given(1, 2))
    assert forgotten(turns, NOON) == []
    assert forgotten(turns, NOON + timedelta(seconds=1)) == ids(1, 2)
