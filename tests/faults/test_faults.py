"""Under load, whatever the platform stands on is killed, stopped, cut off, doubled or filled up, in every mode; no
acknowledged event is lost, none is applied twice, and all views are what a rebuild makes of the streams.

``FLOTILLA_TEST_SEED`` repeats the points in time of a run, ``FLOTILLA_TEST_FAULT_SECONDS`` says how long outages take
(30), ``-k`` chooses modes. One mode by hand: ``python -m tests.faults.campaign cluster --seed 7``.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import pytest

from tests.faults.platform import Mode

pytestmark = [pytest.mark.faults, pytest.mark.timeout(420)]

STOP_S = 60.0


@dataclass(frozen=True)
class Running:
    """A campaign in a process of its own, and where its words go."""

    process: subprocess.Popen[bytes]
    told: Path
    complaints: Path


@pytest.fixture(scope="module")
def campaigns(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[Mode, Running]]:
    """All that this run has chosen, at the same time, because most of each is waiting."""
    folder = tmp_path_factory.mktemp("campaigns")
    environment = os.environ.copy()
    environment.setdefault("FLOTILLA_TEST_SEED", str(random.randrange(10**6)))
    chosen = {item.name for item in request.session.items if item.path == request.path}
    modes: list[Mode] = [mode for mode in get_args(Mode) if any(f"[{mode}]" in name for name in chosen)]
    running = {mode: _started(mode, folder, environment) for mode in modes}
    yield running
    for one in running.values():
        if one.process.poll() is None:
            one.process.terminate()
        one.process.wait(STOP_S)


def _started(mode: Mode, folder: Path, environment: dict[str, str]) -> Running:
    told, complaints = folder / f"{mode}.out", folder / f"{mode}.err"
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-m", "tests.faults.campaign", mode]
    with told.open("wb") as out, complaints.open("wb") as err:
        return Running(subprocess.Popen(command, stdout=out, stderr=err, env=environment), told, complaints)


@pytest.mark.parametrize("mode", ["embedded", "rabbitmq", pytest.param("cluster", marks=pytest.mark.long)])
def test_nothing_acknowledged_is_lost_and_nothing_happens_twice(
    mode: Mode, campaigns: dict[Mode, Running], tell: Callable[[str], None]
) -> None:
    running = campaigns[mode]
    code = running.process.wait()
    tell(running.told.read_text())
    assert code == 0, running.complaints.read_text(errors="replace")
