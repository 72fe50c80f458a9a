"""Replay of a fleet-like view from the SQLite store, against raw ``executemany`` upserts from lists in memory.

``python tests/benchmarks/bench_replay.py [--quick]``. The raw ones neither read nor decode, fold or tally, and commit
where the replay does: once with a row for each event (what a projector without folding by page would have to write),
once with the very rows that the replay writes. Reading and decoding alone is the share that no projector can avoid.
"""

from __future__ import annotations

import argparse
import gc
import random
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from report import Contender, compare, show

from services.devices.fleet import FLEET as REAL_FLEET
from shared.context import Context
from shared.events.contracts import CONTRACTS
from shared.events.devices import DeviceImported
from shared.events.gateway import DeviceConnected, DeviceDisconnected, FirmwareReported
from shared.projections.database import CHECKPOINT_PAGES, Database
from shared.projections.projector import OnApplied, Projector
from shared.projections.tables import micros
from shared.projections.view import Counter, Key, Row, View
from shared.store.open import open_store
from shared.store.port import ANY, Append, EventStore, New, Only, Position, Recorded

PAGE_EVENTS = 1_000
APPEND_EVENTS = 500


def _keys(event: Any) -> tuple[Key, ...]:
    return ((event.device_id,),)


def _fold(row: Row | None, event: Any, recorded: Recorded) -> Row | None:
    match event:
        case DeviceImported():
            return {
                "device_id": event.device_id,
                "product_id": event.product_id,
                "online": False,
                "connected_at": None,
                "version": None,
                "title": "",
                "address": "",
            }
        case _ if row is None:
            return None
        case DeviceConnected():
            return {**row, "online": True, "connected_at": event.connected_at, "address": event.address}
        case FirmwareReported():
            return {**row, "version": event.version, "title": event.title}
        case _:
            return {**row, "online": False}


def _tally(row: Row) -> list[Counter]:
    scope = f"product-{row['product_id']}"
    here = (scope, "online" if row["online"] else "offline")
    return [here] if row["version"] is None else [here, (scope + "/version", str(row["version"]))]


FLEET = View(
    name="fleet",
    version=1,
    key=("device_id",),
    columns={
        "device_id": str,
        "product_id": int,
        "online": bool,
        "connected_at": datetime,
        "version": int,
        "title": str,
        "address": str,
    },
    events=(DeviceImported, DeviceConnected, FirmwareReported, DeviceDisconnected),
    keys=_keys,
    fold=_fold,
    counted=("product_id", "online", "version"),
    tally=_tally,
)


def _history(events: int, devices: int) -> Iterator[tuple[str, object]]:
    """Every device is imported; then random ones connect, report what they run, and leave again."""
    dice = random.Random(7)
    names = [f"{number:024x}" for number in range(devices)]
    yield from (("device-" + name, DeviceImported(name, 1000 + int(name, 16) % 5, False)) for name in names)
    at = datetime(2026, 1, 1, tzinfo=UTC)
    made, session = devices, 0
    here = ("a", 1)
    while made < events:
        name, session, made = dice.choice(names), session + 1, made + 3
        product, at = 1000 + int(name, 16) % 5, at + timedelta(milliseconds=37)
        stream = f"connection-a.1-{at:%Y%m%d%H}"
        address = f"10.0.{session % 256}.7:49152"
        yield stream, DeviceConnected(name, product, *here, session, at, "mqtt/3.1.1", address, True, name)
        version = dice.randrange(20)
        yield stream, FirmwareReported(name, product, product, version, "thermostat", str(version), *here, session)
        yield stream, DeviceDisconnected(name, product, *here, session, "keepalive", 60, 900, 800, 12, 11)


def fill(store: EventStore, events: int, devices: int) -> None:
    """Append the history."""
    context = Context.new("system:bench", "bench", UUID(int=1))
    stream, pending = "", list[New]()
    appends: list[Append] = []
    for index, (name, event) in enumerate(_history(events, devices)):
        if pending and (name != stream or len(pending) == APPEND_EVENTS):
            appends.append(Append(stream, ANY, pending))
            pending = []
        stream = name
        pending.append(CONTRACTS.encode(event, index, context))
    appends.append(Append(stream, ANY, pending))
    store.append_many(appends)


class Bench:
    """The ways to get the rows, each in new files; every run is one pass over all events."""

    def __init__(self, store: EventStore, folder: Path, events: int) -> None:
        self._store = store
        self._folder = folder
        self._events = events
        self._runs = 0
        self._pages: list[list[tuple[Any, ...]]] = []
        self._every: list[list[tuple[Any, ...]]] = []

    def prepare(self) -> None:
        """Note which rows a replay writes, commit by commit, and which single upserts would have to."""
        commits: list[Position | None] = []

        def committed(view: View, keys: Sequence[Key]) -> None:
            wanted = [key[0] for key in keys]
            with database.connect() as connection:
                rows = [
                    row
                    for start in range(0, len(wanted), PAGE_EVENTS)
                    for row in connection.execute(
                        sa.select(table).where(table.c.device_id.in_(wanted[start : start + PAGE_EVENTS]))
                    )
                ]
            self._pages.append([_plain(row) for row in rows])
            commits.append(checkpoints.load("view/fleet"))

        database = Database(self._url(), "bench")
        table, checkpoints = database.table(FLEET), database.checkpoints()
        self._projector(database, committed).catch_up()
        database.close()
        rows = {row[0]: row for page_rows in self._pages for row in page_rows}
        looked: Position | None = None
        for commit in commits:
            events = self._store.read_all(looked, (commit or 0) - (looked or 0)).events
            self._every.append([rows[CONTRACTS.decode(event).device_id] for event in events])
            looked = commit

    def _projector(self, database: Database, on_applied: OnApplied | None = None, view: View = FLEET) -> Projector:
        options: dict[str, Any] = {"page_events": PAGE_EVENTS, "on_applied": on_applied}
        return Projector("bench", self._store, database, [view], CONTRACTS, **options)

    def replay(self) -> int:
        """All of it: read, decode, load, fold, tally, write, checkpoint."""
        database = Database(self._url(), "bench")
        self._projector(database).catch_up()
        database.close()
        return self._events

    def rebuild(self, view: View = FLEET) -> int:
        """The same as a rebuild does it: more events to a transaction, into tables without indexes, swapped in."""
        database = Database(self._url(), "bench")
        self._projector(database, view=view).rebuild(view.name)
        database.close()
        return self._events

    def decoded(self) -> int:
        """Read and decode, and nothing else."""
        looked, at_end = None, False
        while not at_end:
            page = self._store.read_all(looked, PAGE_EVENTS, Only(types=FLEET.event_types))
            CONTRACTS.decode_all(page.events)
            looked, at_end = page.looked, page.end
        return self._events

    def upserts_of_rows(self) -> int:
        """The very rows that the replay writes, with its commits, from memory."""
        return self._raw(self._pages)

    def upserts_of_events(self) -> int:
        """A row an event, with its commits, from memory."""
        return self._raw(self._every)

    def _raw(self, pages: Sequence[list[tuple[Any, ...]]]) -> int:
        names = list(FLEET.columns)
        rest = ", ".join(f"{name} = excluded.{name}" for name in names[1:])
        upsert = f"INSERT INTO fleet VALUES({', '.join('?' * len(names))}) ON CONFLICT(device_id) DO UPDATE SET {rest}"
        moved = "UPDATE checkpoint SET position = ? WHERE name = 'fleet' AND position = ?"
        self._runs += 1
        connection = sqlite3.connect(self._folder / f"raw{self._runs}.db", isolation_level=None)
        for pragma in ("journal_mode = WAL", "synchronous = NORMAL", f"wal_autocheckpoint = {CHECKPOINT_PAGES}"):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("CREATE TABLE checkpoint(name TEXT PRIMARY KEY, position INTEGER)")
        connection.execute("INSERT INTO checkpoint VALUES('fleet', 0)")
        connection.execute(f"CREATE TABLE fleet({', '.join(names)}, PRIMARY KEY(device_id)) WITHOUT ROWID")
        for number, page in enumerate(pages):
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(moved, (number + 1, number))
            connection.executemany(upsert, page)
            connection.execute("COMMIT")
        connection.close()
        return self._events

    def _url(self) -> str:
        self._runs += 1
        return f"sqlite:///{self._folder / str(self._runs)}"


def _plain(row: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(micros(value) if isinstance(value, datetime) else value for value in row)


def main() -> None:
    """Print the table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--quick", action="store_true", help="a tenth of the events and two rounds")
    quick = arguments.parse_args().quick
    events, devices, rounds = (20_000, 2_000, 2) if quick else (200_000, 20_000, 5)
    with tempfile.TemporaryDirectory() as name:
        store = open_store(f"sqlite://{name}/events.db", alone=True)  # as the commands that rebuild
        fill(store, events, devices)
        bench = Bench(store, Path(name), len(store.read_all(None, 2 * events).events))
        bench.prepare()
        gc.freeze()  # the collector would look through what the raw ones hold whenever a projector makes garbage
        lines = compare(
            f"replay of {events:,} events, {devices:,} rows",
            Contender("raw upserts, a row an event", bench.upserts_of_events),
            [
                Contender("projector, rebuilding", bench.rebuild, 0.60),
                Contender("projector, following", bench.replay),
                Contender("rebuilding the platform's own fleet", lambda: bench.rebuild(REAL_FLEET)),
                Contender("reading and decoding alone", bench.decoded),
                Contender("raw upserts, a row once a page", bench.upserts_of_rows),
            ],
            rounds=rounds,
        )
        store.close()
    show("Projections: events a CPU second", lines)


if __name__ == "__main__":
    main()
