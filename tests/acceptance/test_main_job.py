"""The main job, on every mode of the platform, from an empty folder, as its users do it."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from deploy.api import Api, ApiError
from deploy.fleet_commands import started
from deploy.running import DataFolder, Process
from deploy.story import Story

pytestmark = [pytest.mark.whole, pytest.mark.timeout(240)]

MODES = ("embedded", "distributed")


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    mode: str = request.param
    return mode


def story(gateways: list[Process], output: io.StringIO, devices: int) -> Story:
    urls = [str(gateway.http) for gateway in gateways]
    endpoints = [gateway.mqtt for gateway in gateways if gateway.mqtt]
    return Story(urls, endpoints, Console(file=output, width=120), devices=devices)


def flotilla(*words: str, data: Path) -> str:
    command = [sys.executable, "-m", "deploy.cli", *words, "--data", str(data)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ, "COLUMNS": "200"})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_from_an_empty_folder_to_a_fleet_that_runs_the_release(mode: str, tmp_path: Path) -> None:
    output = io.StringIO()
    with started(mode, tmp_path, Console(file=output)) as gateways, story(gateways, output, devices=20) as told:
        told.tell()
        _a_member_sees_everything_and_others_nothing(told, gateways)
        _operators_see_it_too(told, tmp_path)
    assert "the whole fleet took it" in output.getvalue()
    _a_second_run_finds_everything_again(mode, tmp_path, told)


def _a_member_sees_everything_and_others_nothing(told: Story, gateways: list[Process]) -> None:
    answers = []
    with Api(str(gateways[-1].http)) as stranger:
        stranger.sign_up("stranger@example.com", "correct horse battery")
        stranger.log_in("stranger@example.com", "correct horse battery")
        for product in (told.product_id, 64_999):
            with pytest.raises(ApiError) as refusal:
                stranger.call("GET", f"/v1/products/{product}/devices")
            answers.append((refusal.value.status, refusal.value.code, refusal.value.description))
    assert answers[0] == answers[1]
    assert answers[0][0] == 404


def _operators_see_it_too(told: Story, data: Path) -> None:
    tail = flotilla("events", "tail", "-n", "100000", "--type", "FirmwareReleased", data=data)
    assert f"firmware-{told.product_id}" in tail
    shown = flotilla("events", "show", f"device-{told.ids[0]}", data=data)
    assert "DeviceImported" in shown
    assert "DeviceLocked" in shown
    exported = data / "export.ndjson"
    flotilla("events", "export", "--out", str(exported), data=data)
    types = [json.loads(line)["type"] for line in exported.read_text().splitlines()]
    assert types.count("DeviceImported") == told.devices
    assert types.count("UpdateSucceeded") == told.devices
    assert types.count("VersionFirstRan") == 1
    before = told.api.devices(told.product_id, sortAttr="deviceId")
    flotilla("projections", "rebuild", "fleet", data=data)
    volatile = {"last_heard"}
    after = told.api.devices(told.product_id, sortAttr="deviceId")
    assert [{k: v for k, v in one.items() if k not in volatile} for one in after] == [
        {k: v for k, v in one.items() if k not in volatile} for one in before
    ]
    assert "fleet" in flotilla("projections", "status", data=data)
    assert "broken" not in flotilla("doctor", data=data)


def _a_second_run_finds_everything_again(mode: str, data: Path, told: Story) -> None:
    product = told.product_id
    with (
        started(mode, data, Console(file=io.StringIO())) as gateways,
        Api.like(told.api, str(gateways[0].http)) as again,
    ):
        assert len(again.devices(product)) == told.devices
        counters = again.statistics(product)
        assert counters["firmware"] == [{"version": 2, "device_count": told.devices}]
        assert counters["devices"]["online"] == 0
        assert [one["version"] for one in again.firmware(product)] == [2]


def test_two_platforms_on_one_folder_are_refused(tmp_path: Path) -> None:
    with started("embedded", tmp_path, Console(file=io.StringIO())):
        command = [sys.executable, "-m", "deploy.cli", "run", "--data", str(tmp_path), "--http-port", "0"]
        second = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert second.returncode == 1
    assert "another Flotilla runs on" in second.stderr
    assert "Traceback" not in second.stderr


def test_a_platform_that_was_killed_comes_back_with_everything_it_acknowledged(tmp_path: Path) -> None:
    quiet = Console(file=io.StringIO())
    with started("embedded", tmp_path, quiet) as gateways, story(gateways, io.StringIO(), devices=5) as told:
        told.found()
        told.import_devices()
        [process] = [one for one in DataFolder(tmp_path).processes() if one.name == "flotilla"]
        os.kill(process.pid, signal.SIGKILL)
    with started("embedded", tmp_path, quiet) as gateways, Api.like(told.api, str(gateways[0].http)) as again:
        assert sorted(one["id"] for one in again.devices(told.product_id)) == sorted(told.ids)
