"""What is decided of roll-outs: a part of the aggregate of stream ``firmware-<product id>``, so that no release and no
roll-out contradict each other (FW-6, decision 27). Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import assert_never

import msgspec

from services.firmware.rollouts.course import UNFINISHED, Course, Courses, Event
from shared.errors import NotFound, Refused
from shared.events.rollouts import (
    Gate,
    RolloutApproved,
    RolloutCancelled,
    RolloutCompleted,
    RolloutHeld,
    RolloutPaused,
    RolloutPlanned,
    RolloutRegrouped,
    RolloutResumed,
    RolloutRolledBack,
    RolloutStageBegan,
    RolloutStageSized,
)

NO_SUCH_ROLLOUT = "Roll-out not found."
EXISTS = "there is a roll-out of this id already"
NOTHING_BEFORE = "nothing else is released to those devices, so there is nothing to roll back to"


@dataclass(frozen=True, slots=True)
class PlanRollout:
    """Have a roll-out wait for approval."""

    plan: RolloutPlanned


@dataclass(frozen=True, slots=True)
class ApproveRollout:
    """Let it begin, or its next stage if it is held."""

    rollout_id: str


@dataclass(frozen=True, slots=True)
class BeginStage:
    """The coordinator's: as ``RolloutStageBegan``. Changes nothing if it is not that stage's time any more."""

    rollout_id: str
    stage: int
    share: int
    allowed: int | None
    prediction: str | None = None


@dataclass(frozen=True, slots=True)
class SizeStage:
    """The coordinator's: as ``RolloutStageSized``."""

    rollout_id: str
    stage: int
    share: int
    allowed: int | None


@dataclass(frozen=True, slots=True)
class HoldRollout:
    """The coordinator's: this stage is through, and the next one asks for approval."""

    rollout_id: str
    stage: int


@dataclass(frozen=True, slots=True)
class PauseRollout:
    """Stop it for now. ``gate``: what tripped, None if somebody wants it."""

    rollout_id: str
    reason: str = ""
    gate: Gate | None = None


@dataclass(frozen=True, slots=True)
class ResumeRollout:
    """Let it go on where it was."""

    rollout_id: str


@dataclass(frozen=True, slots=True)
class CancelRollout:
    """End it, and touch nobody any more."""

    rollout_id: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class RollBackRollout:
    """End it, and give back what is released. A gate that finds nothing to give back pauses instead."""

    rollout_id: str
    reason: str = ""
    gate: Gate | None = None


@dataclass(frozen=True, slots=True)
class CompleteRollout:
    """The coordinator's: all stages are through. The release that it becomes is decided beside this."""

    rollout_id: str


Command = (
    PlanRollout
    | ApproveRollout
    | BeginStage
    | SizeStage
    | HoldRollout
    | PauseRollout
    | ResumeRollout
    | CancelRollout
    | RollBackRollout
    | CompleteRollout
)


@dataclass(frozen=True, slots=True)
class Released:
    """What is released in the product: to all, and by group."""

    default: int | None
    by_group: Mapping[str, int]

    def to(self, groups: frozenset[str]) -> set[int | None]:
        """What is released to these groups, or as the default if there are none."""
        return {self.by_group.get(group, self.default) for group in groups} or {self.default}


def decide(courses: Courses, released: Released, command: Command) -> list[Event]:
    """What the command means now; an empty list if it changes nothing."""
    if isinstance(command, PlanRollout):
        return _plan(courses, released, command.plan)
    course = courses.get(command.rollout_id)
    if course is None:
        raise NotFound(NO_SUCH_ROLLOUT)
    ids = (course.plan.product_id, command.rollout_id)
    match command:
        case ApproveRollout():
            return _approve(course, ids)
        case BeginStage(_, stage, share, allowed, prediction):
            began = RolloutStageBegan(*ids, course.plan.version, stage, share, allowed, prediction)
            return [began] if stage == course.stage + 1 and may_begin(course) else []
        case SizeStage(_, stage, share, allowed):
            is_other = (share, allowed) != (course.share, course.allowed)
            fits = course.state in UNFINISHED and stage == course.stage >= 0 and not course.is_last
            return [RolloutStageSized(*ids, stage, share, allowed)] if fits and is_other else []
        case HoldRollout(_, stage):
            return [RolloutHeld(*ids, stage)] if stage == course.stage and must_hold(course) else []
        case PauseRollout(_, reason, gate):
            _must_be_under_way(course)
            return [] if course.state == "paused" else [RolloutPaused(*ids, gate, reason)]
        case ResumeRollout():
            _must_be_under_way(course)
            return [RolloutResumed(*ids)] if course.state == "paused" else []
        case CancelRollout(_, reason):
            return _cancel(course, ids, reason)
        case RollBackRollout():
            return _roll_back(course, ids, released, command)
        case CompleteRollout():
            return [RolloutCompleted(*ids)] if course.state == "running" and course.is_last else []
        case _:
            assert_never(command)


def may_begin(course: Course) -> bool:
    """Whether the next stage may begin as far as approval goes."""
    following = course.following
    if course.state != "running" or following is None:
        return False
    return course.approved > course.stage if course.stage < 0 or following.hold else True


def must_hold(course: Course) -> bool:
    """Whether the next stage waits for approval."""
    following = course.following
    return course.state == "running" and following is not None and following.hold and course.approved <= course.stage


def _plan(courses: Courses, released: Released, plan: RolloutPlanned) -> list[Event]:
    known = courses.get(plan.rollout_id)
    if known is not None:
        raise Refused("rollout_exists", EXISTS)
    _check(plan)
    groups = frozenset(plan.groups)
    must_be_free(courses, groups)
    before = released.to(groups)
    if before == {plan.version}:
        raise Refused("already_released", f"version {plan.version} is what is released to those devices")
    if plan.gates.then == "roll_back" and None in before:
        raise Refused("nothing_to_roll_back_to", f"{NOTHING_BEFORE}: let its gates pause it")
    return [msgspec.structs.replace(plan, groups=sorted(groups))]


def _check(plan: RolloutPlanned) -> None:
    """What a plan must be in itself."""
    if not plan.stages:
        raise Refused("no_stages", "a roll-out needs a stage at least: the last one is for 100 %")
    for number, stage in enumerate(plan.stages, 1):
        if (stage.percent is None) is (stage.devices is None):
            raise Refused("stage_unclear", f"stage {number} must be for a percentage or for a number of devices")
    if plan.stages[-1].percent != 100:
        raise Refused("last_stage_not_all", "the last stage must be for 100 %")
    for name in ("percent", "devices"):
        sizes = [size for stage in plan.stages if (size := getattr(stage, name)) is not None]
        if any(size <= before for before, size in pairwise(sizes)):
            raise Refused("stages_do_not_rise", "each stage must be for more devices than the one before")
    for number, window in enumerate(plan.windows, 1):
        if not window.days or window.from_minute == window.until_minute:
            raise Refused("window_empty", f"window {number} has no day, or no minute")


def must_be_free(courses: Courses, groups: frozenset[str]) -> None:
    """Raises ``Refused`` ``rollout_active`` if an unfinished roll-out stands for one of these groups, or for the
    product's default if there are none."""
    for course in courses.values():
        if course.state in UNFINISHED and (course.groups & groups or not (course.groups or groups)):
            where = f"to group {min(course.groups & groups)}" if groups else "to all devices of the product"
            reason = f"version {course.plan.version} is being rolled out {where}: cancel that roll-out first"
            raise Refused("rollout_active", reason)


def _approve(course: Course, ids: tuple[int, str]) -> list[Event]:
    if course.state not in UNFINISHED:
        raise _over(course)
    if course.state == "paused":
        raise Refused("rollout_paused", "the roll-out is paused: resume it first")
    if course.state in ("planned", "held"):
        return [RolloutApproved(*ids, course.stage + 1)]
    if course.approved < max(course.stage, 0):
        raise Refused("nothing_to_approve", "no stage of the roll-out waits for approval")
    return []


def _cancel(course: Course, ids: tuple[int, str], reason: str) -> list[Event]:
    if course.state == "cancelled":
        return []
    if course.state not in UNFINISHED:
        raise _over(course)
    return [RolloutCancelled(*ids, reason)]


def _roll_back(course: Course, ids: tuple[int, str], released: Released, command: RollBackRollout) -> list[Event]:
    if course.state == "rolled_back":
        return []
    if course.state == "completed" or course.superseded:
        raise _over(course)
    if command.gate is not None and course.state not in ("running", "held"):
        return []
    if course.stage < 0:
        raise Refused("rollout_not_begun", "the roll-out has not begun: cancel it")
    if None not in released.to(course.groups):
        return [RolloutRolledBack(*ids, command.gate, command.reason)]
    if command.gate is None:
        raise Refused("nothing_to_roll_back_to", f"{NOTHING_BEFORE}: cancel it, or release another version")
    return [RolloutPaused(*ids, command.gate, f"{command.reason} Paused: {NOTHING_BEFORE}."[:512])]


def _must_be_under_way(course: Course) -> None:
    if course.state == "planned":
        raise Refused("rollout_not_begun", "the roll-out waits for approval")
    if course.state not in UNFINISHED:
        raise _over(course)


def _over(course: Course) -> Refused:
    words = {"cancelled": "was cancelled", "rolled_back": "was rolled back"}.get(course.state, "is a release by now")
    return Refused("rollout_over", f"the roll-out {words}; release a version, or plan another roll-out")


def follow(courses: Courses, name: str, renamed: str | None) -> list[Event]:
    """A group is gone, or called something else: roll-outs to it go with it, and one to nothing else ends."""
    return [event for course in courses.values() for event in _follow(course, name, renamed)]


def _follow(course: Course, name: str, renamed: str | None) -> Iterator[Event]:
    if name not in course.groups or course.state in ("rolled_back", "completed") or course.superseded:
        return
    ids = (course.plan.product_id, course.plan.rollout_id)
    groups = sorted((course.groups - {name}) | ({renamed} if renamed is not None else set()))
    if groups:
        yield RolloutRegrouped(*ids, groups)
    elif course.state != "cancelled":
        yield RolloutCancelled(*ids, f"group {name} was deleted")
