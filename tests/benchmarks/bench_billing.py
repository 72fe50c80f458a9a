"""A year of a thousand organizations: invoices a second, as ratios to the same events written to SQLite by hand; and
that their streams are equal whatever the order and the grain of the clock.

``python tests/benchmarks/bench_billing.py [ORGANIZATIONS]``. The reference writes no more than what happened: each
command's events as rows, in one transaction, with nothing decided, folded or checked. ``decided``: all of billing's
arithmetic in memory, as ``flotilla billing simulate`` runs it. ``stored``: the same commands through ``Streams`` into
an event store: each stream is loaded, folded, decided on and appended to at its exact version.
"""

from __future__ import annotations

import sqlite3
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from uuid import UUID

import msgspec

from services.billing.simulation import Simulation
from services.billing.standing import Event
from services.billing.subscriptions import Command, Policy, stream_of, subscriptions
from shared.context import Context
from shared.events.contracts import CONTRACTS
from shared.store.open import open_store
from shared.streams import Streams
from tests.benchmarks.report import Contender, compare, show

BEGINS = datetime(2026, 1, 31, tzinfo=UTC)
DAYS, SEED = 365, 1
COMPARED = 100
"""Organizations in the comparison, which writes their year several times."""
RUNS = ((timedelta(hours=1), 1), (timedelta(days=1), 2), (timedelta(days=30), 3), (timedelta(days=DAYS), 4))
"""Grain and order of each run."""
_encode = msgspec.json.Encoder().encode
_names = count()

Heard = list[tuple[str, Command, list[Event]]]


def simulated(number: int, grain: timedelta = timedelta(days=1), order: int = 0) -> tuple[Simulation, Heard]:
    heard: Heard = []
    made = Simulation.of(number, DAYS, SEED, BEGINS, heard=lambda *what: heard.append(what))
    made.run(grain, order)
    return made, heard


def equal(number: int) -> None:
    digests = set()
    for grain, order in RUNS:
        began_s, cpu_s = time.monotonic(), time.process_time()
        made = Simulation.of(number, DAYS, SEED, BEGINS)
        made.run(grain, order)
        cpu_s = time.process_time() - cpu_s
        issued = made.total("InvoiceIssued")
        print(
            f"{number} organizations, a year, clock by {grain}, order {order}: {issued:,} invoices, {cpu_s:.1f} CPU s "
            f"({issued / cpu_s:,.0f} a second), {time.monotonic() - began_s:.1f} s, streams {made.digest()}"
        )
        assert made.unbalanced() == 0
        digests.add(made.digest())
    assert len(digests) == 1, "the streams are not equal"
    print("the streams are equal, and every cent is accounted for")


class Bench:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made, self.heard = simulated(COMPARED)
        self.invoices = self.made.total("InvoiceIssued")

    def decided(self) -> int:
        made = Simulation.of(COMPARED, DAYS, SEED, BEGINS)
        made.run(timedelta(days=1))
        assert made.digest() == self.made.digest()
        return self.invoices

    def stored(self) -> int:
        store = open_store(f"sqlite:///{self.folder}/{next(_names)}.db?durability=normal")
        streams, aggregate = Streams(store, CONTRACTS), subscriptions(Policy())
        for number, (org_id, command, events) in enumerate(self.heard):
            context = Context.new("system:bench", "bench", UUID(int=number + 1))
            done = streams.handle(aggregate, stream_of(org_id), command, context)
            assert len(done.events) == len(events)
        store.close()
        return self.invoices

    def by_hand(self) -> int:
        connection = sqlite3.connect(f"{self.folder}/{next(_names)}.db", isolation_level=None)
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL"):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute(
            "CREATE TABLE events (position INTEGER PRIMARY KEY AUTOINCREMENT, org_id TEXT, version INTEGER, type TEXT, "
            "data BLOB, UNIQUE (org_id, version))"
        )
        versions: dict[str, int] = {}
        for org_id, _, events in self.heard:
            first = versions.get(org_id, 0)
            versions[org_id] = first + len(events)
            rows = [(org_id, first + n, type(event).__name__, _encode(event)) for n, event in enumerate(events)]
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("INSERT INTO events (org_id, version, type, data) VALUES (?, ?, ?, ?)", rows)
            connection.execute("COMMIT")
        connection.close()
        return self.invoices


def main(arguments: Sequence[str]) -> None:
    equal(int(arguments[0]) if arguments else 1_000)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        lines = compare(
            "invoices",
            Contender("sqlite3 by hand: the events as rows, a transaction a command", bench.by_hand),
            [
                Contender("decided: in memory, as `flotilla billing simulate`", bench.decided),
                Contender("stored: loaded, folded, decided, appended through Streams", bench.stored),
            ],
            rounds=5,
        )
        show(f"{bench.invoices} invoices of {COMPARED} organizations in a year", lines)


if __name__ == "__main__":
    main(sys.argv[1:])
