"""The roll-out machine as a whole, against a simulated fleet: whatever happens in whatever order (FW-6, FW-7)."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from services.firmware.rollouts import control as c
from services.firmware.rollouts.rollout_views import DEVICES_VIEW, IN_TURN
from services.firmware.rollouts.turns import Turns
from services.firmware.versions import ReleaseVersion
from shared.errors import Refused
from shared.events import rollouts as r
from shared.events.contracts import CONTRACTS
from shared.events.gateway import UpdateStarted
from shared.rollout_plans import planned
from shared.store.port import Recorded
from tests.firmware.rollouts.world import NEW, Device, MemoryWorld, P, R

EXAMPLES = int(os.environ.get("ROLLOUT_EXAMPLES", "20"))
FLEET = 7
PATIENCE = 150
"""Rounds in which a roll-out that nobody disturbs comes to its end."""

SIZES = st.sampled_from([[], [{"percent": 30}], [{"devices": 3}], [{"percent": 30}, {"percent": 60}]])


class Machine(RuleBasedStateMachine):
    """Any device does anything, anybody decides anything, and processes come and go."""

    @initialize(
        sizes=SIZES,
        hold=st.booleans(),
        at_once=st.integers(1, 3),
        per_hour=st.sampled_from([None, None, 2]),
        then=st.sampled_from(["pause", "roll_back"]),
        online=st.sets(st.integers(1, FLEET), min_size=3),
        approved=st.sampled_from([True, True, False]),
    )
    def plan(
        self,
        sizes: list[dict[str, int]],
        hold: bool,
        at_once: int,
        per_hour: int | None,
        then: str,
        online: set[int],
        approved: bool,
    ) -> None:
        self.world = MemoryWorld(FLEET)
        self.checked = 0
        self.allowed: int | None = 0
        self.taken: set[str] = set()
        self.in_flight: set[str] = set()
        self.state = "planned"
        self.updating: set[str] = set()
        stages = [{**size, "hold": hold, "soak_s": 60} for size in sizes]
        plan: dict[str, Any] = {
            "version": NEW,
            "stages": [*stages, {"percent": 100, "soak_s": 60}],
            "at_once": at_once,
            "per_hour": per_hour,
            "gates": {"failed_percent": 50, "dark_percent": 50, "dark_after_s": 600, "at_least": 2, "then": then},
        }
        self.at_once = at_once
        self.world.command(c.PlanRollout(planned(P, R, plan)))
        for number in online:
            self.world.connect(self.device(number))
        if approved:
            self.world.command(c.ApproveRollout(R))
            self.world.round()

    def device(self, number: int) -> Device:
        return self.world.fleet[f"{number:024x}"]

    devices = st.integers(1, FLEET)

    @rule(number=devices)
    def comes(self, number: int) -> None:
        if not self.device(number).dies:
            self.world.connect(self.device(number))

    @rule(number=devices)
    def goes(self, number: int) -> None:
        self.world.disconnect(self.device(number))

    @rule(numbers=st.sets(devices, min_size=1))
    def updates_go_on(self, numbers: set[int]) -> None:
        for number in numbers:
            self.world.go_on(self.device(number))

    @rule(number=devices, fails=st.booleans())
    def breaks(self, number: int, fails: bool) -> None:
        self.device(number).fails, self.device(number).dies = fails, not fails

    @precondition(lambda self: len(self.world.fleet) < FLEET + 3)
    @rule()
    def another_one_joins(self) -> None:
        self.world.connect(self.world.join())

    @rule(minutes=st.integers(1, 4))
    def all_goes_its_way(self, minutes: int) -> None:
        self.world.all_goes_its_way(minutes)

    @rule(number=devices, what=st.sampled_from(["lock", "unlock", "mark", "unmark", "remove"]))
    def is_decided_on(self, number: int, what: str) -> None:
        device = self.device(number)
        match what:
            case "mark" | "unmark":
                self.world.mark(device, what == "mark")
            case _:
                getattr(self.world, what)(device)

    @rule(
        command=st.sampled_from(
            [
                c.ApproveRollout(R),
                c.PauseRollout(R),
                c.ResumeRollout(R),
                c.CancelRollout(R),
                c.RollBackRollout(R),
                ReleaseVersion(P, NEW),
            ]
        )
    )
    def somebody_decides(self, command: Any) -> None:
        with suppress(Refused):
            self.world.command(command)

    @precondition(lambda self: self.state == "planned")
    @rule()
    def is_approved(self) -> None:
        self.world.command(c.ApproveRollout(R))

    @rule(seconds=st.sampled_from([1, 20, 70, 700, 4_000]), rounds=st.integers(1, 3))
    def time_goes_by(self, seconds: int, rounds: int) -> None:
        for _ in range(rounds):
            self.world.later(seconds)
            self.world.serve()
            self.world.round()

    @rule()
    def the_process_starts_anew(self) -> None:
        self.world.coordinator = self.world.another()

    @rule()
    def two_do_the_same_at_once(self) -> None:
        rival = self.world.another()
        self.world.later(20)
        self.world.serve()
        self.world.store.before_append = lambda: rival.round(self.world)
        self.world.round()
        self.world.store.before_append = None

    @invariant()
    def all_is_well(self) -> None:
        assert not self.world.errors.texts
        self.what_happened_was_allowed()
        self.only_one_attempt_runs_on_a_device_and_none_on_a_held_one()
        self.what_happened_was_allowed()
        self.the_streams_say_all()

    def what_happened_was_allowed(self) -> None:
        for recorded in self.world.store.events[self.checked :]:
            self.check(CONTRACTS.decode(recorded), recorded)
        self.checked = len(self.world.store.events)

    def check(self, event: Any, recorded: Recorded) -> None:
        match event:
            case r.RolloutStageBegan() | r.RolloutStageSized():
                is_more = event.allowed is None or (self.allowed is not None and event.allowed > self.allowed)
                self.allowed = event.allowed if is_more else self.allowed
            case r.RolloutApproved() | r.RolloutResumed():
                self.state = "running"
            case r.RolloutPaused() | r.RolloutCancelled() | r.RolloutRolledBack() | r.RolloutCompleted():
                self.state = type(event).__name__
            case r.RolloutTurnsGiven():
                self.given(event)
            case r.RolloutTurnsEnded():
                self.in_flight -= {*event.succeeded, *event.failed, *event.dark, *event.left}
            case UpdateStarted():
                in_its_turn = self.state == "running" and event.device_id in self.in_flight
                assert in_its_turn or self.world.product.released == NEW

    def given(self, event: r.RolloutTurnsGiven) -> None:
        devices = [*event.devices, *event.again]
        assert self.state == "running"  # nobody is touched by one that stands, or is over
        assert len(set(devices)) == len(devices)
        assert not self.in_flight.intersection(devices)  # never two attempts at once
        assert not self.taken.intersection(event.devices)
        assert self.taken.issuperset(event.again)
        self.in_flight |= set(devices)
        self.taken |= set(devices)
        assert len(self.in_flight) <= self.at_once
        assert self.allowed is None or len(self.taken) <= self.allowed
        held = [one for one in devices if self.is_held(self.world.fleet[one])]
        assert not held

    def is_held(self, device: Device) -> bool:
        return device.locked is not None or device.development or not device.member

    def only_one_attempt_runs_on_a_device_and_none_on_a_held_one(self) -> None:
        self.world.serve()
        for device in self.world.fleet.values():
            assert not (device.updating and not device.applying and self.is_held(device))

    def the_streams_say_all(self) -> None:
        turns = Turns()
        for recorded in self.world.store.streams.get(f"rollout-{R}", []):
            turns.apply(CONTRACTS.decode(recorded), recorded.at, recorded.position)
        rows = [row for row in self.world.views.rows(DEVICES_VIEW) if row["state"] != "asked"]
        assert turns.taken == len(self.taken) == len(rows)
        assert set(turns.in_flight) == {row["device_id"] for row in rows if row["state"] == IN_TURN}

    def teardown(self) -> None:
        """Left alone, with devices that come back, it ends."""
        if not hasattr(self, "at_once"):
            return
        for _ in range(PATIENCE):
            if self.world.course.state not in c.UNFINISHED and not self.world.in_turn():
                return
            self.nobody_disturbs()
        raise AssertionError(f"it does not end: {self.world.course}")

    def nobody_disturbs(self) -> None:
        course = self.world.course
        if course.state in ("planned", "held"):
            self.world.command(c.ApproveRollout(R))
        if course.state == "paused":
            self.world.command(c.ResumeRollout(R))
        for device in self.world.fleet.values():
            device.fails = device.dies = False
            self.world.connect(device)
        self.all_goes_its_way(1)
        self.world.later(600)
        self.what_happened_was_allowed()


Machine.TestCase.settings = settings(max_examples=EXAMPLES, stateful_step_count=30, deadline=None, database=None)
TestMachine = Machine.TestCase
