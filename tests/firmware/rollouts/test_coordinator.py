"""The coordinator as it runs, over SQLite: a store, the service's views and its projector."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services.firmware.bootstrap import VIEWS
from services.firmware.rollouts import control as c
from services.firmware.rollouts.queries import get_rollout, list_devices
from services.firmware.rollouts.rollout_object import COUNTS
from services.firmware.rollouts.watching import Watch
from shared.blobs import open_blobs
from shared.bus.providers import WorkerViews
from shared.context import Context
from shared.errors import Refused
from shared.events import rollouts as r
from shared.events.contracts import CONTRACTS
from shared.projections.database import Database
from shared.projections.projector import Projector
from shared.rollout_plans import planned
from shared.store.open import open_store
from tests.firmware.rollouts.world import NEW, OLD, START, P, R, World
from tests.prompt import prompt


class Installation:
    """One world on disk."""

    def __init__(self, folder: Path) -> None:
        self.world: World
        store = open_store(f"sqlite:///{folder}/events.db?durability=normal", clock=lambda: self.now)
        self.store = prompt(store)
        self.database = Database(f"sqlite:///{folder}/views", "firmware")
        self.projector = Projector("firmware", self.store, self.database, VIEWS, CONTRACTS)
        self.projector.start()
        self.blobs = open_blobs(f"file://{folder}/blobs")
        self.world = World(6, self.store, Watch(self.database, self.projector), self.blobs)

    @property
    def now(self) -> Any:
        return self.world.now if hasattr(self, "world") and hasattr(self.world, "now") else START

    @property
    def views(self) -> WorkerViews:
        self.projector.wait_for(self.store.head(), 10)
        return WorkerViews(self.database, self.projector, Context.new("system:tests", "tests"))

    @property
    def rollout(self) -> dict[str, Any]:
        found: dict[str, Any] = get_rollout(self.views, P, R)["rollout"]
        return found

    def plan(self, **given: Any) -> None:
        stages = [{"devices": 2, "soak_s": 60}, {"percent": 100, "soak_s": 60}]
        gates = {"at_least": 2, "failed_percent": 50, "dark_after_s": 600, **given}
        plan = planned(P, R, {"version": NEW, "stages": stages, "at_once": 2, "gates": gates})
        self.world.command(c.PlanRollout(plan))
        self.world.command(c.ApproveRollout(R))
        for device in self.world.fleet.values():
            self.world.connect(device)

    def go_on(self, minutes: int = 1) -> None:
        """The views see all, as they do within a second."""
        for _ in range(minutes):
            self.projector.wait_for(self.store.head(), 10)
            self.world.round()
            self.world.serve()
            self.projector.wait_for(self.store.head(), 10)
            self.world.all_goes_its_way()
        assert not self.world.errors.texts

    def close(self) -> None:
        self.projector.stop()
        self.database.close()
        self.store.close()


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    running = Installation(tmp_path)
    yield running
    running.close()


def test_a_rollout_goes_through_its_stages_and_is_a_release(installation: Installation):
    world = installation.world
    installation.plan()
    installation.go_on()
    rollout = installation.rollout
    assert (rollout["state"], rollout["stage"], rollout["counts"]["taken"]) == ("running", 0, 2)
    world.coordinator = world.another()  # a restart in the middle
    installation.go_on(6)
    rollout = installation.rollout
    assert (rollout["state"], world.product.released) == ("completed", NEW)
    assert rollout["counts"] == {**dict.fromkeys(COUNTS, 0), "taken": 6, "succeeded": 6}
    assert {device.reported for device in world.fleet.values()} == {NEW}
    with installation.blobs.open(rollout["prediction"]) as blob:
        lines = gzip.decompress(blob.read()).splitlines()
    assert [json.loads(line)["id"] for line in lines] == sorted(world.fleet)
    devices = list_devices(installation.views, P, R, "succeeded", None, 4)
    assert (len(devices["devices"]), devices["next"]) == (4, sorted(world.fleet)[3])


def test_a_gate_pauses_it_and_it_goes_on_when_it_is_resumed(installation: Installation):
    world = installation.world
    for device in world.fleet.values():
        device.fails = True
    installation.plan()
    installation.go_on(3)
    rollout = installation.rollout
    assert (rollout["state"], rollout["gate"], rollout["counts"]["failed"]) == ("paused", "failed", 2)
    installation.go_on(2)
    assert world.decisions(r.RolloutTurnsGiven) == 1  # nobody is touched while it stands
    for device in world.fleet.values():
        device.fails = False
    world.command(c.ResumeRollout(R))
    installation.go_on(9)
    assert installation.rollout["state"] == "completed"


def test_a_gate_rolls_back_when_devices_go_dark(installation: Installation):
    world = installation.world
    for device in world.fleet.values():
        device.dies = True
    installation.plan(then="roll_back")
    installation.go_on(2)
    world.coordinator = world.another()
    world.later(700)
    installation.go_on(2)
    rollout = installation.rollout
    assert (rollout["state"], rollout["gate"], rollout["counts"]["dark"]) == ("rolled_back", "dark", 2)
    with pytest.raises(Refused):
        world.command(c.ResumeRollout(R))
    for device in world.fleet.values():
        world.connect(device)
    installation.go_on(1)
    assert {world.target(device) for device in world.fleet.values()} == {OLD}
