"""What replays read: a mirror and the store behind it, up to a position."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from shared.errors import NotFound, Refused
from shared.events.contracts import CONTRACTS
from shared.projections.history import Measured, Mirrored, open_history
from shared.projections.projector import Projector
from shared.store.mirror import Mirror
from shared.store.open import open_store
from shared.store.port import EventStore, Only, Page, Position
from shared.store.sqlite import SqliteEventStore
from tests.shared.projections.fleet import Flaky, Fleet, Log, connected, content, expected, imported

FLEET = Fleet().view()


@pytest.fixture
def mirror(tmp_path: Path, log: Log) -> Iterator[EventStore]:
    """A copy of the store, of its first ten events; the store goes on to fifteen."""
    log.add(*(imported(number) for number in range(10)))
    with (
        closing(sqlite3.connect(tmp_path / "events.db")) as source,
        closing(sqlite3.connect(tmp_path / "mirror.db")) as target,
    ):
        source.backup(target)
    log.add(*(connected(number) for number in range(5)))
    opened = open_store(f"sqlite://{tmp_path}/mirror.db")
    yield opened
    opened.close()


class Told:
    """A store that notes behind which positions it is read."""

    def __init__(self, store: EventStore) -> None:
        self.store = store
        self.read: list[Position | None] = []

    def read_all(self, after: Position | None = None, limit: int = 1_000, only: Only = Only()) -> Page:  # noqa: B008
        self.read.append(after)
        return self.store.read_all(after, limit, only)

    def __getattr__(self, name: str) -> object:
        return getattr(self.store, name)


@pytest.mark.parametrize("limit", [1, 3, 10, 100])
def test_the_mirror_is_read_to_its_end_and_then_the_store(mirror: EventStore, store: EventStore, limit: int) -> None:
    told: EventStore = Told(store)  # type: ignore[assignment]
    history, after, found = Mirrored(mirror, told), None, list[Position]()
    while True:
        page = history.read_all(after, limit)
        found += [event.position for event in page.events]
        after = page.looked
        if page.end:
            break
    assert found == list(range(1, 16))
    assert min(position or 0 for position in told.read) == 10  # type: ignore[attr-defined]
    assert history.head() == 15


def test_a_mirror_of_another_store_is_refused(mirror: EventStore, tmp_path: Path) -> None:
    other = open_store(f"sqlite://{tmp_path}/other.db")
    for number in range(12):
        Log(other).add(imported(number))
    with pytest.raises(Refused) as refusal:
        Mirrored(mirror, other).read_all()
    assert refusal.value.code == "wrong_mirror"
    other.close()


def test_a_mirror_that_goes_further_than_the_store_is_refused(mirror: EventStore, tmp_path: Path) -> None:
    shorter = open_store(f"sqlite://{tmp_path}/shorter.db")
    Log(shorter).add(imported(1))
    with pytest.raises(Refused) as refusal:
        Mirrored(mirror, shorter).read_all(Position(3))
    assert refusal.value.code == "wrong_mirror"
    shorter.close()


def test_a_mirror_whose_last_event_was_forgotten_since_is_good(tmp_path: Path, log: Log) -> None:
    log.add(*(imported(number) for number in range(3)))
    last = log.add(imported(3), stream="beat-a.1")
    copy = SqliteEventStore(tmp_path / "copy.db")
    Mirror(log.store, copy, lambda _: None).catch_up()
    log.store.truncate("beat-a.1", 1)
    with pytest.raises(NotFound):
        log.store.at(last)
    history = Mirrored(copy, log.store)
    assert [event.position for event in history.read_all().events] == [1, 2, 3, 4]
    history.close()


def test_a_mirror_may_grow_while_it_is_read(tmp_path: Path, log: Log) -> None:
    log.add(*(imported(number) for number in range(10)))
    growing = SqliteEventStore(tmp_path / "growing.db")
    told = Told(log.store)
    history = Mirrored(growing, told)  # type: ignore[arg-type]
    assert len(history.read_all().events) == 10
    Mirror(log.store, growing, lambda _: None).catch_up()
    told.read.clear()
    assert [event.position for event in history.read_all(Position(4)).events] == list(range(5, 11))
    assert told.read == []
    history.close()
    assert growing.is_closed


def test_without_a_mirror_the_store_is_read_and_stays_open(store: EventStore, log: Log) -> None:
    log.add(imported(1))
    history = open_history("", store)
    assert history.read_all() == store.read_all()
    history.close()
    assert store.head() == 1


@pytest.mark.parametrize("mirror", ["sqlite:///no/such/file.db", "esdb://user:secret@host:2113", "nonsense"])
def test_a_setting_that_names_no_mirror_is_refused_without_its_password(store: EventStore, mirror: str) -> None:
    with pytest.raises(Refused) as refusal:
        open_history(mirror, store)
    assert refusal.value.code == "bad_setting"
    assert "secret" not in str(refusal.value)


def test_an_empty_mirror_is_of_no_use_and_does_no_harm(tmp_path: Path, log: Log) -> None:
    log.add(imported(1))
    empty = open_store(f"sqlite://{tmp_path}/empty.db")
    assert len(Mirrored(empty, log.store).read_all().events) == 1
    empty.close()


def test_a_rebuild_by_the_mirror_is_the_same(mirror: EventStore, log: Log, database: Flaky) -> None:
    projector = Projector(
        "fleet", log.store, database, [FLEET], CONTRACTS, page_events=3, history=Mirrored(mirror, log.store)
    )
    projector.catch_up()
    rebuilt = projector.rebuild("fleet", comparing=True)
    assert (rebuilt.events, rebuilt.position, rebuilt.compared_at) == (15, 15, 15)
    assert rebuilt.comparison is not None
    assert rebuilt.comparison.equal
    assert content(database, FLEET) == expected(FLEET, log.all())


@pytest.mark.parametrize("limit", [1, 4, 100])
@pytest.mark.parametrize("until", [1, 7, 15])
def test_a_history_ends_exactly_where_it_is_told_to(mirror: EventStore, log: Log, until: int, limit: int) -> None:
    history, after, found = Measured(log.store), None, list[Position]()
    history.until = Position(until)
    while True:
        page = history.read_all(after, limit)
        found += [event.position for event in page.events]
        after = page.looked
        if page.end:
            break
    assert found == list(range(1, until + 1))
    assert after == history.head() == until
    assert history.events == until
    assert history.read_all(after, limit) == Page([], after, end=True)


def test_events_that_are_read_once_more_are_counted_once(mirror: EventStore, log: Log) -> None:
    history = Measured(log.store)
    history.read_all(None, 10)
    history.read_all(Position(5), 10)
    assert history.events == 15
