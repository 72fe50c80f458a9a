"""What a first screen and the page of a device cost on a large fleet: how long each question takes, on SQLite and
PostgreSQL.

``python -m tests.benchmarks.bench_questions [--devices N] [--database sqlite|postgres] [--asked N]``. The rows are
folded and written as the projector does it, from made events. The whole fleet is one product, whose errors are of as
many kinds and versions as rows can hold, every day: the worst that there can be. Goal: p99 of 5 ms, of CPU
(``latency.py``), because on a busy machine that tells more than the time that passed. ``anew``: nothing is kept of what
was read for those who asked before.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count, islice
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

from rich.console import Console
from rich.table import Table

from deploy.process import collect_seldom
from services.devices import device_page, error_queries, questions, usage_queries
from services.devices.bootstrap import VIEWS
from services.devices.errors import DEVICE_ERRORS, ERRORS, MOST_ITEMS
from services.devices.fates import FATES
from services.devices.fleet import FLEET
from services.devices.happened import HAPPENED
from services.devices.usage import OWNERS, USAGE
from shared.bus.providers import WorkerViews
from shared.context import Context
from shared.events.contracts import CONTRACTS
from shared.events.devices import DeviceClaimed, DeviceImported
from shared.events.gateway import (
    DeviceConnected,
    DeviceDisconnected,
    DeviceErred,
    DeviceUsage,
    FirmwareReported,
    UpdateStarted,
    UpdateSucceeded,
    UsageCounted,
)
from shared.projections.content import Content
from shared.projections.database import Database
from shared.projections.view import View
from shared.store.open import open_store
from shared.store.port import ANY, EventStore, Position, Recorded
from tests.benchmarks.latency import Stopwatch, verdict
from tests.postgres import any_postgres

P, NOW = 1000, datetime(2030, 6, 15, 12, tzinfo=UTC)
TODAY = NOW.replace(hour=0)
FOLDED = 20_000
"""Events that are folded at a time."""
DAYS = 90
OWNED = 3
"""Every third device has an owner."""
GOAL_MS = 5.0

Happened = Iterator[tuple[datetime, object]]


def device(number: int) -> str:
    return f"{number:024x}"


def owner(number: int) -> str | None:
    return f"{0xA00000 + number:024x}" if number % OWNED == 0 else None


def fleet(devices: int) -> Happened:
    for number in range(devices):
        yield NOW, DeviceImported(device(number), P, False)
        yield NOW, FirmwareReported(device(number), P, P, 1 + number % 30, "", "1", "a", 1, number)
        if number % 2:
            yield NOW, connected(number)


def connected(number: int, at: datetime = NOW) -> DeviceConnected:
    return DeviceConnected(device(number), P, "a", 1, number, at, "mqtt/5.0", "192.0.2.1", True, "client")


def page_of_device(devices: int) -> Happened:
    """A session of each."""
    begun, gone = NOW - timedelta(days=1), NOW - timedelta(hours=23)
    for number in range(devices):
        yield begun, connected(number, begun)
        yield gone, DeviceDisconnected(device(number), P, "a", 1, number, "keepalive", 3_600, 0, 0, 0, 0)


def updates(devices: int) -> Happened:
    for number in range(0, devices, 4):
        yield NOW, UpdateStarted(device(number), P, 7, 1, "release", 10)
        yield NOW, UpdateSucceeded(device(number), P, 7, 1)


def errors(devices: int) -> Happened:
    """As many kinds and versions as a day's row holds on each day, and lately some of every hundredth device."""
    for day in range(DAYS - 1, -1, -1):
        for item in range(MOST_ITEMS):
            at = TODAY - timedelta(days=day) + timedelta(minutes=item * 2)
            kind = f"app/kind_{item % 16}"
            yield at, DeviceErred(device(item), P, kind, "text of an error", 3, item // 16, "a", 1, 1)
    for number in range(0, devices, 100):
        yield NOW, DeviceErred(device(number), P, "reset/panic", "panic", 1 + number % 1_000, 7, "a", 1, 1)


def usage(devices: int) -> Happened:
    """Of today by all devices, of the 89 days before by few."""
    for day in range(DAYS - 1, -1, -1):
        some = devices if day == 0 else 1_000
        for first in range(0, some, 200):
            told = [used(number) for number in range(first, min(first + 200, some))]
            yield NOW, UsageCounted(P, TODAY - timedelta(days=day), told, "a", 1)


def used(number: int) -> DeviceUsage:
    return DeviceUsage(device(number), owner(number), 10, 1, 0, 1, 600)


def claims(devices: int) -> Happened:
    for number in range(0, devices, OWNED):
        owner_id = owner(number)
        assert owner_id is not None
        yield NOW, DeviceClaimed(device(number), P, owner_id)


def claims_and_usage(devices: int) -> Happened:
    yield from claims(devices)
    yield from usage(devices // 2)


FILLS: list[tuple[tuple[View, ...], Callable[[int], Happened]]] = [
    ((FLEET,), fleet),
    ((HAPPENED,), page_of_device),
    ((FATES,), updates),
    ((ERRORS, DEVICE_ERRORS), errors),
    ((USAGE,), usage),
    ((OWNERS,), claims_and_usage),
]


def fill(database: Database, view: View, happened: Happened) -> float:
    """Fold these events into an empty view; seconds of CPU."""
    began, numbers = time.process_time(), count(1)
    content = Content(database, database.tables(view), CONTRACTS)
    content.known.forget(empty=True)
    while some := list(islice(happened, FOLDED)):
        draft = content.draft()
        draft.fold([_recorded(event, at, next(numbers)) for at, event in some])
        with database.writing() as connection:
            draft.write(connection)
        draft.commit()
    return time.process_time() - began


def _recorded(event: object, at: datetime, number: int) -> Recorded:
    new = CONTRACTS.encode_seen(event, "device:a", "bench", UUID(int=number))
    return Recorded(new.id, new.type, "s", 0, Position(number), at, new.data, new.meta)


def asked_of(views: WorkerViews, store: EventStore, devices: int) -> dict[str, Callable[[Random], Any]]:
    """Questions by name; each asked anew of something random where there is a choice."""

    def some(dice: Random) -> str:
        return device(dice.randrange(devices))

    def nobody(_: list[str]) -> dict[str, Any]:
        return {}

    def timeline(dice: Random) -> Any:
        return device_page.timeline(store, views, nobody, P, device(dice.randrange(min(devices, 1_000))))

    def customers(dice: Random) -> Any:
        return usage_queries.customers(views, P, NOW, nobody, active=dice.random() < 0.5)

    def anew(_: Random) -> Any:
        error_queries.read_counts.cache_clear()
        return questions.answers(views, P, NOW, 30)

    since = (NOW - timedelta(hours=2)).isoformat()
    return {
        "the five questions, 7 days": lambda _: questions.answers(views, P, NOW, 7),
        "the five questions, 30 days": lambda _: questions.answers(views, P, NOW, 30),
        "the five questions, 30 days, anew": anew,
        "figures of the contract": lambda _: questions.statistics(views, P, NOW),
        "errors by hour, a day": lambda _: error_queries.errors(views, P, NOW),
        "rates of a version, 2 hours": lambda _: error_queries.error_rates(views, P, since, 7, NOW),
        "devices with most errors": lambda _: error_queries.erring_devices(views, P, NOW),
        "usage by day, 30 days": lambda _: usage_queries.usage(views, P, NOW),
        "customers who use theirs": customers,
        "usage of a device": lambda dice: usage_queries.device_usage(views, P, some(dice), NOW),
        "timeline of a device": timeline,
        "sessions of a device": lambda dice: device_page.list_sessions(views, P, some(dice)),
        "updates of a device": lambda dice: device_page.updates(views, P, some(dice)),
    }


def measure(url: str, devices: int, asked: int, folder: Path, console: Console) -> None:
    """Fill, ask, and show."""
    with ExitStack() as stack:
        database = Database(url, "devices")
        stack.callback(database.close)
        store = open_store(f"sqlite:///{folder}/events?durability=normal")
        stack.callback(store.close)
        database.prepare(VIEWS)
        for number in range(min(devices, 1_000)):
            event = CONTRACTS.encode(DeviceImported(device(number), P, False), 0, Context.new("account:a", "bench"))
            store.append(f"device-{device(number)}", ANY, [event])
        for group, events in FILLS:
            for view in group:
                took_s = fill(database, view, events(devices))
                console.print(f"  {view.name}: {took_s:.0f} s of CPU", highlight=False)
        views = WorkerViews(database, None, Context.new("system:bench", "bench"))
        collect_seldom()
        watch = Stopwatch(database, asked)
        table = Table(title=f"{url.split(':')[0]}, {devices:,} devices, each asked {asked} times, ms")
        for heading in ("question", "CPU p50", "CPU p99", "p99 by the clock", f"p99 of {GOAL_MS:.0f} ms"):
            table.add_column(heading, justify="left" if heading == "question" else "right")
        for name, ask in asked_of(views, store, devices).items():
            took = watch.times(partial(ask, Random(7)))
            told = (took.p50, took.p99, took.clock_p99)
            table.add_row(name, *(f"{value:.2f}" for value in told), verdict(GOAL_MS, took))
        console.print(table)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=1_000_000)
    parser.add_argument("--database", choices=("sqlite", "postgres", "both"), default="both")
    parser.add_argument("--asked", type=int, default=500)
    options = parser.parse_args()
    console = Console(width=100)
    with tempfile.TemporaryDirectory() as folder:
        if options.database in ("sqlite", "both"):
            measure(f"sqlite:///{folder}/views", options.devices, options.asked, Path(folder) / "s", console)
        if options.database in ("postgres", "both"):
            with any_postgres() as postgres, postgres.database() as url:
                measure(url, options.devices, options.asked, Path(folder) / "p", console)


if __name__ == "__main__":
    main()
