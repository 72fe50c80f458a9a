"""Carries out roll-outs (FW-6, decision 27): about once a second a round for each that is under way.

All that it knows is in the two streams of a roll-out and in view ``rollout_watch``; what it keeps between rounds is
folded from those, so that a restart changes nothing. Turns are appended with the exact version, and what it decides in
the product's stream changes nothing when it comes too late, so that several processes may do the same.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic
from typing import Any

from services.firmware import versions
from services.firmware.rollouts import control, rounds
from services.firmware.rollouts import turns as t
from services.firmware.rollouts.course import Course
from services.firmware.rollouts.following import Decided, Followed
from services.firmware.rollouts.moments import Moments
from services.firmware.rollouts.preparing import Prediction, size_of
from services.firmware.rollouts.rounds import Errors
from services.firmware.rollouts.watching import Watch
from services.firmware.versions import VERSIONS
from shared.blobs import Blobs
from shared.clock import Clock
from shared.context import Context
from shared.errors import Conflict, FlotillaError
from shared.events import rollouts as r
from shared.events.contracts import Registry
from shared.ids import derived_uuid
from shared.store.port import EventStore, Recorded
from shared.streams import Streams
from shared.times import iso

log = logging.getLogger(__name__)

ROUND_S = 1.0
BUSY_S = 0.5
"""So long a round may give and end turns, or write a prediction, before others have theirs."""
SIZE_S = 300
"""How often a stage is counted anew."""
JUDGE_S = 15
"""How often errors are asked for, and silent devices are counted."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
"""After a round that failed."""


def stream_of(rollout_id: str) -> str:
    """The stream of a roll-out's turns."""
    return f"rollout-{rollout_id}"


@dataclass(slots=True)
class _Rollout:
    """What is kept of a roll-out between rounds; times are of the monotonic clock."""

    turns: t.Turns
    stream: Followed
    prediction: Prediction | None = None
    size_at: float = 0.0
    judge_at: float = 0.0
    due_at: float = 0.0
    pause_s: float = 0.0


class Coordinator:
    """Safe from any thread; one round is under way at a time."""

    def __init__(
        self,
        store: EventStore,
        contracts: Registry,
        watch: Watch,
        blobs: Blobs,
        clock: Clock,
        *,
        now_s: Callable[[], float] = monotonic,
    ) -> None:
        self._store = store
        self._contracts = contracts
        self._streams = Streams(store, contracts)
        self._watch = watch
        self._blobs = blobs
        self._clock = clock
        self._now_s = now_s
        self._products: dict[int, Decided] = {}
        self._rollouts: dict[str, _Rollout] = {}
        self._working = threading.Lock()

    def round(self, devices: Any) -> None:
        """One round for each roll-out that is under way, or over while turns are not. ``devices`` is the client of that
        service. Raises ``Unavailable`` if it cannot be known which those are; what keeps a single roll-out from going
        on is logged, and tried again."""
        if not self._working.acquire(blocking=False):
            return
        try:
            active = dict(self._watch.active())
            self._forget_others(active)
            for rollout_id, product_id in active.items():
                self._attempt(product_id, rollout_id, devices)
        finally:
            self._working.release()

    def _forget_others(self, active: dict[str, int]) -> None:
        for rollout_id in self._rollouts.keys() - active.keys():
            kept = self._rollouts.pop(rollout_id)
            if kept.prediction is not None:
                kept.prediction.abort()
        for product_id in self._products.keys() - set(active.values()):
            del self._products[product_id]

    def _attempt(self, product_id: int, rollout_id: str, devices: Any) -> None:
        kept = self._kept(rollout_id)
        if self._now_s() < kept.due_at:
            return
        try:
            self._go_on(product_id, rollout_id, kept, devices)
        except Conflict as conflict:  # another process was faster; the next round sees what it did
            log.info("roll-out %s: %s", rollout_id, conflict)
        except Exception as error:
            kept.pause_s = min(max(FIRST_PAUSE_S, 2 * kept.pause_s), LONGEST_PAUSE_S)
            kept.due_at = self._now_s() + kept.pause_s
            is_known = isinstance(error, FlotillaError)
            log.error("roll-out %s waits %.0f s: %s", rollout_id, kept.pause_s, error, exc_info=not is_known)
        else:
            kept.pause_s = 0.0

    def _kept(self, rollout_id: str) -> _Rollout:
        if rollout_id not in self._rollouts:
            turns = t.Turns()

            def fold(event: Any, recorded: Recorded) -> None:
                turns.apply(event, recorded.at, recorded.position)

            followed = Followed(self._store, self._contracts, stream_of(rollout_id), fold)
            self._rollouts[rollout_id] = _Rollout(turns, followed)
        return self._rollouts[rollout_id]

    def _course(self, product_id: int, rollout_id: str) -> tuple[Course | None, Moments]:
        if product_id not in self._products:
            self._products[product_id] = Decided(self._store, self._contracts, product_id)
        return self._products[product_id].of(rollout_id)

    # one roll-out

    def _go_on(self, product_id: int, rollout_id: str, kept: _Rollout, devices: Any) -> None:
        course, moments = self._course(product_id, rollout_id)
        if course is None:
            return
        self._refresh(kept)
        self._end_turns(course, kept)
        if course.state not in ("running", "held"):
            return
        fully = self._now_s() >= kept.judge_at
        if self._judge(course, moments, kept, devices, fully=fully):
            return
        self._give_turns(course, kept)
        self._follow(course, moments, kept, devices)

    def _refresh(self, kept: _Rollout) -> None:
        """Know what the stream says, and have the view know no less: so a device that waits there has no turn, and the
        end of a turn is said once."""
        kept.stream.refresh()
        self._watch.reach(kept.stream.position)

    def _append(self, course: Course, kept: _Rollout, event: r.RolloutTurnsGiven | r.RolloutTurnsEnded) -> None:
        """The same event behind the same one has the same id, and another one conflicts."""
        content = hashlib.sha256(repr(event).encode()).hexdigest()
        after = str(kept.stream.position)
        kept.stream.append([event], self._context(course, "turns", after, content))
        self._refresh(kept)

    def _context(self, course: Course, *what: str) -> Context:
        command_id = derived_uuid("roll-out", course.plan.rollout_id, *what)
        return Context.new("system:firmware", "firmware.roll_out", command_id)

    def _decide(self, course: Course, command: control.Command, *what: str) -> None:
        context = self._context(course, *what)
        self._streams.handle(VERSIONS, versions.stream_of(course.plan.product_id), command, context)

    def _end_turns(self, course: Course, kept: _Rollout) -> None:
        until = self._now_s() + BUSY_S
        while self._now_s() < until:
            outcomes = self._outcomes(course, kept)
            event = t.end(kept.turns, course, outcomes)
            if event is None:
                return
            self._append(course, kept, event)

    def _outcomes(self, course: Course, kept: _Rollout) -> dict[str, t.Outcome]:
        rollout_id, now = course.plan.rollout_id, self._clock()
        found = rounds.outcomes_of(self._watch.fated(rollout_id))
        if not kept.turns.in_flight:
            return found
        for deadline in rounds.deadlines(course):
            before = now - timedelta(seconds=deadline.seconds)
            found |= dict.fromkeys(self._watch.silent(rollout_id, deadline, before), deadline.outcome)
        old = t.forgotten(kept.turns, now - timedelta(seconds=rounds.UNWATCHED_S))
        return found | dict.fromkeys(self._watch.unwatched(rollout_id, old), "left")

    def _give_turns(self, course: Course, kept: _Rollout) -> None:
        until = self._now_s() + BUSY_S
        while self._now_s() < until:
            now = self._clock()
            most = min(t.room(kept.turns, course, now), t.MOST_DEVICES)
            event = t.give(kept.turns, course, self._waiting(course, kept, most), now) if most else None
            if event is None:
                return
            self._append(course, kept, event)

    def _waiting(self, course: Course, kept: _Rollout, most: int) -> Iterable[t.Candidate]:
        """Those first in order of their places; when nobody may have a first turn, those who had one."""
        only_again = t.first_turns_left(kept.turns, course) == 0
        return self._watch.waiting(course.plan.rollout_id, course.share, most, only_again=only_again)

    def _judge(self, course: Course, moments: Moments, kept: _Rollout, devices: Any, *, fully: bool) -> bool:
        """Stop it if a gate says so; whether one did. ``fully``: by that as well which is costly to ask for."""
        if course.stage < 0:
            return False
        gates, figures = course.plan.gates, kept.turns.figures(moments.judged_from)
        away, errors = 0, None
        if fully:
            away = self._away(course, moments, figures)
            errors = self._errors(course, moments, devices)
            kept.judge_at = self._now_s() + JUDGE_S
        stopped = rounds.tripped(gates, figures, away, errors)
        if stopped is None:
            return False
        self._decide(course, rounds.stop(course, *stopped), "gate", str(moments.stops))
        return True

    def _away(self, course: Course, moments: Moments, figures: t.Figures) -> int:
        gates = course.plan.gates
        if gates.dark_percent is None or not figures.known:
            return 0
        before = self._clock() - timedelta(seconds=gates.dark_after_s)
        return self._watch.away(course.plan.rollout_id, before, moments.judged_from, figures.known)

    def _errors(self, course: Course, moments: Moments, devices: Any) -> Errors | None:
        plan, since = course.plan, moments.judged_at
        if plan.gates.error_ratio_percent is None or since is None:
            return None
        found = devices.error_rates(product_id=plan.product_id, since=iso(since), version=plan.version)
        mine, others = found["version"], found["others"]
        return Errors(mine["errors"], mine["devices"], others["errors"], others["devices"])

    def _follow(self, course: Course, moments: Moments, kept: _Rollout, devices: Any) -> None:
        someone_waits = any(self._waiting(course, kept, 1))
        step = rounds.next_step(course, moments, kept.turns, someone_waits, self._clock())
        rollout_id, stage = course.plan.rollout_id, course.stage
        if step is not None and self._judge(course, moments, kept, devices, fully=True):
            return
        if step == "begin":
            self._begin(course, kept, devices)
        elif step == "hold":
            self._decide(course, control.HoldRollout(rollout_id, stage), "hold", str(stage))
        elif step == "complete":
            self._decide(course, control.CompleteRollout(rollout_id), "complete")
        elif stage >= 0 and not course.is_last and self._now_s() >= kept.size_at:
            self._size(course, kept, devices)

    def _begin(self, course: Course, kept: _Rollout, devices: Any) -> None:
        stage, digest = course.stage + 1, None
        if stage == 0:
            digest = self._predict(course, kept, devices)
            if digest is None:
                return
        size = size_of(devices, course, stage, kept.turns.succeeded)
        command = control.BeginStage(course.plan.rollout_id, stage, size.share, size.allowed, digest)
        self._decide(course, command, "begin", str(stage))
        kept.prediction, kept.size_at = None, self._now_s() + SIZE_S

    def _predict(self, course: Course, kept: _Rollout, devices: Any) -> str | None:
        """The digest of the prediction, once it is written."""
        until = self._now_s() + BUSY_S
        if kept.prediction is None:
            kept.prediction = Prediction(devices, course, self._blobs)
        try:
            while kept.prediction.digest is None and self._now_s() < until:
                kept.prediction.go_on(devices)
        except BaseException:
            kept.prediction.abort()
            kept.prediction = None
            raise
        return kept.prediction.digest

    def _size(self, course: Course, kept: _Rollout, devices: Any) -> None:
        if kept.size_at:
            size = size_of(devices, course, course.stage, kept.turns.succeeded)
            command = control.SizeStage(course.plan.rollout_id, course.stage, size.share, size.allowed)
            self._decide(course, command, "size", str(course.stage), str(size), self._clock().isoformat())
        kept.size_at = self._now_s() + SIZE_S
