"""Dry runs of a large product, how soon a release is seen, and what a roll-out costs a device that connects.

``python tests/benchmarks/bench_rollout.py [--devices N] [--connections N] [--postgres] [--quick]``. A platform is
started as ``flotilla run`` does, in a folder of its own; the view of the fleet is filled directly. Then over HTTP: how
far each stage goes (all devices are looked at), and every device as JSON lines, while somebody else asks small things
all the time. Then a release, until somebody else's login sees it at a device; and at last, in this process, what a
gateway decides for each device that connects in the middle of a roll-out. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import httpx
from rich.console import Console
from rich.table import Table

from deploy.api import Api
from deploy.fleet_commands import started
from services.devices.fleet import FLEET
from services.gateway.devices.effects import SessionName
from services.gateway.devices.firmware import Firmware
from services.gateway.devices.identity import Identity
from services.gateway.devices.updates import Updates
from services.gateway.directory import Directory
from shared.context import Context
from shared.events import devices as d
from shared.events import gateway as g
from shared.events.contracts import CONTRACTS
from shared.events.firmware import FirmwareReleased, FirmwareReleasedToGroups
from shared.events.orgs import ProductCreated
from shared.events.rollouts import RolloutGates, RolloutPlanned, RolloutStage, RolloutStageBegan
from shared.projections.database import Database
from shared.projections.folding import changes
from shared.projections.rows import Rows
from shared.projections.view import Row
from shared.rollouts import PLACES
from shared.settings import Settings
from shared.store.open import open_store
from shared.store.port import ANY, EventStore, Position, Recorded
from tests.postgres import any_postgres

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PAGE = 20_000
OLD, NEW = 1, 2
STAGES = [{"devices": 100}, {"percent": 1}, {"percent": 10}, {"percent": 50}, {"percent": 100}]
LOGIN = ("bench@example.com", "correct horse battery")
GOAL_DRY_RUN_S, GOAL_RELEASE_S, GOAL_DECISION_MS = 10.0, 1.0, 1.0
QUIET_S = 5.0
ROLLOUT = "a" * 24

Line = tuple[str, str, str]


def _device(number: int) -> str:
    return f"{random.Random(number).getrandbits(96):024x}"


def _rows(product: int, devices: int) -> Iterator[Row]:
    """Members of which a few are in groups, in development, locked, in quarantine, or report nothing."""
    dice = random.Random(7)
    recorded = Recorded(UUID(int=0), "x", "s", 0, Position(0), NOW, b"{}", b"{}")
    for number in range(devices):
        name = _device(number)
        told: list[object] = [d.DeviceImported(name, product, False)]
        if dice.random() < 0.2:
            told.append(d.DeviceGrouped(name, product, [f"group-{dice.randrange(5)}"]))
        if dice.random() < 0.01:
            told.append(d.DevelopmentMarked(name, product, True))
        if dice.random() < 0.02:
            told.append(d.DeviceLocked(name, product, OLD, False))
        if dice.random() < 0.95:
            if dice.random() < 0.6:
                address = f"10.0.{number % 256}.7:49152"
                session = g.DeviceConnected(name, product, "b", 1, number, NOW, "mqtt/3.1.1", address, True, name)
                told.append(session)
            told.append(g.FirmwareReported(name, product, product, OLD, "", str(OLD), "b", 1, number))
        row: Row | None = None
        for event in told:
            row = FLEET.fold(row, event, recorded)
        assert row is not None
        yield row


def _fill(views: str, product: int, devices: int) -> None:
    database = Database(views, "devices")
    rows = Rows(database, database.tables(FLEET))
    page: dict[tuple[str | int, ...], Row | None] = {}
    found = _rows(product, devices)
    for number in range(devices):
        row = next(found)
        page[(row["device_id"],)] = row
        if len(page) == PAGE or number == devices - 1:
            with database.writing() as connection:
                rows.write(connection, changes(FLEET, {}, page))
            page = {}
    database.close()


def _append(store: EventStore, stream: str, *events: object) -> None:
    context = Context.new("system:bench", "bench")
    store.append(stream, ANY, [CONTRACTS.encode(event, n, context) for n, event in enumerate(events)])


def _timed(ask: Callable[[], object]) -> tuple[object, float]:
    began = time.monotonic()
    return ask(), time.monotonic() - began


def _memory(pid: int, name: str) -> float:
    """MiB that the platform's process has, or had at most."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:"))


def _cpu_s(pid: int) -> float:
    """What the platform's process has computed."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Bystander(threading.Thread):
    """Asks something small all the time, and remembers how long that took."""

    def __init__(self, api: Api, product: int) -> None:
        super().__init__(daemon=True)
        self._api, self._product = api, product
        self.times_s: list[float] = []
        self.over = threading.Event()

    def run(self) -> None:
        """Until it is over."""
        while not self.over.wait(0.01):
            self.times_s.append(_timed(lambda: self._api.product(self._product))[1])

    def quantiles(self) -> str:
        """In ms."""
        cuts = statistics.quantiles(self.times_s, n=100)
        return f"p50 {cuts[49] * 1000:.1f}, p99 {cuts[98] * 1000:.1f}, max {max(self.times_s) * 1000:.0f} ms"


def _beside(api: Api, product: int, work: Callable[[], object]) -> tuple[float, str]:
    other = Bystander(api, product)
    other.start()
    _, took_s = _timed(work)
    other.over.set()
    other.join()
    return took_s, other.quantiles()


def _platform(folder: Path, views: str | None, devices: int) -> Iterator[Line]:
    quiet = Console(quiet=True)
    with ExitStack() as stack:
        extra = {"FLOTILLA_PAYMENTS": "off:"} | ({} if views is None else {"FLOTILLA_DB": views})
        gateways = stack.enter_context(started("embedded", folder, quiet, extra))
        api, other = (stack.enter_context(Api(str(gateways[0].http), timeout_s=180.0)) for _ in range(2))
        api.sign_up(*LOGIN)
        api.log_in(*LOGIN)
        product = api.create_product(api.create_organization("Bench", "bench")["slug"], "Kettle", "Boils")["id"]
        other.log_in(*LOGIN)
        for version in (OLD, NEW):
            api.upload_firmware(product, version, str(version), bytes(1_000) + bytes([version]))
        settings = Settings.load({}, data=folder)
        first = _device(devices)
        api.import_devices(product, first.encode())
        store = open_store(settings.store)
        for version in (NEW, OLD):
            reported = g.FirmwareReported(first, product, product, version, "", "", "b", 1, version)
            _append(store, "connection-b.1-1", reported)
        store.close()
        _fill(views or settings.db, product, devices)
        pid = gateways[0].pid
        before = _memory(pid, "VmRSS")
        body = {"version": NEW, "stages": STAGES, "intelligent": True}
        _, told = _beside(other, product, lambda: time.sleep(QUIET_S))
        yield "somebody else's small call, alone", told, ""
        url, token, size = str(gateways[0].http), api.log_in(*LOGIN), [0]
        cpu_s = _cpu_s(pid)
        _, took = _timed(lambda: api.dry_run(product, body))
        told = f"{devices / took:,.0f} devices/s, {_cpu_s(pid) - cpu_s:.2f} CPU s"
        yield "dry run, stages and reasons", f"{took:.2f} s", told
        cpu_s = _cpu_s(pid)
        _, took = _timed(lambda: size.append(_streamed(url, token, product, body)))
        goal = f"goal {GOAL_DRY_RUN_S:g} s at 1,000,000"
        told = f"{devices / took:,.0f} devices/s, {_cpu_s(pid) - cpu_s:.2f} CPU s, {size[-1] / 1_048_576:.0f} MiB"
        yield "dry run, every device streamed", f"{took:.2f} s, {goal}", told
        took, told = _beside(other, product, lambda: size.append(_streamed(url, token, product, body)))
        yield "the same, while somebody else asks", f"{took:.2f} s", f"others: {told}"
        after = _memory(pid, "VmHWM")
        yield "memory of the platform", f"{before:.0f} MiB before, {after:.0f} MiB at most", ""
        took = _seen(api, other, product, first)
        yield "a release, seen with another login", f"{took:.3f} s, goal {GOAL_RELEASE_S:g} s", ""


def _streamed(url: str, token: str, product: int, body: object) -> int:
    """Bytes of the whole list; nothing is kept."""
    headers = {"Accept": "application/x-ndjson", "Authorization": f"Bearer {token}"}
    path = f"{url}/v1/products/{product}/rollouts/dry-run"
    with httpx.stream("POST", path, json=body, headers=headers, timeout=180, trust_env=False) as response:
        response.raise_for_status()
        return sum(map(len, response.iter_raw()))


def _seen(api: Api, other: Api, product: int, device: str) -> float:
    """Seconds from asking for a release until a login that wrote nothing sees it at a device."""
    began = time.monotonic()
    api.release(product, OLD)
    path = f"/v1/products/{product}/devices/{device}"
    while other.call("GET", path)["targeted_firmware_release_version"] != OLD:
        time.sleep(0.005)
    return time.monotonic() - began


def _connections(folder: Path, connections: int) -> Iterator[Line]:
    """What is decided of devices that connect in the middle of a roll-out, and the same with no roll-out at all."""
    for name, has_rollout in (("without a roll-out", False), ("in a roll-out that gives turns", True)):
        store = open_store(f"sqlite:///{folder}/{name}.db?durability=normal")
        named = ("f" * 24, "bench", "Kettle", "kettle", "Boils", "mqtt", 65_535, "Consumer", "")
        _append(store, "product-1000", ProductCreated(1000, *named))
        released = [FirmwareReleasedToGroups(1000, OLD, [f"group-{number}"], [], False) for number in range(20)]
        _append(store, "firmware-1000", FirmwareReleased(1000, OLD, None, False), *released)
        for first in range(0, connections, 500):
            names = [_device(number) for number in range(first, min(first + 500, connections))]
            _append(store, f"device-{first}", *(d.DeviceImported(one, 1000, False) for one in names))
        if has_rollout:
            gates = RolloutGates(5, 5, 3_600, None, 10, "pause")
            stage = RolloutStage(100, None, False, 0)
            planned = RolloutPlanned(1000, ROLLOUT, NEW, [], [stage], [], 500, None, gates, True)
            began = RolloutStageBegan(1000, ROLLOUT, NEW, 0, PLACES // 2, None)
            _append(store, "firmware-1000", planned, began)
        (folder / name).mkdir()
        directory = Directory(folder / name, store, CONTRACTS)
        directory.projector.catch_up()
        took = [_decided(directory, _device(number)) for number in range(connections)]
        asked = sum(facts > 1 for _, facts in took)
        middle = statistics.median(seconds for seconds, _ in took) * 1_000
        most = sorted(seconds for seconds, _ in took)[int(0.99 * connections)] * 1_000
        told = f"{middle:.3f} ms CPU, p99 {most:.3f}, goal {GOAL_DECISION_MS:g} ms"
        yield f"decided at a connection, {name}", told, f"{asked} of {connections} ask for a turn"
        directory.stop()
        store.close()


def _decided(directory: Directory, device_id: str) -> tuple[float, int]:
    """CPU seconds from the device's Hello to what it should run and whether it asks for a turn, and the facts."""
    began = time.process_time()
    entry = directory.device(device_id)
    assert entry is not None
    firmware = Firmware(entry, Updates(device_id), directory, SessionName("a", 1, 1), 0.0)
    facts = firmware.told(Identity(1000, OLD, "", str(OLD), True), 0.0)
    facts += firmware.ask(0.0) if firmware.ask_from() is not None else []
    firmware.wanted()
    return time.process_time() - began, len(facts)


def _show(title: str, lines: Iterator[Line]) -> None:
    table = Table("what", "measured", "", title=title)
    for line in lines:
        table.add_row(*line)
    Console(width=150).print(table)


def main() -> None:
    """Fill, ask, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=1_000_000)
    parser.add_argument("--connections", type=int, default=5_000)
    parser.add_argument("--postgres", action="store_true", help="views on PostgreSQL")
    parser.add_argument("--quick", action="store_true", help="20,000 devices")
    arguments = parser.parse_args()
    devices = 20_000 if arguments.quick else arguments.devices
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="flotilla-bench-")))
        views = None
        if arguments.postgres:
            views = stack.enter_context(stack.enter_context(any_postgres()).database())
        (folder / "platform").mkdir()
        where = "SQLite" if views is None else "PostgreSQL"
        _show(f"{devices:,} devices of one product, views on {where}", _platform(folder / "platform", views, devices))
        _show("devices that connect", _connections(folder, arguments.connections))


if __name__ == "__main__":
    main()
