"""A gateway that dies in the middle of a roll-out: nothing stays "online" for ever, and the roll-out ends."""

from __future__ import annotations

import io
import os
import signal
import time
from pathlib import Path

import pytest
from rich.console import Console

from deploy.fleet_commands import started
from deploy.story import Story

pytestmark = [pytest.mark.whole, pytest.mark.timeout(240)]

DEVICES = 24


def test_a_roll_out_goes_on_when_a_gateway_is_killed(tmp_path: Path) -> None:
    with started("distributed", tmp_path, Console(file=io.StringIO())) as gateways:
        killed: list[float] = []

        def kill(story: Story) -> None:
            story.api = story.at(str(gateways[0].http))
            os.kill(gateways[1].pid, signal.SIGKILL)
            killed.append(time.monotonic())

        urls = [str(one.http) for one in gateways]
        endpoints = [one.mqtt for one in gateways if one.mqtt]
        quiet = Console(file=io.StringIO())
        with Story(urls, endpoints, quiet, devices=DEVICES, in_the_middle=kill) as story:
            story.tell()
            assert killed
            # the fleet is switched off now: whoever was on the dead gateway must not stay online
            deadline = time.monotonic() + 40
            while story.api.statistics(story.product_id)["devices"]["online"] and time.monotonic() < deadline:
                time.sleep(0.3)
            counters = story.api.statistics(story.product_id)
        assert counters["devices"]["online"] == 0
        assert counters["firmware"] == [{"version": 2, "device_count": DEVICES}]
