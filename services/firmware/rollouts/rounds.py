"""What is to be done for a roll-out now (FW-6): turns that end, gates, the next stage. Pure; ``coordinator`` does it.

A stage is through when nothing is under way, nobody waits who may have a turn, and it was watched for long enough; a
stage before the last also needs evidence: ``at_least`` turns of its own, or as many as it allows, and a fate that is
known. Devices that are not online are not waited for. The last stage is watched from its beginning; whoever is offline
then gets the version by the release that the roll-out becomes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from services.firmware.rollouts import control
from services.firmware.rollouts.course import Course
from services.firmware.rollouts.moments import Moments
from services.firmware.rollouts.turns import Figures, Outcome, Turns
from shared.events.rollouts import Gate, RolloutGates, RolloutStage

NOT_BEGUN_S = 900
"""So long a device may have its turn before an update begins; then another has it."""
SILENT_S = 3_600
"""The same between two words of an update that is on its way; its gateway notices sooner."""
LEFT_S = 30
"""So long a device that went before it applied anything may come back to its turn."""
UNWATCHED_S = 60
"""A device with a turn of which the view knows nothing, because it asked in another roll-out in the same moment."""
TURN_S = 93_600
"""No gateway waits for longer than 25 hours for a device that is applying an update."""
SETTLE_S = 15
"""A stage takes this long at least, so that devices can ask for their turn."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """Rows of view ``rollout_watch`` in this state, and offline if that is asked for, end so when nothing was heard of
    the device for so long."""

    state: str
    seconds: int
    outcome: Outcome
    offline: bool = False


def deadlines(course: Course) -> Iterator[Deadline]:
    """When turns end without a word. One that is broken off, because the roll-out stands or is over, ends soon."""
    runs = course.state in ("running", "held")
    yield Deadline("leaving", LEFT_S, "left")
    yield Deadline("given", NOT_BEGUN_S if runs else LEFT_S, "left")
    yield Deadline("updating", SILENT_S if runs else LEFT_S, "left")
    yield Deadline("lost", course.plan.gates.dark_after_s, "dark")
    yield Deadline("applying", course.plan.gates.dark_after_s, "dark", offline=True)
    yield Deadline("applying", TURN_S, "dark")


@dataclass(frozen=True, slots=True)
class Errors:
    """Errors and devices on the new version, and on the others."""

    errors: int
    devices: int
    others_errors: int
    others_devices: int


def tripped(gates: RolloutGates, figures: Figures, away: int, errors: Errors | None) -> tuple[Gate, str] | None:
    """The gate that stops the roll-out, and why. ``away``: devices that succeeded, and are not heard of since."""
    if figures.known >= gates.at_least:
        dark = figures.dark + away
        for gate, count, percent in (
            ("failed", figures.failed, gates.failed_percent),
            ("dark", dark, gates.dark_percent),
        ):
            if percent is not None and count and 100 * count >= percent * figures.known:
                what = "failed" if gate == "failed" else "are not heard of any more"
                reason = f"{count} of {figures.known} devices {what}; {percent} % is the limit."
                return ("failed", reason) if gate == "failed" else ("dark", reason)
    return None if errors is None else _errors(gates, errors)


def _errors(gates: RolloutGates, errors: Errors) -> tuple[Gate, str] | None:
    limit = gates.error_ratio_percent
    if limit is None or errors.devices < gates.at_least or not errors.others_devices:
        return None
    before = max(1, errors.others_errors) / errors.others_devices  # one error is no proof that there was none before
    ratio = 100 * errors.errors / errors.devices / before
    if ratio < limit:
        return None
    reason = (
        f"{errors.errors} errors of {errors.devices} devices on the new version, {errors.others_errors} of "
        f"{errors.others_devices} on others: {ratio:.0f} %; {limit} % is the limit."
    )
    return "errors", reason


def stop(course: Course, gate: Gate, reason: str) -> control.PauseRollout | control.RollBackRollout:
    """What a gate does."""
    kind = control.RollBackRollout if course.plan.gates.then == "roll_back" else control.PauseRollout
    return kind(course.plan.rollout_id, reason, gate)


Step = Literal["begin", "hold", "complete"]


def next_step(course: Course, moments: Moments, turns: Turns, someone_waits: bool, now: datetime) -> Step | None:
    """What follows if the stage is through; ``someone_waits``: who may have a turn at it."""
    if course.state != "running":
        return None
    if course.stage < 0:
        return "begin" if control.may_begin(course) else None
    if turns.in_flight or someone_waits or not _watched(course, moments, turns, now):
        return None
    if course.is_last:
        return "complete"
    if not _has_evidence(course, turns):
        return None
    if control.must_hold(course):
        return "hold"
    return "begin" if control.may_begin(course) else None


def _watched(course: Course, moments: Moments, turns: Turns, now: datetime) -> bool:
    began = moments.stage_at
    if began is None:
        return False
    since = began if course.is_last or turns.moved_at is None else max(began, turns.moved_at)
    soak_s = max(course.plan.stages[course.stage].soak_s, SETTLE_S)
    return now >= since + timedelta(seconds=soak_s)


def _has_evidence(course: Course, turns: Turns) -> bool:
    if not course.allowed:
        return True
    mine = turns.taken_at_stage[course.stage]
    wanted = min(course.plan.gates.at_least, course.allowed - (turns.taken - mine))
    return mine >= wanted and turns.figures().known > 0


def in_all(stage: RolloutStage, eligible: int, succeeded: int) -> int | None:
    """How many devices may have a turn by the end of a stage: of those that have succeeded and those that would still
    get the version; one at least, if there is one. None: all."""
    if stage.percent == 100:
        return None
    everybody = eligible + succeeded
    wanted = everybody * stage.percent // 100 if stage.percent is not None else stage.devices or 0
    return min(max(1, wanted), everybody)


def outcomes_of(fates: Mapping[str, str]) -> dict[str, Outcome]:
    """What view ``rollout_watch`` says of turns that ended."""
    return {device_id: "succeeded" if fate == "succeeded" else "failed" for device_id, fate in fates.items()}
