"""How the EventStoreDB adapter reads and forgets. Against the stand-in always, which is asked to misbehave."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from esdbclient import EventStoreDBClient
from esdbclient.exceptions import ServiceUnavailable
from esdbclient.protos.Grpc import streams_pb2

from shared.errors import Misuse, Unavailable
from shared.store.esdb import EsdbEventStore
from shared.store.esdb.client import positions
from shared.store.port import (
    ANY,
    NO_STREAM,
    Append,
    EventStore,
    Only,
    Position,
    Recorded,
    StreamNotFound,
)
from tests.shared.store.esdb import TIMEOUT_S, new
from tests.standins.eventstoredb.node import Node


@pytest.fixture
def store(node: Node) -> Iterator[EventStore]:
    with closing(EsdbEventStore(node.url + "&DefaultDeadline=1", page_s=2, scan_s=0.2)) as opened:
        yield opened


def test_a_read_that_is_cut_is_read_again(node: Node, store: EventStore) -> None:
    store.append("a", NO_STREAM, new(5))
    for only in (Only(), Only(types=frozenset({"Happened"}))):
        node.faults.cut_reads = 1
        assert len(store.read_all(only=only).events) == 5
    node.faults.cut_reads = 1
    assert len(store.read("a")) == 5


def test_a_read_that_is_cut_again_and_again_is_unavailable_and_never_short(node: Node, store: EventStore) -> None:
    store.append("a", NO_STREAM, new(5))
    for call in (lambda: store.read("a"), store.read_all, lambda: store.read_all(only=Only(prefixes=("a",)))):
        node.faults.cut_reads = 100
        with pytest.raises(Unavailable):
            call()


def test_streams_of_many_pages_are_read_whole_in_both_directions(store: EventStore) -> None:
    for number in range(3):
        store.append("a", number * 900 - 1 if number else NO_STREAM, new(900))
    assert [event.version for event in store.read("a")] == list(range(2_700))
    assert [event.version for event in store.read("a", -1, backwards=True)] == list(range(2_699, -1, -1))
    assert [event.version for event in store.read("a", 100, 1_500)] == list(range(100, 1_600))


@pytest.mark.parametrize("scan_s", [0.001, 0.2])
def test_a_filtered_page_moves_on_though_the_server_finds_nothing_in_time(node: Node, scan_s: float) -> None:
    with closing(EsdbEventStore(node.url, scan_s=scan_s)) as store:
        for kind in ("Other", "Other", "Rare"):
            store.append("a", ANY, new(1_500))
            store.append("b", ANY, new(kind=kind))
        rare = store.read("b", -1, backwards=True)[0]
        only = Only(types=frozenset({"Rare"}), prefixes=("b",))
        node.faults.slow_reads = 100
        found: list[Recorded] = []
        looked = [Position(0)]
        while looked[-1] < rare.position:
            page = store.read_all(looked[-1], 10, only)
            found += page.events
            looked.append(page.looked or Position(0))
            assert looked[-1] > looked[-2]
        assert found == [rare]
        node.faults.slow_reads = 0
        assert store.read_all(looked[-1], 10, only).end


def test_a_filtered_page_keeps_what_came_before_its_time_was_over(node: Node, store: EventStore) -> None:
    store.append("a", ANY, [*new(3, "Rare"), *new(600)])
    node.faults.slow_reads = 1
    page = store.read_all(None, 10, Only(types=frozenset({"Rare"})))
    assert len(page.events) == 3
    assert (page.looked, page.end) == (page.events[-1].position, False)


def test_positions_that_are_none_are_never_gone_on_from() -> None:
    class Call:
        def __init__(self, responses: list[streams_pb2.ReadResp]) -> None:
            self._responses = responses

        def __iter__(self) -> Iterator[streams_pb2.ReadResp]:
            return iter(self._responses)

        def cancel(self) -> None:
            self._responses = []

    checkpoint = streams_pb2.ReadResp.Checkpoint
    responses = [
        streams_pb2.ReadResp(checkpoint=checkpoint(commit_position=number)) for number in (0, 7, 2**63, 2**64 - 1)
    ]
    responses.append(streams_pb2.ReadResp(caught_up=streams_pb2.ReadResp.CaughtUp()))
    told = positions(Call(responses))
    assert [next(told), next(told)] == [7, None]
    with pytest.raises(ServiceUnavailable):
        next(told)


def test_a_position_that_the_store_never_gave_is_misuse(store: EventStore) -> None:
    store.append("a", ANY, new())
    with pytest.raises(Misuse):
        store.read_all(Position(98))


def test_the_servers_own_events_are_not_shown(node: Node, store: EventStore) -> None:
    assert store.head() is None
    store.append("a", NO_STREAM, new(3))
    store.truncate("a", 2)
    store.append("b", NO_STREAM, new())
    store.delete("b")
    assert {event.stream for event in store.read_all().events} == {"a", "b"}
    assert {event.stream for event in store.read_all(only=Only(prefixes=("",))).events} == {"a", "b"}
    assert store.read_all().looked == store.head()
    assert len(node.log.all) == 7


@pytest.mark.parametrize("name", ["$stats", "$$a", "$"])
def test_the_servers_own_streams_are_out_of_reach(store: EventStore, name: str) -> None:
    calls: list[Callable[[], object]] = [
        lambda: store.append(name, ANY, new()),
        lambda: store.truncate(name, 1),
        lambda: store.delete(name),
    ]
    for call in calls:
        with pytest.raises(Misuse):
            call()
    assert [type(each) for each in store.append_many([Append(name, ANY, new())])] == [Misuse]


def test_a_stream_that_comes_back_can_be_read_as_soon_as_the_append_is_answered(node: Node, store: EventStore) -> None:
    store.append("a", NO_STREAM, new(2))
    store.delete("a")
    node.faults.late_revivals = 3
    assert store.append("a", NO_STREAM, new()).version == 2
    assert [event.version for event in store.read("a")] == [2]


def test_truncating_all_lets_the_stream_begin_anew_with_numbering_going_on(store: EventStore) -> None:
    store.append("a", NO_STREAM, new(3))
    store.truncate("a", 7)
    with pytest.raises(StreamNotFound):
        store.read("a")
    assert store.append("a", NO_STREAM, new()).version == 3


def test_truncating_keeps_other_metadata_and_never_goes_back(node: Node, store: EventStore) -> None:
    store.append("a", NO_STREAM, new(5))
    with EventStoreDBClient(node.url) as client:
        client.set_stream_metadata("a", metadata={"owner": "me"})
        with ThreadPoolExecutor(4) as threads:
            for done in [threads.submit(store.truncate, "a", before) for before in (1, 3, 2, 3)]:
                done.result(TIMEOUT_S)
        assert client.get_stream_metadata("a")[0] == {"owner": "me", "$tb": 3}


def test_a_repetition_of_events_that_were_forgotten_since_is_no_conflict(store: EventStore) -> None:
    events = new(3)
    store.append("a", NO_STREAM, events)
    store.append("a", 2, new())
    store.truncate("a", 3)
    again = store.append("a", NO_STREAM, events)
    assert again.version == 2
    assert again.position == store.head()
