"""What makes a process unready, what makes it dead, and what it says itself."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy import health
from deploy.health import (
    OLDEST_S,
    STILL_DEAD_S,
    STILL_UNREADY_S,
    PartReport,
    Report,
    complaints,
    look,
    report_path,
)
from deploy.health_report import Standstill, examine, reporting
from deploy.running import DataFolder, Process
from services.devices.gateways import GATEWAYS
from shared.bus.open import open_transport
from shared.context import Context
from shared.errors import NotFound, Unavailable
from shared.events.contracts import CONTRACTS
from shared.events.gateway import GatewayStarted
from shared.projections.database import Database
from shared.projections.projector import Projector
from shared.runtime import Runtime
from shared.store.open import open_store
from shared.store.port import ANY

NOW_S = 10_000.0


def report(*parts: PartReport, age_s: float = 1.0, started: bool = True, silent_s: float = 0.0) -> Report:
    written_s = NOW_S - age_s
    return Report("devices", os.getpid(), started, written_s, written_s - silent_s, list(parts))


def test_a_process_whose_parts_move_is_live_and_ready() -> None:
    well = report(PartReport("broker"), PartReport("view devices/fleet", still_s=2.0))
    assert complaints(well, NOW_S, live=False) == complaints(well, NOW_S, live=True) == []


@pytest.mark.parametrize("live", [True, False])
@pytest.mark.parametrize("age_s", [OLDEST_S + 1, 4_000.0, -5.0])
def test_a_report_that_is_old_or_of_another_boot_means_a_process_that_hangs(live: bool, age_s: float) -> None:
    [complaint] = complaints(report(age_s=age_s), NOW_S, live=live)
    assert "hangs" in complaint


def test_a_lost_broker_makes_it_unready_and_not_dead() -> None:
    lost = report(PartReport("broker", "not connected: refused"))
    assert complaints(lost, NOW_S, live=False) == ["broker: not connected: refused"]
    assert complaints(lost, NOW_S, live=True) == []


def test_a_start_that_takes_long_is_unready_and_not_dead() -> None:
    assert complaints(report(started=False), NOW_S, live=False) == ["devices is starting"]
    assert complaints(report(started=False), NOW_S, live=True) == []


@pytest.mark.parametrize(("limit_s", "live"), [(STILL_UNREADY_S, False), (STILL_DEAD_S, True)])
def test_what_stands_still_is_first_unready_and_then_dead(limit_s: float, live: bool) -> None:
    assert complaints(report(PartReport("view a/b", still_s=limit_s)), NOW_S, live=live) == []
    [complaint] = complaints(report(PartReport("view a/b", still_s=limit_s + 1)), NOW_S, live=live)
    assert "stood still" in complaint
    [complaint] = complaints(report(silent_s=limit_s + 1), NOW_S, live=live)
    assert "have not answered" in complaint


@given(
    st.lists(st.builds(PartReport, st.just("part"), st.sampled_from(["", "away"]), st.floats(0, 1_000)), max_size=5),
    st.booleans(),
    st.floats(0, 30),
)
def test_whatever_is_dead_is_unready_too(parts: list[PartReport], started: bool, age_s: float) -> None:
    seen = report(*parts, started=started, age_s=age_s)
    assert bool(complaints(seen, NOW_S, live=False)) >= bool(complaints(seen, NOW_S, live=True))


def test_standing_still_is_counted_from_the_last_move() -> None:
    now_s = 0.0
    still = Standstill(lambda: now_s)
    seen = []
    for moment_s, place, behind in (
        (0, 5, True),
        (10, 5, True),
        (20, 6, True),
        (25, 6, True),
        (30, 6, False),
        (99, 6, True),
    ):
        now_s = moment_s
        seen.append(still.seconds("view", place, behind=behind))
    assert seen == [0, 10, 0, 5, 0, 69]


def test_a_view_that_does_not_move_while_the_head_does_stands_still(tmp_path: Path) -> None:
    now_s = 0.0
    still = Standstill(lambda: now_s)
    store = open_store(f"sqlite:///{tmp_path / 'events.db'}?durability=normal")
    database = Database(f"sqlite:///{tmp_path / 'views'}", "devices")
    projector = Projector("devices", store, database, [GATEWAYS], CONTRACTS)
    runtime = Runtime("process", [Runtime("devices", [projector])])
    projector.look()
    assert examine(runtime, still) == [PartReport("view devices/gateways")]
    store.append("gateway-a", ANY, [CONTRACTS.encode(GatewayStarted("a", 1, 15), 0, Context.new("system:x", "x"))])
    examine(runtime, still)
    now_s = 40.0
    assert examine(runtime, still) == [PartReport("view devices/gateways", still_s=40.0)]
    projector.catch_up()
    assert examine(runtime, still) == [PartReport("view devices/gateways")]
    store.close()
    assert "does not answer" in examine(runtime, still)[0].problem
    database.close()


def test_a_broker_that_is_not_connected_is_told() -> None:
    runtime = Runtime("process", [open_transport("amqp://localhost:1/", name="devices")])
    assert examine(runtime, Standstill()) == [PartReport("broker", "not connected: not started")]


class Gateway:
    """Answers as it is told to."""

    name = "gateway a"

    def __init__(self) -> None:
        self.answer: dict[str, Any] | Exception = Unavailable("its loop does not answer")

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def ask_status(self) -> dict[str, Any]:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def test_a_gateway_whose_loop_is_blocked_stands_still() -> None:
    now_s = 0.0
    still, gateway = Standstill(lambda: now_s), Gateway()
    runtime = Runtime("process", [gateway])
    examine(runtime, still)
    now_s = 50.0
    assert examine(runtime, still) == [PartReport("gateway a", "its loop does not answer", 50.0)]
    view = {"name": "tokens", "position": 1, "lag_events": 0, "parked": 0, "error": None}
    gateway.answer = {"directory": [view], "epoch": {"ok": False, "state": "superseded"}}
    found = examine(runtime, still)
    assert found == [PartReport("view gateway a/tokens"), PartReport("gateway a", "serves no devices: superseded")]
    gateway.answer = {"directory": [view], "epoch": {"ok": True}}
    assert examine(runtime, still)[-1] == PartReport("gateway a")


HUNG = """
import sys
from pathlib import Path
from deploy import health_report
from deploy.running import DataFolder
from shared.runtime import Runtime
health_report.WRITE_S = health_report.LOOK_S = 0.05
with health_report.reporting("devices", DataFolder(Path(sys.argv[1])), Runtime("devices", [])) as report:
    report.ready()
    sys.stdin.read()
"""


@pytest.fixture
def process(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that reports 20 times a second."""
    child = subprocess.Popen([sys.executable, "-c", HUNG, str(tmp_path)], stdin=subprocess.PIPE)
    yield child
    child.kill()
    assert child.stdin is not None
    child.stdin.close()
    child.wait()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_process_that_is_stopped_is_dead_until_it_goes_on(process: subprocess.Popen[bytes], tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)

    def live() -> bool:
        return not look(folder, "devices", live=True, oldest_s=1.0)

    until(lambda: report_path(folder, "devices").exists() and live())
    process.send_signal(signal.SIGSTOP)
    until(lambda: not live())
    assert "hangs" in look(folder, "devices", live=False, oldest_s=1.0)[0]
    process.send_signal(signal.SIGCONT)
    until(live)
    process.kill()
    process.wait()
    assert look(folder, "devices", live=True) == [f"devices is gone: there is no process {process.pid}"]


def test_a_report_goes_when_the_process_ends_in_order(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    with reporting("orgs", folder, Runtime("orgs", [])) as reporter:
        until(lambda: report_path(folder, "orgs").exists())
        assert look(folder, "orgs", live=False) == ["orgs is starting"]
        reporter.ready()
        assert look(folder, "orgs", live=False) == []
    with pytest.raises(NotFound, match="no process 'orgs' reports"):
        look(folder, "orgs", live=False)


@contextmanager
def sick_gateway() -> Iterator[str]:
    """The address of a gateway that is not well. Not ``http.server``: in a process where eventlet met it first, that
    is eventlet's."""

    def answer() -> None:
        with suppress(OSError):  # the listener was closed
            while True:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65_536)
                    connection.sendall(b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(10)


def test_a_gateway_is_asked_over_http_besides(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    with reporting("gateway-a", folder, Runtime("gateway-a", [])) as reporter:
        reporter.ready()
        with sick_gateway() as url:
            folder.announce(Process("gateway-a", os.getpid(), url, ("127.0.0.1", 1)))
            assert look(folder, "gateway-a", live=False) == [f"gateway-a: {url}/health answers 503"]
            assert look(folder, "gateway-a", live=True) == []
        [complaint] = look(folder, "gateway-a", live=True)
        assert "does not answer" in complaint


def test_the_probe_says_what_is_wrong_and_ends_with_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FLOTILLA_DATA", str(tmp_path))
    assert health.main([]) == 1
    assert "no process reports" in capsys.readouterr().out
    folder = DataFolder(tmp_path)
    with reporting("orgs", folder, Runtime("orgs", [])) as reporter:
        reporter.ready()
        assert health.main([]) == health.main(["--live", "orgs"]) == 0
    folder.run.mkdir(exist_ok=True)
    report_path(folder, "orgs").write_bytes(b"{")
    assert health.main(["orgs"]) == 1
    report_path(folder, "orgs").write_bytes(msgspec.json.encode(report(age_s=NOW_S)))
    assert health.main(["orgs"]) == 1
