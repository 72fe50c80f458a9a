"""Groups over HTTP (contract 10), and many devices regrouped at once (7.2)."""

from __future__ import annotations

from typing import Any

import pytest

from shared.errors import NotFound, Refused

GROUPS = "/v1/products/thermo/groups"
LAB = {"name": "lab", "description": "", "color": "#f00", "fw_version": None, "device_count": 2}


@pytest.fixture(autouse=True)
def answers(api: Any) -> None:
    api.bus.answers["devices.list_groups"] = {"groups": [LAB]}
    for method in ("get_group", "create_group", "change_group"):
        api.bus.answers[f"devices.{method}"] = {"group": LAB, **({} if method == "get_group" else {"position": 6})}
    api.bus.answers["devices.delete_group"] = {"position": 7}
    api.bus.answers["devices.regroup"] = {"position": 8}


def test_groups_are_listed_and_read(api: Any) -> None:
    assert api.get(GROUPS).json() == {"groups": [LAB]}
    assert api.bus.last("list_groups").arguments == {"product_id": 1000, "name": None}
    api.get(GROUPS + "?name=la")
    assert api.bus.last("list_groups").arguments["name"] == "la"
    assert api.get(GROUPS + "/lab").json() == {"group": LAB}
    assert api.bus.last("get_group").arguments == {"product_id": 1000, "name": "lab"}


@pytest.mark.parametrize("encoding", ["json", "data"])
def test_a_group_is_made_and_changed(api: Any, encoding: str) -> None:
    answer = api.post(GROUPS, **{encoding: {"name": "lab", "color": "#f00"}})
    assert (answer.status_code, answer.json()) == (201, {"group": LAB})
    asked = {"product_id": 1000, "name": "lab", "color": "#f00", "description": None}
    assert api.bus.last("create_group").arguments == asked
    assert api.put(GROUPS + "/lab", **{encoding: {"name": "hall"}}).json() == {"group": LAB}
    assert api.bus.last("change_group").arguments == {"product_id": 1000, "name": "lab", "changes": {"name": "hall"}}


def test_a_group_is_deleted(api: Any) -> None:
    answer = api.delete(GROUPS + "/lab", json={})
    assert (answer.status_code, answer.headers["X-Flotilla-Position"]) == (204, "7")


@pytest.mark.parametrize("name", ["x" * 65, "%00", "%0A"])
def test_what_is_no_name_is_no_group(api: Any, world: Any, name: str) -> None:
    for method in ("GET", "PUT", "DELETE"):
        assert world.error_of(api.request(method, f"{GROUPS}/{name}"))[:2] == (404, "not_found")
    assert api.bus.asked == []


def test_what_the_service_refuses_is_told(api: Any, world: Any) -> None:
    api.bus.answers["devices.create_group"] = Refused("name_taken", "There is one.")
    api.bus.answers["devices.get_group"] = NotFound("Group not found.")
    assert world.error_of(api.post(GROUPS, json={"name": "lab"})) == (400, "name_taken", "There is one.")
    assert world.error_of(api.get(GROUPS + "/hall")) == (404, "not_found", "Group not found.")


@pytest.mark.parametrize(
    "body",
    [
        {"json": {"action": "groups", "devices": ["a", "b"], "metadata": {"add": ["lab"], "remove": ["hall"]}}},
        {
            "data": {
                "action": "groups",
                "devices[]": ["a", "b"],
                "metadata[add][]": ["lab"],
                "metadata[remove][0]": "hall",
            }
        },
    ],
)
def test_many_devices_are_regrouped(api: Any, body: Any) -> None:  # contract 7.2 and 1.4
    assert api.put("/v1/products/thermo/devices", **body).json() == {"ok": True}
    asked = {"product_id": 1000, "device_ids": ["a", "b"], "add": ["lab"], "remove": ["hall"]}
    assert api.bus.last("regroup").arguments == asked


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"action": "deny", "devices": ["a"], "metadata": {}},
        {"action": "groups", "devices": [], "metadata": {}},
        {"action": "groups", "devices": ["a"] * 1_001, "metadata": {}},
        {"action": "groups", "devices": ["a"]},
        {"action": "groups", "devices": ["a"], "metadata": {"add": "lab"}},
    ],
)
def test_what_is_no_regrouping_is_refused(api: Any, world: Any, body: Any) -> None:
    assert world.error_of(api.put("/v1/products/thermo/devices", json=body))[:2] == (400, "invalid_request")
