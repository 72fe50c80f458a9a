"""Lists of a large fleet: how long a page takes under filters, orders and queries, and the five questions.

``python -m tests.benchmarks.bench_fleet [--devices N] [--views URL|postgres] [--folder FOLDER] [--quick]``. Fills one
product's devices straight into the tables of the view ``fleet`` (kept in the folder for the next run), then asks each
list for its first and its hundredth page, by cursor as a client does. Times are of CPU, PostgreSQL's own included where
it runs on this machine, because others may be busy on it; p99 by the clock stands beside. The hand-written query of a
list is the plain SQL for it on the same table, without bounds; the ratio is of the whole search, Python included, to
that. Pages that are not full although there are more devices are those that a bound has ended; how many requests a full
page takes is shown.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from rich.console import Console
from rich.table import Table

from deploy.postgres import PostgresServer
from deploy.process import collect_seldom
from services.devices import fleet_queries, list_pages, listing
from services.devices.fleet import FLEET, NOTHING, fold
from shared.bus.providers import WorkerViews
from shared.context import Context
from shared.events.devices import DeviceImported
from shared.projections.database import Database
from shared.projections.folding import changes
from shared.projections.positions import stored
from shared.projections.rows import Rows
from shared.projections.view import Row
from shared.store.port import Position, Recorded
from tests.benchmarks.latency import Stopwatch, verdict

PRODUCT = 1000
NOW = datetime(2030, 1, 1, tzinfo=UTC)
CHUNK = 10_000
PER_PAGE = 25
MOST_REQUESTS = 500
PLACES = ("Berlin", "Lyon", "Porto", "Graz", "Turin", "Ghent", "Malmö", "Cork")
GOAL_MS, QUESTIONS_MS, RATIO = 20.0, 5.0, 1.5


@dataclass(frozen=True, slots=True)
class Asked:
    """A list, and the condition of the hand-written query."""

    query: str
    sort: str
    descending: bool
    sql: str | None = None


LISTS = (
    Asked("", "lastConnection", True, ""),
    Asked("", "deviceId", False, ""),
    Asked("", "firmwareVersion", True, ""),
    Asked("", "name", False, "name_key <> ''"),
    Asked("", "lastHeard", True, "last_heard_at IS NOT NULL"),
    Asked("online", "lastConnection", True, "online"),
    Asked("not online", "lastConnection", True, "NOT online"),
    Asked("version = 7", "lastConnection", True, "shown_version = 7"),
    Asked("version < 7", "deviceId", False, "shown_version >= 0 AND shown_version < 7"),
    Asked("version = 3", "lastHeard", True, "shown_version = 3 AND last_heard_at IS NOT NULL"),
    Asked("group = beta", "lastConnection", True, "groups LIKE '%\"beta\"%'"),
    Asked("group = canary", "lastConnection", True, "groups LIKE '%\"canary\"%'"),
    Asked('online and version < 7 and group = "beta"', "lastConnection", True),
    Asked('online and version < 7 and group = "beta"', "deviceId", False),
    Asked("group = canary and online and version = 7", "name", False),
    Asked("owner = 'owner 77'", "lastConnection", True, "owner_id = 'owner 77'"),
    Asked("development", "lastConnection", True, "development"),
    Asked("quarantined", "deviceId", False, "quarantined"),
    Asked("failing", "lastConnection", True, "update_phase = 'failing'"),
    Asked("locked", "lastConnection", True, "locked_version IS NOT NULL"),
    Asked("locked = 3 and not online", "lastHeard", False),
    Asked("last_heard > 30d", "lastHeard", False),
    Asked("last_heard > 30d and online", "lastConnection", True),
    Asked("name starts_with 'kettle 7777'", "name", False),
    Asked("name contains 'lyon'", "lastConnection", True, "name_key LIKE '%lyon%'"),
    Asked("name contains '77777'", "lastConnection", True),
    Asked("id contains 'abcde'", "deviceId", False),
    Asked("text contains 'porto' and version = 6", "lastConnection", True),
    Asked("version = 6 or group = canary", "lastConnection", True),
)


def fleet_of(count: int) -> Iterator[dict[tuple[str], Row]]:
    """The rows of so many devices, by chunks."""
    chance = random.Random(7)
    ids = sorted({f"{chance.getrandbits(96):024x}" for _ in range(count)})
    for start in range(0, len(ids), CHUNK):
        yield {
            (device_id,): _row(chance, device_id, start + number)
            for number, device_id in enumerate(ids[start : start + CHUNK])
        }


def _row(chance: random.Random, device_id: str, number: int) -> Row:
    imported = DeviceImported(device_id, PRODUCT, False)
    row: dict[str, Any] = dict(fold(None, imported, _ENVELOPE) or {})
    if chance.random() < 0.5:
        row["name"] = f"Kettle {number} {chance.choice(PLACES)}"
        row["name_key"] = row["name"].casefold()
    row["groups"] = sorted(
        name for name, part in (("beta", 0.05), ("canary", 0.0005), ("stable", 0.6)) if chance.random() < part
    )
    if chance.random() < 0.3:
        row["owner_id"] = f"owner {chance.randrange(200_000)}"
    row["development"] = chance.random() < 0.001
    row["quarantined"] = chance.random() < 0.0005
    if chance.random() < 0.01:
        row["locked_version"] = chance.choice((3, 6, 7))
    if chance.random() < 0.9:
        _connect(chance, row)
    return row


def _connect(chance: random.Random, row: dict[str, Any]) -> None:
    at = NOW - timedelta(seconds=chance.random() ** 3 * 90 * 86_400)
    version = chance.choices((7, 6, 5, 4, 3, NOTHING), (60, 25, 7, 2, 1, 5))[0]
    known = {"shown_version": version, "reported_version": version, "reported_product": PRODUCT}
    row.update(gateway="a", epoch=1, session=1, connected_at=at, last_address="10.0.0.7:4711", protocol="mqtt/3.1.1")
    row.update(known if version != NOTHING else {})
    row.update(last_heard_at=at + (NOW - at) * chance.random(), online=chance.random() < 0.45)
    if chance.random() < 0.002:
        row.update(update_version=7, update_attempt=3, update_state="failed", update_failures=3, update_phase="failing")
    row["causes"] = {"presence": 1, "session": 1, "version": 1}


_ENVELOPE = Recorded(UUID(int=0), "x", "s", 0, Position(1), NOW, b"{}", b"{}")


def fill(database: Database, count: int) -> None:
    """Have the rows there, unless they are."""
    database.prepare([FLEET])
    tables = database.tables(FLEET)
    with database.connect() as connection:
        kept = stored(connection, tables.checkpoint)
        if kept is not None and kept.version != FLEET.version:
            raise SystemExit("the folder has another version of the view; take an empty one")
        found = connection.execute(sa.select(sa.func.count()).select_from(tables.rows)).scalar_one()
    if found == count:
        return
    began_s, writer = time.monotonic(), Rows(database, tables)
    with database.writing() as connection:
        database.create_tables(connection, tables)
    for rows in fleet_of(count):
        with database.writing() as connection:
            writer.write(connection, changes(FLEET, {}, dict(rows)))
    with database.writing() as connection:
        database.create_indexes(connection, tables, epoch=0)
    database.scrub()
    if not database.is_sqlite:
        with database.writing() as connection:
            for table in tables.all:
                connection.exec_driver_sql(f"ANALYZE {table.name}")
    Console().print(f"filled {count:,} devices in {time.monotonic() - began_s:.0f} s")


class Lists:
    """Asks and times."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.views = WorkerViews(database, None, Context.new("system:bench", "bench"))
        self.total = 0
        self.now = NOW

    def page(self, asked: Asked, after: str | None) -> list_pages.Found:
        """Asked a moment later each time, as ages are."""
        self.now += timedelta(microseconds=1)
        checked = listing.parse(
            PRODUCT, {}, asked.sort, asked.descending, 1, PER_PAGE, after, query=asked.query, now=self.now
        )
        with self.views.read() as connection:
            return list_pages.find(self.views, connection, checked)

    def full(self, asked: Asked, after: str | None) -> tuple[list_pages.Found, int]:
        """A full page, if there are so many, and how many requests that took."""
        rows, requests = 0, 0
        while True:
            found = self.page(asked, after)
            rows, requests, after = rows + len(found.rows), requests + 1, found.next
            if rows >= PER_PAGE or after is None or requests == MOST_REQUESTS:
                return found, requests

    def hundredth(self, asked: Asked) -> str | None:
        """The cursor behind 99 answers, or behind the last one that has one."""
        after: str | None = None
        for _ in range(99):
            found = self.page(asked, after)
            if found.next is None:
                break
            after = found.next
        return after

    def by_hand(self, asked: Asked) -> list[dict[str, Any]]:
        column = listing.SORTS[asked.sort].column
        order = "DESC" if asked.descending else "ASC"
        also = f" AND {asked.sql}" if asked.sql else ""
        by = f"{column} {order}, device_id {order}" if column != "device_id" else f"device_id {order}"
        sql = f"SELECT * FROM fleet WHERE product_id = {PRODUCT}{also} ORDER BY {by} LIMIT {PER_PAGE + 1}"
        counted = f"SELECT item, n FROM fleet_counts WHERE scope = 'product-{PRODUCT}'"
        with self.views.read() as connection:
            rows = connection.exec_driver_sql(sql if self.database.is_sqlite else sql.replace("%", "%%"))
            names = tuple(rows.keys())
            found = [dict(zip(names, row, strict=True)) for row in rows]
            self.total = dict(connection.exec_driver_sql(counted).all())["total"]
            for row in found:
                for name in ("groups", "causes"):
                    row[name] = json.loads(row[name]) if row[name] else None
                for name in ("connected_at", "last_heard_at"):
                    row[name] = datetime.fromtimestamp(row[name] / 1e6, UTC) if row[name] else None
            return found


HEADINGS = ("query", "sort", "total", "first", "p99", "clock", "100th", "p99", "clock", "requests", "by hand", "ratio")


def measure(database: Database, rounds: int) -> None:
    """Print the tables."""
    lists, watch = Lists(database), Stopwatch(database, rounds)
    kind = "SQLite" if database.is_sqlite else "PostgreSQL"
    table = Table(title=f"lists, {kind}, ms of CPU: p50 and p99; p99 by the clock")
    for heading in (*HEADINGS, ""):
        table.add_column(heading, justify="left" if heading in ("query", "sort") else "right", no_wrap=True)
    for asked in LISTS:
        found, requests = lists.full(asked, None)
        first = watch.times(partial(lists.page, asked, None))
        later = watch.times(partial(lists.page, asked, lists.hundredth(asked)))
        ratio = hand = None
        if asked.sql is not None:
            ours, by_hand = watch.in_turn(partial(lists.page, asked, None), partial(lists.by_hand, asked))
            hand, ratio = by_hand.p50, ours.p50 / by_hand.p50
        Console(stderr=True).print(f"{asked.query}: {first.p50:.2f} {later.p50:.2f} ms")
        table.add_row(
            asked.query or "(all)",
            f"{asked.sort}{' desc' if asked.descending else ''}",
            f"{'' if found.exact else '≤ '}{found.total:,}",
            *(f"{value:.2f}" for times in (first, later) for value in (times.p50, times.p99, times.clock_p99)),
            str(requests),
            "" if hand is None else f"{hand:.2f}",
            "" if ratio is None else f"{ratio:.2f}",
            verdict(GOAL_MS, first, later) if ratio is None or ratio <= RATIO else "MISSED",
        )
    Console(width=200).print(table)
    took = watch.times(partial(fleet_queries.statistics, lists.views, PRODUCT))
    Console(width=200).print(
        f"counters of the five questions: p50 {took.p50:.2f} ms, p99 {took.p99:.2f} ms, by the clock "
        f"{took.clock_p99:.2f} ms {verdict(QUESTIONS_MS, took)}"
    )
    Console().print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


def main() -> None:
    """Fill and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=1_000_000)
    parser.add_argument("--views", default="", help="postgresql+psycopg://…, or postgres for a private one")
    parser.add_argument("--folder", type=Path, help="where the SQLite file, or the private PostgreSQL, is kept")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--quick", action="store_true", help="a hundredth of the devices")
    given = parser.parse_args()
    with ExitStack() as stack:
        folder = given.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="flotilla-fleet-")))
        url = given.views or f"sqlite:///{folder.absolute()}"
        if url == "postgres":
            folder.chmod(0o711)  # the server has an account of its own
            url = stack.enter_context(PostgresServer(folder / "postgres")).url
        database = Database(url, "devices")
        stack.callback(database.close)
        fill(database, given.devices // (100 if given.quick else 1))
        collect_seldom()
        measure(database, given.rounds)


if __name__ == "__main__":
    main()
