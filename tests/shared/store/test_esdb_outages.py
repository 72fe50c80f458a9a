"""Lost replies, time limits, dead links, servers that die. Against the stand-in always, which is asked to misbehave."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from uuid import UUID

import pytest
from esdbclient.protos.Grpc import shared_pb2
from google.protobuf.message import Message

from shared.errors import Misuse, Unavailable, Unknown
from shared.store.esdb import EsdbEventStore
from shared.store.port import (
    NO_STREAM,
    Append,
    Appended,
    AppendTooLarge,
    CaughtUp,
    EventStore,
    Recorded,
)
from tests.shared.store.esdb import TIMEOUT_S, followed, new, patiently
from tests.shared.store.relay import Relay
from tests.standins.eventstoredb.node import Node

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


@pytest.fixture
def store(node: Node) -> Iterator[EventStore]:
    with closing(EsdbEventStore(node.url + "&DefaultDeadline=1", page_s=2, scan_s=0.2)) as opened:
        yield opened


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
            assert patiently(lambda: store.append("a", NO_STREAM, new())).version == 0
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
                assert patiently(lambda e=event, x=expected: store.append(name, x, e)).version == number  # type: ignore[misc]
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
