"""``flotilla events export, verify, import, mirror`` as an operator runs them (EVT-3)."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from deploy.cli import app
from deploy.running import DataFolder
from deploy.views import SERVICE_VIEWS
from services.devices.fleet import FLEET
from services.gateway.directory_views import VIEWS as DIRECTORY
from shared.context import Context
from shared.errors import Refused
from shared.events.contracts import CONTRACTS
from shared.events.devices import DeviceDenied, DeviceDescribed, DeviceGrouped, DeviceImported, DeviceRemoved
from shared.events.gateway import DeviceConnected, DeviceDisconnected, FirmwareReported, GatewayLost, GatewayStarted
from shared.projections.database import Database
from shared.projections.projector import Projector
from shared.store.open import open_store
from shared.store.port import ANY, EventStore
from shared.store.sqlite import SqliteEventStore
from tests.shared.store.archive.history import everything, live_through
from tests.standins.eventstoredb.node import Node

NOON = datetime(2024, 2, 29, 12, tzinfo=UTC)
TIMEOUT_S = 60.0
PRODUCTS = (1000, 2000)


def run(*words: str, data: Path) -> str:
    done = CliRunner(env={"COLUMNS": "200"}).invoke(
        app, ["events", *words, "--data", str(data)], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    return done.output


def command(*words: str, data: Path) -> list[str]:
    return [sys.executable, "-m", "deploy.cli", "events", *words, "--data", str(data)]


def opened(data: Path) -> SqliteEventStore:
    return SqliteEventStore(data / "events.db", durable=False)


def fleet_history(store: EventStore, devices: int = 60, steps: int = 900) -> None:
    """What services and gateways would write: devices that come, connect, report, and go."""
    chance = random.Random(7)
    names = [f"{number:024x}" for number in range(devices)]
    _add(store, "gateway-a", GatewayStarted("a", 1, 15))
    for number in range(steps):
        device, product = chance.choice(names), chance.choice(PRODUCTS)
        at = NOON + timedelta(seconds=number)
        _add(
            store,
            f"device-{device}",
            chance.choice(
                [
                    DeviceImported(device, product, False),
                    DeviceDescribed(device, product, f"kettle {number} ☕", "notes"),
                    DeviceGrouped(device, product, chance.sample(["a", "b", "c"], 2)),
                    DeviceDenied(device, product),
                    DeviceRemoved(device, product),
                    DeviceConnected(device, product, "a", 1, number, at, "mqtt/5.0", "192.0.2.7:1", False, device),
                    FirmwareReported(device, product, product, number % 5, "main", "", "a", 1, number),
                    DeviceDisconnected(device, product, "a", 1, number, "disconnected", 5, 1, 2, 3, 4),
                ]
            ),
        )
    store.truncate(f"device-{names[0]}", 2)
    _add(store, "gateway-a", GatewayLost("a", 1))


def _add(store: EventStore, stream: str, event: object) -> None:
    store.append(stream, ANY, [CONTRACTS.encode(event, 0, Context.new("system:test", "test"), stream=stream)])


def digests(store: EventStore, folder: Path) -> dict[str, str]:
    """Of all views of all services and of a gateway, folded from the first event on."""
    found: dict[str, str] = {}
    for service, views in {**SERVICE_VIEWS, "directory": DIRECTORY}.items():
        with closing(Database(f"sqlite:///{folder}", service)) as database:
            Projector(service, store, database, views, CONTRACTS).catch_up()
            found.update({f"{service}/{view.name}": database.digest(view) for view in views})
    return found


def fleet_without_positions(folder: Path) -> list[dict[str, object]]:
    """The fleet's rows know the positions of events that explain them, and a cluster gives positions of its own."""
    with closing(Database(f"sqlite:///{folder}", "devices")) as database, database.connect() as connection:
        rows = connection.execute(sa.select(database.table(FLEET))).mappings().all()
    assert any(row["causes"] for row in rows)
    found = [{name: value for name, value in row.items() if name != "causes"} for row in rows]
    return sorted(found, key=lambda row: str(row["device_id"]))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    with closing(opened(folder)) as store:
        live_through(store, 900)
    return folder


@pytest.fixture
def node() -> Iterator[Node]:
    node = Node()
    yield node
    node.stop()


def test_views_folded_from_an_imported_store_are_the_same_byte_for_byte(tmp_path: Path, node: Node) -> None:
    with closing(opened(tmp_path / "data")) as source:
        fleet_history(source)
        before = digests(source, tmp_path / "views")
    empty = digests(opened(tmp_path / "nothing"), tmp_path / "no-views")
    assert sum(before[name] != empty[name] for name in before) >= 3
    archive = str(tmp_path / "all.ndjson")
    run("export", archive, data=tmp_path / "data")
    run("import", archive, data=tmp_path / "embedded")
    with closing(opened(tmp_path / "embedded")) as target:
        assert digests(target, tmp_path / "embedded-views") == before
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLOTILLA_STORE", node.url)
        run("import", archive, data=tmp_path / "cluster")
    with closing(open_store(node.url)) as cluster:
        after = digests(cluster, tmp_path / "cluster-views")
    assert {name for name in before if after[name] != before[name]} == {"devices/fleet", "devices/happened"}
    assert fleet_without_positions(tmp_path / "cluster-views") == fleet_without_positions(tmp_path / "views")


def test_export_verify_and_import_say_what_they_did(data: Path, tmp_path: Path) -> None:
    path = tmp_path / "all.ndjson"
    with closing(opened(data)) as store:
        events = everything(store)
    assert f"{len(events):,} events in" in run("export", str(path), data=data)
    verified = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["events", "verify", str(path)], catch_exceptions=False)
    assert f"is whole: {len(events):,} events" in verified.output
    assert f"{len(events):,} events imported" in run("import", str(path), data=tmp_path / "new")
    assert f"{len(events):,} were there" in run("import", str(path), data=tmp_path / "new")
    with closing(opened(tmp_path / "new")) as store:
        assert everything(store) == events


def test_without_a_file_the_archive_goes_to_standard_output(data: Path, tmp_path: Path) -> None:
    run("export", str(tmp_path / "file"), data=data)
    for words in (["export"], ["export", "-"]):
        done = subprocess.run(command(*words, data=data), capture_output=True, timeout=TIMEOUT_S, check=True)
        (tmp_path / "piped").write_bytes(done.stdout)
        assert _without_sums(tmp_path / "piped")[1:] == _without_sums(tmp_path / "file")[1:]
    some = subprocess.run(
        command("export", "-", "--type", "Locked", "--from", "5", "--to", "60", data=data),
        capture_output=True,
        timeout=TIMEOUT_S,
        check=True,
    )
    events = [json.loads(line) for line in some.stdout.splitlines() if not line.startswith(b'{"type":"$')]
    assert {event["type"] for event in events} == {"Locked"}
    assert 5 <= events[0]["position"] <= events[-1]["position"] <= 60


def test_an_export_that_is_killed_is_gone_on_with_and_gives_the_same_bytes(tmp_path: Path) -> None:
    data, cut, whole = tmp_path / "data", tmp_path / "cut", tmp_path / "whole"
    with closing(opened(data)) as store:
        live_through(store, 6_000)
    process = subprocess.Popen(
        command("export", str(cut), data=data), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    _kill_when(process, lambda: cut.exists() and cut.stat().st_size > 500_000)
    assert b'"type":"$end"' not in cut.read_bytes()
    assert "going on behind" in run("export", str(cut), data=data)
    header = json.loads(cut.read_bytes().partition(b"\n")[0])
    run("export", str(whole), data=data)
    created = json.loads(whole.read_bytes().partition(b"\n")[0])["created"]
    assert _without_sums(cut) == [
        line.replace(created.encode(), header["created"].encode()) for line in _without_sums(whole)
    ]
    run("import", str(cut), data=tmp_path / "new")


def test_an_import_that_is_killed_is_gone_on_with(tmp_path: Path) -> None:
    data, path, new = tmp_path / "data", tmp_path / "all", tmp_path / "new"
    with closing(opened(data)) as store:
        live_through(store, 6_000)
        events = everything(store)
    run("export", str(path), data=data)
    process = subprocess.Popen(
        command("import", str(path), data=new), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    _kill_when(process, lambda: (new / "events.db-wal").exists() and _held(new) > 2_000)
    held = _held(new)
    assert 0 < held < len(events)
    assert f"{held:,} were there" in run("import", str(path), data=new)
    with closing(opened(new)) as store:
        assert everything(store) == events


@pytest.mark.parametrize("damage", ["cut", "flip"])
def test_a_damaged_archive_imports_nothing_and_names_the_line(data: Path, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "all"
    run("export", str(path), data=data)
    content = path.read_bytes()
    half = len(content) // 2
    path.write_bytes(content[:half] if damage == "cut" else content[:half] + b"~" + content[half + 1 :])
    done = subprocess.run(
        command("import", str(path), data=tmp_path / "new"),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 1
    assert "bad_archive" in done.stderr
    assert "line" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "new" / "events.db").exists()


def test_nothing_is_imported_under_a_running_platform(data: Path, tmp_path: Path) -> None:
    run("export", str(tmp_path / "all"), data=data)
    with DataFolder(tmp_path / "new").claimed(), pytest.raises(Refused, match="another Flotilla runs"):
        run("import", str(tmp_path / "all"), data=tmp_path / "new")


def test_a_mirror_of_the_store_is_a_store(data: Path, tmp_path: Path) -> None:
    said = run("mirror", f"sqlite://{tmp_path}/copy/events.db", data=data)
    assert "level" in said
    with closing(opened(data)) as store, closing(opened(tmp_path / "copy")) as copy:
        assert everything(copy) == everything(store)
        assert copy.head() == store.head()
    assert "0 events" in run("mirror", f"sqlite://{tmp_path}/copy/events.db", data=data)


@pytest.mark.parametrize("url", ["esdb://127.0.0.1:1?Tls=false", "/tmp/copy.db", "sqlite:///{data}/events.db"])
def test_a_mirror_is_another_file(data: Path, url: str) -> None:
    with pytest.raises(Refused):
        run("mirror", url.replace("{data}", str(data)), data=data)


def test_a_mirror_follows_until_it_is_told_to_stop(tmp_path: Path, node: Node) -> None:
    environ = {**os.environ, "FLOTILLA_STORE": node.url}
    copy = tmp_path / "copy.db"
    process = subprocess.Popen(
        command("mirror", f"sqlite://{copy}", "--follow", data=tmp_path),
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        with closing(open_store(node.url)) as source:
            live_through(source)
            head = source.head()
            _wait_until(lambda: copy.exists() and _head(copy) == head)
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("FLOTILLA_STORE", node.url)
                with pytest.raises(Refused, match="another mirror"):
                    run("mirror", f"sqlite://{copy}", data=tmp_path)
    finally:
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, err
    assert "level" in out


def _without_sums(path: Path) -> list[bytes]:
    """Checksums cover the moment of creation, in which two exports differ."""
    return [line for line in path.read_bytes().splitlines() if b'"sha256"' not in line]


def _kill_when(process: subprocess.Popen[bytes], ready: Callable[[], bool]) -> None:
    try:
        _wait_until(lambda: ready() or process.poll() is not None)
        assert process.poll() is None, "it was too fast to be killed"
    finally:
        process.kill()
        process.wait(TIMEOUT_S)


def _held(data: Path) -> int:
    with closing(opened(data)) as store:
        return len(everything(store))


def _head(path: Path) -> int:
    with closing(SqliteEventStore(path)) as store:
        return store.head() or 0


def _wait_until(ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not ready():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.005)
