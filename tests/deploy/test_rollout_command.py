"""``flotilla rollout`` and the commands of firmware against an API that is played."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from deploy import release_command, rollout_command
from deploy.api import Api
from deploy.cli import app
from deploy.rollout_words import stages, window, window_text
from shared.errors import Refused

ID, DEVICE = "7" * 24, "0123456789abcdef01234567"
BASE = "/v1/products/1000"
STAGE = {"percent": 10, "devices": None, "hold": False, "soak_s": 3600}
LAST = {"percent": 100, "devices": None, "hold": True, "soak_s": 0}
ROLLOUT = {
    "id": ID,
    "version": 7,
    "groups": [],
    "stages": [
        {**STAGE, "allowed": 2, "share": 99, "began_at": "2026-03-01T12:00:00.000Z"},
        {**LAST, "allowed": None, "share": None, "began_at": None},
    ],
    "windows": [{"days": [0, 1], "from": "08:00", "until": "17:00"}],
    "at_once": 500,
    "per_hour": 100,
    "gates": {"failed_percent": 5, "dark_percent": None, "error_ratio_percent": 150, "at_least": 10, "then": "pause"},
    "state": "paused",
    "stage": 0,
    "counts": {"asked": 3, "in_flight": 1, "taken": 12, "succeeded": 8, "failed": 2, "dark": 1, "left": 0},
    "gate": "failed",
    "reason": "2 of 11 failed",
    "planned_at": "2026-03-01T11:00:00.000Z",
}
DRY_RUN = {
    "rollout_id": ID,
    "version": 7,
    "groups": ["lab"],
    "releasable": False,
    "devices": 1_234,
    "eligible": 1_000,
    "stages": [{**STAGE, "allowed": 100, "share": 9, "reaches": 100}, {**LAST, "allowed": None, "reaches": 1_000}],
    "reasons": {"locked": 234, "offline": 600, "next_connection": 400},
}
Answer = tuple[int, Any]


class Played:
    """Answers by method and path, and remembers what was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.asked: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        answer = self.answers[f"{request.method} {request.url.path.removeprefix(BASE)}"]
        status, document = answer if isinstance(answer, tuple) else (200, answer)
        if isinstance(document, str):
            return httpx.Response(status, text=document)
        return httpx.Response(status, json=document)

    def body(self) -> Any:
        return json.loads(self.asked[-1].content)


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Played:
    played = Played()

    @contextmanager
    def logged_in(*_: object) -> Iterator[Api]:
        made = Api("http://gateway")
        made._client = httpx.Client(base_url="http://gateway", transport=httpx.MockTransport(played))
        with made:
            yield made

    monkeypatch.setattr(rollout_command, "logged_in", logged_in)
    monkeypatch.setattr(release_command, "logged_in", logged_in)
    return played


@pytest.fixture
def run() -> Callable[..., str]:
    def run(*words: str, ends: int = 0) -> str:
        asked = ["--username", "ada@example.com"]
        if words[0] == "rollout":
            asked += ["--product", "1000"]
        done = CliRunner(env={"PASSWORD": "secret"}).invoke(app, [*words, *asked], catch_exceptions=False)
        assert done.exit_code == ends, done.output
        return done.stdout

    return run


def test_a_plan_is_said_in_words(api: Any, run: Any) -> None:  # FW-6
    api.answers["POST /rollouts"] = {"rollout": ROLLOUT}
    words = ("--stages", "20,1%,10%:hold,100%", "--soak", "30m", "--window", "mon-fri,08:00-17:00", "--at-once", "50")
    gates = ("--gate-failed", "3", "--dark-after", "2h", "--then", "roll_back")
    told = run("rollout", "start", "7", *words, *gates, "--group", "lab", "--rollout-id", ID)
    assert api.body() == {
        "version": 7,
        "groups": ["lab"],
        "stages": stages("20,1%,10%:hold,100%", 1_800),
        "windows": [{"days": [0, 1, 2, 3, 4], "from": "08:00", "until": "17:00"}],
        "at_once": 50,
        "gates": {"failed_percent": 3, "dark_after_s": 7_200, "then": "roll_back"},
        "rollout_id": ID,
        "start": True,
    }
    assert "paused by the gate failed (2 of 11 failed)" in told
    assert "18.2 %" in told
    assert "mon,tue 08:00-17:00 UTC" in told
    assert "then resume, cancel or rollback" in told


def test_a_plan_is_read_from_a_file_and_words_beside_it_count_more(api: Any, run: Any, tmp_path: Path) -> None:
    api.answers["POST /rollouts"] = {"rollout": ROLLOUT}
    file = tmp_path / "plan.json"
    file.write_text(json.dumps({"version": 7, "gates": {"failed_percent": 1, "at_least": 5}, "at_once": 10}))
    run("rollout", "plan", "--plan", str(file), "--gate-failed", "3")
    gates = {"failed_percent": 3, "at_least": 5}
    assert api.body() == {"version": 7, "gates": gates, "at_once": 10, "start": False}
    assert "which version?" in run_to_error(run, "rollout", "plan")


def run_to_error(run: Any, *words: str) -> str:
    done = CliRunner(env={"PASSWORD": "x"}).invoke(app, [*words, "--username", "a", "--product", "1000"])
    assert done.exit_code == 2
    return done.output


def test_a_dry_run_is_a_table_with_the_next_step(api: Any, run: Any, tmp_path: Path) -> None:
    api.answers["POST /rollouts/dry-run"] = DRY_RUN
    told = run("rollout", "dry-run", "7", "--group", "lab")
    assert "version 7 to groups lab: 1,000 of 1,234 would update" in told
    assert "are locked to a version" in told
    assert f"--rollout-id {ID}" in told
    assert "flotilla lock PRODUCT VERSION --development --now" in told
    assert json.loads(run("rollout", "dry-run", "7", "--json")) == DRY_RUN


def test_lists_of_devices_are_written_as_csv(api: Any, run: Any) -> None:
    api.answers[f"GET /rollouts/{ID}/report"] = "id,outcome\r\n"
    assert run("rollout", "report", ID, "--csv").endswith("id,outcome\n")
    assert api.asked[-1].headers["accept"] == "text/csv"
    api.answers[f"GET /rollouts/{ID}/devices"] = "id,state\r\n"
    assert run("rollout", "devices", ID, "--state", "dark", "--csv").endswith("id,state\n")
    assert api.asked[-1].url.params["state"] == "dark"


def test_a_rollout_is_decided_about_and_shown(api: Any, run: Any) -> None:
    for word in ("approve", "pause", "resume", "cancel", "rollback"):
        api.answers[f"POST /rollouts/{ID}/{word}"] = {"rollout": ROLLOUT}
        reason = ("--reason", "too warm") if word in ("pause", "cancel", "rollback") else ()
        assert "paused" in run("rollout", word, ID, *reason)
        assert api.body()["reason"] == ("too warm" if reason else "")
    api.answers["GET /rollouts"] = {"rollouts": [ROLLOUT]}
    assert "1 of 2" in run("rollout", "list")
    api.answers[f"GET /rollouts/{ID}"] = {"rollout": ROLLOUT}
    assert json.loads(run("rollout", "show", ID, "--json")) == ROLLOUT
    outcomes = {"as_predicted": 8, "never_came": 2}
    report = {"rollout_id": ID, "state": "completed", "devices": 10, "outcomes": outcomes}
    api.answers[f"GET /rollouts/{ID}/report"] = report
    assert "never came for their turn" in run("rollout", "report", ID)


def test_a_rollout_is_watched_until_it_is_over(api: Any, run: Any) -> None:
    over = {**ROLLOUT, "state": "completed", "gate": None}
    api.answers[f"GET /rollouts/{ID}"] = {"rollout": ROLLOUT}
    frames = "".join(f"event: {one['state']}\ndata: {json.dumps(one)}\n\n" for one in (ROLLOUT, over))
    api.answers[f"GET /rollouts/{ID}/events"] = ":ok\n\n" + frames
    told = [json.loads(line)["state"] for line in run("rollout", "watch", ID, "--json").splitlines()]
    assert told == ["paused", "completed"]
    assert "it is released" in run("rollout", "watch", ID)
    back = {**ROLLOUT, "state": "rolled_back"}
    api.answers[f"GET /rollouts/{ID}/events"] = f"event: rolled_back\ndata: {json.dumps(back)}\n\n"
    run("rollout", "watch", ID, ends=1)


def test_what_is_refused_says_the_next_step(api: Any, run: Any) -> None:  # FW-8
    refused = {"ok": False, "error": "firmware_not_running", "error_description": "no device runs it yet"}
    api.answers["PUT /firmware/release"] = (400, refused)
    with pytest.raises(Refused, match=r"no device runs it yet\n  no device has run it: flotilla lock"):
        run("release", "1000", "7")
    api.answers["GET /devices"] = {"devices": [], "meta": {"next": None}}
    with pytest.raises(Refused, match="flotilla devices change --development"):
        run("lock", "1000", "7", "--development")


def test_firmware_goes_from_the_test_group_to_its_release(api: Any, run: Any) -> None:  # FW-8
    api.answers["GET /devices"] = {"devices": [{"id": DEVICE}], "meta": {"next": None}}
    api.answers[f"PUT /devices/{DEVICE}"] = {"id": DEVICE}
    assert "1 devices locked to version 7" in run("lock", "1000", "7", "--development", "--now")
    assert api.body() == {"desired_firmware_version": 7, "flash": True}
    assert "1 devices unlocked" in run("unlock", "1000", DEVICE)
    assert api.body() == {"desired_firmware_version": None}
    api.answers["PUT /firmware/release"] = {"version": 7, "device_count": 1}
    assert "released to groups a, b; 1 devices run it" in run(
        "release", "1000", "7", "--groups", "a,b", "--intelligent"
    )
    assert api.body() == {"version": 7, "groups": ["a", "b"], "intelligent": True}


@pytest.mark.parametrize(
    ("text", "days"),
    [("mon-fri,08:00-17:00", [0, 1, 2, 3, 4]), ("sat-mon,22:00-04:00", [0, 5, 6]), ("00:00-24:00", list(range(7)))],
)
def test_windows_are_read_and_shown(text: str, days: list[int]) -> None:
    assert window(text)["days"] == days
    assert window(text)["until"] in window_text(window(text))


@pytest.mark.parametrize("text", ["never", "mon-xyz,08:00-17:00", "8-17"])
def test_what_is_no_window_is_refused(text: str) -> None:
    with pytest.raises(Exception, match="is no window"):
        window(text)


@pytest.mark.parametrize("text", ["x", "10%:wait", "", "1.5%"])
def test_what_is_no_stage_is_refused(text: str) -> None:
    with pytest.raises(Exception, match="is no stage"):
        stages(text, 0)
