"""Rebuild of the view ``fleet`` while it is read: how fast, how much memory, and what readers notice.

``python tests/benchmarks/bench_rebuild.py [--devices N] [--events N] [--store FOLDER] [--quick]``. A folder that is
given is filled once and used again. The rebuild runs in a process of its own, as the command does; this process asks
the three typical questions all the time, during it and, for comparison, as long before it and after it: on a machine
with busy neighbours compare the ratios only if the two windows without it (``before``, ``after``) are alike.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from uuid import UUID

import sqlalchemy as sa
from rich.console import Console
from rich.table import Table

from services.devices import fleet_queries, listing
from services.devices.details import DETAILS
from services.devices.fleet import FLEET
from services.devices.products import PRODUCTS
from shared.bus.providers import WorkerViews
from shared.context import Context
from shared.errors import NotFound
from shared.events.contracts import CONTRACTS
from shared.events.devices import DeviceImported
from shared.events.gateway import DeviceConnected, DeviceDisconnected, FirmwareReported
from shared.projections.database import Database
from shared.projections.projector import Projector
from shared.store.open import open_store
from shared.store.port import ANY, Append, EventStore

VIEWS = (FLEET, DETAILS, PRODUCTS)
PRODUCTS_OF_BENCH = 5
APPEND_EVENTS = 500
WRITTEN_EVENTS = 20_000
"""Events that are written at a time."""
PAUSE_S = 0.002
"""Between two questions: a reader, not a load test."""
BEFORE_S = 15.0
AROUND_S = 2.0
MARKS = (0.1, 0.5, 1.0)
GOAL_DURING = 2.0
GOAL_FLAT = 1.25


def _history(devices: int) -> Iterator[tuple[str, object]]:
    """Every device is imported; then random ones connect, report what they run, and mostly leave again."""
    dice = random.Random(7)
    for number in range(devices):
        yield f"device-{number:024x}", DeviceImported(f"{number:024x}", _product(number), False)
    at, session = datetime(2026, 1, 1, tzinfo=UTC), 0
    while True:
        number, session, at = dice.randrange(devices), session + 1, at + timedelta(milliseconds=9)
        name, product, stream = f"{number:024x}", _product(number), f"connection-a.1-{at:%Y%m%d%H}"
        here, address = ("a", 1, session), f"10.0.{session % 256}.7:49152"
        yield stream, DeviceConnected(name, product, *here, at, "mqtt/3.1.1", address, True, name)
        version = dice.randrange(20)
        yield stream, FirmwareReported(name, product, product, version, "thermostat", str(version), *here)
        if session % 4:
            yield stream, DeviceDisconnected(name, product, *here, "keepalive", 60, 900, 800, 12, 11)


def _product(number: int) -> int:
    return 1000 + number % PRODUCTS_OF_BENCH


def _fill(store: EventStore, devices: int, events: int) -> None:
    context = Context.new("system:bench", "bench", UUID(int=1))
    history, made = islice(_history(devices), events), 0
    while some := list(islice(history, WRITTEN_EVENTS)):
        appends = list[Append]()
        for stream, told in groupby(some, key=itemgetter(0)):
            while batch := list(islice(told, APPEND_EVENTS)):
                unique, made = f"{stream}/{made}", made + len(batch)
                new = [CONTRACTS.encode(event, index, context, stream=unique) for index, (_, event) in enumerate(batch)]
                appends.append(Append(stream, ANY, new))
        for outcome in store.append_many(appends):
            if isinstance(outcome, Exception):
                raise outcome


# readers


@dataclass
class Reader:
    """Asks in turn; the times in ms by question, ``ends`` are the moments of all answers with their times."""

    views: WorkerViews
    devices: int
    times_ms: dict[str, list[float]] = field(default_factory=dict)
    ends: list[tuple[float, float]] = field(default_factory=list)

    def ask(self, until: Callable[[], bool]) -> None:
        """Until it is time to end."""
        dice = random.Random(3)
        questions: dict[str, Callable[[int], object]] = {
            "statistics": lambda number: fleet_queries.statistics(self.views, _product(number)),
            "device": lambda number: fleet_queries.get_device(self.views, _product(number), f"{number:024x}"),
            "first page": lambda number: fleet_queries.list_devices(self.views, _first_page(_product(number))),
        }
        while not until():
            number = dice.randrange(self.devices)
            for name, question in questions.items():
                began = time.perf_counter()
                try:
                    question(number)
                except NotFound:
                    raise SystemExit(f"device {number} is not in the view: is the store of another size?") from None
                took_ms = (time.perf_counter() - began) * 1e3
                self.times_ms.setdefault(name, []).append(took_ms)
                self.ends.append((time.monotonic(), took_ms))
            time.sleep(PAUSE_S)


def _first_page(product_id: int) -> listing.Listing:
    return listing.parse(product_id, {}, None, True, 1, 25, None)


def _quantile(values: list[float], part: float) -> float:
    return statistics.quantiles(values, n=1_000, method="inclusive")[round(part * 1_000) - 1]


# the rebuild, in a process of its own


def _child(folder: Path, views_url: str, command: str) -> None:
    """Rebuild or verify, and tell about it on standard output, a JSON object a line."""
    store = open_store(f"sqlite://{folder}/events.db")
    database = Database(views_url, "devices")
    projector = Projector("devices", store, database, VIEWS, CONTRACTS)
    base_mib = _peak_mib()
    began_s, began_cpu_s = time.monotonic(), time.process_time()

    def told(done: int, total: int | None) -> None:
        now_s = time.monotonic() - began_s
        _say(done=done, total=total, s=now_s, cpu_s=time.process_time() - began_cpu_s, peak_mib=_peak_mib())

    if command == "verify":
        verified = projector.verify("fleet", told)
        equal = verified.equal
    else:
        comparison = projector.rebuild("fleet", told, comparing=True).comparison
        equal = comparison is not None and comparison.equal
    cpu_s = time.process_time() - began_cpu_s
    _say(
        over=True,
        at=time.monotonic(),
        s=time.monotonic() - began_s,
        cpu_s=cpu_s,
        equal=equal,
        base_mib=base_mib,
        peak_mib=_peak_mib(),
    )
    database.close()
    store.close()


def _say(**values: object) -> None:
    print(json.dumps(values), flush=True)


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@dataclass
class Run:
    """What a child told."""

    process: subprocess.Popen[str]
    told: list[dict[str, float]] = field(default_factory=list)

    @classmethod
    def start(cls, folder: Path, views_url: str, command: str, output: Path) -> Run:
        words = [sys.executable, __file__, "--child", command, "--store", str(folder), "--views", views_url]
        with output.open("w") as target:
            return cls(subprocess.Popen(words, stdout=target, text=True))

    def end(self, output: Path) -> None:
        if self.process.wait() != 0:
            raise SystemExit("the child failed")
        self.told = [json.loads(line) for line in output.read_text().splitlines()]

    @property
    def over(self) -> dict[str, float]:
        """The last word."""
        return self.told[-1]

    def folding(self) -> list[dict[str, float]]:
        """Up to the first time that all events were folded."""
        steps = [step for step in self.told if "done" in step]
        events = max(step["done"] for step in steps)
        return steps[: next(index for index, step in enumerate(steps) if step["done"] == events) + 1]


def _rows(run: Run) -> Iterator[tuple[str, str, str]]:
    steps = run.folding()
    last = steps[-1]
    yield (
        "replay",
        f"{last['done'] / last['cpu_s']:,.0f} events a CPU second",
        f"{last['done']:,} events, {last['s']:.1f} s",
    )
    yield "whole", f"{run.over['s']:.1f} s", f"{run.over['cpu_s']:.1f} CPU s, equal: {bool(run.over['equal'])}"
    peaks = [next(step for step in steps if step["done"] >= part * last["done"])["peak_mib"] for part in MARKS]
    for part, peak in zip(MARKS, peaks, strict=True):
        yield f"peak memory at {part:.0%}", f"{peak:.0f} MiB", f"{run.over['base_mib']:.0f} MiB before it began"
    yield "peak memory at the end", f"{run.over['peak_mib']:.0f} MiB", ""
    flat = peaks[-1] / peaks[0]
    yield "100 % / 10 %", f"{flat:.2f}", f"goal {GOAL_FLAT} at most: {'met' if flat <= GOAL_FLAT else 'MISSED'}"


def _compared(before: Reader, during: Reader, after: Reader) -> Iterator[tuple[str, ...]]:
    for name, busy in during.times_ms.items():
        first, last = before.times_ms[name], after.times_ms[name]
        for part in (0.5, 0.99):
            one, other, now = (_quantile(times, part) for times in (first, last, busy))
            ratio = now / _quantile(first + last, part)
            verdict = "" if part == 0.5 else f"{GOAL_DURING:.1f} {'met' if ratio <= GOAL_DURING else 'MISSED'}"
            yield name, f"p{part * 100:.0f}", f"{one:.2f}", f"{other:.2f}", f"{now:.2f}", f"{ratio:.2f}", verdict
        longest = [max(times) for times in (first, last, busy)]
        yield name, "max", *(f"{each:.2f}" for each in longest), f"{longest[2] / max(longest[:2]):.2f}", ""


def _around_swap(run: Run, during: Reader) -> float:
    """The longest answer that came in the last seconds of the rebuild, the swap among them, or just after it."""
    at = run.over["at"]
    return max((took_ms for end, took_ms in during.ends if at - AROUND_S <= end <= at + AROUND_S), default=0.0)


def _table(title: str, headings: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> None:
    table = Table(title=title)
    for heading in headings:
        table.add_column(heading, no_wrap=True)
    for row in rows:
        table.add_row(*row)
    Console(width=120).print(table)


def _prepare(folder: Path, devices: int, events: int, views_url: str) -> None:
    size = folder / f"filled-{devices}-{events}"
    store = open_store(f"sqlite://{folder}/events.db?durability=normal")
    database = Database(views_url, "devices")
    if not size.exists():
        began = time.monotonic()
        _fill(store, devices, events)
        print(f"filled with {store.head():,} events in {time.monotonic() - began:.0f} s")
        size.touch()
    began = time.monotonic()
    Projector("devices", store, database, VIEWS, CONTRACTS).catch_up()
    print(f"the live view caught up in {time.monotonic() - began:.0f} s")
    with database.connect() as connection:
        rows = connection.execute(sa.select(sa.func.count()).select_from(database.table(FLEET))).scalar_one()
    began = time.monotonic()
    digest = database.digest(FLEET)
    took_s = time.monotonic() - began
    print(f"digest {digest[:16]} of {rows:,} rows in {took_s:.1f} s")
    database.close()
    store.close()


def measure(folder: Path, devices: int, events: int, views_url: str, before_s: float) -> None:
    """Fill, read, rebuild, verify, and print."""
    _prepare(folder, devices, events, views_url)
    database = Database(views_url, "devices")
    database.prepare(VIEWS)
    views = WorkerViews(database, None, Context.new("system:bench", "bench"))
    Reader(views, devices).ask(_timer(before_s / 5))  # to warm up
    before, during, after = (Reader(views, devices) for _ in range(3))
    output = folder / "told.ndjson"
    before.ask(_timer(before_s))
    run = Run.start(folder, views_url, "rebuild", output)
    during.ask(lambda: run.process.poll() is not None)
    run.end(output)
    after.ask(_timer(before_s))
    _table(f"rebuild of {devices:,} devices from {events:,} events", ("what", "", ""), _rows(run))
    headings = ("read, ms", "", "before", "after", "during", "during / without", "goal")
    _table("readers without and during the rebuild", headings, _compared(before, during, after))
    print(f"longest read around the swap: {_around_swap(run, during):.1f} ms")
    run = Run.start(folder, views_url, "verify", output)
    run.end(output)
    _table("verify", ("what", "", ""), _rows(run))
    output.unlink()
    database.close()


def _timer(duration_s: float) -> Callable[[], bool]:
    end = time.monotonic() + duration_s
    return lambda: time.monotonic() > end


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=1_000_000)
    parser.add_argument("--events", type=int, default=3_000_000)
    parser.add_argument("--store", type=Path, help="folder to fill, or filled before with the same numbers")
    parser.add_argument("--views", default="", help="read models, e.g. postgresql+psycopg://… (default: in the folder)")
    parser.add_argument("--quick", action="store_true", help="a hundredth of both")
    parser.add_argument("--child", choices=("rebuild", "verify"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        _child(given.store, given.views, given.child)
        return
    part = 100 if given.quick else 1
    with ExitStack() as stack:
        folder = given.store or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        views_url = given.views or f"sqlite:///{folder.absolute()}/views"
        measure(folder.absolute(), given.devices // part, given.events // part, views_url, BEFORE_S / min(part, 5))


if __name__ == "__main__":
    main()
