from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from shared.errors import Unavailable
from shared.projections.view import Key
from shared.store.port import Only, Page, Position
from tests.shared.projections.fleet import (
    FLEET,
    POISON,
    Flaky,
    Fleet,
    Log,
    Make,
    connected,
    content,
    device,
    disconnected,
    expected,
    grouped,
    imported,
    named,
    wait_until,
)


def _noted(row: Any, event: Any, recorded: Any) -> Any:
    plain = None if row is None else {name: value for name, value in row.items() if name != "note"}
    after = FLEET.fold(plain, event, recorded)
    return None if after is None else {**after, "note": recorded.type}


NEWER = replace(FLEET, version=2, columns={**FLEET.columns, "note": str}, indexes=(("note",),), fold=_noted)


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
    assert _tables(database) == {"checkpoints", "projection_parked", "fleet", "fleet_counts", "fleet_members"}


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


def test_readers_see_rows_and_counters_of_one_moment_always(make: Make, log: Log, database: Flaky) -> None:
    log.add(*(imported(number) for number in range(60)))
    serving, rebuilding = make(page_events=5), make(page_events=11)
    serving.start()
    assert serving.wait_for(log.store.head(), 20)
    database.prepare([FLEET])
    stop, halves, looks = threading.Event(), list[Any](), [0, 0]

    def read(reader: int) -> None:
        while not stop.is_set():
            rows, counts = content(database, FLEET)
            looks[reader] += 1
            if counts != Counter(counter for row in rows.values() for counter in FLEET.tally(row)):
                halves.append((rows, counts))

    def write() -> None:
        number = 0
        while not stop.wait(0.002):
            number += 1
            log.add(connected(number % 60), disconnected((number + 7) % 60), imported(60 + number % 9))

    threads = [threading.Thread(target=read, args=(reader,)) for reader in range(2)] + [threading.Thread(target=write)]
    for thread in threads:
        thread.start()
    try:
        assert wait_until(lambda: min(looks) > 2)
        rebuilt = [rebuilding.rebuild("fleet", comparing=True) for _ in range(3)]
        seen = list(looks)
        assert wait_until(lambda: min(looks) > max(seen) + 2)
    finally:
        stop.set()
        for thread in threads:
            thread.join(20)
    assert not halves
    assert all(each.comparison is not None and each.comparison.equal for each in rebuilt)
    assert serving.wait_for(log.store.head(), 20)
    assert content(database, FLEET) == expected(FLEET, log.all())


def test_a_rebuild_tells_what_it_did_and_whether_the_old_view_was_right(make: Make, log: Log, database: Flaky) -> None:
    log.add(*(event for number in range(9) for event in (imported(number), connected(number))))
    projector = make(page_events=4)
    projector.catch_up()
    right = database.digest(FLEET)
    rebuilt = projector.rebuild("fleet", comparing=True)
    assert (rebuilt.events, rebuilt.position, rebuilt.compared_at) == (18, 18, 18)
    assert rebuilt.comparison is not None
    assert rebuilt.comparison.left_digest == rebuilt.comparison.right_digest == right
    with database.writing() as connection:
        connection.execute(sa.update(database.table(FLEET)).values(online=False))
    rebuilt = projector.rebuild("fleet", comparing=True)
    assert rebuilt.comparison is not None
    assert (rebuilt.comparison.different, rebuilt.comparison.right_digest) == (9, right)
    assert database.digest(FLEET) == right


def test_a_rebuild_of_what_had_nothing_or_another_version_compares_nothing(make: Make, log: Log) -> None:
    log.add(imported(1))
    assert make().rebuild("fleet", comparing=True).comparison is None
    assert make(NEWER).rebuild("fleet", comparing=True).comparison is None


def test_a_swap_waits_for_a_reader_that_began_before_it_and_holds_up_no_other(
    make: Make, log: Log, database: Flaky
) -> None:
    log.add(*(imported(number) for number in range(20)))
    projector = make()
    projector.catch_up()
    database.prepare([FLEET])
    longest_s, stop = [0.0], threading.Event()

    def read() -> None:
        while not stop.is_set():
            began = time.monotonic()
            content(database, FLEET)
            longest_s[0] = max(longest_s[0], time.monotonic() - began)

    rebuilding, reading = threading.Thread(target=projector.rebuild, args=("fleet",)), threading.Thread(target=read)
    with database.connect() as connection:
        connection.execute(sa.select(database.table(FLEET))).all()
        rebuilding.start()
        reading.start()
        rebuilding.join(2)
        assert rebuilding.is_alive() is not database.is_sqlite
    rebuilding.join(20)
    stop.set()
    reading.join(20)
    assert not rebuilding.is_alive()
    assert longest_s[0] < 2


def test_a_swap_never_takes_a_view_back(make: Make, log: Log, database: Flaky) -> None:
    log.add(*(imported(number) for number in range(20)))
    other, seen = make(), list[int]()
    other.catch_up()

    class Overtaken:
        """Whatever the rebuild has read, another process has applied more, a few times."""

        def read_all(self, after: Position | None = None, limit: int = 1_000, only: Only = Only()) -> Page:  # noqa: B008
            page = log.store.read_all(after, limit, only)
            if len(seen) < 8:
                log.add(connected(len(seen)))
                other.catch_up()
                seen.append(database.checkpoints().load("view/fleet") or 0)
            return page

        def head(self) -> Position | None:
            return log.store.head()

    make(history=Overtaken()).rebuild("fleet", comparing=True)
    assert len(seen) == 8
    assert (database.checkpoints().load("view/fleet") or 0) >= max(seen)
    assert content(database, FLEET) == expected(FLEET, log.all())


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


def test_a_version_may_have_the_first_sets(make: Make, log: Log, database: Flaky) -> None:
    log.add(imported(1), grouped(1, "lab", "red"))
    make(replace(FLEET, sets=None)).catch_up()
    newer = replace(FLEET, version=2)
    database.prepare([newer])  # before it is rebuilt, whoever reads holds all of its tables
    assert content(database, newer, damaged=True) == expected(newer, log.all())
    make(newer).start()
    assert content(database, newer) == expected(newer, log.all())


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
