from __future__ import annotations

from typing import Any

import pytest

from services.gateway.http.bulk_schemas import ACTIONS

PATH = "/v1/products/thermo/devices/actions"
ID = "0123456789abcdef01234567"
DONE = {"id": ID, "outcome": "done", "code": None, "reason": None}


@pytest.fixture(autouse=True)
def answers(api: Any) -> None:
    api.bus.answers["devices.act_on_devices"] = {
        "done": 1,
        "unchanged": 0,
        "refused": 0,
        "outcomes": [DONE],
        "position": 9,
    }
    api.bus.answers["devices.update_device"] = {"id": ID, "quarantined": False, "force": True, "position": 9}


def test_many_devices_are_acted_on_by_one_call(api: Any) -> None:
    answer = api.post(PATH, json={"action": "group", "devices": [ID], "add": ["lab"], "unknown": 1})
    assert answer.json() == {"ok": True, "done": 1, "unchanged": 0, "refused": 0, "outcomes": [DONE]}
    assert answer.headers["X-Flotilla-Position"] == "9"
    assert api.bus.last("act_on_devices").arguments == {
        "product_id": 1000,
        "device_ids": [ID],
        "action": "group",
        "options": {"add": ["lab"]},
    }


@pytest.mark.parametrize(
    "body",
    [
        {"action": "explode", "devices": [ID]},
        {"action": "deny", "devices": []},
        {"action": "deny", "devices": [ID] * 1_001},
        {"action": "approve", "devices": [ID], "force": "perhaps"},
        {"devices": [ID]},
    ],
)
def test_what_makes_no_sense_reaches_no_service(api: Any, world: Any, body: Any) -> None:
    assert world.error_of(api.post(PATH, json=body))[:2] == (400, "invalid_request")
    assert api.bus.asked == []


def test_whoever_may_neither_remove_nor_import_devices_removes_and_forces_none(api: Any, world: Any) -> None:
    api.directory.account_orgs.clear()
    api.directory.roles[world.MEMBER] = "support"
    api.directory.add_token(world.MEMBER_TOKEN, world.MEMBER, world.OUR_ORG)
    device = "/v1/products/thermo/devices/" + ID
    for action in ACTIONS:
        answer = api.post(PATH, json={"action": action, "devices": [ID]})
        assert answer.status_code == (403 if action == "remove" else 200), action
    for forced in (
        api.post(PATH, json={"action": "approve", "devices": [ID], "force": True}),
        api.put(device, json={"quarantined": False, "force": True}),
    ):
        assert forced.status_code == 403
    api.directory.roles[world.MEMBER] = "developer"
    api.directory.add_token(world.MEMBER_TOKEN, world.MEMBER, world.OUR_ORG)
    assert api.put(device, json={"quarantined": False, "force": True}).json()["force"] is True
    assert api.post(PATH, json={"action": "remove", "devices": [ID]}).status_code == 200
