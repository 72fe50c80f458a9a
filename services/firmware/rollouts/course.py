"""The course of a roll-out: what its events in stream ``firmware-<product id>`` make true (FW-6, decision 27). Pure.

=============  ===========================================================  ==========================================
state          means                                                        goes on to
=============  ===========================================================  ==========================================
planned        waits for approval                                           running, cancelled
running        its stage gives turns; stage -1: it is being prepared        held, paused, completed, and the two below
held           its stage is through, the next one waits for approval        running, paused, and the two below
paused         nobody gets a turn                                           what it was, and the two below
cancelled      over; who runs the version keeps it                          rolled_back
rolled_back    over; who runs the version gets back what is released        -
completed      it is a release                                              -
=============  ===========================================================  ==========================================
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, assert_never

import msgspec

from shared.events.rollouts import (
    RolloutApproved,
    RolloutCancelled,
    RolloutCompleted,
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

State = Literal["planned", "running", "held", "paused", "cancelled", "rolled_back", "completed"]
UNFINISHED: frozenset[State] = frozenset({"planned", "running", "held", "paused"})

Event = (
    RolloutPlanned
    | RolloutStageBegan
    | RolloutStageSized
    | RolloutHeld
    | RolloutApproved
    | RolloutPaused
    | RolloutResumed
    | RolloutCancelled
    | RolloutRolledBack
    | RolloutCompleted
    | RolloutRegrouped
)


@dataclass(frozen=True, slots=True)
class Course:
    """One roll-out. ``stage`` is the one that began last, ``approved`` the last that somebody approved, -1 before the
    first; ``goes_on_as``: what it is when it is resumed; ``groups`` those that it still stands for, after it was
    cancelled and something else was released to some; ``superseded``: it stands for nothing any more."""

    plan: RolloutPlanned
    state: State = "planned"
    stage: int = -1
    approved: int = -1
    goes_on_as: State = "running"
    share: int = 0
    allowed: int | None = 0
    superseded: bool = False

    @property
    def groups(self) -> frozenset[str]:
        """None: it stands for the product's default."""
        return frozenset(self.plan.groups)

    @property
    def is_last(self) -> bool:
        """Whether the last stage began."""
        return self.stage == len(self.plan.stages) - 1

    @property
    def following(self) -> RolloutStage | None:
        """The stage behind the one that began last."""
        return None if self.is_last else self.plan.stages[self.stage + 1]


Courses = Mapping[str, Course]
"""All roll-outs of a product by their id."""


def evolve(courses: Courses, event: Event) -> dict[str, Course]:
    """What the event makes true."""
    if isinstance(event, RolloutPlanned):
        return {**courses, event.rollout_id: Course(event)}
    return {**courses, event.rollout_id: _evolve(courses[event.rollout_id], event)}


def _evolve(course: Course, event: Event) -> Course:
    match event:
        case RolloutPlanned():
            return Course(event)
        case RolloutApproved(_, _, stage):
            return replace(course, state="running", approved=stage)
        case RolloutStageBegan():
            return replace(course, stage=event.stage, share=event.share, allowed=event.allowed)
        case RolloutStageSized():
            return replace(course, share=event.share, allowed=event.allowed)
        case RolloutHeld():
            return replace(course, state="held")
        case RolloutPaused():
            return replace(course, state="paused", goes_on_as=course.state)
        case RolloutResumed():
            return replace(course, state=course.goes_on_as)
        case RolloutCancelled():
            return replace(course, state="cancelled")
        case RolloutRolledBack():
            return replace(course, state="rolled_back")
        case RolloutCompleted():
            return replace(course, state="completed")
        case RolloutRegrouped(_, _, groups):
            return replace(course, plan=msgspec.structs.replace(course.plan, groups=groups))
        case _:
            assert_never(event)


def superseded(courses: Courses, groups: frozenset[str]) -> Courses:
    """The roll-outs after what is released to these groups changed, or the default if there are none: one that was
    cancelled decides nothing there any more."""
    return {rollout_id: _superseded(course, groups) for rollout_id, course in courses.items()}


def _superseded(course: Course, groups: frozenset[str]) -> Course:
    if course.state != "cancelled" or course.superseded:
        return course
    if not course.groups:
        return course if groups else replace(course, superseded=True)
    left = sorted(course.groups - groups)
    if not left:
        return replace(course, superseded=True)
    return replace(course, plan=msgspec.structs.replace(course.plan, groups=left))
