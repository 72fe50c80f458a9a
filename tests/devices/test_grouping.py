"""Groups of a product over the running service: devices follow what becomes of them (contract 10)."""

from __future__ import annotations

from time import monotonic
from typing import Any
from uuid import uuid4

import pytest

from shared.context import Context
from shared.errors import NotFound, Refused
from shared.events.contracts import CONTRACTS
from shared.events.devices import DeviceGrouped, DeviceImported
from shared.events.firmware import FirmwareReleased, FirmwareReleasedToGroups
from shared.events.gateway import FirmwareReported
from shared.events.groups import GroupCreated, GroupEmptied
from shared.store.port import ANY, NO_STREAM

P, OTHER = 1000, 2000
A, B, C, D = (f"{number:024x}" for number in (10, 11, 12, 13))


def code(call: Any, *args: Any, **arguments: Any) -> str:
    with pytest.raises(Refused) as refusal:
        call(*args, **arguments)
    return refusal.value.code


@pytest.fixture
def fleet(platform: Any) -> Any:
    platform.call("import_lines", product_id=P, lines=[A, B, C])
    platform.call("import_lines", product_id=OTHER, lines=[D])
    return platform


def groups(fleet: Any, **arguments: Any) -> dict[str, int]:
    found = fleet.call("list_groups", product_id=P, **arguments)["groups"]
    return {group["name"]: group["device_count"] for group in found}


def test_a_group_is_made_read_changed_and_listed(fleet: Any) -> None:
    made = fleet.call("create_group", product_id=P, name="lab", description=" Indoors ", color="#f00")["group"]
    assert made == {"name": "lab", "description": "Indoors", "color": "#f00", "fw_version": None, "device_count": 0}
    assert fleet.call("get_group", product_id=P, name="lab") == {"group": made}
    changed = fleet.call("change_group", product_id=P, name="lab", changes={"color": "red"})["group"]
    assert changed == {**made, "color": "red"}
    fleet.call("create_group", product_id=P, name="hall")
    assert groups(fleet) == {"hall": 0, "lab": 0}
    assert groups(fleet, name="al") == {"hall": 0}
    assert groups(fleet, name="%") == {}
    assert fleet.call("list_groups", product_id=OTHER) == {"groups": []}
    assert code(fleet.call, "create_group", product_id=P, name="lab") == "name_taken"


@pytest.mark.parametrize("name", ["", "Lab", "a b", "x" * 65, "lab\n", "ü"])
def test_what_is_no_name_is_refused(fleet: Any, name: str) -> None:
    assert code(fleet.call, "create_group", product_id=P, name=name) == "invalid_request"


def test_a_device_that_is_put_into_an_unknown_group_makes_it(fleet: Any) -> None:
    fleet.call("update_device", product_id=P, device_id=A, changes={"groups": ["lab", "hall"]})
    assert groups(fleet) == {"hall": 1, "lab": 1}
    with pytest.raises(NotFound):
        fleet.call("update_device", product_id=P, device_id=D, changes={"groups": ["attic"]})
    assert groups(fleet) == {"hall": 1, "lab": 1}


def test_many_devices_are_regrouped_at_once_or_none(fleet: Any) -> None:
    fleet.call("regroup", product_id=P, device_ids=[A, B.upper(), A], add=["lab"])
    fleet.call("regroup", product_id=P, device_ids=[A, C], add=["hall"], remove=["lab", "never-was"])
    assert groups(fleet) == {"hall": 2, "lab": 1}
    with pytest.raises(NotFound):
        fleet.call("regroup", product_id=P, device_ids=[A, D], add=["attic"])
    assert groups(fleet) == {"hall": 2, "lab": 1}
    both = {"add": ["x"], "remove": ["x"]}
    assert code(fleet.call, "regroup", product_id=P, device_ids=[A], **both) == "invalid_request"
    assert code(fleet.call, "regroup", product_id=P, device_ids=[A] * 1_001, add=["x"]) == "invalid_request"


def test_devices_leave_a_group_that_is_deleted_and_its_name_is_free_then(fleet: Any) -> None:
    fleet.call("regroup", product_id=P, device_ids=[A, B], add=["lab", "hall"])
    fleet.call("delete_group", product_id=P, name="lab")
    with pytest.raises(NotFound):
        fleet.call("get_group", product_id=P, name="lab")
    fleet.after = fleet.wait_for_event("groups-1000", GroupEmptied).position
    assert [fleet.events(f"device-{one}")[-1].groups for one in (A, B)] == [["hall"], ["hall"]]
    fleet.call("regroup", product_id=P, device_ids=[C], add=["lab"])
    assert groups(fleet) == {"hall": 2, "lab": 1}


def test_devices_follow_a_group_that_is_renamed(fleet: Any) -> None:
    fleet.call("regroup", product_id=P, device_ids=[A, B], add=["lab"])
    renamed = fleet.call("change_group", product_id=P, name="lab", changes={"name": "hall", "color": "red"})["group"]
    assert (renamed["name"], renamed["color"], renamed["device_count"]) == ("hall", "red", 2)
    fleet.wait_for_event("groups-1000", GroupEmptied)
    deadline = monotonic() + 10
    while (shown := groups(fleet)) != {"hall": 2}:
        assert monotonic() < deadline, shown
        fleet.after = fleet.store.head()


def test_a_command_that_is_repeated_when_the_group_is_gone_says_so(fleet: Any) -> None:
    fleet.call("create_group", product_id=P, name="lab")
    context = Context.new("account:tester", "tests")
    rename = {"product_id": P, "name": "lab", "changes": {"name": "hall"}}
    fleet.call("change_group", context=context, **rename)
    fleet.call("change_group", product_id=P, name="hall", changes={"name": "attic"})
    with pytest.raises(NotFound):
        fleet.call("change_group", context=context, **rename)


def grouped(fleet: Any, device_id: str, *names: str) -> None:
    """As a call does that looked at the groups before something else became of them."""
    fleet.record(f"device-{device_id}", DeviceGrouped(device_id, P, sorted(names)))


def test_a_device_that_came_while_its_group_was_deleted_ends_in_groups_that_exist(fleet: Any) -> None:
    fleet.call("create_group", product_id=P, name="lab")
    fleet.call("delete_group", product_id=P, name="lab")
    grouped(fleet, A, "lab", "hall")
    fleet.wait_for_event("groups-1000", GroupEmptied)
    deadline = monotonic() + 10
    while not agrees(fleet):
        assert monotonic() < deadline
        fleet.store.wait(fleet.store.head(), 0.05)


def test_a_group_that_a_device_has_left_again_is_not_made(fleet: Any) -> None:
    """What became of a group may be done before it is heard that a device was put into it."""
    context = Context.new("system:tests", "tests", uuid4())
    news = [
        CONTRACTS.encode(DeviceGrouped(A, P, [name]), number, context) for number, name in enumerate(["lab", "hall"])
    ]
    fleet.after = fleet.store.append(f"device-{A}", ANY, news).position
    fleet.wait_for_event("groups-1000", GroupCreated)
    fleet.after = fleet.store.head()
    assert groups(fleet) == {"hall": 1}


def agrees(fleet: Any) -> bool:
    """Whether the device is in a group, and in none that does not exist."""
    fleet.after = fleet.store.head()
    its_own = set(fleet.events(f"device-{A}")[-1].groups)
    return bool(its_own) and its_own <= groups(fleet).keys()


def test_the_impact_of_a_release_is_on_devices_that_it_applies_to_and_that_do_not_run_it(fleet: Any) -> None:
    for session, (device_id, version) in enumerate({A: 1, B: 2}.items(), 1):
        report = FirmwareReported(device_id, P, P, version, "", "", "a", 1, session)
        fleet.record("connection-a.1-1", report)
    fleet.call("regroup", product_id=P, device_ids=[A, C], add=["lab"])
    asked = {"product_id": P, "version": 2}
    both = [{"version": 1, "total": 1}, {"version": None, "total": 1}]
    assert fleet.call("update_impact", **asked) == {"total": 2, "by_version": both}
    within = {**asked, "product_default": False}
    assert fleet.call("update_impact", **within, groups=["lab"])["total"] == 2
    assert fleet.call("update_impact", **within, groups=["hall"]) == {"total": 0, "by_version": []}
    fleet.call("update_device", product_id=P, device_id=A, changes={"development": True})
    fleet.call("update_device", product_id=P, device_id=C, changes={"desired_firmware_version": 3})
    assert fleet.call("update_impact", **asked)["total"] == 0
    assert fleet.call("count_locked", product_id=P, version=3) == {"count": 1}
    assert fleet.call("count_locked", product_id=OTHER, version=3) == {"count": 0}


def test_what_is_released_to_a_group_is_what_its_devices_should_run(fleet: Any) -> None:  # contract 7.4
    fleet.call("regroup", product_id=P, device_ids=[A], add=["lab"])
    released = FirmwareReleasedToGroups(P, 7, ["lab"], [], False)
    fleet.record("firmware-1000", FirmwareReleased(P, 5, None, False), released)
    targets = {
        device["id"]: device["targeted_firmware_release_version"]
        for device in fleet.call("list_devices", product_id=P)["devices"]
    }
    assert targets == {A: 7, B: 5, C: 5}
    assert fleet.call("get_group", product_id=P, name="lab")["group"]["fw_version"] == 7
    assert [group["fw_version"] for group in fleet.call("list_groups", product_id=P)["groups"]] == [7]
    why = {one["aspect"]: one for one in fleet.call("why", product_id=P, device_id=A)["aspects"]}
    assert why["target"]["value"] == {"version": 7, "cause": "release"}
    assert [link["type"] for link in why["target"]["chain"]] == ["FirmwareReleasedToGroups"]
    asked = {"product_id": P, "version": 6}
    assert fleet.call("update_impact", **asked)["total"] == 2
    assert fleet.call("update_impact", **asked, product_default=False, groups=["lab"])["total"] == 1


def test_more_devices_than_one_append_takes_leave_a_group(fleet: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.devices.grouping.CHUNK", 2)
    ids = [f"{number:024x}" for number in range(100, 105)]
    for device_id in ids:
        events = [DeviceImported(device_id, P, False), DeviceGrouped(device_id, P, ["lab"])]
        new = [CONTRACTS.encode(event, 0, Context.new("system:tests", "tests", uuid4())) for event in events]
        fleet.after = fleet.store.append(f"device-{device_id}", NO_STREAM, new).position
    fleet.wait_for_event("groups-1000", GroupCreated)
    fleet.after = fleet.store.head()
    assert groups(fleet) == {"lab": 5}
    fleet.call("delete_group", product_id=P, name="lab")
    fleet.after = fleet.wait_for_event("groups-1000", GroupEmptied).position
    assert [fleet.events(f"device-{one}")[-1].groups for one in ids] == [[]] * 5


def test_a_change_that_is_repeated_after_its_group_has_gone_finds_none(fleet: Any) -> None:
    fleet.call("create_group", product_id=P, name="lab")
    again = Context.new("account:tester", "tests")
    for _ in range(2):
        fleet.call("change_group", context=again, product_id=P, name="lab", changes={"name": "hall"})
    fleet.call("delete_group", product_id=P, name="hall")
    with pytest.raises(NotFound):
        fleet.call("change_group", context=again, product_id=P, name="lab", changes={"name": "hall"})
