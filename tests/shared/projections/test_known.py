"""What a projector remembers of its rows, and when it must not rely on it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.events.contracts import CONTRACTS
from shared.projections.folding import Changes
from shared.projections.known import MAX_BYTES, MAX_ITEMS, ROW_BYTES, VALUE_BYTES, KnownRows
from shared.projections.projector import Projector
from shared.projections.view import Row, View
from shared.store.open import open_store
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
    grouped,
    imported,
    named,
    removed,
    wait_until,
)

FLEET = Fleet().view()


def _without_score(row: Row | None) -> Row | None:
    return None if row is None else {name: value for name, value in row.items() if name != "score"}


def _fold_without_score(row: Row | None, event: Any, recorded: Any) -> Row | None:
    scored = None if row is None else {**row, "score": 0.0}
    after = FLEET.fold(scored, event, recorded)
    return row if after is scored else _without_score(after)


WHOLE_NUMBERS = replace(
    FLEET, columns={name: kind for name, kind in FLEET.columns.items() if kind is not float}, fold=_fold_without_score
)
"""Without floats, rows are loaded in another way."""

Make = Callable[..., Projector]


@pytest.fixture
def make(store: EventStore, open_database: Callable[[], Flaky]) -> Iterator[Make]:
    """Makes projectors, each on a connection pool of its own as in its own process, that are stopped at the end."""
    made: list[Projector] = []

    def maker(view: View = FLEET, **options: Any) -> Projector:
        made.append(Projector("fleet", store, open_database(), [view], CONTRACTS, **options))
        return made[-1]

    yield maker
    for projector in made:
        projector.stop()


@pytest.mark.parametrize("view", [FLEET, WHOLE_NUMBERS])
def test_what_another_process_wrote_in_between_is_seen(make: Make, log: Log, database: Flaky, view: View) -> None:
    first, second = make(view), make(view)
    log.add(imported(1), imported(2), grouped(2, "c", "b"))
    first.catch_up()
    log.add(connected(1), named(2, 'two "\\\n\u20ac'))
    second.catch_up()
    log.add(grouped(1, "a"), removed(2), imported(3))
    first.catch_up()
    log.add(named(1, "one"), imported(2))
    second.catch_up()
    assert content(database, view) == expected(view, log.all())


def test_a_row_that_another_process_repaired_is_seen_by_a_running_one(make: Make, log: Log, database: Flaky) -> None:
    fleet = Fleet()
    running, repairing = make(fleet.view()), make(fleet.view())
    running.start()
    assert running.wait_for(log.add(imported(1), named(1, POISON)), 20)
    (parked,) = repairing.parked()
    fleet.healed = True
    assert repairing.retry(parked.id)
    assert running.wait_for(log.add(connected(1)), 20)
    row = content(database, FLEET)[0][1000, device(1)]
    assert (row["name"], row["online"]) == (POISON, True)


def test_a_repair_by_another_process_hardly_interrupts_the_running_one(make: Make, log: Log) -> None:
    fleet = Fleet()
    told: list[int] = []
    running = make(fleet.view(), on_applied=lambda view, keys: told.append(len(keys)))
    running.catch_up()
    log.add(imported(1), named(1, POISON))
    running.catch_up()
    fleet.healed = True
    repairing = make(fleet.view())
    (parked,) = repairing.parked()
    assert repairing.retry(parked.id)
    running.start()
    assert running.wait_for(log.add(connected(1)), 20)
    assert wait_until(lambda: told[-2:] == [0, 1])  # any row may have changed; then its own


def test_after_its_own_repair_a_process_goes_on_without_a_detour(make: Make, log: Log, database: Flaky) -> None:
    fleet = Fleet()
    told: list[int] = []
    projector = make(fleet.view(), on_applied=lambda view, keys: told.append(len(keys)))
    log.add(imported(1), named(1, POISON))
    projector.catch_up()
    fleet.healed = True
    assert projector.retry(projector.parked()[0].id)
    log.add(connected(1))
    told.clear()
    projector.catch_up()
    assert told == [1]
    row = content(database, FLEET)[0][1000, device(1)]
    assert (row["name"], row["online"]) == (POISON, True)


def test_rows_that_another_process_rebuilt_are_seen(make: Make, log: Log, database: Flaky) -> None:
    running, rebuilding = make(), make()
    log.add(imported(1), imported(2))
    running.catch_up()
    with database.writing() as connection:
        connection.execute(sa.update(database.table(FLEET)).values(name="by hand"))
        connection.execute(sa.update(database.counts(FLEET)).values(n=77))
    log.add(connected(1))
    running.catch_up()
    rebuilding.rebuild("fleet")
    log.add(connected(2), named(2, "two"))
    running.catch_up()
    assert content(database, FLEET) == expected(FLEET, log.all())


def test_a_repair_during_a_rebuild_is_no_swap(make: Make, log: Log, database: Flaky) -> None:
    fleet = Fleet()
    view = fleet.view()
    running, rebuilding = make(view), make(view, page_events=1)
    log.add(imported(1), named(1, POISON), imported(2))
    running.catch_up()
    fleet.healed = True

    def interfere(done: int, head: int | None) -> None:
        for parked in running.parked():
            assert running.retry(parked.id)
        log.add(connected(1)) if done == 1 else None
        running.catch_up()

    rebuilding.rebuild("fleet", interfere)
    log.add(connected(2))
    running.catch_up()
    rebuilding.catch_up()
    assert content(database, view) == expected(view, log.all())
    rebuilding.rebuild("fleet")
    assert content(database, view) == expected(view, log.all())


def _row(number: int, groups: int = 0) -> Row:
    return dict.fromkeys(FLEET.columns, number) | {"groups": ["g"] * groups, "extra": {}}


def test_only_so_many_rows_are_remembered_and_the_oldest_forgotten() -> None:
    most = MAX_BYTES // (ROW_BYTES + VALUE_BYTES * len(FLEET.columns))
    known = KnownRows(FLEET)
    known.forget(empty=True)
    known.committed(Changes({(number,): _row(number) for number in range(most)}, [], {}))
    assert (len(known.stored), known.complete) == (most, True)
    known.committed(Changes({(most,): _row(most)}, [], {}))
    assert not known.complete
    assert len(known.stored) < most
    assert (0,) not in known.stored
    assert (most,) in known.stored


def test_a_row_with_a_long_list_is_not_remembered() -> None:
    known = KnownRows(FLEET)
    known.forget(empty=True)
    known.committed(Changes({(1,): _row(1, MAX_ITEMS)}, [], {}))
    assert known.complete
    known.committed(Changes({(2,): _row(2, MAX_ITEMS + 1)}, [], {}))
    assert (set(known.stored), known.complete) == ({(1,)}, False)
    known.loaded({(3,): _row(3, MAX_ITEMS + 1)})
    assert (3,) in known.stored
    known.committed(Changes({}, [], {}))
    assert set(known.stored) == {(1,)}


DEVICES = st.integers(1, 3)
EVENTS = st.one_of(
    st.builds(imported, DEVICES),
    st.builds(removed, DEVICES),
    st.builds(named, DEVICES, st.sampled_from(["a", "b", POISON])),
    st.builds(grouped, DEVICES, st.sampled_from(["g", "h"])),
    st.builds(connected, DEVICES),
    st.builds(disconnected, DEVICES),
)
TURNS = st.lists(st.tuples(st.integers(0, 2), st.lists(EVENTS, max_size=5), st.booleans()), max_size=12)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(turns=TURNS, page=st.integers(1, 4), view=st.sampled_from([FLEET, WHOLE_NUMBERS]))
def test_processes_that_take_turns_keep_one_truth(
    turns: list[tuple[int, list[object], bool]], page: int, view: View
) -> None:
    with tempfile.TemporaryDirectory() as name:
        store = open_store(f"sqlite://{Path(name) / 'events.db'}?durability=normal")
        databases = [Flaky(f"sqlite:///{name}", "fleet") for _ in range(3)]
        projectors = [Projector("fleet", store, each, [view], CONTRACTS, page_events=page) for each in databases]
        log = Log(store)
        for who, events, rebuilds in turns:
            if events:
                log.add(*events)
            projectors[who].catch_up()
            if rebuilds:
                projectors[who].rebuild("fleet")
            assert content(databases[0], view) == expected(view, log.all())
        for each in (*databases, store):
            each.close()
