from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.errors import NotFound, Refused, Unavailable
from shared.events.contracts import CONTRACTS
from shared.projections import refold
from shared.projections.projector import Projector
from shared.projections.refold import Refolded
from shared.projections.view import Key, Row
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
    expected,
    grouped,
    imported,
    named,
    removed,
)


@pytest.fixture
def healthy(make: Make, log: Log) -> Projector:
    """Positions: 1 to 10 imports, 11 to 20 groups, 21 to 30 connections, of devices 0 to 9."""
    log.add(*(imported(number) for number in range(10)))
    log.add(*(grouped(number, "a", "b") for number in range(10)))
    log.add(*(connected(number) for number in range(10)))
    projector = make(page_events=7)
    projector.catch_up()
    return projector


def damage(database: Flaky, number: int, **changes: Any) -> None:
    """As a fault in the view's own code would: rows and counters fit each other."""
    rows, counts = database.table(FLEET), database.counts(FLEET)
    with database.writing() as connection:
        [before] = connection.execute(sa.select(rows).where(rows.c.device_id == device(number))).mappings()
        connection.execute(sa.update(rows).where(rows.c.device_id == device(number)).values(changes))
        for row, step in ((dict(before), -1), ({**before, **changes}, 1)):
            for scope, item in FLEET.tally(row):
                insert = database.insert(counts).values(scope=scope, item=item, n=step)
                changed = insert.on_conflict_do_update(index_elements=("scope", "item"), set_={"n": counts.c.n + step})
                connection.execute(changed)
        connection.execute(sa.delete(counts).where(counts.c.n == 0))


def test_refolding_a_healthy_view_changes_nothing(healthy: Projector, database: Flaky) -> None:
    before, told = database.digest(FLEET), list[tuple[int, int | None]]()
    assert healthy.refold("fleet", None, None, lambda done, total: told.append((done, total))) == Refolded(30, 10, 0)
    assert healthy.refold("fleet", Position(10), Position(14)) == Refolded(4, 4, 0)
    assert healthy.refold("fleet", Position(30), None) == Refolded(0, 0, 0)
    assert database.digest(FLEET) == before
    assert told[-1] == (30, 30)
    assert healthy.verify("fleet").equal


def test_a_damaged_row_is_repaired_if_an_event_of_the_range_touches_it(
    healthy: Projector, log: Log, database: Flaky
) -> None:
    damage(database, 3, online=False, groups=["z"])
    damage(database, 8, name="by hand")
    assert healthy.refold("fleet", Position(11), Position(15)) == Refolded(4, 4, 1)
    assert not healthy.verify("fleet").equal
    assert healthy.refold("fleet", None, Position(9)) == Refolded(9, 9, 1)
    assert content(database, FLEET) == expected(FLEET, log.all())
    assert healthy.verify("fleet").equal


def test_rows_that_are_gone_come_back_and_rows_that_should_not_be_there_go(
    healthy: Projector, log: Log, database: Flaky
) -> None:
    position = log.add(removed(4))
    rows, counts = database.table(FLEET), database.counts(FLEET)
    before = content(database, FLEET)[0][1000, device(4)]
    healthy.catch_up()
    with database.writing() as connection:
        connection.execute(sa.insert(rows).values(dict(before)))
        connection.execute(sa.delete(rows).where(rows.c.device_id == device(5)))
    found = content(database, FLEET, damaged=True)[1]
    assert found == expected(FLEET, log.all())[1]  # one more and one less, of the same kind
    assert healthy.refold("fleet", None, position) == Refolded(31, 10, 2)
    assert content(database, FLEET) == expected(FLEET, log.all())
    assert counts is database.counts(FLEET)


def test_the_view_goes_on_and_whoever_remembers_rows_is_put_off(
    make: Make, log: Log, healthy: Projector, database: Flaky
) -> None:
    told: list[list[Key]] = []
    serving = make(on_applied=lambda view, keys: told.append(list(keys)))
    log.add(connected(1))
    serving.catch_up()
    damage(database, 1, online=False)
    assert healthy.refold("fleet", None, None).changed == 1
    log.add(named(1, "after"))
    serving.catch_up()
    assert content(database, FLEET) == expected(FLEET, log.all())
    assert told[1] == []  # any row may be another


def test_events_that_come_meanwhile_are_folded_once(make: Make, log: Log, healthy: Projector, database: Flaky) -> None:
    class Busy:
        def __init__(self) -> None:
            self.moments = iter(range(10))  # later, the view waits for its rows

        def read_all(self, after: Position | None = None, limit: int = 1_000, only: Only = Only()) -> Page:  # noqa: B008
            if next(self.moments, None) is not None:
                log.add(connected(2), grouped(2, "c"), removed(7), imported(7))
                healthy.catch_up()
            return log.store.read_all(after, limit, only)

        def head(self) -> Position | None:
            return log.store.head()

    damage(database, 3, name="by hand")
    assert make(history=Busy(), page_events=7).refold("fleet", None, Position(30)).changed == 1
    assert content(database, FLEET) == expected(FLEET, log.all())


def test_events_that_the_view_has_not_seen_are_left_to_it(healthy: Projector, log: Log, database: Flaky) -> None:
    before = content(database, FLEET)
    log.add(connected(1), imported(77))
    assert healthy.refold("fleet", Position(30), None) == Refolded(2, 2, 0)
    assert content(database, FLEET) == before
    healthy.catch_up()
    assert content(database, FLEET) == expected(FLEET, log.all())


def test_a_parked_event_that_can_be_folded_now_is_folded_and_unparked(make: Make, log: Log, database: Flaky) -> None:
    fleet = Fleet()
    log.add(imported(1), imported(2), named(1, POISON), named(2, POISON), named(1, "x"))
    projector = make(fleet.view())
    projector.catch_up()
    assert projector.refold("fleet", None, Position(1)) == Refolded(1, 1, 0)
    assert len(projector.parked()) == 2
    fleet.healed = True
    assert projector.refold("fleet", None, Position(1)) == Refolded(1, 1, 0)
    assert [parked.position for parked in projector.parked()] == [4]
    assert projector.refold("fleet", Position(1), Position(2)) == Refolded(1, 1, 1)
    assert projector.parked() == []
    assert content(database, FLEET) == expected(fleet.view(), log.all())


def test_a_parked_event_of_two_rows_is_folded_into_both_or_none(make: Make, log: Log) -> None:
    fleet = Fleet()

    def keys(event: Any) -> list[Key]:
        both = getattr(event, "name", "") == POISON
        return [(1000, device(number)) for number in (1, 2)] if both else [(1000, event.device_id)]

    view = fleet.view(keys=keys)
    log.add(imported(1), imported(2), named(1, POISON))
    projector = make(view)
    projector.catch_up()
    fleet.healed = True
    assert projector.refold("fleet", None, Position(1)) == Refolded(1, 2, 2)
    assert projector.parked() == []
    assert projector.verify("fleet").equal


def test_too_many_rows_are_refused_and_the_way_out_is_named(
    healthy: Projector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refold, "MAX_ROWS", 9)
    assert healthy.refold("fleet", None, Position(9)).rows == 9
    with pytest.raises(Refused, match="flotilla projections rebuild fleet") as refusal:
        healthy.refold("fleet", None, None)
    assert refusal.value.code == "too_many_rows"


def test_what_does_not_exist_or_is_of_another_version_cannot_be_refolded(make: Make, healthy: Projector) -> None:
    with pytest.raises(NotFound):
        healthy.refold("nobody")
    with pytest.raises(Unavailable):
        make(Fleet().view(version=2)).refold("fleet")


def test_a_crash_before_its_commit_leaves_everything_as_it_was(
    make: Make, healthy: Projector, log: Log, open_database: Callable[[], Flaky], database: Flaky
) -> None:
    damage(database, 3, name="by hand")
    before = database.digest(FLEET)
    crashing = open_database()
    projector = make(database=crashing)
    projector.look()
    crashing.plan = ["before"]
    with pytest.raises(Unavailable, match="crashed"):
        projector.refold("fleet")
    assert database.digest(FLEET) == before
    assert projector.refold("fleet").changed == 1
    assert content(database, FLEET) == expected(FLEET, log.all())


NUMBERS = st.integers(0, 3)
EVENTS = st.one_of(
    st.builds(imported, NUMBERS),
    st.builds(removed, NUMBERS),
    st.builds(named, NUMBERS, st.sampled_from(["a", "b", POISON])),
    st.builds(grouped, NUMBERS, st.sampled_from(["g", "h"])),
    st.builds(connected, NUMBERS),
)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    events=st.lists(EVENTS, min_size=1, max_size=30),
    late=st.lists(EVENTS, max_size=3),
    after=st.none() | st.integers(0, 40),
    until=st.none() | st.integers(0, 40),
    wrong=st.sets(NUMBERS),
    page=st.integers(1, 9),
)
def test_any_refold_of_any_range_repairs_what_it_touches_and_nothing_else(
    log: Log,
    open_database: Callable[[], Flaky],
    events: list[object],
    late: list[object],
    after: int | None,
    until: int | None,
    wrong: set[int],
    page: int,
) -> None:
    database = open_database()
    projector = Projector("fleet", log.store, database, [FLEET], CONTRACTS, page_events=page)
    log.add(*events)
    projector.catch_up()
    right = content(database, FLEET)[0]
    for number in wrong:
        if (1000, device(number)) in right:
            damage(database, number, name="by hand", online=not right[1000, device(number)]["online"])
    if late:
        log.add(*late)
    first, last = (None if found is None else Position(found) for found in (after, until))
    refolded = projector.refold("fleet", first, last)
    touched = {
        key
        for recorded in log.all()
        if (after or 0) < recorded.position <= (until if until is not None else 2**62)
        for key in FLEET.keys(CONTRACTS.decode(recorded))
    }
    found: dict[Key, Row] = content(database, FLEET)[0]
    damaged = {(1000, device(number)) for number in wrong} & set(right)
    assert {key for key in right if found.get(key) != right[key]} == damaged - touched
    assert set(found) == set(right)
    assert refolded.changed == len(damaged & touched)
    projector.refold("fleet")
    projector.catch_up()
    assert content(database, FLEET) == expected(FLEET, log.all())
