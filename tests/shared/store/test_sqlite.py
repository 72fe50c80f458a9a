"""What holds for the SQLite adapter beyond the port: files, processes, crashes, a full disk."""

from __future__ import annotations

import resource
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4, uuid5

import pytest

from shared.errors import Conflict, Misuse, Refused, Unavailable
from shared.store.port import ANY, NO_STREAM, New, Only, Position, StreamNotFound
from shared.store.sqlite import SqliteEventStore
from shared.store.sqlite.forget import MAX_ROWS
from shared.store.sqlite.reading import MAX_SCAN
from shared.store.sqlite.schema import connect
from shared.store.sqlite.turns import Turns
from shared.store.subscription import WAIT_S

TIMEOUT_S = 30.0

APPEND_FOR_EVER = """
import sys
from uuid import UUID, uuid5
from shared.store.port import NO_STREAM, New
from shared.store.sqlite import SqliteEventStore
store, stream, version = SqliteEventStore(sys.argv[1]), sys.argv[2], NO_STREAM
for number in range(1_000_000):
    events = [New(uuid5(UUID(int=0), f"{number}-{n}"), "Happened", b"%d" % number, b"{}") for n in range(3)]
    version = store.append(stream, version, events).version
    print(number, flush=True)
"""

COUNT_UP = """
import sys
from uuid import uuid4
from shared.errors import Conflict
from shared.store.port import NO_STREAM, New, StreamNotFound
from shared.store.sqlite import SqliteEventStore
store, name, times = SqliteEventStore(sys.argv[1]), sys.argv[2], int(sys.argv[3])
done = 0
while done < times:
    try:
        version = store.read("shared", -1, 1, backwards=True)[0].version
    except StreamNotFound:
        version = NO_STREAM
    try:
        store.append("shared", version, [New(uuid4(), "Counted", b"{}", b"{}")])
    except Conflict:
        continue
    store.append(f"own-{name}", done - 1 if done else NO_STREAM, [New(uuid4(), "Counted", b"{}", b"{}")])
    done += 1
store.close()
"""

FORK = """
import os, sys
from uuid import uuid4
from shared.errors import Misuse
from shared.store.port import ANY, New
from shared.store.sqlite import SqliteEventStore
store = SqliteEventStore(sys.argv[1])
new = lambda: [New(uuid4(), "Happened", b"{}", b"{}")]
store.append("a", ANY, new())
child = os.fork()
if child == 0:
    refused = 0
    for call in (lambda: store.read("a"), lambda: store.append("a", ANY, new()), store.close):
        try:
            call()
        except Misuse:
            refused += 1
    os._exit(refused)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(store.append("a", 0, new()).version)
store.close()
"""


def new(count: int = 1, size_bytes: int = 2) -> list[New]:
    return [New(uuid4(), "Happened", b"x" * size_bytes, b"{}") for _ in range(count)]


def process(script: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteEventStore]:
    with closing(SqliteEventStore(path, patience_s=0.2)) as opened:
        yield opened


# the file


@pytest.mark.parametrize(("durable", "synchronous"), [(True, 2), (False, 1)])
def test_durable_means_that_sqlite_waits_for_the_disk(path: Path, durable: bool, synchronous: int) -> None:
    with closing(connect(path, durable=durable, patience_s=1)) as db:
        assert db.execute("PRAGMA synchronous").fetchone() == (synchronous,)
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_files_are_for_their_owner_only(store: SqliteEventStore, path: Path) -> None:
    store.append("a", ANY, new())
    modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    assert set(modes) >= {"events.db", "events.db-wal", "events.db.lock", "events.db.queue"}
    assert set(modes.values()) == {0o600}


def test_a_file_of_another_program_is_refused_and_left_alone(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE theirs(a)")
    with pytest.raises(Refused):
        SqliteEventStore(path)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT name FROM sqlite_master").fetchall() == [("theirs",)]


def test_a_file_of_a_newer_release_is_refused(path: Path) -> None:
    SqliteEventStore(path).close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(Refused):
        SqliteEventStore(path)


def test_what_is_no_database_is_unavailable(path: Path) -> None:
    path.write_bytes(b"not a database, but long enough to be looked at" * 100)
    with pytest.raises(Unavailable):
        SqliteEventStore(path)


def test_times_do_not_fall_when_the_clock_does(path: Path) -> None:
    noon = datetime(2024, 2, 29, 12, tzinfo=UTC)
    times = [noon, noon - timedelta(hours=1), noon + timedelta(microseconds=1)]
    with closing(SqliteEventStore(path, clock=iter(times).__next__)) as store:
        for _ in range(3):
            store.append("a", ANY, new())
        assert [event.at for event in store.read("a")] == [noon, noon, noon + timedelta(microseconds=1)]
    with closing(SqliteEventStore(path, clock=lambda: noon - timedelta(days=1))) as store:
        store.append("a", ANY, new())
        assert store.read("a")[-1].at == noon + timedelta(microseconds=1)


def test_positions_are_not_used_twice_after_the_last_events_were_forgotten(path: Path) -> None:
    with closing(SqliteEventStore(path)) as store:
        last = store.append("a", ANY, new(3)).position
        store.delete("a")
        assert store.head() == last
    with closing(SqliteEventStore(path)) as store:
        assert store.read_all().looked == last
        assert store.append("b", ANY, new()).position > last


def test_forgetting_a_long_stream_leaves_nothing_in_the_file(store: SqliteEventStore, path: Path) -> None:
    rounds = 2 * MAX_ROWS // 1_000 + 1
    for _ in range(rounds):
        store.append("long", ANY, new(1_000))
    kept = store.append("b", ANY, new()).position
    store.delete("long")
    page = store.read_all()
    assert [event.position for event in page.events] == [kept]
    with pytest.raises(StreamNotFound):
        store.read("long")


def test_one_filtered_page_looks_at_a_bounded_stretch(store: SqliteEventStore) -> None:
    for _ in range(MAX_SCAN // 2_000 + 1):
        store.append("a", ANY, new(2_000))
    rare = New(uuid4(), "Rare", b"{}", b"{}")
    store.append("a", ANY, [rare])
    only = Only(types=frozenset({"Rare"}))
    page = store.read_all(only=only)
    assert (page.events, page.looked, page.end) == ([], MAX_SCAN, False)
    page = store.read_all(page.looked, only=only)
    assert ([event.id for event in page.events], page.end) == ([rare.id], True)


def test_names_that_cannot_be_stored_are_misuse_and_harm_nobody(store: SqliteEventStore) -> None:
    for name in ("", "a\0b", "\ud800", "x" * 513):
        with pytest.raises(Misuse):
            store.append(name, ANY, new())
        with pytest.raises(Misuse):
            store.append("a", ANY, [New(uuid4(), name, b"{}", b"{}")])
    with pytest.raises(Misuse):
        store.append("a", ANY, [New(uuid4(), "Happened", "{}", b"{}")])  # type: ignore[arg-type]
    with pytest.raises(Misuse):
        store.read_all(Position(2**63))
    assert store.append("a", ANY, new()).version == 0


# trouble


def test_a_write_that_finds_the_file_locked_is_unavailable_and_leaves_nothing(
    store: SqliteEventStore, path: Path
) -> None:
    events = new()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable):
            store.append("a", ANY, events)
        other.execute("ROLLBACK")
    assert store.append("a", NO_STREAM, events).version == 0


def test_a_write_that_does_not_get_its_turn_is_unavailable(store: SqliteEventStore, path: Path) -> None:
    turns = Turns(path, 1.0)
    turns.take()
    with pytest.raises(Unavailable):
        store.append("a", ANY, new())
    with pytest.raises(Unavailable):
        store.delete("a")
    turns.give()
    turns.close()
    assert store.append("a", NO_STREAM, new()).version == 0


def test_a_turn_tells_whether_somebody_else_had_one(path: Path) -> None:
    one, other = Turns(path, 1.0), Turns(path, 0.01)
    assert one.take() is False
    with pytest.raises(Unavailable):
        other.take()
    one.give()
    assert one.take() is True
    one.give()
    assert other.take() is False
    other.give()
    assert one.take() is False
    one.give()
    one.close()
    other.close()


def test_a_row_that_was_written_behind_the_stores_back_is_respected(store: SqliteEventStore, path: Path) -> None:
    store.append("a", NO_STREAM, new())
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE streams SET version = 1")
        db.execute("INSERT INTO events SELECT 2, stream_id, 1, type_id, event_id, at, data, meta FROM events")
    with pytest.raises(Conflict) as conflict:
        store.append("a", 0, new())
    assert conflict.value.actual == "1"
    assert store.append("a", 1, new()).version == 2
    assert [event.position for event in store.read("a")] == [1, 2, 3]


def test_a_full_disk_is_unavailable_and_loses_nothing(path: Path) -> None:
    script = """
import resource, sys
from uuid import UUID
from shared.errors import Unavailable
from shared.store.port import ANY, New
from shared.store.sqlite import SqliteEventStore
store = SqliteEventStore(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
done, failed = 0, None
while failed is None:
    batch = [New(UUID(int=done + n + 1), "Happened", b"x" * 20_000, b"{}") for n in range(2)]
    try:
        store.append("a", ANY, batch)
        done += 2
    except Unavailable as failure:
        failed = failure
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert len(store.read("a")) in (done, done + 2)
assert store.append("a", done - 1, batch).version == done + 1
assert [event.id.int for event in store.read("a")] == list(range(1, done + 3))
store.close()
print(done)
"""
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    child = process(script, path)
    shown, _ = child.communicate(timeout=TIMEOUT_S)
    assert child.returncode == 0
    with closing(SqliteEventStore(path)) as store:
        assert [event.version for event in store.read("a")] == list(range(int(shown) + 2))


def test_a_reader_is_interrupted_by_close(store: SqliteEventStore) -> None:
    for _ in range(10):
        store.append("a", ANY, new(2_000))
    started = threading.Event()

    def read_for_ever() -> None:
        while True:
            store.read("a")
            started.set()

    with ThreadPoolExecutor(3) as threads:
        reading = [threads.submit(read_for_ever) for _ in range(3)]
        assert started.wait(TIMEOUT_S)
        store.close()
        for each in reading:
            with pytest.raises(Unavailable):
                each.result(TIMEOUT_S)


# processes


def test_several_processes_write_one_file(path: Path) -> None:
    times, names = 40, ("one", "two", "three")
    children = [process(COUNT_UP, path, name, times) for name in names]
    for child in children:
        child.communicate(timeout=60)
        assert child.returncode == 0
    with closing(SqliteEventStore(path)) as store:
        assert [event.version for event in store.read("shared")] == list(range(times * len(names)))
        for name in names:
            assert [event.version for event in store.read(f"own-{name}")] == list(range(times))
        events = store.read_all().events
        assert [event.position for event in events] == list(range(1, 2 * times * len(names) + 1))
        assert [event.at for event in events] == sorted(event.at for event in events)


def test_a_process_that_writes_all_the_time_lets_others_write(store: SqliteEventStore, path: Path) -> None:
    busy = process(APPEND_FOR_EVER, path, "busy")
    try:
        assert busy.stdout is not None
        assert busy.stdout.readline()
        for _ in range(20):
            store.append("b", ANY, new())
    finally:
        busy.kill()
        busy.communicate(timeout=TIMEOUT_S)
    assert len(store.read("b")) == 20


@pytest.mark.parametrize("lines", [1, 20, 100])
def test_killing_a_writer_loses_nothing_acknowledged_and_leaves_whole_appends(path: Path, lines: int) -> None:
    child = process(APPEND_FOR_EVER, path, "a")
    assert child.stdout is not None
    for _ in range(lines):
        child.stdout.readline()
    child.kill()
    rest, _ = child.communicate(timeout=TIMEOUT_S)
    acknowledged = lines + rest.count("\n")
    with closing(SqliteEventStore(path)) as store:
        stored = store.read("a")
        count = len(stored) // 3
        assert count >= acknowledged
        assert [event.id for event in stored] == [
            uuid5(UUID(int=0), f"{number}-{n}") for number in range(count) for n in range(3)
        ]
        assert store.append("a", len(stored) - 1, new()).version == len(stored)


def test_an_append_of_another_process_wakes_who_waits(store: SqliteEventStore, path: Path) -> None:
    child = process(COUNT_UP, path, "child", 1)
    assert store.wait(None, TIMEOUT_S) is True
    child.communicate(timeout=TIMEOUT_S)
    assert store.read("own-child")


def test_a_forked_child_must_not_use_the_store(path: Path) -> None:
    forking = process(FORK, path)  # not this process: it has threads, and libraries that warn of forks
    assert forking.communicate(timeout=TIMEOUT_S)[0].split() == ["3", "1"]
    assert forking.returncode == 0


def test_a_waiting_subscription_stops_long_before_its_wait_is_over(store: SqliteEventStore) -> None:
    caught_up = threading.Event()
    subscription = store.subscribe()

    def follow() -> float:
        for _ in subscription:
            caught_up.set()
        return time.monotonic()

    with ThreadPoolExecutor(1) as threads:
        following = threads.submit(follow)
        assert caught_up.wait(TIMEOUT_S)
        stopped = time.monotonic()
        subscription.stop()
        assert following.result(TIMEOUT_S) - stopped < WAIT_S / 2


def test_a_stream_is_either_not_found_or_has_its_events_while_it_is_made(store: SqliteEventStore) -> None:
    names = [f"device-{number}" for number in range(150)]
    made = threading.Event()

    def make() -> None:
        for name in names:
            store.append(name, NO_STREAM, new())
        made.set()

    with ThreadPoolExecutor(1) as threads:
        making = threads.submit(make)
        for name in names:
            while not making.done() or made.is_set():
                try:
                    assert len(store.read(name, -1, 1, backwards=True)) == 1
                    break
                except StreamNotFound:
                    continue
        making.result(TIMEOUT_S)
