"""Whose turn it is in one roll-out, and what came of it: stream ``rollout-<roll-out id>`` (FW-6, decision 27). Pure.

``Turns`` is folded in place and not copied: of a million devices it holds those that are under way, and those whose
turn ended badly. Who appends here expects the exact version, so that several coordinators never give more together than
one.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Literal

from services.firmware.rollouts.course import Course
from services.firmware.rollouts.windows import HOUR, is_open, left_of_the_hour
from shared.events.rollouts import RolloutTurnsEnded, RolloutTurnsGiven
from shared.store.port import Position

MOST_DEVICES = 500
"""In one list of an event."""

Outcome = Literal["succeeded", "failed", "dark", "left"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A device that waits for its turn; ``again``: it had one before."""

    device_id: str
    again: bool


@dataclass(frozen=True, slots=True)
class Figures:
    """Of how many devices the fate is known, and what it is."""

    succeeded: int
    failed: int
    dark: int

    @property
    def known(self) -> int:
        return self.succeeded + self.failed + self.dark


@dataclass(slots=True)
class Turns:
    """``in_flight``: since when. ``failed`` and ``dark``: where that was said last. ``given``: when how many turns
    began, of the last hour. ``moved_at``: when something happened last."""

    in_flight: dict[str, datetime] = field(default_factory=dict)
    taken: int = 0
    taken_at_stage: Counter[int] = field(default_factory=Counter)
    failed: dict[str, Position] = field(default_factory=dict)
    dark: dict[str, Position] = field(default_factory=dict)
    given: deque[tuple[datetime, int]] = field(default_factory=deque)
    moved_at: datetime | None = None
    _succeeded_at: list[Position] = field(default_factory=list)
    _succeeded: list[int] = field(default_factory=lambda: [0])

    @property
    def succeeded(self) -> int:
        """Devices that run the version because of their turn."""
        return self._succeeded[-1]

    def figures(self, since: Position | None = None) -> Figures:
        """What is known by now, of turns that ended behind this position."""
        if since is None:
            return Figures(self.succeeded, len(self.failed), len(self.dark))
        before = self._succeeded[bisect_right(self._succeeded_at, since)]
        later = (sum(position > since for position in places.values()) for places in (self.failed, self.dark))
        return Figures(self.succeeded - before, *later)

    def apply(self, event: RolloutTurnsGiven | RolloutTurnsEnded, at: datetime, position: Position) -> None:
        """What the event makes true."""
        self.moved_at = at
        if isinstance(event, RolloutTurnsEnded):
            self._end(event, position)
            return
        self.taken += len(event.devices)
        self.taken_at_stage[event.stage] += len(event.devices)
        self.in_flight |= dict.fromkeys((*event.devices, *event.again), at)
        self.given.append((at, len(event.devices) + len(event.again)))
        while self.given[0][0] <= at - HOUR:
            self.given.popleft()

    def _end(self, event: RolloutTurnsEnded, position: Position) -> None:
        for device_id in (*event.succeeded, *event.failed, *event.dark, *event.left):
            self.in_flight.pop(device_id, None)
        for device_id in (*event.succeeded, *event.failed):
            self.dark.pop(device_id, None)
        for device_id in (*event.succeeded, *event.dark):
            self.failed.pop(device_id, None)
        self.failed |= dict.fromkeys(event.failed, position)
        self.dark |= dict.fromkeys(event.dark, position)
        if event.succeeded:
            self._succeeded_at.append(position)
            self._succeeded.append(self.succeeded + len(event.succeeded))


def room(turns: Turns, course: Course, now: datetime) -> int:
    """How many turns may begin now, of devices that had one before or have not."""
    if course.state != "running" or course.stage < 0 or not is_open(course.plan.windows, now):
        return 0
    at_once = max(0, course.plan.at_once - len(turns.in_flight))
    per_hour = left_of_the_hour(turns.given, course.plan.per_hour, now)
    return at_once if per_hour is None else min(at_once, per_hour)


def first_turns_left(turns: Turns, course: Course) -> int | None:
    """How many devices may still have their first turn at this stage; None: all."""
    return None if course.allowed is None else max(0, course.allowed - turns.taken)


def give(turns: Turns, course: Course, waiting: Iterable[Candidate], now: datetime) -> RolloutTurnsGiven | None:
    """Turns for the first of those that wait, in their order; None if nobody can have one now."""
    places, first_left = room(turns, course, now), first_turns_left(turns, course)
    devices: list[str] = []
    again: list[str] = []
    for candidate in waiting:
        if len(devices) + len(again) >= min(places, MOST_DEVICES):
            break
        if candidate.device_id in turns.in_flight:
            continue
        if candidate.again:
            again.append(candidate.device_id)
        elif first_left is None or len(devices) < first_left:
            devices.append(candidate.device_id)
    if not devices and not again:
        return None
    plan = course.plan
    return RolloutTurnsGiven(plan.product_id, plan.rollout_id, plan.version, course.stage, devices, again)


def end(turns: Turns, course: Course, outcomes: Mapping[str, Outcome]) -> RolloutTurnsEnded | None:
    """The end of turns that are under way, and news of devices that came to run the version when nobody expected it any
    more; None if there is nothing to say. At most 500 devices; ask again for the others."""
    told = islice(((one, outcome) for one, outcome in outcomes.items() if _is_news(turns, one, outcome)), MOST_DEVICES)
    ended: dict[Outcome, list[str]] = {"succeeded": [], "failed": [], "dark": [], "left": []}
    for device_id, outcome in told:
        ended[outcome].append(device_id)
    if not any(ended.values()):
        return None
    return RolloutTurnsEnded(course.plan.product_id, course.plan.rollout_id, **ended)


def _is_news(turns: Turns, device_id: str, outcome: Outcome) -> bool:
    return device_id in turns.in_flight or outcome == "succeeded"


def forgotten(turns: Turns, before: datetime, most: int = MOST_DEVICES) -> Sequence[str]:
    """Devices whose turn began before this moment and has not ended: the oldest."""
    oldest = islice(turns.in_flight.items(), most)
    return [device_id for device_id, since in oldest if since < before]
