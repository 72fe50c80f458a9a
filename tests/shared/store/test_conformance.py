"""What every event store must do, said in terms of the port alone."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from queue import SimpleQueue
from typing import Any
from uuid import uuid4

import pytest

from shared.errors import Conflict, Misuse, NotFound, Unavailable
from shared.store.port import (
    ANY,
    MAX_APPEND_BYTES,
    MAX_APPEND_EVENTS,
    NO_STREAM,
    Append,
    Appended,
    AppendTooLarge,
    CaughtUp,
    EventStore,
    New,
    Only,
    Position,
    Recorded,
    StreamNotFound,
    StreamTombstoned,
    Subscription,
)

Opener = Callable[[], EventStore]
TIMEOUT_S = 10.0
EVERYTHING = Only()


def new(count: int = 1, kind: str = "Happened") -> list[New]:
    return [New(uuid4(), kind, b'{"n":%d}' % n, b'{"schema":1}') for n in range(count)]


def ids(events: Sequence[New | Recorded]) -> list[object]:
    return [event.id for event in events]


def everything(store: EventStore, limit: int = 1_000, only: Only = EVERYTHING) -> list[Recorded]:
    """All events, page by page."""
    events: list[Recorded] = []
    position: Position | None = None
    for _ in range(1_000):
        page = store.read_all(position, limit, only)
        events += page.events
        position = page.looked
        if page.end:
            return events
    raise AssertionError("no end")


@contextmanager
def followed(subscription: Subscription) -> Iterator[Callable[[], Recorded | CaughtUp]]:
    """What a subscription delivers to another thread, one at a time."""
    delivered: SimpleQueue[Recorded | CaughtUp] = SimpleQueue()

    def follow() -> None:
        for item in subscription:
            delivered.put(item)

    with ThreadPoolExecutor(1) as thread:
        done = thread.submit(follow)
        try:
            yield lambda: delivered.get(timeout=TIMEOUT_S)
        finally:
            subscription.stop()
            done.result(TIMEOUT_S)


# appending and reading one stream


def test_what_is_appended_is_read_back(store: EventStore) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    events = new(3)
    appended = store.append("device-1", NO_STREAM, events)
    read = store.read("device-1")
    assert [(event.id, event.type, event.data, event.meta) for event in read] == [
        (event.id, event.type, event.data, event.meta) for event in events
    ]
    assert [event.stream for event in read] == ["device-1"] * 3
    assert [event.version for event in read] == [0, 1, 2]
    assert appended == Appended(2, read[-1].position)
    assert before <= read[0].at <= datetime.now(UTC) + timedelta(seconds=1)
    assert read[0].at.tzinfo is not None


def test_names_and_data_of_any_kind_survive(store: EventStore) -> None:
    event = New(uuid4(), "Überholt", '{"text":"☃"}'.encode(), b"{}")
    store.append("gerät-☃'%_\"", NO_STREAM, [event])
    read = store.read("gerät-☃'%_\"")[0]
    assert (read.stream, read.type, read.data) == ("gerät-☃'%_\"", "Überholt", event.data)


def test_a_recorded_event_is_a_value(store: EventStore) -> None:
    store.append("a", NO_STREAM, new())
    event = store.read("a")[0]
    made = Recorded(
        id=event.id,
        type=event.type,
        stream=event.stream,
        version=event.version,
        position=event.position,
        at=event.at,
        data=event.data,
        meta=event.meta,
    )
    assert made == event == copy.copy(event) == pickle.loads(pickle.dumps(event))
    assert hash(made) == hash(event)
    assert event.type in repr(event)
    with pytest.raises(AttributeError):
        event.version = 7  # type: ignore[misc]


def test_positions_rise_over_all_streams_and_times_never_fall(store: EventStore) -> None:
    for number in range(10):
        store.append(f"device-{number % 3}", ANY, new(2))
    events = everything(store)
    assert [event.position for event in events] == sorted({event.position for event in events})
    assert len(events) == 20
    times = [event.at for event in events]
    assert times == sorted(times)


def test_an_append_behind_another_version_is_a_conflict_and_stores_nothing(store: EventStore) -> None:
    store.append("a", NO_STREAM, new(2))
    for expected in (0, 2, 7, NO_STREAM):
        with pytest.raises(Conflict) as conflict:
            store.append("a", expected, new())
        assert conflict.value.stream == "a"
        assert conflict.value.actual in ("1", "")
    assert len(store.read("a")) == 2
    assert len(everything(store)) == 2


def test_an_exact_version_of_a_stream_that_does_not_exist_is_a_conflict(store: EventStore) -> None:
    with pytest.raises(Conflict):
        store.append("a", 0, new())
    with pytest.raises(StreamNotFound):
        store.read("a")


@pytest.mark.parametrize("count", [1, 3])
def test_a_repeated_append_answers_as_it_did_the_first_time(store: EventStore, count: int) -> None:
    first, second = new(count), new(count)
    answers = [store.append("a", NO_STREAM, first), store.append("a", count - 1, second)]
    store.append("b", NO_STREAM, new())
    store.append("a", 2 * count - 1, new())
    assert [store.append("a", NO_STREAM, first), store.append("a", count - 1, second)] == answers
    assert len(store.read("a")) == 2 * count + 1


def test_the_first_events_of_an_append_alone_are_a_repetition_too(store: EventStore) -> None:
    events = new(3)
    store.append("a", NO_STREAM, events)
    assert store.append("a", NO_STREAM, events[:2]) == Appended(1, store.read("a")[1].position)


def test_a_repetition_with_one_other_event_is_a_conflict(store: EventStore) -> None:
    events = new(3)
    store.append("a", NO_STREAM, events)
    for other in ([*events[:2], *new()], [*new(), *events[1:]], [*events, *new()], events[1:]):
        with pytest.raises(Conflict):
            store.append("a", NO_STREAM, other)
    assert ids(store.read("a")) == ids(events)


def test_any_appends_whatever_the_version_is(store: EventStore) -> None:
    assert store.append("a", ANY, new()).version == 0
    assert store.append("a", ANY, new(2)).version == 2
    assert store.append("a", 2, new()).version == 3


def test_any_repeated_at_once_changes_nothing(store: EventStore) -> None:
    first, second = new(2), new()
    answers = [store.append("a", ANY, first), store.append("a", ANY, second)]
    assert [store.append("a", ANY, first), store.append("a", ANY, second)] == answers
    assert ids(store.read("a")) == ids([*first, *second])


def test_any_with_known_and_unknown_events_is_a_conflict(store: EventStore) -> None:
    known = new()
    store.append("a", ANY, known)
    with pytest.raises(Conflict):
        store.append("a", ANY, [*known, *new()])
    assert ids(store.read("a")) == ids(known)


def test_nothing_cannot_be_appended(store: EventStore) -> None:
    with pytest.raises(Misuse):
        store.append("a", ANY, [])


@pytest.mark.parametrize("kind", ["", "$system", "$>"])
def test_types_of_the_store_itself_are_refused(store: EventStore, kind: str) -> None:
    with pytest.raises(Misuse):
        store.append("a", ANY, new(kind=kind))


def test_versions_below_zero_are_no_expectation(store: EventStore) -> None:
    with pytest.raises(Misuse):
        store.append("a", -1, new())


def test_an_append_may_be_as_large_as_the_limit_and_no_larger(store: EventStore) -> None:
    def of_size(size_bytes: int) -> list[New]:
        return [New(uuid4(), "Big", b"x" * (size_bytes - 2 - 2 * len("Big")), b"{}")]

    with pytest.raises(AppendTooLarge):
        store.append("a", ANY, of_size(MAX_APPEND_BYTES + 1))
    store.append("a", ANY, of_size(MAX_APPEND_BYTES))
    assert len(store.read("a")) == 1


def test_an_append_may_have_as_many_events_as_the_limit_and_no_more(store: EventStore) -> None:
    with pytest.raises(AppendTooLarge):
        store.append("a", ANY, new(MAX_APPEND_EVENTS + 1))
    assert store.append("a", ANY, new(MAX_APPEND_EVENTS)).version == MAX_APPEND_EVENTS - 1


def test_a_stream_is_read_from_any_version_in_both_directions(store: EventStore) -> None:
    store.append("a", NO_STREAM, new(5))

    def versions(first: int = 0, limit: int | None = None, backwards: bool = False) -> list[int]:
        return [event.version for event in store.read("a", first, limit, backwards=backwards)]

    assert versions(2) == [2, 3, 4]
    assert versions(1, 2) == [1, 2]
    assert versions(5) == []
    assert versions(99, 1) == []
    assert versions(-1, None, True) == [4, 3, 2, 1, 0]
    assert versions(-1, 2, True) == [4, 3]
    assert versions(2, 2, True) == [2, 1]
    assert versions(99, 1, True) == [4]


def test_a_stream_without_events_is_not_found(store: EventStore) -> None:
    store.append("a", NO_STREAM, new())
    for backwards in (False, True):
        with pytest.raises(StreamNotFound):
            store.read("b", -1 if backwards else 0, backwards=backwards)


@pytest.mark.parametrize(("first", "limit", "backwards"), [(-1, None, False), (-2, None, True), (0, 0, False)])
def test_what_cannot_be_read_is_misuse(store: EventStore, first: int, limit: int | None, backwards: bool) -> None:
    with pytest.raises(Misuse):
        store.read("a", first, limit, backwards=backwards)


# many appends at once


def test_many_appends_have_one_outcome_each_in_order(store: EventStore) -> None:
    store.append("taken", NO_STREAM, new())
    outcomes = store.append_many(
        [
            Append("a", NO_STREAM, new(2)),
            Append("taken", NO_STREAM, new()),
            Append("b", NO_STREAM, []),
            Append("b", NO_STREAM, new(MAX_APPEND_EVENTS + 1)),
            Append("b", NO_STREAM, new()),
            Append("a", 1, new()),
            Append("a", 1, new()),
        ]
    )
    kinds = [Appended, Conflict, Misuse, AppendTooLarge, Appended, Appended, Conflict]
    assert [type(outcome) for outcome in outcomes] == kinds
    assert outcomes[0] == Appended(1, store.read("a")[1].position)
    assert outcomes[5] == Appended(2, store.read("a")[2].position)
    assert len(everything(store)) == 5
    assert store.append_many([]) == []


def test_thousands_of_appends_are_stored_and_may_be_repeated(store: EventStore) -> None:
    appends = [Append(f"device-{number}", NO_STREAM, new(2)) for number in range(1_500)]
    outcomes = store.append_many(appends)
    assert all(isinstance(outcome, Appended) for outcome in outcomes)
    assert store.append_many(appends) == outcomes
    assert ids(everything(store)) == ids([event for append in appends for event in append.events])


# all streams


@pytest.mark.parametrize("limit", [1, 3, 7, 1_000])
def test_pages_of_any_size_give_the_same_events(store: EventStore, limit: int) -> None:
    written: list[New] = []
    for number in range(6):
        events = new(number + 1)
        store.append(f"device-{number % 2}", ANY, events)
        written += events
    assert ids(everything(store, limit)) == ids(written)


def test_a_page_says_where_it_looked_and_whether_that_is_the_end(store: EventStore) -> None:
    empty = store.read_all()
    assert (empty.events, empty.looked, empty.end) == ([], None, True)
    store.append("a", ANY, new(3))
    page = store.read_all(limit=2)
    assert (len(page.events), page.looked, page.end) == (2, page.events[-1].position, False)
    rest = store.read_all(page.looked)
    assert (len(rest.events), rest.looked, rest.end) == (1, store.head(), True)
    nothing = store.read_all(rest.looked)
    assert (nothing.events, nothing.looked, nothing.end) == ([], rest.looked, True)


def test_a_filter_takes_exact_types_and_beginnings_of_names(store: EventStore) -> None:
    for stream in ("device-1", "device-2", "devices", "product-1", "DEVICE-1"):
        store.append(stream, ANY, [*new(kind="Locked"), *new(kind="LockedOut")])

    def found(only: Only) -> set[tuple[str, str]]:
        for limit in (1, 2, 1_000):
            events = everything(store, limit, only)
            assert [event.position for event in events] == sorted(event.position for event in events)
        return {(event.stream, event.type) for event in events}

    both = ("Locked", "LockedOut")
    streams = ("device-1", "device-2", "devices", "product-1", "DEVICE-1")
    assert found(Only(types=frozenset({"Locked"}))) == {(stream, "Locked") for stream in streams}
    assert found(Only(prefixes=("device-",))) == {(s, t) for s in ("device-1", "device-2") for t in both}
    assert found(Only(prefixes=("product-", "devices"))) == {(s, t) for s in ("product-1", "devices") for t in both}
    assert found(Only(frozenset({"Locked"}), ("device-",))) == {("device-1", "Locked"), ("device-2", "Locked")}
    assert found(Only(types=frozenset({"Unheard"}))) == set()
    assert len(found(Only())) == 10


@pytest.mark.parametrize("prefix", ["dev_", "dev%", "dev*", "[d]ev", ".*", "dev\\"])
def test_signs_in_a_prefix_mean_themselves(store: EventStore, prefix: str) -> None:
    store.append("devices", ANY, new())
    mine = new()
    store.append(f"{prefix}1", ANY, mine)
    assert ids(everything(store, only=Only(prefixes=(prefix,)))) == ids(mine)


def test_a_filter_moves_on_over_what_does_not_match(store: EventStore) -> None:
    wanted = new(kind="Rare")
    store.append("a", ANY, [*new(5), *wanted, *new(5)])
    only = Only(types=frozenset({"Rare"}))
    page = store.read_all(None, 10, only)
    assert (ids(page.events), page.looked, page.end) == (ids(wanted), store.head(), True)
    page = store.read_all(page.looked, 10, only)
    assert (page.events, page.looked, page.end) == ([], store.head(), True)
    store.append("a", ANY, new(3))
    assert store.read_all(page.looked, 10, only).looked == store.head()


def test_the_head_is_the_last_position(store: EventStore) -> None:
    assert store.head() is None
    assert store.append("a", ANY, new(3)).position == store.head()
    assert store.append("b", ANY, new()).position == store.head()


def test_the_event_at_a_position_is_found_again(store: EventStore) -> None:
    store.append("a", NO_STREAM, new(3))
    store.append("b", NO_STREAM, new(kind="Rare"))
    store.append("a", 2, new(2))
    for event in everything(store):
        assert store.at(event.position) == event


def test_where_no_event_is_none_is_found(store: EventStore) -> None:
    with pytest.raises(NotFound):
        store.at(Position(1))
    head = store.append("a", NO_STREAM, new(2)).position
    for position in (-1, 0, head + 1, 2**63 - 1, 2**63, 2**64):
        with pytest.raises(NotFound, match=str(position)):
            store.at(Position(position))


def test_forgotten_events_are_not_found_at_their_positions(store: EventStore) -> None:
    for stream in ("truncated", "deleted", "tombstoned"):
        store.append(stream, NO_STREAM, new(3))
    events = everything(store)
    store.truncate("truncated", 1)
    store.delete("deleted")
    store.delete("tombstoned", forever=True)
    back = store.append("deleted", NO_STREAM, new()).position
    kept = events[1:3]
    for event in events:
        if event in kept:
            assert store.at(event.position) == event
        else:
            with pytest.raises(NotFound):
                store.at(event.position)
    assert store.at(back).stream == "deleted"


# following


def test_a_subscription_delivers_what_there_is_and_then_what_comes(store: EventStore) -> None:
    old = new(3)
    store.append("a", ANY, old)
    with followed(store.subscribe()) as following:
        assert ids([following() for _ in range(3)]) == ids(old)  # type: ignore[misc]
        assert following() == CaughtUp(store.head())
        fresh = new(2)
        appended = store.append("b", ANY, fresh)
        assert ids([following() for _ in range(2)]) == ids(fresh)  # type: ignore[misc]
        assert following() == CaughtUp(appended.position)


def test_a_subscription_to_nothing_says_so_once(store: EventStore) -> None:
    with followed(store.subscribe()) as following:
        assert following() == CaughtUp(None)
        event = new()
        store.append("a", ANY, event)
        first = following()
        assert isinstance(first, Recorded)
        assert first.id == event[0].id


def test_a_subscription_goes_on_behind_a_position(store: EventStore) -> None:
    after = store.append("a", ANY, new(2)).position
    later = new(2)
    store.append("a", ANY, later)
    with followed(store.subscribe(after)) as following:
        assert ids([following() for _ in range(2)]) == ids(later)  # type: ignore[misc]
        assert isinstance(following(), CaughtUp)


def test_a_subscription_filters(store: EventStore) -> None:
    store.append("a", ANY, new(3))
    with followed(store.subscribe(only=Only(types=frozenset({"Rare"}), prefixes=("a", "b")))) as following:
        assert following() == CaughtUp(store.head())
        store.append("a", ANY, new(3))
        store.append("c", ANY, new(kind="Rare"))
        rare = new(kind="Rare")
        store.append("b", ANY, rare)
        delivered = following()
        assert isinstance(delivered, Recorded)
        assert delivered.id == rare[0].id


def test_a_stopped_subscription_ends_even_in_the_middle_of_a_page(store: EventStore) -> None:
    store.append("a", ANY, new(10))
    subscription = store.subscribe()
    delivered = 0
    for _ in subscription:
        delivered += 1
        if delivered == 4:
            subscription.stop()
    assert delivered == 4
    assert list(subscription) == []


def test_a_subscription_sees_what_others_append(open_again: Opener) -> None:
    mine, other = open_again(), open_again()
    with followed(mine.subscribe()) as following:
        assert following() == CaughtUp(None)
        event = new()
        other.append("a", ANY, event)
        delivered = following()
        assert isinstance(delivered, Recorded)
        assert delivered.id == event[0].id


def test_waiting_ends_when_there_is_something(store: EventStore) -> None:
    assert store.wait(None, 0.01) is False
    with ThreadPoolExecutor(8) as threads:
        waiting = [threads.submit(store.wait, None, TIMEOUT_S) for _ in range(8)]
        head = store.append("a", ANY, new()).position
        assert all(each.result(TIMEOUT_S) for each in waiting)
    assert store.wait(None, 0) is True
    assert store.wait(head, 0.01) is False


def test_waiting_ends_when_others_append(open_again: Opener) -> None:
    mine, other = open_again(), open_again()
    with ThreadPoolExecutor(2) as threads:
        waiting = [threads.submit(mine.wait, None, TIMEOUT_S) for _ in range(2)]
        other.append("a", ANY, new())
        assert all(each.result(TIMEOUT_S) for each in waiting)


# forgetting


def test_truncated_events_are_gone_and_numbering_stays(store: EventStore) -> None:
    events = new(5)
    store.append("a", NO_STREAM, events)
    store.append("b", NO_STREAM, new())
    store.truncate("a", 3)
    assert [event.version for event in store.read("a")] == [3, 4]
    assert [event.version for event in store.read("a", -1, backwards=True)] == [4, 3]
    assert store.append("a", 4, new()).version == 5
    store.truncate("a", 1)
    assert [event.version for event in store.read("a")] == [3, 4, 5]
    assert len(store.read("b")) == 1
    assert {event.id for event in everything(store)} >= {event.id for event in events[3:]}


def test_truncating_what_does_not_exist_changes_nothing(store: EventStore) -> None:
    store.truncate("a", 3)
    assert store.append("a", NO_STREAM, new()).version == 0


def test_a_deleted_stream_is_not_found_and_may_come_back_with_numbering_going_on(store: EventStore) -> None:
    store.append("a", NO_STREAM, new(3))
    store.delete("a")
    with pytest.raises(StreamNotFound):
        store.read("a")
    store.delete("a")
    back = new(2)
    assert store.append("a", NO_STREAM, back).version == 4
    assert ids(store.read("a")) == ids(back)
    assert store.append("a", NO_STREAM, back).version == 4
    with pytest.raises(Conflict):
        store.append("a", NO_STREAM, new())


def test_deleting_what_does_not_exist_changes_nothing(store: EventStore) -> None:
    store.delete("a")
    assert store.append("a", NO_STREAM, new()).version == 0


def test_a_stream_that_was_deleted_for_ever_stays_so(store: EventStore) -> None:
    store.append("a", NO_STREAM, new(3))
    store.append("ab", NO_STREAM, new())
    store.delete("a", forever=True)
    store.delete("a", forever=True)
    for expected in (NO_STREAM, ANY, 2):
        with pytest.raises(StreamTombstoned):
            store.append("a", expected, new())
    with pytest.raises(StreamTombstoned):
        store.read("a")
    assert [type(outcome) for outcome in store.append_many([Append("a", ANY, new())])] == [StreamTombstoned]
    assert len(store.read("ab")) == 1


def test_positions_go_on_behind_forgotten_events(store: EventStore) -> None:
    store.append("a", NO_STREAM, new())
    last = store.append("b", NO_STREAM, new(3)).position
    store.delete("b")
    assert store.append("a", 0, new()).position > last
    assert ids(store.read_all(last).events) == ids(store.read("a", 1))


# many at once, and the end


def test_of_many_writers_with_the_same_expectation_one_wins(store: EventStore) -> None:
    start = threading.Barrier(8)

    def race() -> bool:
        start.wait(TIMEOUT_S)
        try:
            store.append("a", NO_STREAM, new())
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        wins = [threads.submit(race) for _ in range(8)]
        assert sum(win.result(TIMEOUT_S) for win in wins) == 1
    assert len(store.read("a")) == 1


def test_writers_that_decide_again_after_a_conflict_lose_nothing(open_again: Opener) -> None:
    stores = [open_again(), open_again()]

    def count_up(store: EventStore, times: int) -> list[New]:
        done: list[New] = []
        while len(done) < times:
            event = new()
            try:
                version = store.read("a", -1, 1, backwards=True)[0].version
            except StreamNotFound:
                version = -1
            try:
                store.append("a", NO_STREAM if version < 0 else version, event)
            except Conflict:
                continue
            done += event
        return done

    with ThreadPoolExecutor(6) as threads:
        results = [threads.submit(count_up, stores[number % 2], 15) for number in range(6)]
        written = [event for result in results for event in result.result(60)]
    events = stores[0].read("a")
    assert [event.version for event in events] == list(range(90))
    assert set(ids(events)) == set(ids(written))


def test_readers_see_whole_appends_only(store: EventStore) -> None:
    done = threading.Event()

    def write() -> None:
        for _ in range(60):
            store.append("a", ANY, new(5))
        done.set()

    with ThreadPoolExecutor(1) as threads:
        writing = threads.submit(write)
        while not done.is_set() and not writing.done():
            try:
                assert len(store.read("a")) % 5 == 0
            except StreamNotFound:
                continue  # nothing is written yet
        writing.result(TIMEOUT_S)
    assert len(store.read("a")) == 300


def test_what_was_appended_is_there_when_the_store_is_opened_again(open_again: Opener) -> None:
    first = open_again()
    appended = first.append("a", NO_STREAM, new(3))
    events = first.read("a")
    first.close()
    again = open_again()
    assert again.read("a") == events
    assert again.head() == appended.position
    assert again.append("a", 2, new()).version == 3


def test_a_closed_store_is_unavailable(store: EventStore) -> None:
    store.append("a", NO_STREAM, new())
    store.close()
    store.close()
    calls: list[Callable[[], object]] = [
        lambda: store.append("a", ANY, new()),
        lambda: store.read("a"),
        lambda: store.read_all(),
        lambda: store.at(Position(1)),
        lambda: store.head(),
        lambda: store.wait(None, 1),
        lambda: store.truncate("a", 1),
        lambda: store.delete("a"),
        lambda: list(store.subscribe()),
    ]
    for call in calls:
        with pytest.raises(Unavailable):
            call()


def test_closing_ends_what_waits(store: EventStore) -> None:
    caught_up = threading.Event()

    def follow() -> None:
        for _ in store.subscribe():
            caught_up.set()

    with ThreadPoolExecutor(2) as threads:
        running: list[Future[Any]] = [threads.submit(follow), threads.submit(store.wait, None, 60)]
        assert caught_up.wait(TIMEOUT_S)
        store.close()
        for each in running:
            with pytest.raises(Unavailable):
                each.result(TIMEOUT_S)
