from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import Refused, Unavailable
from shared.events.contracts import CONTRACTS
from shared.projections.database import Database
from shared.projections.past import Building, Past
from shared.projections.past_copies import FAILED, IN_USE, LEASE, MAX_WAITING, copies
from shared.projections.past_moments import SETTLED, Copy, Moment, stamp_of
from shared.projections.projector import Projector
from shared.projections.view import View
from shared.store.open import open_store
from shared.store.port import EventStore, Only, Page, Position, Recorded
from tests.prompt import prompt
from tests.shared.projections.fleet import (
    POISON,
    Flaky,
    Fleet,
    Log,
    connected,
    content,
    disconnected,
    expected,
    grouped,
    imported,
    named,
    removed,
    wait_until,
)

FLEET = Fleet().view()
NAMES = replace(FLEET, name="names", events=FLEET.events[:3], indexes=())
VIEWS = (FLEET, NAMES)
START = datetime(2030, 1, 1, tzinfo=UTC)


class SetClock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def go_on(self, by: timedelta) -> None:
        self.now += by


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def store(tmp_path: Path, clock: SetClock) -> Iterator[EventStore]:
    opened = open_store(f"sqlite://{tmp_path}/events.db?durability=normal", clock=clock)
    yield prompt(opened)
    opened.close()


Make = Callable[..., Past]


@pytest.fixture
def make(store: EventStore, open_database: Callable[[], Flaky], clock: SetClock) -> Iterator[Make]:
    """Makes pasts, each on connections of its own as in its own process, that are stopped at the end."""
    made: list[Past] = []

    def maker(*views: View, **options: Any) -> Past:
        chosen: dict[str, Any] = {"database": open_database(), "store": store, "clock": clock} | options
        made.append(Past("fleet", views=views or VIEWS, contracts=CONTRACTS, **chosen))
        return made[-1]

    yield maker
    for past in made:
        past.stop()


def at(position: int) -> Moment:
    return Moment(position=Position(position))


def history(log: Log, clock: SetClock, devices: int = 12) -> None:
    """Four events a device, a second between two devices."""
    for number in range(devices):
        log.add(imported(number), connected(number), named(number, f"kettle {number}"), disconnected(number))
        clock.go_on(timedelta(seconds=1))
    clock.go_on(SETTLED)


def shown(past: Past, copy: Copy, view: View = FLEET) -> Any:
    return content(past.open(copy), view)


def places(database: Database) -> set[str]:
    """The names of all copies that have a place."""
    if database.is_sqlite:
        folder = Path(database.url.removeprefix("sqlite:///")) / "past"
        return {path.stem for path in folder.glob("*.db")}
    with database.connect() as connection:
        return {name for name in sa.inspect(connection).get_schema_names() if "-at-" in name}


def test_a_copy_shows_what_the_views_were_at_a_position(make: Make, log: Log, clock: SetClock) -> None:  # EVT-3
    history(log, clock)
    past = make()
    for position in (48, 17, 1, 30):
        copy = past.obtain(at(position))
        for view in VIEWS:
            assert shown(past, copy, view) == expected(view, log.all()[:position])
        assert copy.last is not None
        assert copy.last.position == position


def test_a_copy_shows_what_the_views_were_at_a_time(make: Make, log: Log, clock: SetClock) -> None:
    history(log, clock)
    past = make()
    copy = past.obtain(Moment(at=START + timedelta(seconds=3.5)))
    assert shown(past, copy) == expected(FLEET, log.all()[:16])
    assert past.obtain(Moment(at=START + timedelta(seconds=3))).number == copy.number
    before = past.obtain(Moment(at=START + timedelta(seconds=2.999999)))
    assert shown(past, before) == expected(FLEET, log.all()[:12])


def test_before_the_first_event_there_is_nothing(make: Make, log: Log, clock: SetClock) -> None:
    clock.go_on(timedelta(seconds=5))
    history(log, clock)
    past = make()
    for moment in (Moment(at=START), at(0)):
        copy = past.obtain(moment)
        assert shown(past, copy) == ({}, {})
        assert copy.last is None


def test_the_future_is_refused(make: Make, log: Log, clock: SetClock) -> None:
    history(log, clock)
    past = make()
    for moment in (at(49), Moment(at=clock.now + timedelta(microseconds=1))):
        for ask in (past.obtain, past.find):
            with pytest.raises(Refused, match=r"as_of: .* is in the future") as refusal:
                ask(moment)
            assert refusal.value.code == "invalid_request"


STEPS = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from(["import", "name", "group", "on", "off", "remove"]), st.booleans()),
    min_size=1,
    max_size=25,
)
MAKERS = {"import": imported, "on": connected, "off": disconnected, "remove": removed}


def made(number: int, what: str, index: int) -> Any:
    if what == "name":
        return named(number, POISON if index % 7 == 3 else f"name {index}")
    return grouped(number, f"g{index % 2}") if what == "group" else MAKERS[what](number)


@settings(max_examples=20)
@given(steps=STEPS, data=st.data())
def test_any_moment_is_as_a_projector_that_saw_no_more(tmp_path_factory: Any, steps: Any, data: Any) -> None:
    """To the byte, whatever was asked before, by time or by position; and the present is not touched."""
    folder, clock = tmp_path_factory.mktemp("past"), SetClock()
    store = open_store(f"sqlite://{folder}/events.db?durability=normal", clock=clock)
    live = Database(f"sqlite:///{folder}/views", "fleet")
    past = Past("fleet", store, live, VIEWS, CONTRACTS, clock=clock)
    log = Log(store)
    try:
        for index, (number, what, pause) in enumerate(steps):
            log.add(made(number, what, index))
            clock.go_on(timedelta(seconds=pause))
        projector = Projector("fleet", store, live, VIEWS, CONTRACTS, clock=clock)
        projector.catch_up()
        present = [live.digest(view) for view in VIEWS]
        events = log.all()
        clock.go_on(SETTLED)
        for turn in range(data.draw(st.integers(1, 4))):
            position = data.draw(st.integers(0, len(events)))
            moment = at(position)
            if data.draw(st.booleans()):
                moment = Moment(at=START + timedelta(seconds=data.draw(st.integers(-1, len(events))) * 0.5))
                moment = min(moment, Moment(at=clock.now - SETTLED), key=lambda one: one.at or START)
            seen = [event for event in events if moment.includes(stamp_of(event))]
            copy = past.obtain(moment)
            assert [past.open(copy).digest(view) for view in VIEWS] == _digests(folder / f"fresh{turn}", seen)
        assert [live.digest(view) for view in VIEWS] == present
    finally:
        past.stop()
        live.close()
        store.close()


class Seen:
    """A history of these events alone."""

    def __init__(self, events: list[Recorded]) -> None:
        self._events = events

    def read_all(self, after: Position | None = None, limit: int = 1_000, only: Only = Only()) -> Page:  # noqa: B008
        behind = [event for event in self._events if event.position > (after or 0)]
        page = behind[:limit]
        looked = page[-1].position if page else after
        return Page([event for event in page if event.type in only.types], looked, end=len(page) == len(behind))

    def head(self) -> Position | None:
        return self._events[-1].position if self._events else None


def _digests(folder: Path, seen: list[Recorded]) -> list[str]:
    store: Any = Seen(seen)
    database = Database(f"sqlite:///{folder}", "fleet")
    try:
        Projector("fleet", store, database, VIEWS, CONTRACTS, page_events=3).catch_up()
        return [database.digest(view) for view in VIEWS]
    finally:
        database.close()


def test_moments_between_which_nothing_happened_share_a_copy(make: Make, log: Log, clock: SetClock) -> None:
    history(log, clock)
    past = make()
    last = past.obtain(at(48)).number
    assert past.obtain(Moment(at=clock.now - SETTLED)).number == last
    clock.go_on(timedelta(minutes=1))
    assert past.obtain(Moment(at=clock.now - SETTLED)).number == last
    log.add(imported(99), stream="device-99")
    clock.go_on(timedelta(minutes=1))
    assert past.obtain(Moment(at=clock.now - timedelta(seconds=61))).number == last
    newer = past.obtain(Moment(at=clock.now - SETTLED))
    assert newer.number != last
    assert shown(past, newer) == expected(FLEET, log.all())


def test_a_later_moment_is_built_from_the_copy_before_it(make: Make, log: Log, clock: SetClock) -> None:
    history(log, clock)
    past = make()
    base = past.obtain(at(20))
    with past.open(base).writing() as connection:  # a mark that only a clone can have
        connection.execute(sa.update(past.open(base).table(FLEET)).values(score=7.0))
    rows, _ = shown(past, past.obtain(at(24)))
    assert sorted(row["score"] for row in rows.values()) == [0.75, *[7.0] * 5]
    assert {row["score"] for row in shown(past, past.obtain(at(16)))[0].values()} == {0.75}


def test_a_blank_view_has_tables_and_no_rows(make: Make, log: Log, clock: SetClock) -> None:  # EVT-5
    history(log, clock)
    past = make(FLEET, blank=(NAMES,))
    for position in (10, 20):
        copy = past.obtain(at(position))
        assert shown(past, copy, NAMES) == ({}, {})
        assert shown(past, copy, FLEET) == expected(FLEET, log.all()[:position])


def test_a_copy_lasts_longer_than_its_process(make: Make, log: Log, clock: SetClock) -> None:
    history(log, clock)
    first = make()
    first.start()
    number = first.obtain(at(20)).number
    first.stop()
    second = make()
    second.start()
    assert second.find(at(20)) == replace(second.obtain(at(20)), number=number)


def test_whoever_asks_waits_a_moment_and_is_told_how_far_it_is(make: Make, log: Log, clock: SetClock) -> None:
    history(log, clock)
    past = make()
    assert past.find(at(30), patience_s=0.1) == Building(0, 30)
    past.start()
    assert wait_until(lambda: isinstance(past.find(at(30)), Copy))


def test_progress_is_told_up_to_the_moment(make: Make, log: Log, clock: SetClock, monkeypatch: Any) -> None:
    monkeypatch.setattr("shared.projections.past_filling.PAGE_EVENTS", 5)
    history(log, clock)
    told: list[tuple[int, int]] = []
    make().obtain(at(30), lambda done, total: told.append((done, total)))
    assert told == sorted(told)
    assert told[-1] == (30, 30)
    assert len(told) > 2


def test_a_time_that_is_still_being_written_is_waited_for(make: Make, log: Log, clock: SetClock) -> None:
    log.add(imported(1))
    past = make()
    past.start()
    moment = Moment(at=clock.now)
    assert isinstance(past.find(moment, patience_s=0.2), Building)
    log.add(imported(2), stream="device-2")  # recorded in the same moment, seen later
    clock.go_on(SETTLED)
    copy = past.find(moment)
    assert isinstance(copy, Copy)
    assert shown(past, copy) == expected(FLEET, log.all())


def test_two_processes_that_are_asked_the_same_build_one_copy(
    make: Make, log: Log, clock: SetClock, database: Flaky
) -> None:
    history(log, clock, devices=100)
    pasts = [make() for _ in range(3)]
    found: list[Copy] = []
    threads = [threading.Thread(target=lambda past=past: found.append(past.obtain(at(333)))) for past in pasts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len({copy.number for copy in found}) == 1
    assert len(found) == 3
    assert len(places(database)) == 1
    assert [shown(past, found[0]) == expected(FLEET, log.all()[:333]) for past in pasts] == [True] * 3


def test_the_least_recently_used_copies_beyond_those_kept_are_dropped(
    make: Make, log: Log, clock: SetClock, database: Flaky
) -> None:
    history(log, clock)
    past = make(keep=2)
    numbers = {}
    for position in (10, 20, 10, 30):
        numbers[position] = past.obtain(at(position)).number
        clock.go_on(IN_USE)
    past.obtain(at(30))
    assert {int(name.rsplit("-", 1)[1]) for name in places(database)} == {numbers[10], numbers[30]}
    assert past.obtain(at(20)).number > numbers[30]


def test_a_copy_that_was_used_lately_stays(make: Make, log: Log, clock: SetClock, database: Flaky) -> None:
    history(log, clock)
    past = make(keep=2)
    for position in (10, 20, 30, 40):
        past.obtain(at(position))
    assert len(places(database)) == 4
    for position in (41, 42):
        past.obtain(at(position))
    with pytest.raises(Refused, match="in use already; try again") as refusal:
        past.obtain(at(43))
    assert refusal.value.code == "too_many_requests"
    clock.go_on(IN_USE)
    past.obtain(at(43))
    assert len(places(database)) <= 3


def test_a_reader_reads_on_while_its_copy_is_to_be_dropped(make: Make, log: Log, clock: SetClock) -> None:
    history(log, clock)
    reader, other = make(keep=2), make(keep=2)
    copy = reader.obtain(at(10))
    query = sa.select(sa.func.count()).select_from(reader.open(copy).table(FLEET))
    with reader.open(copy).connect() as connection:
        assert connection.execute(query).scalar() == 3
        for position in (20, 30, 40):
            clock.go_on(IN_USE)
            other.obtain(at(position))
        assert connection.execute(query).scalar() == 3
    clock.go_on(IN_USE)
    other.obtain(at(48))
    again = reader.obtain(at(10))
    assert again.number != copy.number
    assert shown(reader, again) == expected(FLEET, log.all()[:10])


def test_only_so_many_wait(make: Make, log: Log, clock: SetClock) -> None:
    history(log, clock)
    past = make()
    for position in range(MAX_WAITING):
        past.find(at(position), patience_s=0)
    with pytest.raises(Refused, match="wait to be built already") as refusal:
        past.find(at(40))
    assert refusal.value.code == "too_many_requests"
    assert past.find(at(1), patience_s=0) == Building(0, 1)


class Broken(Exception):
    pass


def test_what_cannot_be_built_says_why_and_is_tried_again(make: Make, log: Log, clock: SetClock) -> None:
    history(log, clock)
    broken = [True]

    def fold(row: Any, event: Any, recorded: Any) -> Any:
        if broken[0]:
            raise Broken("cannot fold this")
        return FLEET.fold(row, event, recorded)

    past = make(replace(FLEET, fold=fold, on_poison="stop"))
    with pytest.raises(Unavailable, match=r"could not be built: PoisonError.*cannot fold this"):
        past.obtain(at(20))
    broken[0] = False
    with pytest.raises(Unavailable, match="could not be built"):
        past.obtain(at(20))
    clock.go_on(FAILED)
    assert shown(past, past.obtain(at(20))) == expected(FLEET, log.all()[:20])


def test_a_copy_whose_builder_died_is_built_by_another(make: Make, log: Log, clock: SetClock, database: Flaky) -> None:
    history(log, clock)
    past = make()
    past.find(at(20), patience_s=0)
    with database.writing() as connection:
        connection.execute(sa.update(copies).values(state="building", builder="somebody who died"))
    assert past.find(at(20), patience_s=0) == Building(0, 20)
    clock.go_on(LEASE)
    assert shown(past, past.obtain(at(20))) == expected(FLEET, log.all()[:20])
    assert len(places(database)) == 1


def test_copies_of_other_versions_and_strays_are_dropped_at_start(
    make: Make, log: Log, clock: SetClock, database: Flaky
) -> None:
    history(log, clock)
    make().obtain(at(20))
    older = make(replace(FLEET, version=7))
    older.obtain(at(20))
    older._places.create(99)
    assert len(places(database)) == 3
    make().start()
    assert len(places(database)) == 1


def test_a_stop_in_the_middle_leaves_nothing_behind(
    make: Make, log: Log, clock: SetClock, database: Flaky, monkeypatch: Any
) -> None:
    history(log, clock)
    reached, going_on = threading.Event(), threading.Event()

    def fold(row: Any, event: Any, recorded: Any) -> Any:
        reached.set()
        going_on.wait(10)
        return FLEET.fold(row, event, recorded)

    past = make(replace(FLEET, fold=fold))
    past.start()
    past.find(at(20), patience_s=0)
    assert reached.wait(10)
    past._stopping.set()
    going_on.set()
    past.stop()
    assert places(database) == set()
    with database.connect() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(copies)).scalar() == 0


def test_after_a_stop_nothing_is_built(make: Make, log: Log, clock: SetClock, database: Flaky) -> None:
    history(log, clock)
    past = make()
    past.stop()
    with pytest.raises(Unavailable, match="the platform stops"):
        past.obtain(at(20))
    assert places(database) == set()


def test_fewer_copies_than_a_comparison_needs_are_refused(make: Make) -> None:
    with pytest.raises(Refused, match="FLOTILLA_PAST_COPIES must be at least 2"):
        make(keep=1)
