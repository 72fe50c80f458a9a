"""The SQLite event store against raw ``sqlite3`` with the same tables, pragmas and transactions, and no checks.

``python tests/benchmarks/bench_store.py [--quick]``. CPU time, but for group commit, which is about waiting less.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from report import Contender, Line, compare, show

from shared.store.port import NO_STREAM, Append, Expected, New
from shared.store.sqlite import SqliteEventStore
from shared.store.sqlite.schema import connect

DATA = b'{"device_id":"0123456789abcdef01234567","product_id":1000,"version":7,"reason":"it was asked to run this one"}'
META = b'{"schema":1,"actor":"account:0123456789abcdef"}'
PATIENCE_S = 5.0
FIND = "SELECT id FROM streams WHERE name = ?"
ADD_STREAM = "INSERT INTO streams(name, version, first, state) VALUES(?, ?, 0, 0)"
ADD_STREAMS = "INSERT INTO streams(id, name, version, first, state) VALUES(?, ?, ?, 0, 0)"
ADD = "INSERT INTO events(stream_id, version, type_id, event_id, at, data, meta) VALUES(?, ?, 1, ?, ?, ?, ?)"
MOVE = "UPDATE streams SET version = ? WHERE id = ?"
LOAD = (
    "SELECT e.event_id, e.type_id, e.stream_id, e.version, e.pos, e.at, e.data, e.meta FROM streams s"
    " JOIN events e ON e.stream_id = s.id AND e.version >= ? WHERE s.name = ? ORDER BY e.version LIMIT ?"
)
LOAD_NAMED = (
    "SELECT e.event_id, t.name, s.name, e.version, e.pos, e.at, e.data, e.meta FROM streams s"
    " CROSS JOIN events e ON e.stream_id = s.id AND e.version >= ? CROSS JOIN types t ON t.id = e.type_id"
    " WHERE s.name = ? ORDER BY e.version LIMIT ?"
)
SCAN = (
    "SELECT event_id, type_id, stream_id, version, pos, at, data, meta FROM events WHERE pos > ? ORDER BY pos LIMIT ?"
)
SCAN_NAMED = (
    "SELECT e.event_id, t.name, s.name, e.version, e.pos, e.at, e.data, e.meta FROM events e"
    " CROSS JOIN streams s ON s.id = e.stream_id CROSS JOIN types t ON t.id = e.type_id"
    " WHERE e.pos > ? ORDER BY e.pos LIMIT ?"
)


@dataclass(frozen=True)
class Size:
    """How much work a round is."""

    rounds: int
    appends: int
    streams: int
    loads: int
    single_commits: int


QUICK = Size(rounds=5, appends=300, streams=1_000, loads=2_000, single_commits=150)
WHOLE = Size(rounds=9, appends=1_000, streams=4_000, loads=10_000, single_commits=500)


def new_events(count: int) -> list[New]:
    return [New(UUID(bytes=os.urandom(16), version=4), "FirmwareReported", DATA, META) for _ in range(count)]


def raw_file(folder: Path, name: str, durable: bool) -> sqlite3.Connection:
    """An empty store as a raw connection."""
    path = folder / name
    SqliteEventStore(path, durable=durable).close()
    db = connect(path, durable=durable, patience_s=PATIENCE_S)
    db.execute("INSERT INTO types(name) VALUES('FirmwareReported')")
    return db


def appends(folder: Path, size: Size, durable: bool) -> list[Line]:
    """Three events a transaction, behind an exact version of one stream."""
    kind = "FULL" if durable else "NORMAL"
    db = raw_file(folder, f"raw-append-{kind}.db", durable)
    number = db.execute(ADD_STREAM, ("device-1", -1)).lastrowid
    store = SqliteEventStore(folder / f"append-{kind}.db", durable=durable)
    versions = {"raw": -1, "store": -1}
    mine = [new_events(3) for _ in range(size.appends)]
    theirs = [[(event.id.bytes, DATA, META) for event in new_events(3)] for _ in range(size.appends)]

    def raw() -> int:
        version, at_us = versions["raw"], time.time_ns() // 1000
        for batch in theirs:
            db.execute("BEGIN IMMEDIATE")
            rows = [(number, version + n, id_, at_us, data, meta) for n, (id_, data, meta) in enumerate(batch, 1)]
            version += len(batch)
            db.execute(MOVE, (version, number))
            db.executemany(ADD, rows)
            db.execute("COMMIT")
        versions["raw"] = version
        return size.appends

    def ours() -> int:
        version = versions["store"]
        for batch in mine:
            version = store.append("device-1", NO_STREAM if version < 0 else version, batch).version
        versions["store"] = version
        return size.appends

    lines = compare(
        f"append 3 events, {kind}", Contender("raw", raw), [Contender("store", ours, 0.8)], rounds=size.rounds
    )
    store.close()
    db.close()
    return lines


def bulk(folder: Path, size: Size) -> list[Line]:
    """New streams of five events, a thousand events a transaction."""
    db = raw_file(folder, "raw-bulk.db", True)
    store = SqliteEventStore(folder / "bulk.db")
    numbers = itertools.count(1)
    names = (f"device-{number:024x}" for number in itertools.count(1))
    at_us = time.time_ns() // 1000
    events = [new_events(5) for _ in range(200)]
    ids = [[event.id.bytes for event in five] for five in events]

    def raw() -> int:
        for _ in range(size.streams // 200):
            streams = [(next(numbers), next(names), 4) for _ in range(200)]
            rows = [
                (number, version, id_, at_us, DATA, META)
                for (number, _, _), five in zip(streams, ids, strict=True)
                for version, id_ in enumerate(five)
            ]
            db.execute("BEGIN IMMEDIATE")
            db.executemany(ADD_STREAMS, streams)
            db.executemany(ADD, rows)
            db.execute("COMMIT")
        return size.streams * 5

    def ours() -> int:
        for _ in range(size.streams // 200):
            store.append_many([Append(next(names), NO_STREAM, five) for five in events])
        return size.streams * 5

    lines = compare(
        "bulk, 1,000 events, FULL", Contender("raw", raw), [Contender("store", ours, 0.75)], rounds=size.rounds
    )
    store.close()
    db.close()
    return lines


def filled(folder: Path, size: Size) -> Path:
    """A file with streams of five events."""
    path = folder / "filled.db"
    store = SqliteEventStore(path, durable=False)
    for start in range(0, size.streams, 200):
        store.append_many([Append(f"device-{start + n:024x}", NO_STREAM, new_events(5)) for n in range(200)])
    store.close()
    return path


def loads(path: Path, size: Size) -> list[Line]:
    """A stream of five."""
    db = connect(path, durable=True, patience_s=PATIENCE_S)
    store = SqliteEventStore(path)
    names = [f"device-{n % size.streams:024x}" for n in range(size.loads)]

    def raw(sql: str) -> Callable[[], int]:
        def run() -> int:
            for name in names:
                db.execute(sql, (0, name, -1)).fetchall()
            return len(names)

        return run

    def ours() -> int:
        for name in names:
            store.read(name)
        return len(names)

    contenders = [Contender("raw, numbers for names", raw(LOAD)), Contender("store", ours, 0.9)]
    lines = compare("load a stream of 5", Contender("raw", raw(LOAD_NAMED)), contenders, rounds=size.rounds)
    store.close()
    db.close()
    return lines


def scans(path: Path, size: Size) -> list[Line]:
    """All events in pages of 2,000."""
    db = connect(path, durable=True, patience_s=PATIENCE_S)
    store = SqliteEventStore(path)

    def raw(sql: str) -> Callable[[], int]:
        def run() -> int:
            position = count = 0
            while rows := db.execute(sql, (position, 2_000)).fetchall():
                position = rows[-1][4]
                count += len(rows)
            return count

        return run

    def pages() -> Iterator[list[object]]:
        position, end = None, False
        while not end:
            page = store.read_all(position, 2_000)
            position, end = page.looked, page.end
            yield [*page.events]

    def ours() -> int:
        return sum(len(page) for page in pages())

    def looked_at() -> int:
        count = 0
        for page in pages():
            for event in page:
                count += 1 if event.id and event.at and event.type and event.stream and event.data else 0  # type: ignore[attr-defined]
        return count

    contenders = [
        Contender("raw, numbers for names", raw(SCAN)),
        Contender("store", ours, 0.85),
        Contender("store, each field read", looked_at),
    ]
    lines = compare("scan, pages of 2,000", Contender("raw", raw(SCAN_NAMED)), contenders, rounds=size.rounds)
    store.close()
    db.close()
    return lines


def group_commit(folder: Path, size: Size) -> list[Line]:
    """One event an append, FULL: one caller, and 64 at once, by the clock on the wall."""
    store = SqliteEventStore(folder / "group.db")
    callers = ThreadPoolExecutor(64)
    event = new_events(1)
    expected = {f"device-{n}": -1 for n in range(64)}

    def append(stream: str, times: int) -> int:
        for _ in range(times):
            last = expected[stream]
            known: int | Expected = NO_STREAM if last < 0 else last
            expected[stream] = store.append(stream, known, event).version
        return times

    def alone() -> int:
        return append("device-0", size.single_commits)

    def together() -> int:
        return sum(callers.map(append, expected, [size.single_commits // 10] * 64))

    lines = compare(
        "append 1 event, FULL, wall",
        Contender("1 caller", alone),
        [Contender("64 callers", together, 3.0)],
        rounds=size.rounds,
        timer=time.perf_counter,
    )
    callers.shutdown()
    store.close()
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few seconds instead of a minute")
    parser.add_argument("--folder", type=Path, help="where the files go (default: a temporary folder)")
    arguments = parser.parse_args()
    size = QUICK if arguments.quick else WHOLE
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        path = filled(folder, size)
        lines = [
            *appends(folder, size, durable=True),
            *appends(folder, size, durable=False),
            *bulk(folder, size),
            *group_commit(folder, size),
            *loads(path, size),
            *scans(path, size),
        ]
    show("SQLite event store (units per CPU second)", lines)


if __name__ == "__main__":
    main()
