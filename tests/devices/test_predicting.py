from __future__ import annotations

from typing import Any

import msgspec
import pytest

from services.devices import predicting
from shared.events.firmware import FirmwareReleased, FirmwareReleasedToGroups
from shared.events.gateway import FirmwareReported
from shared.predictions import lines_of
from shared.rollouts import PLACES, place

P = 1000
ROLLOUT = "a" * 24
IDS = [f"{number:024x}" for number in range(0xA00, 0xA00 + 24)]
STAGES = [{"percent": 25, "devices": None}, {"percent": None, "devices": 12}, {"percent": 100, "devices": None}]
ASKED = {"product_id": P, "rollout_id": ROLLOUT, "version": 7, "groups": []}


@pytest.fixture(scope="module")
def fleet(lasting_platform: Any) -> Any:
    """Twenty devices that would update, one that runs the version already, and others that would stay."""
    platform = lasting_platform
    platform.call("import_lines", product_id=P, lines=IDS)
    reports = [FirmwareReported(one, P, P, 7 if one == IDS[0] else 5, "", "", "a", 1, n) for n, one in enumerate(IDS)]
    platform.record("connection-a.1-1", *reports)
    for number, changes in {
        1: {"development": True},
        2: {"desired_firmware_version": 3},
        3: {"groups": ["attic"]},
        4: {"groups": ["lab"]},
    }.items():
        platform.call("update_device", product_id=P, device_id=IDS[number], changes=changes)
    released = FirmwareReleased(P, 5, None, False), FirmwareReleasedToGroups(P, 4, ["attic"], [], False)
    platform.record(f"firmware-{P}", *released)
    return platform


def told_of(page: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = msgspec.json.Decoder().decode_lines(lines_of(page))
    return found


def first(count: int) -> list[str]:
    """The devices that would update in the order of the roll-out."""
    return sorted(IDS[4:], key=lambda one: place(ROLLOUT, one))[:count]


def test_each_stage_reaches_the_first_of_the_devices_that_would_update(fleet: Any):  # FW-6
    sizes = fleet.call("rollout_sizes", **ASKED, stages=STAGES)
    assert (sizes["eligible"], [one["allowed"] for one in sizes["stages"]]) == (20, [5, 12, None])
    assert [one["share"] for one in sizes["stages"]] == [
        place(ROLLOUT, first(5)[-1]) + 1,
        place(ROLLOUT, first(12)[-1]) + 1,
        PLACES,
    ]
    assert sizes["reasons"] == {"offline": 20, "runs": 1, "development": 1, "locked": 1, "group_release": 1}


def test_a_rollout_to_groups_is_for_their_devices_alone(fleet: Any):
    asked = {**ASKED, "groups": ["lab"]}
    sizes = fleet.call("rollout_sizes", **asked, stages=STAGES)
    assert (sizes["eligible"], [one["allowed"] for one in sizes["stages"]]) == (1, [1, 1, None])
    assert sizes["reasons"]["other_groups"] == 21


def test_every_device_is_told_what_would_become_of_it_page_by_page(fleet: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(predicting, "PAGE", 7)
    shares = [one["share"] for one in fleet.call("rollout_sizes", **ASKED, stages=STAGES)["stages"]]
    told, after = [], None
    while True:
        page = fleet.call("predict_rollout", **ASKED, shares=shares, after=after, limit=10)
        told += told_of(page)
        after = page["next"]
        if after is None:
            break
    assert [one["id"] for one in told] == IDS
    assert told[0] == {"id": IDS[0], "would": "stay", "stage": None, "reason": "runs", "version": 7, "target": 7}
    assert [told[n]["reason"] for n in (1, 2, 3)] == ["development", "locked", "group_release"]
    assert [told[n]["target"] for n in (1, 2, 3)] == [None, 3, 4]
    stages = {one["id"]: one["stage"] for one in told[4:]}
    assert {one for one, stage in stages.items() if stage == 0} == set(first(5))
    assert {one for one, stage in stages.items() if stage == 1} == set(first(12)) - set(first(5))
    assert told_of(fleet.call("predict_rollout", **ASKED, shares=shares)) == told


def test_a_product_without_devices_has_none_to_update(fleet: Any):
    sizes = fleet.call("rollout_sizes", **{**ASKED, "product_id": 3000}, stages=STAGES)
    assert sizes == {
        "eligible": 0,
        "stages": [{"allowed": 0, "share": 0}, {"allowed": 0, "share": 0}, {"allowed": None, "share": PLACES}],
        "reasons": {},
    }
    page = fleet.call("predict_rollout", **{**ASKED, "product_id": 3000}, shares=[])
    assert (lines_of(page), page["next"]) == (b"", None)
