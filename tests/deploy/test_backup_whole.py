"""A platform that runs is backed up in the middle of an import; a new one from that backup starts and serves."""

from __future__ import annotations

import io
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from deploy import backup
from deploy.api import Api
from deploy.fleet_commands import started
from deploy.story import Story
from shared.settings import Settings

pytestmark = [pytest.mark.whole, pytest.mark.timeout(240)]

LINES = 5_000


def tool(*words: str) -> str:
    done = subprocess.run([sys.executable, "-m", "deploy.cli", *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_restored_platform_serves_and_finishes_what_was_under_way(tmp_path: Path) -> None:
    quiet = Console(file=io.StringIO())
    data, copy, new = tmp_path / "data", tmp_path / "copy", tmp_path / "new"
    data.mkdir()
    many = "\n".join(f"{number:024x}" for number in range(1 << 40, (1 << 40) + LINES)).encode()
    with started("embedded", data, quiet) as gateways:
        endpoints = [one.mqtt for one in gateways if one.mqtt]
        with Story([str(gateways[0].http)], endpoints, quiet, devices=5) as told:
            told.found()
            told.import_devices()
            under_way = told.api.start_import(told.product_id, many)["id"]
            backup.make(Settings.load({}, data=data), copy, with_keys=True, with_logs=False)
            assert tool("health", "--data", str(data)).strip() == "well"
            assert "events up to position" in tool("backup", str(tmp_path / "another"), "--data", str(data))
    assert "is in" in tool("restore", str(copy), "--data", str(new))
    assert "ImportFinished" not in tool("events", "show", f"import-{under_way}", "--data", str(new))
    with started("embedded", new, quiet) as gateways, Api.like(told.api, str(gateways[0].http)) as again:
        deadline = time.monotonic() + 90
        while not finished(again, told.product_id, under_way):
            assert time.monotonic() < deadline, again.import_state(told.product_id, under_way)
            time.sleep(0.2)
        until_all(again, told.product_id, LINES + 5, deadline)
        assert set(told.ids) <= {one["id"] for one in again.devices(told.product_id)}
        assert "broken" not in tool("doctor", "--data", str(new))


def finished(api: Api, product_id: int, import_id: str) -> bool:
    return bool(api.import_state(product_id, import_id)["state"] != "running")


def until_all(api: Api, product_id: int, total: int, deadline: float) -> None:
    while api.statistics(product_id)["devices"]["total"] != total:
        assert time.monotonic() < deadline, api.statistics(product_id)
        time.sleep(0.2)
