"""What only the EventStoreDB adapter can get wrong: lost replies, time limits, leaders, dead links, forgetful servers.

These run against the stand-in always, because they ask it to misbehave.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from queue import SimpleQueue
from uuid import UUID, uuid4

import pytest
from esdbclient import EventStoreDBClient
from esdbclient.exceptions import ServiceUnavailable
from esdbclient.protos.Grpc import shared_pb2, streams_pb2
from google.protobuf.message import Message

from shared.errors import Conflict, Misuse, Unavailable, Unknown
from shared.store.esdb import EsdbEventStore
from shared.store.esdb.client import positions
from shared.store.port import (
    ANY,
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
)
from tests.shared.store.relay import Relay
from tests.standins.eventstoredb.node import Cluster, Node

TIMEOUT_S = 20.0
QUICK = "&DefaultDeadline=1"


FORK = """
import os, sys
from uuid import uuid4
from shared.errors import Misuse
from shared.store import open_store
from shared.store.port import ANY, NO_STREAM, New

new = lambda: [New(uuid4(), "Happened", b"{}", b"{}")]
store = open_store(sys.argv[1])
store.append("a", NO_STREAM, new())
child = os.fork()
if child == 0:
    refused = 0
    for call in (lambda: store.read("a"), lambda: store.append("a", ANY, new()), store.close):
        try:
            call()
        except Misuse:
            refused += 1
    os._exit(refused)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(store.append("a", 0, new()).version)
store.close()
"""


def new(count: int = 1, kind: str = "Happened") -> list[New]:
    return [New(uuid4(), kind, b"{}", b"{}") for _ in range(count)]


@pytest.fixture
def node() -> Iterator[Node]:
    node = Node()
    yield node
    node.stop()


@pytest.fixture
def store(node: Node) -> Iterator[EventStore]:
    with closing(EsdbEventStore(node.url + QUICK, page_s=2, scan_s=0.2)) as opened:
        yield opened


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    cluster = Cluster(2)
    yield cluster
    cluster.stop()


@contextmanager
def followed(store: EventStore) -> Iterator[Callable[[], Recorded | CaughtUp]]:
    """What a subscription delivers to another thread, one at a time."""
    delivered: SimpleQueue[Recorded | CaughtUp] = SimpleQueue()
    subscription = store.subscribe()

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


# replies that do not come


def test_one_lost_reply_is_made_up_for_and_nothing_is_stored_twice(node: Node, store: EventStore) -> None:
    node.faults.lost_replies = 1
    assert store.append("a", NO_STREAM, new(2)).version == 1
    assert len(store.read("a")) == 2


def test_an_append_whose_replies_are_lost_is_unknown_and_its_repetition_stores_nothing_more(
    node: Node, store: EventStore
) -> None:
    events = new(2)
    node.faults.lost_replies = 100
    with pytest.raises(Unknown):
        store.append("a", NO_STREAM, events)
    node.faults.lost_replies = 0
    assert store.append("a", NO_STREAM, events) == Appended(1, store.read("a")[-1].position)
    assert [event.id for event in store.read("a")] == [event.id for event in events]


def test_many_appends_that_lose_their_call_are_unknown_from_there_on_and_may_be_repeated(
    node: Node, store: EventStore
) -> None:
    appends = [Append(f"device-{number}", NO_STREAM, new()) for number in range(50)]
    node.faults.lost_replies = 100
    outcomes = store.append_many(appends)
    assert {type(outcome) for outcome in outcomes} <= {Unknown, Appended}
    assert isinstance(outcomes[-1], Unknown)
    node.faults.lost_replies = 0
    assert all(isinstance(outcome, Appended) for outcome in store.append_many(appends))
    assert len(store.read_all().events) == 50


def test_many_appends_that_lose_one_reply_go_on_behind_those_that_were_answered(node: Node, store: EventStore) -> None:
    appends = [Append(f"device-{number}", NO_STREAM, new()) for number in range(50)]
    node.faults.lost_replies = 1
    assert all(isinstance(outcome, Appended) for outcome in store.append_many(appends))
    assert len(store.read_all().events) == 50


def test_an_append_that_takes_too_long_is_unknown_after_twice_the_deadline(node: Node, store: EventStore) -> None:
    node.faults.hold_appends = threading.Event()
    events = new()
    started = time.monotonic()
    with pytest.raises(Unknown):
        store.append("a", NO_STREAM, events)
    assert 2 <= time.monotonic() - started < 4
    node.faults.hold_appends.set()
    assert store.append("a", NO_STREAM, events).version == 0
    assert len(store.read("a")) == 1


@pytest.mark.parametrize(
    ("details", "error"),
    [
        (shared_pb2.Timeout(), Unknown),
        (shared_pb2.Unknown(), Unknown),
        (shared_pb2.InvalidTransaction(), Unknown),
        (shared_pb2.Empty(), Unknown),
        (shared_pb2.AccessDenied(), Unavailable),
        (shared_pb2.BadRequest(message="no"), Misuse),
        (shared_pb2.MaximumAppendSizeExceeded(maxAppendSize=9), AppendTooLarge),
    ],
)
def test_what_the_server_refuses_an_append_with_is_told_apart(
    node: Node, store: EventStore, details: Message, error: type[Exception]
) -> None:
    node.faults.error_details.append(details)
    with pytest.raises(error) as raised:
        store.append("a", NO_STREAM, new())
    assert type(raised.value) is error
    node.faults.error_details.append(details)
    outcomes = store.append_many([Append("a", NO_STREAM, new()), Append("b", NO_STREAM, new())])
    assert [type(outcome) for outcome in outcomes] == [error, Appended]


# reading


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


# forgetting


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


# coming, going, waiting


def test_nothing_is_connected_before_the_first_call_and_a_server_may_come_later() -> None:
    node = Node()
    port = node.port
    node.stop()
    with closing(EsdbEventStore(f"esdb://127.0.0.1:{port}?Tls=false")) as store:
        with pytest.raises(Unavailable):
            store.head()
        with pytest.raises(Unknown):
            store.append("a", NO_STREAM, new())
        later = Node(port)
        try:
            assert _patiently(lambda: store.append("a", NO_STREAM, new())).version == 0
        finally:
            later.stop()


def test_a_bell_that_hears_nothing_costs_a_delay_only(node: Node, store: EventStore) -> None:
    node.faults.deaf_subscriptions = True
    with followed(store) as following, closing(EsdbEventStore(node.url)) as other:
        assert following() == CaughtUp(None)
        event = new()
        other.append("a", NO_STREAM, event)
        delivered = following()
        assert isinstance(delivered, Recorded)
        assert delivered.id == event[0].id


def test_a_dead_link_is_noticed(node: Node) -> None:
    with Relay(node.port) as relay:
        options = "Tls=false&DefaultDeadline=30&KeepAliveInterval=300&KeepAliveTimeout=300"
        with closing(EsdbEventStore(f"esdb://127.0.0.1:{relay.port}?{options}", page_s=30)) as store:
            store.append("a", NO_STREAM, new())
            relay.freeze()
            started = time.monotonic()
            with pytest.raises(Unavailable):
                store.head()
            assert time.monotonic() - started < 10


def test_a_forked_child_must_not_use_the_store(node: Node) -> None:
    forking = subprocess.run([sys.executable, "-c", FORK, node.url], capture_output=True, text=True, timeout=TIMEOUT_S)
    assert forking.stdout.split() == ["3", "1"], forking.stderr
    assert forking.returncode == 0


def test_a_process_that_forgets_to_close_the_store_ends_all_the_same(node: Node) -> None:
    script = f"""
import threading
from shared.store import open_store
store = open_store({node.url!r})
threading.Thread(target=lambda: list(store.subscribe()), daemon=True).start()
store.wait(None, 0.2)
print("done")
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=TIMEOUT_S)
    assert (ended.returncode, ended.stdout) == (0, "done\n"), ended.stderr


# clusters


def test_appends_follow_the_leader(cluster: Cluster) -> None:
    with closing(EsdbEventStore(cluster.url)) as store, followed(store) as following:
        assert following() == CaughtUp(None)
        for number, leader in enumerate([*cluster.nodes, *cluster.nodes]):
            cluster.leader = leader
            if number % 2:
                event = new()
                assert store.append_many([Append(f"a-{number}", NO_STREAM, event)]) == [Appended(0, store.head())]  # type: ignore[arg-type]
            else:
                event = new()
                store.append(f"a-{number}", NO_STREAM, event)
            item = following()
            while not isinstance(item, Recorded):
                item = following()
            assert item.id == event[0].id


def test_reads_are_whole_while_the_leader_changes(cluster: Cluster) -> None:
    with closing(EsdbEventStore(cluster.url)) as store:
        store.append("a", NO_STREAM, new(1_500))
        done = threading.Event()

        def change() -> None:
            for number in range(12):
                cluster.leader = cluster.nodes[number % 2]
                _patiently(lambda number=number: store.append(f"b-{number}", NO_STREAM, new()))  # type: ignore[misc]
            done.set()

        with ThreadPoolExecutor(1) as thread:
            changing = thread.submit(change)
            reads = 0
            while not done.is_set() and not changing.done():
                try:
                    assert len(store.read("a")) == 1_500
                except Unavailable:
                    continue
                reads += 1
            changing.result(TIMEOUT_S)
        assert reads > 0


def test_the_nodes_are_found_by_asking_one(cluster: Cluster) -> None:
    cluster.leader = cluster.nodes[1]
    url = f"esdb+discover://127.0.0.1:{cluster.nodes[0].port}?Tls=false"
    with closing(EsdbEventStore(url)) as store:
        assert store.append("a", NO_STREAM, new()).version == 0


def test_a_single_node_that_does_not_lead_says_what_to_do(cluster: Cluster) -> None:
    with closing(EsdbEventStore(cluster.nodes[1].url)) as store:
        with pytest.raises(Unknown, match="name all nodes"):
            store.append("a", NO_STREAM, new())
        with pytest.raises(Unavailable, match="name all nodes"):
            store.head()


def test_a_cluster_without_a_node_that_answers_is_unavailable(cluster: Cluster) -> None:
    with closing(EsdbEventStore("esdb://127.0.0.1:1,127.0.0.1:2?Tls=false&MaxDiscoverAttempts=1")) as store:
        with pytest.raises(Unavailable):
            store.head()
        with pytest.raises(Unavailable):
            store.append("a", NO_STREAM, new())


# a server that dies


class Process:
    """The stand-in as a process of its own, with a log that outlives it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = 0
        self._start()

    @property
    def url(self) -> str:
        return f"esdb://127.0.0.1:{self.port}?Tls=false&DefaultDeadline=2"

    def restart(self) -> None:
        self.kill()
        self._start()

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.communicate(timeout=TIMEOUT_S)

    def _start(self) -> None:
        command = [sys.executable, "-m", "tests.standins.eventstoredb", "--port", str(self.port)]
        self._process = subprocess.Popen([*command, "--folder", str(self._folder)], stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline().partition("?")[0].rpartition(":")[2])


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    process = Process(tmp_path)
    yield process
    process.kill()


def test_nothing_acknowledged_is_lost_and_nothing_doubled_when_the_server_is_killed(process: Process) -> None:
    with closing(EsdbEventStore(process.url)) as store, followed(store) as following:
        first_part_written = threading.Event()

        def write(name: str) -> list[UUID]:
            written: list[UUID] = []
            for number in range(60):
                event = new()
                expected = number - 1 if number else NO_STREAM
                assert _patiently(lambda e=event, x=expected: store.append(name, x, e)).version == number  # type: ignore[misc]
                written += [event[0].id]
                if number == 20:
                    first_part_written.set()
            return written

        with ThreadPoolExecutor(3) as threads:
            writing = [threads.submit(write, f"device-{number}") for number in range(3)]
            assert first_part_written.wait(TIMEOUT_S)
            process.restart()
            written = [done.result(TIMEOUT_S) for done in writing]
        for number, expected in enumerate(written):
            assert [event.id for event in store.read(f"device-{number}")] == expected
        delivered: list[UUID] = []
        while len(delivered) < 180:
            item = following()
            if isinstance(item, Recorded):
                delivered.append(item.id)
        assert sorted(delivered) == sorted(id_ for ids in written for id_ in ids)


def _patiently(call: Callable[[], Appended]) -> Appended:
    """Repeat it while the store is away, as callers do: with the same ids and versions."""
    deadline = time.monotonic() + TIMEOUT_S
    pause = threading.Event()
    while True:
        try:
            return call()
        except Conflict:
            raise
        except Unavailable:
            if time.monotonic() > deadline:
                raise
            pause.wait(0.05)
