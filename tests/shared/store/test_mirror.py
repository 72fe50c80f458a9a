"""Mirrors: a copy in one file that goes on by itself."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from shared.errors import Refused, Unavailable
from shared.store.esdb import EsdbEventStore
from shared.store.mirror import Mirror, Progress, locked
from shared.store.open import open_store
from shared.store.port import ANY, CaughtUp, EventStore, Only, Page, Position, Recorded
from shared.store.sqlite import SqliteEventStore
from tests.shared.store.archive.history import everything, grow, live_through, new
from tests.shared.store.esdb import TIMEOUT_S, followed, patiently
from tests.standins.eventstoredb.node import Node

NOON = datetime(2024, 2, 29, 12, tzinfo=UTC)


@pytest.fixture(params=["sqlite", "esdb"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EventStore]:
    if request.param == "sqlite":
        with closing(SqliteEventStore(tmp_path / "source.db", durable=False)) as store:
            yield store
    else:
        node = request.getfixturevalue("node")
        with closing(EsdbEventStore(node.url)) as cluster:
            yield cluster


@pytest.fixture
def copy(tmp_path: Path) -> Iterator[SqliteEventStore]:
    with closing(SqliteEventStore(tmp_path / "copy.db", durable=False)) as store:
        yield store


def mirrored(source: EventStore, copy: SqliteEventStore) -> Progress:
    told: list[Progress] = []
    last = Mirror(source, copy, told.append).catch_up()
    assert told[-1] == last
    return last


@contextmanager
def following(source: EventStore, copy: SqliteEventStore) -> Iterator[Callable[[Callable[[Progress], bool]], Progress]]:
    """A mirror in another thread; what is given waits until it has told something that fits."""
    told: list[Progress] = []
    changed = threading.Condition()
    stopped = threading.Event()

    def hear(progress: Progress) -> None:
        with changed:
            told.append(progress)
            changed.notify_all()

    def until(fits: Callable[[Progress], bool]) -> Progress:
        with changed:
            seen = len(told)
            assert changed.wait_for(lambda: any(map(fits, told[seen:] or told[-1:])), TIMEOUT_S), told[-3:]
            return next(each for each in reversed(told) if fits(each))

    with ThreadPoolExecutor(1) as thread:
        done = thread.submit(Mirror(source, copy, hear).follow, stopped)
        try:
            yield until
        finally:
            stopped.set()
            done.result(TIMEOUT_S)


def test_a_mirror_holds_the_same_events_at_the_same_positions(source: EventStore, copy: SqliteEventStore) -> None:
    live_through(source)
    last = mirrored(source, copy)
    assert everything(copy) == everything(source)
    assert (last.events, last.position, last.is_level) == (len(everything(source)), source.head(), True)
    for event in everything(copy)[-20:]:
        assert copy.at(event.position) == event
    only = Only(types=frozenset({"Locked"}), prefixes=("device-2",))
    assert copy.read_all(only=only).events == source.read_all(only=only).events
    assert copy.read("device-2") == source.read("device-2")


def test_a_mirror_goes_on_where_it_stopped_and_keeps_what_the_source_forgot(
    source: EventStore, copy: SqliteEventStore
) -> None:
    grow(source)
    first = everything(source)
    mirrored(source, copy)
    source.truncate("device-1", 5)
    source.delete("device-2")
    source.append("device-1", ANY, new(8_000))
    source.append("device-2", ANY, new(8_001))
    assert mirrored(source, copy).events == 2
    assert everything(copy)[:-2] == first
    assert copy.head() == source.head()
    assert [event.version for event in copy.read("device-1")][:2] == [0, 1]


def test_streams_that_were_truncated_before_they_were_mirrored_begin_where_they_do_at_the_source(
    tmp_path: Path, copy: SqliteEventStore
) -> None:
    with closing(SqliteEventStore(tmp_path / "source.db", durable=False)) as source:
        live_through(source)
        mirrored(source, copy)
        assert copy.read("device-1") == source.read("device-1")
        grow(source, 30, start=200)
        source.truncate("device-1", source.read("device-1", -1, 1, backwards=True)[0].version)
        mirrored(source, copy)
        assert copy.read("device-1") == source.read("device-1")
        assert set(everything(source)) < set(everything(copy))


def test_a_mirror_is_an_event_store_as_any_other(source: EventStore, copy: SqliteEventStore, tmp_path: Path) -> None:
    grow(source)
    mirrored(source, copy)
    last = copy.read("device-3", -1, 1, backwards=True)[0]
    with closing(open_store(f"sqlite://{copy.path}")) as opened:
        appended = opened.append("device-3", last.version, new(8_100))
        assert appended.version == last.version + 1
        assert appended.position > (source.head() or 0)
        assert opened.append("fresh", ANY, new(8_101)).version == 0
    with pytest.raises(Refused) as refusal:
        mirrored(source, copy)
    assert refusal.value.code == "bad_mirror"


def test_a_file_of_another_source_is_refused(tmp_path: Path, copy: SqliteEventStore) -> None:
    with closing(SqliteEventStore(tmp_path / "source.db", durable=False)) as source:
        grow(source)
        mirrored(source, copy)
    with closing(SqliteEventStore(tmp_path / "other.db", durable=False)) as other:
        grow(other, 80, start=5)
        with pytest.raises(Refused, match="no mirror of this store") as refusal:
            mirrored(other, copy)
    assert refusal.value.code == "bad_mirror"


def test_what_comes_is_mirrored_and_can_be_read_meanwhile(source: EventStore, copy: SqliteEventStore) -> None:
    grow(source, 20)
    with following(source, copy) as until, followed(copy) as reading:
        until(lambda progress: progress.is_level and progress.events > 0)
        grow(source, 20, start=50)
        head = source.head()
        until(lambda progress: progress.position == head)
        delivered: list[Recorded] = []
        while len(delivered) < len(everything(source)):
            item = reading()
            if not isinstance(item, CaughtUp):
                delivered.append(item)
    assert delivered == everything(source) == everything(copy)


def test_a_mirror_outlives_its_source(tmp_path: Path, copy: SqliteEventStore) -> None:
    node = Node(folder=tmp_path)
    with closing(EsdbEventStore(node.url + "&DefaultDeadline=1")) as source:
        grow(source, 10)
        with following(source, copy) as until:
            until(lambda progress: progress.is_level and progress.events > 0)
            node.stop()
            until(lambda progress: bool(progress.problem))
            node = Node(node.port, tmp_path)
            try:
                appended = patiently(lambda: source.append("back", ANY, new(8_200)))
                until(lambda progress: progress.position == appended.position and not progress.problem)
                assert everything(copy) == everything(source)
            finally:
                stopping = node
        stopping.stop()


def test_a_mirror_that_cannot_be_written_goes_on_later(tmp_path: Path, copy: SqliteEventStore) -> None:
    with closing(SqliteEventStore(tmp_path / "source.db", durable=False)) as source:
        grow(source)
        restore = copy.restore
        failures = iter(range(2))

        def fails_at_first(events: list[Recorded]) -> None:
            which = next(failures, None)
            if which != 0:
                restore(events)
            if which is not None:  # the second time nobody knows that it was stored
                raise Unavailable("the disk is full")

        copy.restore = fails_at_first  # type: ignore[method-assign, assignment]
        with following(source, copy) as until:
            until(lambda progress: "disk is full" in progress.problem)
            until(lambda progress: progress.is_level and progress.position is not None)
        assert everything(copy) == everything(source)


def test_without_following_a_source_that_is_away_is_an_error(copy: SqliteEventStore) -> None:
    with closing(EsdbEventStore("esdb://127.0.0.1:1?Tls=false&DefaultDeadline=1")) as away, pytest.raises(Unavailable):
        mirrored(away, copy)
    assert copy.head() is None


def test_one_mirror_writes_to_a_file(tmp_path: Path) -> None:
    with locked(tmp_path / "copy.db"):
        with pytest.raises(Refused) as refusal, locked(tmp_path / "copy.db"):
            raise AssertionError("locked twice")
        assert refusal.value.code == "mirror_in_use"
    with locked(tmp_path / "copy.db"):
        """Free again."""


def test_filtered_pages_of_a_sparse_copy_look_at_many_events(tmp_path: Path) -> None:
    """Positions of a cluster are byte offsets: far apart."""
    with closing(SqliteEventStore(tmp_path / "sparse.db", durable=False)) as store:
        made = new(1, 3_000)
        store.restore(
            [
                Recorded(
                    each.id, "Odd" if n == 2_999 else "Even", "a", n, Position((n + 1) * 5_000), NOON, b"{}", b"{}"
                )
                for n, each in enumerate(made)
            ]
        )
        pages: list[Page] = [store.read_all(None, 10, Only(types=frozenset({"Odd"})))]
        while not pages[-1].end:
            pages.append(store.read_all(pages[-1].looked, 10, Only(types=frozenset({"Odd"}))))
        assert len(pages) <= 3
        assert sum(len(page.events) for page in pages) == 1
