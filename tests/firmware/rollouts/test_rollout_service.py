"""Roll-outs as the other services meet them: RPC methods, and rounds by themselves."""

from __future__ import annotations

from typing import Any

import pytest

from shared.errors import NotFound, Refused
from shared.events import rollouts as r
from shared.events.firmware import FirmwareReleased
from shared.events.gateway import FirmwareReported, RolloutTurnAsked
from shared.events.groups import GroupCreated, GroupRenamed
from tests.firmware.test_service import ID, MQTT, upload

PLAN: dict[str, Any] = {"version": 2, "stages": [{"percent": 10}, {"percent": 100}]}
FACTS = "connection-gw.1-2030010100"
DECIDED = f"firmware-{MQTT}"


@pytest.fixture
def fleet(platform: Any) -> Any:
    """Versions 1 and 2 ran, and 1 is released."""
    for version in (1, 2):
        upload(platform, b"image %d" % version, version, MQTT)
        platform.record(FACTS, FirmwareReported(ID, MQTT, MQTT, version, "", "", "gw", 1, 1))
    platform.record(DECIDED, FirmwareReleased(MQTT, 1, None, False))
    return platform


def test_a_rollout_that_is_approved_gives_turns_until_it_is_cancelled(fleet: Any):
    planned = fleet.call("plan_rollout", product_id=MQTT, plan=PLAN)["rollout"]
    of = {"product_id": MQTT, "rollout_id": planned["id"]}
    assert (planned["state"], planned["stage"], planned["at_once"]) == ("planned", None, 500)
    assert fleet.call("approve_rollout", **of)["rollout"]["state"] == "running"
    fleet.wait_for_event(DECIDED, r.RolloutStageBegan)
    fleet.record(FACTS, RolloutTurnAsked(ID, MQTT, planned["id"], 0))
    fleet.wait_for_event(f"rollout-{planned['id']}", r.RolloutTurnsGiven)
    running = fleet.call("get_rollout", **of)["rollout"]
    assert running["stages"][0]["allowed"] == 1
    assert (running["counts"]["in_flight"], running["counts"]["taken"]) == (1, 1)
    assert fleet.blobs.exists(running["prediction"])
    (device,) = fleet.call("list_rollout_devices", **of, state="in_turn")["devices"]
    assert (device["id"], device["turns"], device["ended_at"]) == (ID, 1, None)
    assert fleet.call("pause_rollout", **of, reason=" odd ")["rollout"]["reason"] == "odd"
    assert fleet.call("resume_rollout", **of)["rollout"]["state"] == "running"
    assert fleet.call("cancel_rollout", **of, reason="enough")["rollout"]["state"] == "cancelled"
    back = fleet.call("roll_back_rollout", **of)
    assert (back["rollout"]["state"], back["position"]) == ("rolled_back", fleet.after)
    (listed,) = fleet.call("list_rollouts", product_id=MQTT)["rollouts"]
    assert listed["id"] == planned["id"]


def test_a_plan_can_have_the_id_of_a_dry_run_and_follows_its_groups(fleet: Any):
    plan = {**PLAN, "groups": ["lab", "hall"]}
    rollout = fleet.call("plan_rollout", product_id=MQTT, plan=plan, rollout_id="d" * 24)["rollout"]
    assert (rollout["id"], rollout["groups"]) == ("d" * 24, ["hall", "lab"])
    groups = f"groups-{MQTT}"
    fleet.record(groups, GroupCreated(MQTT, "attic", "", ""), GroupRenamed(MQTT, "lab", "attic"))
    fleet.wait_for_event(DECIDED, r.RolloutRegrouped)
    renamed = fleet.call("get_rollout", product_id=MQTT, rollout_id="d" * 24)["rollout"]
    assert renamed["groups"] == ["attic", "hall"]


def test_whoever_stops_one_does_not_wait_for_the_views(fleet: Any):
    rollout_id = fleet.call("plan_rollout", product_id=MQTT, plan=PLAN)["rollout"]["id"]
    next(part for part in fleet.runtime.parts if part.name == "projector firmware").stop()
    stopped = fleet.call("cancel_rollout", product_id=MQTT, rollout_id=rollout_id, reason="no")["rollout"]
    assert (stopped["state"], stopped["reason"]) == ("cancelled", "no")


REFUSED: list[tuple[dict[str, Any], str | None, str]] = [
    ({}, None, "invalid_request"),
    ({**PLAN, "groups": ["cellar"]}, None, "invalid_request"),
    ({**PLAN, "gates": {"faild_percent": 1}}, None, "invalid_request"),
    ({**PLAN, "version": 1}, None, "already_released"),
    (PLAN, "D" * 24, "invalid_request"),
]


def test_what_cannot_be_is_refused(fleet: Any):
    for plan, rollout_id, code in REFUSED:
        with pytest.raises(Refused) as refused:
            fleet.call("plan_rollout", product_id=MQTT, plan=plan, rollout_id=rollout_id)
        assert refused.value.code == code


def test_a_rollout_is_its_products_alone(fleet: Any):
    rollout_id = fleet.call("plan_rollout", product_id=MQTT, plan=PLAN)["rollout"]["id"]
    for method in ("get_rollout", "approve_rollout", "cancel_rollout", "list_rollout_devices"):
        with pytest.raises(NotFound):
            fleet.call(method, product_id=1000, rollout_id=rollout_id)
    with pytest.raises(NotFound):
        fleet.call("plan_rollout", product_id=MQTT, plan={**PLAN, "version": 9})
    assert fleet.call("list_rollouts", product_id=1000)["rollouts"] == []
