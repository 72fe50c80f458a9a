from __future__ import annotations

import threading
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import NotFound, Refused
from shared.projections.comparison import MAX_SHOWN, differences
from shared.projections.database import Database
from shared.projections.projector import Projector
from shared.projections.scratch import SUFFIX, scratch
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
    grouped,
    imported,
    named,
    removed,
)


@pytest.fixture
def healthy(make: Make, log: Log) -> Projector:
    """A projector with twenty devices, at the end of the log."""
    log.add(*(event for number in range(20) for event in (imported(number), connected(number), grouped(number, "a"))))
    projector = make(page_events=7)
    projector.catch_up()
    return projector


def change(database: Flaky, statement: sa.Update | sa.Delete | sa.Insert) -> None:
    """Somebody changes a view by hand."""
    with database.writing() as connection:
        connection.execute(statement)


def leftovers(database: Flaky) -> list[str]:
    """What is there of scratch tables."""
    if database.is_sqlite:
        return [path.name for path in Path(database.url.removeprefix("sqlite:///")).glob(f"*{SUFFIX}*")]
    with database.connect() as connection:
        return [name for name in sa.inspect(connection).get_schema_names() if name.endswith(SUFFIX)]


def test_a_healthy_view_is_equal_to_its_events_and_left_alone(healthy: Projector, database: Flaky, log: Log) -> None:
    before, told = content(database, FLEET), list[tuple[int, int | None]]()
    verified = healthy.verify("fleet", lambda done, total: told.append((done, total)))
    assert (verified.equal, verified.position, verified.events) == (True, log.store.head(), 60)
    assert verified.comparison is not None
    assert (verified.comparison.rows, verified.comparison.different, verified.comparison.shown) == (20, 0, [])
    assert verified.comparison.left_digest == database.digest(FLEET)
    assert told[0] == (7, 60)
    assert told[-1] == (60, 60)
    assert content(database, FLEET) == before
    assert leftovers(database) == []


def test_a_view_that_has_nothing_yet_is_equal_to_nothing(make: Make, log: Log) -> None:
    projector = make()
    log.add(imported(1))
    verified = projector.verify("fleet")
    assert (verified.equal, verified.position, verified.events) == (True, None, 0)


def test_a_row_that_was_changed_by_hand_is_named(healthy: Projector, database: Flaky) -> None:
    rows = database.table(FLEET)
    change(database, sa.update(rows).where(rows.c.device_id == device(7)).values(online=False, groups=["b"]))
    verified = healthy.verify("fleet")
    assert not verified.equal
    assert verified.comparison is not None
    assert verified.comparison.different == 1
    [difference] = verified.comparison.shown
    assert difference.table == "fleet"
    assert difference.left is not None
    assert difference.right is not None
    assert (difference.left["device_id"], difference.right["device_id"]) == (device(7), device(7))
    assert (difference.left["online"], difference.right["online"]) == (0, 1)
    assert (difference.left["groups"], difference.right["groups"]) == ('["b"]', '["a"]')


def test_rows_that_are_missing_or_too_many_are_named(healthy: Projector, database: Flaky) -> None:
    rows = database.table(FLEET)
    change(database, sa.delete(rows).where(rows.c.device_id == device(3)))
    strange = {"product_id": 1, "device_id": "0", "online": True, "score": 0.0, "groups": [], "extra": {}}
    change(database, sa.insert(rows).values(strange))
    verified = healthy.verify("fleet")
    assert verified.comparison is not None
    first, second = verified.comparison.shown
    assert first.right is second.left is None
    assert first.left is not None
    assert second.right is not None
    assert (first.left["device_id"], second.right["device_id"]) == ("0", device(3))


def test_a_counter_that_was_changed_by_hand_is_named(healthy: Projector, database: Flaky) -> None:
    counts = database.counts(FLEET)
    change(database, sa.update(counts).where(counts.c.item == "online").values(n=counts.c.n + 1))
    verified = healthy.verify("fleet")
    assert not verified.equal
    assert verified.comparison is not None
    [difference] = verified.comparison.shown
    assert difference.table == "fleet_counts"
    assert difference.left == {"scope": "product-1000", "item": "online", "n": 21}
    assert difference.right == {"scope": "product-1000", "item": "online", "n": 20}


def test_of_many_differences_the_first_are_shown_and_all_are_counted(healthy: Projector, database: Flaky) -> None:
    change(database, sa.update(database.table(FLEET)).values(name="by hand"))
    comparison = healthy.verify("fleet").comparison
    assert comparison is not None
    assert (comparison.different, len(comparison.shown)) == (20, MAX_SHOWN)
    shown = [difference.left["device_id"] for difference in comparison.shown if difference.left]
    assert shown == [device(number) for number in range(MAX_SHOWN)]


def test_a_view_that_goes_on_meanwhile_is_compared_where_it_was(make: Make, log: Log, healthy: Projector) -> None:
    class Busy:
        """While somebody reads the history, the platform serves."""

        def read_all(self, after: Position | None = None, limit: int = 1_000, only: Only = Only()) -> Page:  # noqa: B008
            log.add(connected(1), removed(2), imported(2))
            healthy.catch_up()
            return log.store.read_all(after, limit, only)

        def head(self) -> Position | None:
            return log.store.head()

    began = log.store.head()
    verified = make(history=Busy(), page_events=7).verify("fleet")
    assert verified.equal
    assert began is not None
    assert verified.position is not None
    assert began < verified.position < (log.store.head() or 0)


def test_a_view_that_is_followed_by_another_process_can_be_verified(make: Make, log: Log) -> None:
    serving, stop = make(page_events=5), threading.Event()
    serving.start()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            log.add(imported(number % 50), connected(number % 50), removed((number + 9) % 50))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(3):
            assert make(page_events=50).verify("fleet").equal
    finally:
        stop.set()
        writer.join(20)
    assert not writer.is_alive()


def test_what_a_crash_left_behind_is_gone_after_the_next_run(make: Make, healthy: Projector, database: Flaky) -> None:
    left = Database(database.url, database.service + SUFFIX)
    left.prepare([Fleet().view(columns={"product_id": int, "device_id": str, "old": str}, indexes=())])
    left.close()
    assert leftovers(database) != []
    assert healthy.verify("fleet").equal
    assert leftovers(database) == []


def test_of_two_that_verify_at_once_one_is_told_so(healthy: Projector, database: Flaky) -> None:
    with scratch(database):
        with pytest.raises(Refused) as refusal:
            healthy.verify("fleet")
        assert refusal.value.code == "scratch_in_use"
    assert healthy.verify("fleet").equal


def test_a_view_of_another_version_is_not_compared(make: Make, healthy: Projector) -> None:
    verified = make(Fleet().view(version=2)).verify("fleet")
    assert not verified.equal
    assert verified.problem == "stored is version 1, this program has 2: it is to be rebuilt"


def test_events_that_are_parked_are_left_out_of_both(make: Make, log: Log) -> None:
    fleet = Fleet()
    log.add(imported(1), named(1, POISON), connected(1))
    projector = make(fleet.view())
    projector.catch_up()
    verified = projector.verify("fleet")
    assert (verified.equal, verified.parked, verified.folded_parked) == (True, 1, 1)
    fleet.healed = True
    verified = projector.verify("fleet")
    assert (verified.equal, verified.parked, verified.folded_parked) == (False, 1, 0)


def test_an_unknown_view_is_not_found(make: Make) -> None:
    with pytest.raises(NotFound):
        make().verify("nobody")


TABLE = st.dictionaries(st.integers(0, 8), st.integers(0, 2)).map(lambda rows: sorted(rows.items()))


@given(TABLE, TABLE)
def test_differences_are_exactly_the_rows_that_are_not_in_both(
    left: list[tuple[int, int]], right: list[tuple[int, int]]
) -> None:
    found = list(differences(iter(left), iter(right), lambda row: row[0]))
    assert sorted(one for one, _ in found if one) == sorted(set(left) - set(right))
    assert sorted(other for _, other in found if other) == sorted(set(right) - set(left))
    assert all(one is None or other is None or one[0] == other[0] for one, other in found)
    assert len({(one or other or (None,))[0] for one, other in found}) == len(found)
