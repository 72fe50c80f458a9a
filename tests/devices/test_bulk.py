from __future__ import annotations

from typing import Any

import pytest

from services.devices.bulk import steps_of
from services.devices.device import (
    ApproveDevice,
    DenyDevice,
    DescribeDevice,
    ForgiveDevice,
    MarkDevelopment,
    RegroupDevice,
    RemoveDevice,
)
from shared.errors import Refused
from shared.events.devices import DeviceQuarantined, DeviceRemoved

P, OTHER = 1000, 2000
IDS = [f"{number:024x}" for number in range(900, 906)]


@pytest.mark.parametrize(
    ("action", "options", "steps"),
    [
        ("approve", {}, (ApproveDevice(),)),
        ("approve", {"force": True}, (ApproveDevice(forced=True),)),
        ("deny", {}, (DenyDevice(),)),
        ("forgive", {"notes": "of no use here"}, (ForgiveDevice(),)),
        ("remove", {}, (RemoveDevice(),)),
        ("change", {"development": False, "notes": ""}, (MarkDevelopment(False), DescribeDevice(notes=""))),
        ("group", {"add": ["a"], "remove": ["b"]}, (RegroupDevice(frozenset("a"), frozenset("b")),)),
    ],
)
def test_an_action_is_a_step_on_each_device(action: str, options: dict[str, Any], steps: tuple[Any, ...]) -> None:
    assert steps_of(action, options) == steps


@pytest.mark.parametrize(
    ("action", "options"),
    [
        ("explode", {}),
        ("change", {}),
        ("change", {"development": "yes"}),
        ("group", {}),
        ("group", {"add": ["a"], "remove": ["a"]}),
        ("group", {"add": ["No Name"]}),
        ("approve", {"force": "yes"}),
    ],
)
def test_what_means_nothing_is_done_to_no_device(action: str, options: dict[str, Any]) -> None:
    with pytest.raises(Refused) as refusal:
        steps_of(action, options)
    assert refusal.value.code == "invalid_request"


def outcomes(platform: Any, action: str, device_ids: list[str], **options: Any) -> dict[str, str]:
    answer = platform.call("act_on_devices", product_id=P, device_ids=device_ids, action=action, options=options)
    told = {one["id"]: one["code"] or one["outcome"] for one in answer["outcomes"]}
    counts = {name: answer[name] for name in ("done", "unchanged", "refused")}
    assert sum(counts.values()) == len(answer["outcomes"])
    assert counts["refused"] == sum(one["reason"] is not None for one in answer["outcomes"])
    return told


def test_each_device_has_its_own_outcome(platform: Any) -> None:  # DEV-4, DEV-5, DEV-8
    waiting, denied, member, foreign, unknown = IDS[:5]
    platform.record(f"device-{waiting}", DeviceQuarantined(waiting, P))
    platform.record(f"device-{denied}", DeviceQuarantined(denied, P))
    platform.call("import_lines", product_id=P, lines=[member])
    platform.call("import_lines", product_id=OTHER, lines=[foreign])
    none = {foreign: "not_found", unknown: "not_found", "nonsense": "not_found"}
    asked = [waiting, member, waiting.upper(), foreign, unknown, "nonsense"]
    assert outcomes(platform, "deny", [denied]) == {denied: "done"}
    assert outcomes(platform, "forgive", [denied, waiting]) == {denied: "done", waiting: "unchanged"}
    assert outcomes(platform, "approve", asked) == {waiting: "done", member: "unchanged", **none}
    assert outcomes(platform, "approve", asked, force=True) == {waiting: "done", member: "done", **none}
    assert outcomes(platform, "change", [member], development=True, notes="hall") == {member: "done"}
    assert outcomes(platform, "group", [foreign], add=["never"]) == {foreign: "not_found"}
    assert outcomes(platform, "group", [waiting, member, foreign], add=["lab"]) == {
        waiting: "done",
        member: "done",
        foreign: "not_found",
    }
    shown = platform.call("get_device", product_id=P, device_id=member)
    assert (shown["development"], shown["notes"], shown["groups"]) == (True, "hall", ["lab"])
    assert [group["name"] for group in platform.call("list_groups", product_id=P)["groups"]] == ["lab"]
    assert outcomes(platform, "remove", [member, foreign]) == {member: "done", foreign: "not_found"}
    assert outcomes(platform, "remove", [member]) == {member: "not_found"}
    assert platform.events(f"device-{member}")[-1] == DeviceRemoved(member, P)
    for too_many in ([], IDS * 200):
        with pytest.raises(Refused):
            platform.call("act_on_devices", product_id=P, device_ids=too_many, action="deny")
