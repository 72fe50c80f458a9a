from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from services.gateway.http import rollouts
from shared.errors import NotFound, Refused
from shared.predictions import page_of
from shared.rollouts import PLACES

BASE = "/v1/products/thermo/rollouts"
ID = "7" * 24
ONE = f"{BASE}/{ID}"
DEVICES = [f"{number:024x}" for number in range(5)]
STAGE = {"percent": 10, "devices": None, "hold": False, "soak_s": 60}
LAST = {"percent": 100, "devices": None, "hold": True, "soak_s": 0}
GATES = {
    "failed_percent": 5,
    "dark_percent": 5,
    "dark_after_s": 3600,
    "error_ratio_percent": None,
    "at_least": 10,
    "then": "pause",
}
SIZES = {
    "eligible": 20,
    "stages": [{"allowed": 2, "share": 99}, {"allowed": None, "share": PLACES}],
    "reasons": {"offline": 12, "next_connection": 8, "locked": 1},
}
PLAN = {"version": 7, "stages": [{"percent": 10, "soak_s": 60}, {"percent": 100, "hold": True, "soak_s": 0}]}


def rollout(**changes: Any) -> dict[str, Any]:
    state = {"allowed": 2, "share": 99, "began_at": "2026-03-01T12:00:00.000Z"}
    return {
        "id": ID,
        "product_id": 1000,
        "version": 7,
        "groups": [],
        "stages": [{**STAGE, **state}, {**LAST, "allowed": None, "share": None, "began_at": None}],
        "windows": [{"days": [0], "from": "08:00", "until": "17:30"}],
        "at_once": 500,
        "per_hour": None,
        "gates": GATES,
        "intelligent": False,
        "state": "running",
        "stage": 0,
        "counts": dict.fromkeys(("asked", "in_flight", "taken", "succeeded", "failed", "dark", "left"), 0),
        "gate": None,
        "reason": "",
        "prediction": None,
        "planned_at": "2026-03-01T12:00:00.000Z",
        "began_at": "2026-03-01T12:00:00.000Z",
        "ended_at": None,
        "updated_at": "2026-03-01T12:00:00.000Z",
        **changes,
    }


def predicted(number: int, would: str = "update", stage: int | None = 0, reason: str = "offline") -> dict[str, Any]:
    return {"id": DEVICES[number], "would": would, "stage": stage, "reason": reason, "version": 5, "target": 7}


def fact(number: int, state: str) -> dict[str, Any]:
    times = dict.fromkeys(("asked_at", "given_at", "ended_at"), "2026-03-01T12:00:00.000Z")
    return {"id": DEVICES[number], "state": state, "stage": 0, "turns": 1, **times}


def lines_of(found: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(one, separators=(",", ":")) + "\n" for one in found)


@pytest.fixture(autouse=True)
def answers(api: Any, world: Any) -> None:
    api.bus.answers["firmware.get_version"] = {**world.FIRMWARE, "sha256": "0" * 64}
    api.bus.answers["devices.rollout_sizes"] = SIZES
    api.bus.answers["devices.list_groups"] = {"groups": [{"name": "lab"}]}
    api.bus.answers["firmware.get_rollout"] = {"rollout": rollout()}
    api.bus.answers["firmware.list_rollouts"] = {"rollouts": [rollout()]}
    for method in ("plan", "approve", "pause", "resume", "cancel", "roll_back"):
        api.bus.answers[f"firmware.{method}_rollout"] = {"rollout": rollout(), "position": 9}


def test_a_dry_run_says_how_far_each_stage_goes_and_why_devices_stay(api: Any) -> None:  # FW-6
    answer = api.post(f"{BASE}/dry-run", json={**PLAN, "rollout_id": ID, "groups": ["lab"]})
    assert answer.json() == {
        "rollout_id": ID,
        "version": 7,
        "groups": ["lab"],
        "releasable": False,
        "devices": 21,
        "eligible": 20,
        "stages": [
            {**STAGE, "allowed": 2, "share": 99, "reaches": 2},
            {**LAST, "allowed": None, "share": PLACES, "reaches": 20},
        ],
        "reasons": SIZES["reasons"],
    }
    assert api.bus.last("rollout_sizes").arguments == {
        "product_id": 1000,
        "rollout_id": ID,
        "version": 7,
        "groups": ["lab"],
        "intelligent": False,
        "stages": [{"percent": 10, "devices": None}, {"percent": 100, "devices": None}],
    }


def test_a_dry_run_without_an_id_gets_one_that_a_repeat_gets_too(api: Any) -> None:
    ids = [
        api.post(f"{BASE}/dry-run", json={"version": 7, "stages": PLAN["stages"]}, headers=headers).json()["rollout_id"]
        for headers in ({}, {}, {"Idempotency-Key": "one"}, {"Idempotency-Key": "one"})
    ]
    assert (len(set(ids)), ids[2]) == (3, ids[3])


@pytest.mark.parametrize("kind", ["application/x-ndjson", "text/csv"])
def test_a_dry_run_lists_every_device_page_by_page(api: Any, kind: str) -> None:
    pages = {None: [predicted(0), predicted(1, "stay", None, "locked")], DEVICES[1]: [predicted(2, stage=1)]}

    def page(arguments: dict[str, Any]) -> dict[str, Any]:
        after = arguments["after"]
        found = [dict(one) for one in pages[after]]
        ids = [one.pop("id") for one in found]
        told = page_of(ids, [json.dumps(one) for one in found], range(len(ids)))
        return {**told, "next": DEVICES[1] if after is None else None}

    api.bus.answers["devices.predict_rollout"] = page
    answer = api.post(f"{BASE}/dry-run", json={**PLAN, "rollout_id": ID}, headers={"Accept": kind})
    assert (answer.status_code, answer.headers["content-type"]) == (200, f"{kind}; charset=utf-8")
    assert answer.headers["X-Flotilla-Rollout"] == ID
    if kind == "text/csv":
        assert answer.text.split("\r\n") == [
            "id,would,stage,reason,version,target",
            f"{DEVICES[0]},update,0,offline,5,7",
            f"{DEVICES[1]},stay,,locked,5,7",
            f"{DEVICES[2]},update,1,offline,5,7",
            "",
        ]
    else:
        assert [json.loads(line)["id"] for line in answer.text.splitlines()] == DEVICES[:3]
    assert api.bus.last("predict_rollout").arguments["shares"] == [99, PLACES]


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ({"stages": []}, "version: Missing data"),
        ({"version": 7, "gate": {}}, "gate: Unknown field."),
        ({"version": 7, "stages": [{"percent": 0}]}, "stages.0.percent: Must be greater than"),
        ({"version": 7, "stages": [{}]}, "stages.0: Name either percent or devices."),
        ({"version": 7, "rollout_id": "x"}, "rollout_id: Must be 24 hex digits"),
        ({"version": 7, "groups": ["attic"]}, "groups: The product has no group called attic."),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(api: Any, world: Any, body: dict[str, Any], complaint: str) -> None:
    status, code, text = world.error_of(api.post(f"{BASE}/dry-run", json=body))
    assert (status, code) == (400, "invalid_request")
    assert complaint in text
    assert api.bus.count("rollout_sizes") == 0


def test_a_version_that_there_is_not_cannot_be_rolled_out(api: Any, world: Any) -> None:
    api.bus.answers["firmware.get_version"] = NotFound("Firmware not found.")
    assert world.error_of(api.post(f"{BASE}/dry-run", json=PLAN))[0] == 404


def test_a_rollout_is_planned_and_started(api: Any) -> None:
    planned = api.post(BASE, json={**PLAN, "rollout_id": ID})
    assert (planned.status_code, planned.json()) == (201, {"ok": True, "rollout": rollout()})
    assert planned.headers["X-Flotilla-Position"] == "9"
    asked = api.bus.last("plan_rollout")
    assert (asked.arguments["rollout_id"], asked.arguments["plan"]["stages"]) == (ID, [STAGE, LAST])
    assert api.bus.count("approve_rollout") == 0
    assert api.post(BASE, json={**PLAN, "start": True}).status_code == 201
    approved = api.bus.last("approve_rollout")
    assert approved.arguments == {"product_id": 1000, "rollout_id": ID}
    assert approved.context.command_id != api.bus.last("plan_rollout").context.command_id


def test_what_is_refused_says_why(api: Any, world: Any) -> None:
    api.bus.answers["firmware.plan_rollout"] = Refused("firmware_not_running", "no device runs it yet")
    assert world.error_of(api.post(BASE, json=PLAN)) == (400, "firmware_not_running", "no device runs it yet")


@pytest.mark.parametrize("word", ["approve", "pause", "resume", "cancel", "rollback"])
def test_a_rollout_is_decided_about(api: Any, word: str) -> None:
    answer = api.post(f"{ONE}/{word}", json={"reason": "too warm"})
    assert answer.json() == {"ok": True, "rollout": rollout()}
    reason = {"reason": "too warm"} if word in ("pause", "cancel", "rollback") else {}
    method = "roll_back_rollout" if word == "rollback" else f"{word}_rollout"
    assert api.bus.last(method).arguments == {"product_id": 1000, "rollout_id": ID, **reason}


def test_rollouts_are_shown(api: Any, world: Any) -> None:
    assert api.get(BASE).json() == {"rollouts": [rollout()]}
    assert api.get(ONE).json() == {"ok": True, "rollout": rollout()}
    assert world.error_of(api.get(f"{BASE}/none")) == (404, "not_found", "Roll-out not found.")
    api.bus.answers["firmware.get_rollout"] = NotFound("Roll-out not found.")
    assert api.get(ONE).status_code == 404


def test_devices_of_a_rollout_are_listed(api: Any) -> None:
    pages = {None: ([fact(0, "dark")], DEVICES[0]), DEVICES[0]: ([fact(2, "failed")], None)}

    def page(arguments: dict[str, Any]) -> dict[str, Any]:
        devices, after = pages[arguments["after"]]
        return {"devices": devices, "next": after}

    api.bus.answers["firmware.list_rollout_devices"] = page
    answer = api.get(f"{ONE}/devices?state=dark&per_page=1")
    assert answer.json() == {"devices": [fact(0, "dark")], "meta": {"per_page": 1, "next": DEVICES[0]}}
    asked = {"product_id": 1000, "rollout_id": ID, "state": "dark", "after": None, "limit": 1}
    assert api.bus.last("list_rollout_devices").arguments == asked
    text = api.get(f"{ONE}/devices", headers={"Accept": "text/csv"}).text
    assert [line.partition(",")[0] for line in text.split()] == ["id", DEVICES[0], DEVICES[2]]


def with_prediction(api: Any, *lines: dict[str, Any]) -> None:
    writer = api.blobs.writer()
    writer.write(gzip.compress(lines_of(list(lines)).encode()))
    kept = rollout(prediction=writer.finish().sha256)
    api.bus.answers["firmware.get_rollout"] = {"rollout": kept}


def test_a_report_holds_every_prediction_against_what_became_of_it(api: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(rollouts, "PIECE_BYTES", 150)  # less than two lines
    with_prediction(
        api, predicted(0), predicted(1, stage=1), predicted(2, "stay", None, "locked"), predicted(3), predicted(4)
    )
    late = {**fact(0, "left"), "id": "f" * 24}
    facts = {None: [fact(0, "succeeded")], DEVICES[0]: [fact(3, "dark")], DEVICES[3]: [late]}

    def page(arguments: dict[str, Any]) -> dict[str, Any]:
        found = facts[arguments["after"]]
        return {"devices": found, "next": None if found[0] is late else found[0]["id"]}

    api.bus.answers["firmware.list_rollout_devices"] = page
    outcomes = {"as_predicted": 1, "stayed": 1, "worse": 1, "not_yet": 1, "never_came": 1, "late": 1}
    assert api.get(f"{ONE}/report").json() == {
        "rollout_id": ID,
        "state": "running",
        "devices": 6,
        "outcomes": {"better": 0, "under_way": 0, **outcomes},
    }
    lines = api.get(f"{ONE}/report", headers={"Accept": "application/x-ndjson"}).text.splitlines()
    assert [(json.loads(line)["id"], json.loads(line)["outcome"]) for line in lines] == [
        (DEVICES[0], "as_predicted"),
        (DEVICES[1], "not_yet"),
        (DEVICES[2], "stayed"),
        (DEVICES[3], "worse"),
        (DEVICES[4], "never_came"),
        ("f" * 24, "late"),
    ]
    text = api.get(f"{ONE}/report", headers={"Accept": "text/csv"}).text
    assert text.splitlines()[1] == f"{DEVICES[0]},as_predicted,update,offline,0,succeeded,0,1"


def test_there_is_no_report_before_a_rollout_began(api: Any, world: Any) -> None:
    assert world.error_of(api.get(f"{ONE}/report"))[:2] == (400, "rollout_not_begun")


def test_a_rollout_is_watched_until_it_is_over(api: Any, world: Any, runner: Any) -> None:
    async def story() -> None:
        await api.rollouts.listen(Listening(api))
        stream = world.Stream(api, f"{ONE}/events")
        assert (await stream.head())[0] == 200
        assert await stream.write() == b":ok\n\n"
        assert (await stream.write()).startswith(b"event: running\ndata: {")
        api.bus.answers["firmware.get_rollout"] = {"rollout": rollout(state="completed")}
        api.rollouts.heard({"data": {"rollout_id": ID}, "position": 12})
        assert (await stream.write()).startswith(b"event: completed\ndata: {")
        assert await stream.write() == b""

    runner.run(story())


class Listening:
    """The bus of the API, which also lets listen."""

    def __init__(self, api: Any) -> None:
        self.call = api.bus.call

    async def listen(self, *_: Any, **__: Any) -> None:
        return None
