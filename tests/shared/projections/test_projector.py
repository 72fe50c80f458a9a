from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from shared.context import Context
from shared.errors import Misuse, NotFound, Unavailable
from shared.events.contracts import CONTRACTS, Registry
from shared.events.devices import DeviceDescribed, DeviceImported
from shared.projections.faults import PoisonError
from shared.projections.projector import Projector
from shared.projections.view import Key, Row, View
from shared.store.port import ANY, EventStore, New, Only, Page, Position, Recorded
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
HISTORY = (
    imported(1),
    imported(2),
    connected(1),
    grouped(1, "b", "a"),
    named(2, "two"),
    disconnected(1),
    removed(2),
    imported(3, product=2000),
    connected(2),
)

Make = Callable[..., Projector]


@pytest.fixture
def make(store: EventStore, database: Flaky) -> Iterator[Make]:
    """Makes projectors that are stopped at the end."""
    made: list[Projector] = []

    def maker(*views: View, **options: Any) -> Projector:
        chosen: dict[str, Any] = {"store": store, "database": database, "contracts": CONTRACTS} | options
        made.append(Projector("fleet", views=views or [FLEET], **chosen))
        return made[-1]

    yield maker
    for projector in made:
        projector.stop()


class Away:
    """A store that does not answer while ``away``."""

    def __init__(self, store: EventStore) -> None:
        self._store = store
        self.away = False

    def read_all(self, after: Position | None = None, limit: int = 1_000, only: Only = Only()) -> Page:  # noqa: B008
        if self.away:
            raise Unavailable("away")
        return self._store.read_all(after, limit, only)

    def head(self) -> Position | None:
        if self.away:
            raise Unavailable("away")
        return self._store.head()

    def wait(self, after: Position | None, timeout_s: float) -> bool:
        if self.away:
            raise Unavailable("away")
        return self._store.wait(after, min(timeout_s, 0.02))


def test_rows_and_counters_are_what_the_events_say(make: Make, log: Log, database: Flaky) -> None:
    log.add(*HISTORY)
    make().catch_up()
    rows, counts = content(database, FLEET)
    assert (rows, counts) == expected(FLEET, log.all())
    assert counts == {
        ("product-1000", "offline"): 1,
        ("product-1000/group", "a"): 1,
        ("product-1000/group", "b"): 1,
        ("product-2000", "offline"): 1,
    }
    assert database.checkpoints().load("view/fleet") == log.store.head()


def test_a_page_without_changes_writes_no_rows(make: Make, log: Log) -> None:
    told: list[list[Key]] = []
    projector = make(on_applied=lambda view, keys: told.append(list(keys)))
    log.add(imported(1), named(1, "one"))
    projector.catch_up()
    log.add(named(1, "one"), connected(9))
    projector.catch_up()
    log.add(removed(1))
    projector.catch_up()
    assert told == [[(1000, device(1))], [(1000, device(1))]]


def test_what_is_applied_can_be_read_when_the_callback_is_told(make: Make, log: Log, database: Flaky) -> None:
    seen: list[int] = []
    log.add(*(imported(number) for number in range(30)))
    make(page_events=10, on_applied=lambda view, keys: seen.append(len(content(database, view)[0]))).catch_up()
    assert seen == [10, 30]


def test_a_callback_that_fails_stops_nothing(make: Make, log: Log, database: Flaky) -> None:
    def fail(view: View, keys: object) -> None:
        raise RuntimeError("a bug of the listener")

    log.add(imported(1))
    make(on_applied=fail).catch_up()
    assert len(content(database, FLEET)[0]) == 1


def test_a_running_projector_follows_the_store(make: Make, log: Log, database: Flaky) -> None:
    projector = make()
    projector.start()
    for number in range(5):
        position = log.add(imported(number), stream=f"device-{number}")
        assert projector.wait_for(position, 20)
        assert (1000, device(number)) in content(database, FLEET)[0]


def test_it_goes_on_where_it_was(make: Make, log: Log, database: Flaky) -> None:
    log.add(imported(1), imported(2))
    first = make()
    first.start()
    assert first.wait_for(log.store.head(), 20)
    first.stop()
    told: list[Key] = []
    log.add(named(2, "two"))
    second = make(on_applied=lambda view, keys: told.extend(keys))
    second.start()
    assert second.wait_for(log.store.head(), 20)
    second.stop()  # it tells after it lets go whoever waits
    assert told == [(1000, device(2))]


def test_it_can_be_started_and_stopped_again(make: Make, log: Log) -> None:
    projector = make()
    projector.stop()
    for number in range(2):
        projector.start()
        projector.start()
        assert projector.wait_for(log.add(imported(number)), 20)
        projector.stop()
        projector.stop()


def test_waiting_for_nothing_is_over_at_once_and_for_the_future_times_out(make: Make, log: Log) -> None:
    projector = make()
    assert projector.wait_for(None, 0)
    position = log.add(imported(1))
    assert not projector.wait_for(position, 0.01)
    projector.catch_up()
    assert projector.wait_for(position, 0)


def test_a_view_that_hears_of_no_event_is_not_behind(make: Make, log: Log, database: Flaky) -> None:
    projector = make(replace(FLEET, name="imports", events=(DeviceImported,)))
    projector.start()
    assert projector.wait_for(log.add(connected(1), connected(2)), 20)
    projector.stop()
    assert database.checkpoints().load("view/imports") == log.store.head()


def test_status_tells_how_far_each_view_is(make: Make, log: Log) -> None:
    projector = make()
    projector.catch_up()
    (empty,) = projector.status()
    assert (empty.position, empty.head, empty.lag_events, empty.lag_s, empty.error) == (None, None, 0, 0.0, None)
    log.add(*HISTORY)
    (behind,) = projector.status()
    assert behind.lag_events == len(HISTORY)
    projector.catch_up()
    (status,) = projector.status()
    assert (status.name, status.version, status.lag_events, status.lag_s) == ("fleet", 1, 0, 0.0)
    assert status.position == status.head == log.store.head()


def test_an_event_that_cannot_be_folded_is_parked_alone(make: Make, log: Log, database: Flaky) -> None:
    log.add(*(imported(number) for number in range(50)), named(7, POISON), named(8, "eight"), named(7, "seven"))
    projector = make()
    projector.catch_up()
    assert content(database, FLEET) == expected(FLEET, log.all())
    (parked,) = projector.parked()
    assert (parked.view, parked.type, parked.stream, parked.version) == ("fleet", "DeviceDescribed", "device-1", 50)
    assert parked.error == "ValueError: cannot fold this name"
    assert projector.parked("fleet") == [parked]
    assert projector.status()[0].parked == 1


def test_events_that_nobody_knows_are_parked(make: Make, log: Log, database: Flaky) -> None:
    log.add(imported(1))
    known = CONTRACTS.encode(imported(2), 0, Context.new("system:test", "test"))
    newer = known.meta.replace(b'"schema":1', b'"schema":99')
    broken = New(uuid4(), "DeviceImported", b'{"device_id": 7}', known.meta)
    log.store.append("device-2", ANY, [msgspec.structs.replace(known, meta=newer), broken])
    projector = make()
    projector.catch_up()
    assert [parked.error.split(":")[0] for parked in projector.parked()] == ["UnknownEvent", "ValidationError"]
    assert len(content(database, FLEET)[0]) == 1


def test_a_type_that_the_registry_lacks_is_parked(make: Make, log: Log) -> None:
    log.add(imported(1))
    projector = make(contracts=Registry([]))
    projector.catch_up()
    assert projector.parked()[0].error == "UnknownEvent: DeviceImported is in no contract"


def test_a_row_that_cannot_be_written_is_parked(make: Make, log: Log, database: Flaky) -> None:
    def fold(row: Any, event: Any, recorded: Any) -> dict[str, Any]:
        return {"device_id": event.device_id, "number": 2**80 if event.device_id == device(2) else 1}

    view = View(
        name="numbers",
        version=1,
        key=("device_id",),
        columns={"device_id": str, "number": int},
        events=(DeviceImported,),
        keys=lambda event: ((event.device_id,),),
        fold=fold,
    )
    log.add(*(imported(number) for number in range(5)))
    projector = make(view)
    projector.catch_up()
    assert len(content(database, view)[0]) == 4
    assert [parked.version for parked in projector.parked()] == [2]


@pytest.mark.parametrize("row", [{"device_id": "other"}, {"device_id": device(1), "more": 1}, {}])
def test_a_row_that_does_not_fit_the_view_is_parked(make: Make, log: Log, row: dict[str, Any]) -> None:
    view = View(
        name="wrong",
        version=1,
        key=("device_id",),
        columns={"device_id": str},
        events=(DeviceImported,),
        keys=lambda event: ((event.device_id,),),
        fold=lambda before, event, recorded: row,
    )
    log.add(imported(1))
    projector = make(view)
    projector.catch_up()
    assert projector.parked()[0].error.startswith("Misuse")


def test_a_view_of_keys_alone_can_be_kept(make: Make, log: Log, database: Flaky) -> None:
    view = View(
        name="keys",
        version=1,
        key=("device_id",),
        columns={"device_id": str},
        events=(DeviceImported,),
        keys=lambda event: ((event.device_id,),),
        fold=lambda row, event, recorded: {"device_id": event.device_id},
    )
    log.add(imported(1), imported(2))
    projector = make(view)
    projector.catch_up()
    log.add(imported(1))
    projector.catch_up()
    assert set(content(database, view)[0]) == {(device(1),), (device(2),)}


def test_an_event_that_cannot_be_folded_into_one_of_its_rows_changes_none(
    make: Make, log: Log, database: Flaky
) -> None:
    def fold(row: Row | None, event: Any, recorded: Recorded) -> Row | None:
        if isinstance(event, DeviceDescribed) and row is not None:
            if event.name == POISON and row["device_id"] == device(2):
                raise ValueError("not this row")
            return {**row, "name": event.name}
        return FLEET.fold(row, event, recorded)

    def keys(event: Any) -> list[Key]:
        both = isinstance(event, DeviceDescribed)
        return [(1000, device(number)) for number in (1, 2)] if both else [(1000, event.device_id)]

    view = replace(FLEET, keys=keys, fold=fold)
    log.add(imported(1), imported(2), named(1, "both"), named(1, POISON))
    make(view).catch_up()
    assert [row["name"] for row in content(database, view)[0].values()] == ["both", "both"]


def test_a_view_that_stops_at_poison_says_so_and_the_others_go_on(make: Make, log: Log, database: Flaky) -> None:
    fleet = Fleet()
    strict, other = fleet.view(name="strict", on_poison="stop"), fleet.view(name="other")
    projector = make(strict, other)
    log.add(imported(1), named(1, POISON))
    projector.start()
    last = log.add(connected(1))
    assert wait_until(lambda: projector.status()[0].error is not None and projector.status()[1].position == last)
    stopped = projector.status()[0]
    assert "strict stops at DeviceDescribed device-1/1: ValueError: cannot fold this name" in str(stopped.error)
    assert (stopped.parked, stopped.position, stopped.lag_events) == (0, 1, 2)
    assert stopped.lag_s is not None
    assert not projector.wait_for(last, 0.01)
    fleet.healed = True
    assert projector.wait_for(last, 20)
    assert content(database, strict)[0][1000, device(1)]["name"] == POISON
    assert wait_until(lambda: projector.status()[0].error is None)


def test_catching_up_raises_what_keeps_a_view_from_it(make: Make, log: Log, database: Flaky) -> None:
    strict, other = Fleet().view(name="strict", on_poison="stop"), Fleet().view(name="other")
    log.add(imported(1), named(1, POISON), connected(1))
    with pytest.raises(PoisonError):
        make(strict, other).catch_up()
    assert content(database, other)[0][1000, device(1)]["online"]
    assert not content(database, strict)[0][1000, device(1)]["online"]


def test_a_parked_event_is_folded_when_it_is_tried_again(make: Make, log: Log, database: Flaky) -> None:
    fleet = Fleet()
    log.add(imported(1), named(1, POISON), grouped(1, "a"))
    told: list[Key] = []
    projector = make(fleet.view(), on_applied=lambda view, keys: told.extend(keys))
    projector.catch_up()
    (parked,) = projector.parked()
    assert not projector.retry(parked.id)
    assert projector.parked()[0].error == parked.error
    fleet.healed = True
    told.clear()
    assert projector.retry(parked.id)
    assert told == [(1000, device(1))]
    assert projector.parked() == []
    assert content(database, FLEET)[0][1000, device(1)]["name"] == POISON
    with pytest.raises(NotFound):
        projector.retry(parked.id)


def test_a_parked_event_that_the_store_forgot_stays_parked(make: Make, log: Log) -> None:
    log.add(imported(1), named(1, POISON))
    projector = make()
    projector.catch_up()
    log.store.delete("device-1")
    (parked,) = projector.parked()
    assert not projector.retry(parked.id)
    assert projector.parked()[0].error == "NotFound: the event is no longer in the store"


def test_what_is_asked_of_an_unknown_view_is_not_found(make: Make) -> None:
    projector = make()
    with pytest.raises(NotFound):
        projector.rebuild("nobody")
    with pytest.raises(NotFound):
        projector.parked("nobody")


def test_two_views_of_one_name_are_misuse(make: Make) -> None:
    with pytest.raises(Misuse):
        make(FLEET, FLEET)


def test_a_store_that_is_away_is_waited_for(make: Make, log: Log, database: Flaky) -> None:
    away = Away(log.store)
    projector = make(store=away)
    projector.start()
    assert projector.wait_for(log.add(imported(1)), 20)
    away.away = True
    position = log.add(imported(2))
    assert wait_until(lambda: projector.status()[0].error == "Unavailable: away")
    (status,) = projector.status()
    assert (status.head, status.lag_events) == (None, None)
    away.away = False
    assert projector.wait_for(position, 20)
    assert wait_until(lambda: projector.status()[0].error is None)


@pytest.mark.parametrize("how", ["before", "after"])
def test_a_crash_of_the_database_neither_loses_nor_repeats_an_event(
    make: Make, log: Log, database: Flaky, how: str
) -> None:
    projector = make(page_events=2)
    projector.start()
    database.plan = ["", how, how]
    position = log.add(*HISTORY)
    assert projector.wait_for(position, 20)
    assert content(database, FLEET) == expected(FLEET, log.all())
    assert projector.parked() == []


def test_of_two_processes_one_applies_each_event_and_both_know(
    make: Make, log: Log, open_database: Callable[[], Flaky]
) -> None:
    pair = [make(database=open_database(), page_events=3) for _ in range(2)]
    for projector in pair:
        projector.start()
    for number in range(20):
        position = log.add(imported(number), connected(number), disconnected(number))
        assert all(projector.wait_for(position, 20) for projector in pair)
    assert content(open_database(), FLEET) == expected(FLEET, log.all())
    assert [status.error for projector in pair for status in projector.status()] == [None, None]


def test_a_stand_by_takes_over(make: Make, log: Log, open_database: Callable[[], Flaky]) -> None:
    first, second = (make(database=open_database()) for _ in range(2))
    told: list[list[Key]] = []
    third = make(database=open_database(), on_applied=lambda view, keys: told.append(list(keys)))
    third.catch_up()
    log.add(imported(1))
    first.catch_up()
    log.add(imported(2))
    second.catch_up()
    third.start()  # it is at the beginning, loses its first page, and hears that everything may be other
    assert third.wait_for(log.store.head(), 20)
    assert told == [[]]
    assert third.wait_for(log.add(imported(3)), 20)
    assert told == [[], [(1000, device(3))]]
