"""The coordinator, step by step, in memory."""

from __future__ import annotations

from typing import Any

import pytest

from services.firmware.rollouts import control as c
from services.firmware.rollouts.rollout_views import DEVICES_VIEW
from shared.errors import Unavailable
from shared.events import rollouts as r
from shared.events.contracts import CONTRACTS
from shared.rollout_plans import planned
from shared.rollouts import place
from tests.firmware.rollouts.world import NEW, OLD, Device, MemoryWorld, P, R


def begun(devices: int = 4, online: int = 4, **given: Any) -> MemoryWorld:
    """A roll-out whose first stage began; who is first in its order is online first."""
    world = MemoryWorld(devices)
    gates = {"at_least": 2, "dark_after_s": 600, **given.pop("gates", {})}
    stages = [{"percent": 100, "soak_s": 60}]
    plan = planned(P, R, {"version": NEW, "stages": stages, "gates": gates, **given})
    world.command(c.PlanRollout(plan))
    world.command(c.ApproveRollout(R))
    world.round()
    for device in in_order(world)[:online]:
        world.connect(device)
    return world


def in_order(world: MemoryWorld) -> list[Device]:
    return sorted(world.fleet.values(), key=lambda device: place(R, device.id))


def goes(world: MemoryWorld) -> None:
    """Devices ask, turns are given, updates begin."""
    world.serve()
    world.round()
    world.serve()


def states(world: MemoryWorld) -> list[str | None]:
    known = {row["device_id"]: row["state"] for row in world.views.rows(DEVICES_VIEW)}
    return [known.get(device.id) for device in in_order(world)]


def test_who_leaves_before_it_applied_anything_gives_its_place_to_the_next():
    world = begun(at_once=1)
    goes(world)
    first, second, *_ = in_order(world)
    assert (first.updating, second.updating) == (True, False)
    world.disconnect(first)
    world.later(29)
    goes(world)
    assert not second.updating  # it may come back to its turn
    world.later(1)
    goes(world)
    assert states(world) == ["left", "in_turn", "asked", "asked"]
    world.connect(first)
    for _ in range(4):
        world.all_goes_its_way()
    assert states(world) == ["succeeded"] * 4


def test_a_turn_of_which_nothing_comes_ends():
    world = begun(at_once=1)
    world.serve()
    world.round()  # no gateway brings anything
    world.later(899)
    world.round()
    assert states(world)[0] == "in_turn"
    world.later(1)
    world.round()
    assert states(world)[:2] == ["left", "in_turn"]


def test_a_turn_that_the_view_does_not_know_ends_too():
    world = begun(at_once=1)
    goes(world)
    world.views.forget(in_order(world)[0].id)
    world.later(901)
    world.round()
    assert states(world)[0] == "left"


def test_who_joins_late_is_part_of_it():
    world = begun(devices=2, online=2)
    goes(world)
    late = world.join()
    world.connect(late)
    for _ in range(3):
        world.all_goes_its_way()
    assert late.reported == NEW


def test_no_turn_is_given_while_no_window_is_open():
    world = begun(windows=[{"from": "13:00", "until": "14:00"}])  # it is noon
    goes(world)
    world.later(600)
    goes(world)
    assert (states(world), world.course.state) == (["asked"] * 4, "running")
    world.later(3_000)
    goes(world)
    assert states(world) == ["in_turn"] * 4


def test_no_more_begin_within_an_hour_than_may():
    world = begun(per_hour=2)
    goes(world)
    world.all_goes_its_way(50)
    assert states(world) == ["succeeded", "succeeded", "asked", "asked"]
    world.all_goes_its_way(15)
    assert states(world) == ["succeeded"] * 4


def test_errors_on_the_new_version_stop_it():
    world = begun(gates={"error_ratio_percent": 200}, at_once=2)
    world.rates = {"version": {"errors": 9, "devices": 2}, "others": {"errors": 1, "devices": 2}}
    goes(world)
    assert (world.course.state, states(world)) == ("paused", ["asked"] * 4)


def test_devices_that_go_dark_after_they_succeeded_stop_it():
    world = begun(devices=6, at_once=2, stages=[{"devices": 2, "soak_s": 3_600}, {"percent": 100}])
    for device in in_order(world)[4:]:
        world.connect(device)
    world.all_goes_its_way(2)
    for device in in_order(world)[:2]:
        assert device.reported == NEW
        world.disconnect(device)
    world.later(599)
    world.round()
    assert world.course.state == "running"
    world.later(20)
    world.round()
    assert world.course.state == "paused"


def test_no_turn_is_given_while_it_is_unknown_how_the_others_fare(monkeypatch: pytest.MonkeyPatch):
    world = begun(gates={"error_ratio_percent": 200})

    def away(**_: Any) -> Any:
        raise Unavailable("devices gave no answer")

    monkeypatch.setattr(world, "error_rates", away)
    for _ in range(4):
        world.later(5)
        goes(world)
    assert states(world) == ["asked"] * 4


def test_one_that_is_cancelled_touches_nobody_any_more_and_is_followed_to_its_end():
    world = begun()
    goes(world)
    first, *others = in_order(world)
    world.go_on(first)
    world.command(c.CancelRollout(R))
    world.serve()
    assert not any(device.updating for device in others)
    world.connect(first)
    world.later(60)
    goes(world)
    assert states(world) == ["succeeded", "left", "left", "left"]
    assert [world.target(device) for device in in_order(world)] == [NEW, OLD, OLD, OLD]
    head = len(world.store.events)
    world.later(3_600)
    goes(world)
    assert len(world.store.events) == head


def test_a_neighbour_that_does_not_answer_delays_it_and_that_is_said(monkeypatch: pytest.MonkeyPatch):
    world = MemoryWorld(2)
    world.command(c.PlanRollout(planned(P, R, {"version": NEW, "stages": [{"percent": 100}]})))
    world.command(c.ApproveRollout(R))

    def away(**_: Any) -> Any:
        raise Unavailable("devices gave no answer")

    with monkeypatch.context() as patched:
        patched.setattr(world, "predict_rollout", away)
        world.round()
        world.round()  # not at once
    assert len(world.errors.texts) == 1
    world.later(2)
    world.round()
    assert world.decisions(r.RolloutStageBegan) == 1


def test_what_is_predicted_is_stored_before_anything_begins_also_after_a_restart(monkeypatch: pytest.MonkeyPatch):
    world = MemoryWorld(8)
    world.command(c.PlanRollout(planned(P, R, {"version": NEW, "stages": [{"percent": 100}]})))
    world.command(c.ApproveRollout(R))
    pages = world.predict_rollout

    def slow(**asked: Any) -> Any:
        world.later(1)
        return pages(**asked)

    monkeypatch.setattr(world, "predict_rollout", slow)
    world.round()  # one page
    world.coordinator = world.another()
    for _ in range(3):
        assert world.decisions(r.RolloutStageBegan) == 0
        world.round()
    (began,) = [
        event
        for recorded in world.stream(f"firmware-{P}")
        if isinstance(event := CONTRACTS.decode(recorded), r.RolloutStageBegan)
    ]
    assert began.prediction is not None
