"""The main job, on every mode of the platform, from an empty folder, as its users do it."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from rich.console import Console

from deploy.api import Api, ApiError
from deploy.fleet_commands import started
from deploy.running import DataFolder, Process
from deploy.simulate_command import keys_of
from deploy.story import Story
from shared.settings import Settings
from tests.billing.paying import Paying, eventually
from tests.eventstore import any_event_store
from tests.postgres import Postgres

pytestmark = [pytest.mark.whole, pytest.mark.timeout(240)]


@dataclass(frozen=True)
class Installation:
    """How the platform is started, and the settings that it and its tools share."""

    mode: str
    settings: Mapping[str, str]

    def started(self, data: Path, output: io.StringIO) -> AbstractContextManager[list[Process]]:
        return started(self.mode, data, Console(file=output), self.settings)

    def tool(self, *words: str, data: Path) -> str:
        """Run a command of the tool; what it printed."""
        command = [sys.executable, "-m", "deploy.cli", *words, "--data", str(data)]
        environment = {**os.environ, **self.settings, "COLUMNS": "200"}
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


MODES = (
    "embedded",
    pytest.param("distributed", marks=pytest.mark.long),
    pytest.param("cluster", marks=(pytest.mark.postgres, pytest.mark.broker)),
)


@pytest.fixture(params=MODES)
def installation(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Everything in one process; RabbitMQ and a process a service; the same with read models on PostgreSQL, streams on
    EventStoreDB and a broker that is given."""
    if request.param in ("embedded", "distributed"):
        yield Installation(request.param, {})
        return
    server: Postgres = request.getfixturevalue("postgres")
    with ExitStack() as stack:
        store = stack.enter_context(any_event_store(tmp_path_factory.mktemp("eventstoredb")))
        settings = {"FLOTILLA_DB": stack.enter_context(server.database()), "FLOTILLA_STORE": store.url}
        yield Installation("distributed", settings | {"FLOTILLA_BUS": request.getfixturevalue("amqp_url")})


def story(gateways: list[Process], output: io.StringIO, devices: int) -> Story:
    urls = [str(gateway.http) for gateway in gateways]
    endpoints = [gateway.mqtt for gateway in gateways if gateway.mqtt]
    return Story(urls, endpoints, Console(file=output, width=120), devices=devices)


def test_from_an_empty_folder_to_a_fleet_that_runs_the_release(installation: Installation, tmp_path: Path) -> None:
    output = io.StringIO()
    with installation.started(tmp_path, output) as gateways, story(gateways, output, devices=20) as told:
        told.tell()
        _a_member_sees_everything_and_others_nothing(told, gateways)
        _operators_see_it_too(installation, told, tmp_path)
    assert "the whole fleet took it" in output.getvalue()
    _a_second_run_finds_everything_again(installation, tmp_path, told)


@pytest.mark.parametrize("mode", ["embedded", "distributed"])
def test_particle_devices_have_the_same_main_job(mode: str, tmp_path: Path) -> None:
    """Of an organization that does not pay for a while, where there are several gateways."""
    output = io.StringIO()
    with started(mode, tmp_path, Console(file=output)) as gateways:
        keys = keys_of(Settings.load({}, data=tmp_path))
        urls = [str(gateway.http) for gateway in gateways]
        listeners = [gateway.particle for gateway in gateways if gateway.particle]
        assert len(listeners) == len(urls)
        with Story(urls, listeners, Console(file=output, width=120), devices=8, particle=keys) as told:
            told.in_the_middle = partial(nobody_pays, tmp_path) if mode == "distributed" else None
            told.tell()
    assert "brew returned 1" in output.getvalue()


def nobody_pays(data: Path, told: Story) -> None:
    """The team is out at every gateway, and the roll-out that is under way comes to its end (BIL-7)."""
    org_id = told.api.product(told.product_id)["organization"]
    with Paying(Settings.load({}, data=data), org_id) as paying:
        paying.stop()
        eventually(lambda: all(is_closed(told, api) for api in (told.api, told.watched)), "the team is out")
        eventually(lambda: paying.count("UpdateSucceeded") == told.devices, "every device is updated")
        assert is_closed(told, told.api)
        paying.go_on()
        eventually(lambda: not any(is_closed(told, api) for api in (told.api, told.watched)), "the team is back")


def is_closed(told: Story, api: Api) -> bool:
    try:
        api.statistics(told.product_id)
    except ApiError as refused:
        return (refused.status, refused.code) == (402, "subscription_inactive")
    return False


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


def _operators_see_it_too(installation: Installation, told: Story, data: Path) -> None:
    flotilla = partial(installation.tool, data=data)
    tail = flotilla("events", "tail", "-n", "100000", "--type", "FirmwareReleased")
    assert f"firmware-{told.product_id}" in tail
    shown = flotilla("events", "show", f"device-{told.ids[0]}")
    assert "DeviceImported" in shown
    assert "DeviceLocked" in shown
    exported = data / "export.ndjson"
    flotilla("events", "export", str(exported))
    events = [json.loads(line) for line in exported.read_text().splitlines()]
    types = [event["type"] for event in events if event.get("data", {}).get("product_id") == told.product_id]
    assert types.count("DeviceImported") == told.devices
    assert types.count("UpdateSucceeded") == told.devices
    assert types.count("VersionFirstRan") == 1
    before = told.api.devices(told.product_id, sortAttr="deviceId")
    flotilla("projections", "rebuild", "fleet")
    volatile = {"last_heard"}
    after = told.api.devices(told.product_id, sortAttr="deviceId")
    assert [{k: v for k, v in one.items() if k not in volatile} for one in after] == [
        {k: v for k, v in one.items() if k not in volatile} for one in before
    ]
    assert "fleet" in flotilla("projections", "status")
    assert "broken" not in flotilla("doctor")


def _a_second_run_finds_everything_again(installation: Installation, data: Path, told: Story) -> None:
    product = told.product_id
    with (
        installation.started(data, io.StringIO()) as gateways,
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
