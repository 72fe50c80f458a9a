from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from shared.errors import Unavailable
from shared.events.contracts import CONTRACTS
from shared.projections.projector import Projector
from shared.projections.view import Key, View
from shared.store.port import EventStore
from tests.shared.projections.fleet import (
    POISON,
    Flaky,
    Fleet,
    Log,
    connected,
    content,
    device,
    disconnected,
    expected,
    imported,
    named,
    wait_until,
)

FLEET = Fleet().view()
Make = Callable[..., Projector]


def _noted(row: Any, event: Any, recorded: Any) -> Any:
    plain = None if row is None else {name: value for name, value in row.items() if name != "note"}
    after = FLEET.fold(plain, event, recorded)
    return None if after is None else {**after, "note": recorded.type}


NEWER = replace(FLEET, version=2, columns={**FLEET.columns, "note": str}, indexes=(("note",),), fold=_noted)


@pytest.fixture
def make(store: EventStore, open_database: Callable[[], Flaky]) -> Iterator[Make]:
    """Makes projectors, each on a connection pool of its own as in its own process, that are stopped at the end."""
    made: list[Projector] = []

    def maker(*views: View, **options: Any) -> Projector:
        chosen: dict[str, Any] = {"store": store, "database": open_database(), "contracts": CONTRACTS} | options
        made.append(Projector("fleet", views=views or [FLEET], **chosen))
        return made[-1]

    yield maker
    for projector in made:
        projector.stop()


def _tables(database: Flaky) -> set[str]:
    with database.connect() as connection:
        return set(sa.inspect(connection).get_table_names())


def test_a_rebuild_gives_the_same_bytes(make: Make, log: Log, database: Flaky) -> None:
    log.add(*(event for number in range(30) for event in (imported(number), connected(number), disconnected(number))))
    projector = make(page_events=7)
    projector.catch_up()
    before = database.digest(FLEET)
    told: list[tuple[int, int | None]] = []
    projector.rebuild("fleet", lambda done, head: told.append((done, head)))
    assert database.digest(FLEET) == before
    assert told[0] == (7, 90)
    assert told[-1] == (90, 90)
    assert _tables(database) == {"checkpoints", "projection_parked", "fleet", "fleet_counts"}


def test_a_rebuild_repairs_what_was_changed_by_hand(make: Make, log: Log, database: Flaky) -> None:
    log.add(imported(1), connected(1))
    projector = make()
    projector.catch_up()
    with database.writing() as connection:
        connection.execute(sa.update(database.table(FLEET)).values(online=False))
        connection.execute(sa.delete(database.counts(FLEET)))
    projector.rebuild("fleet")
    projector.rebuild("fleet")
    assert content(database, FLEET) == expected(FLEET, log.all())


def test_a_rebuilt_view_goes_on_and_tells_that_anything_may_have_changed(make: Make, log: Log) -> None:
    log.add(imported(1))
    told: list[list[Key]] = []
    projector = make(on_applied=lambda view, keys: told.append(list(keys)))
    projector.catch_up()
    projector.rebuild("fleet")
    log.add(imported(2))
    projector.catch_up()
    assert told == [[(1000, device(1))], [], [(1000, device(2))]]


def test_readers_see_the_old_rows_until_all_new_ones_are_there(make: Make, log: Log, database: Flaky) -> None:
    log.add(*(imported(number) for number in range(40)))
    projector = make(page_events=3)
    projector.catch_up()
    database.prepare([FLEET])
    seen: set[int] = set()
    projector.rebuild("fleet", lambda done, head: seen.add(len(content(database, FLEET)[0])))
    assert seen == {40}
    assert len(content(database, FLEET)[0]) == 40


def test_a_reader_that_began_before_the_swap_sees_whole_views(make: Make, log: Log, database: Flaky) -> None:
    log.add(*(imported(number) for number in range(40)))
    projector = make(page_events=3)
    projector.catch_up()
    database.prepare([FLEET])
    rebuilding = threading.Thread(target=projector.rebuild, args=("fleet",))
    with database.connect() as connection:
        connection.execute(sa.text("SELECT 1"))
        rebuilding.start()
        if database.is_sqlite:
            rebuilding.join(20)
        found = connection.execute(sa.select(sa.func.count()).select_from(database.table(FLEET))).scalar()
    rebuilding.join(20)
    assert not rebuilding.is_alive()
    assert found == 40
    assert len(content(database, FLEET)[0]) == 40


def test_a_running_view_is_rebuilt_while_events_come(make: Make, log: Log, database: Flaky) -> None:
    log.add(*(imported(number) for number in range(100)))
    projector = make(page_events=5)
    projector.start()
    assert projector.wait_for(log.store.head(), 20)
    added: list[int] = []

    def add_more(done: int, head: int | None) -> None:
        number = 100 + len(added)
        if number < 150:
            added.append(log.add(imported(number), connected(number), stream=f"device-{number}"))

    projector.rebuild("fleet", add_more)
    assert len(added) > 5
    assert projector.wait_for(log.store.head(), 20)
    assert content(database, FLEET) == expected(FLEET, log.all())
    assert projector.status()[0].error is None


def test_another_version_is_rebuilt_before_it_is_served(make: Make, log: Log, database: Flaky) -> None:
    log.add(imported(1), connected(1))
    make().catch_up()
    projector = make(NEWER)
    projector.start()
    assert content(database, NEWER) == expected(NEWER, log.all())
    assert content(database, NEWER)[0][1000, device(1)]["note"] == "DeviceConnected"
    with database.connect() as connection:
        found = sa.inspect(connection).get_indexes("fleet")
    assert [index["column_names"] for index in found] == [["note"]]
    position = log.add(imported(2))
    assert projector.wait_for(position, 20)


def test_the_old_version_stands_aside_when_a_new_one_took_over(make: Make, log: Log, database: Flaky) -> None:
    old = make()
    old.start()
    assert old.wait_for(log.add(imported(1)), 20)
    new = make(NEWER)
    new.start()
    position = log.add(imported(2))
    assert new.wait_for(position, 20)
    assert wait_until(lambda: old.status()[0].error is not None)
    assert "stored is version 2, this process has 1" in str(old.status()[0].error)
    assert not old.wait_for(position, 0)
    assert content(database, NEWER) == expected(NEWER, log.all())


def test_processes_that_start_with_a_new_version_share_the_rebuild(make: Make, log: Log, database: Flaky) -> None:
    log.add(*(imported(number) for number in range(60)))
    make().catch_up()
    projectors = [make(NEWER, page_events=2) for _ in range(3)]
    threads = [threading.Thread(target=projector.start) for projector in projectors]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    position = log.add(imported(99))
    assert all(projector.wait_for(position, 20) for projector in projectors)
    assert content(database, NEWER) == expected(NEWER, log.all())


def test_an_interrupted_rebuild_is_taken_up(make: Make, log: Log, open_database: Callable[[], Flaky]) -> None:
    log.add(*(imported(number) for number in range(20)))
    make().catch_up()
    crashing = open_database()
    projector = make(NEWER, database=crashing, page_events=5)
    crashing.plan = ["", "", "", "", "before"]  # prepare, begin, pages of 5 and 10, then the crash
    with pytest.raises(Unavailable):
        projector.start()
    assert content(crashing, FLEET) == expected(FLEET, log.all())
    assert crashing.checkpoints().load("view/fleet__new") == 15
    make(NEWER, database=crashing).catch_up()
    assert content(crashing, NEWER) == expected(NEWER, log.all())


def test_a_rebuild_that_somebody_began_anew_is_given_up(make: Make, log: Log, database: Flaky) -> None:
    log.add(*(imported(number) for number in range(20)))
    first, second = make(page_events=5), make()
    first.catch_up()

    def interfere(done: int, head: int | None) -> None:
        if done == 5:
            with pytest.raises(Unavailable, match="interrupted"):
                second.rebuild("fleet", lambda *_: second.stop())

    with pytest.raises(Unavailable, match="somebody else"):
        first.rebuild("fleet", interfere)
    assert content(database, FLEET) == expected(FLEET, log.all())
    first.rebuild("fleet")
    assert content(database, FLEET) == expected(FLEET, log.all())


def test_a_rebuild_parks_anew(make: Make, log: Log) -> None:
    fleet = Fleet()
    log.add(imported(1), named(1, POISON), named(1, "x"), named(1, POISON))
    projector = make(fleet.view())
    projector.catch_up()
    assert [parked.version for parked in projector.parked()] == [1, 3]
    projector.rebuild("fleet")
    assert [parked.version for parked in projector.parked()] == [1, 3]
    fleet.healed = True
    projector.rebuild("fleet")
    assert projector.parked() == []


def test_a_new_version_that_stops_at_poison_does_not_keep_the_others_from_starting(make: Make, log: Log) -> None:
    fleet = Fleet()
    log.add(imported(1), named(1, POISON))
    other = fleet.view(name="other")
    make(fleet.view(), other).catch_up()
    projector = make(fleet.view(version=2, on_poison="stop"), other)
    projector.start()
    position = log.add(imported(2))
    assert wait_until(lambda: projector.status()[1].position == position)
    assert "cannot fold this name" in str(projector.status()[0].error)
    fleet.healed = True
    assert projector.wait_for(position, 20)
