"""What only the bus of one process does."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from nameko.events import event_handler
from nameko.rpc import ServiceRpc, rpc

from shared.bus import wire
from shared.bus.calls import blocking_client
from shared.bus.host import ServiceHost, declare_queues
from shared.bus.local import LocalTransport
from shared.bus.open import open_bus, open_transport
from shared.bus.parking import discard, list_parked, resend
from shared.bus.transport import EventQueue
from shared.errors import NotFound, Refused, Unavailable, Unknown

Heard = Any


def test_nested_calls_beyond_the_number_of_workers_do_not_deadlock(unique: Callable[[str], str]) -> None:
    transport = LocalTransport()

    class Deep:
        name = unique("deep")
        itself = ServiceRpc(name)

        @rpc
        def sink(self, depth: int) -> int:
            return 0 if depth == 0 else self.itself.sink(depth - 1) + 1

    host = ServiceHost(Deep, transport, workers=2)
    host.start()
    client = getattr(blocking_client(transport, {}, 10.0), Deep.name)
    answers: list[int] = []
    callers = [threading.Thread(target=lambda: answers.append(client.sink(20))) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(10)
    assert answers == [20] * 4
    host.stop()


def test_more_requests_than_may_wait_are_unavailable(unique: Callable[[str], str], heard: Heard) -> None:
    transport = LocalTransport()
    go = threading.Event()

    class Slow:
        name = unique("slow")

        @rpc
        def wait(self) -> None:
            go.wait(10)

    host = ServiceHost(Slow, transport, workers=1)
    host.start()
    for _ in range(1_002):
        transport.request(Slow.name, "wait", wire.encode_request((), {}), {}, 10.0, heard.put)
    assert isinstance(heard.take(), Unavailable)
    go.set()
    assert [wire.decode_reply(reply) for reply in heard.many(1_001)] == [None] * 1_001
    host.stop()


def test_a_request_whose_caller_has_given_up_is_not_begun(unique: Callable[[str], str], heard: Heard) -> None:
    transport = LocalTransport()
    go = threading.Event()

    class Slow:
        name = unique("slow")

        @rpc
        def wait(self, number: int) -> None:
            heard.put(number)
            go.wait(10)

    host = ServiceHost(Slow, transport, workers=1)
    host.start()
    client = getattr(blocking_client(transport, {}, 0.05), Slow.name)
    transport.request(Slow.name, "wait", wire.encode_request([1], {}), {}, 10.0, lambda _: None)
    assert heard.take() == 1
    transport.request(Slow.name, "wait", wire.encode_request([2], {}), {}, 0.0, lambda _: None)
    with pytest.raises(Unknown):
        client.wait(3)
    go.set()
    assert heard.take() == 3  # it began in time, as a nested call
    host.stop()
    assert heard.is_empty


def test_a_full_queue_refuses_further_events_and_loses_none() -> None:
    transport = LocalTransport(max_queued=3)
    queue = EventQueue("evt-a-B--c.d", "a", ["B"])
    transport.declare(queue)
    futures = [transport.publish("a", "B", b"%d" % number, {}) for number in range(4)]
    for future in futures[:3]:
        future.result(0)
    with pytest.raises(Unavailable, match="full"):
        futures[3].result(0)
    got: list[bytes] = []
    transport.consume(queue, lambda delivery: (got.append(delivery.message.body), delivery.settle()), prefetch=1)
    assert got == [b"0", b"1", b"2"]


def test_a_publication_is_handled_when_the_last_lasting_queue_has_settled_it() -> None:
    transport = LocalTransport()
    held: list[Any] = []
    for name in ("evt-a-B--c.d", "evt-a-B--e.f"):
        transport.consume(EventQueue(name, "a", ["B"]), held.append, prefetch=5)
    transport.consume(EventQueue("passing", "a", ["#"], lasting=False), held.append, prefetch=5)
    done = transport.publish("a", "B", b"1", {}, handled=True)
    held[0].settle()
    held[0].settle()
    assert not done.done()
    held[1].settle()
    assert done.result(0) is None


def test_stop_ends_the_wait_for_what_is_not_handled() -> None:
    transport = LocalTransport()
    transport.declare(EventQueue("evt-a-B--c.d", "a", ["B"]))
    done = transport.publish("a", "B", b"1", {}, handled=True)
    transport.stop()
    with pytest.raises(Unavailable):
        done.result(0)
    with pytest.raises(Unavailable):
        transport.publish("a", "B", b"1", {}).result(0)


def test_a_consumer_that_leaves_gives_back_what_it_has_in_order() -> None:
    transport = LocalTransport()
    queue = EventQueue("evt-a-B--c.d", "a", ["B"])
    held: list[Any] = []
    consumer = transport.consume(queue, held.append, prefetch=3)
    for number in range(5):
        transport.publish("a", "B", b"%d" % number, {}).result(0)
    held[1].settle()
    consumer.close()
    consumer.close()
    assert held[0].lost()
    again: list[bytes] = []
    transport.consume(queue, lambda delivery: again.append(delivery.message.body), prefetch=9)
    assert again == [b"0", b"2", b"3", b"4"]


def test_parked_messages_outlive_the_process_in_their_folder(tmp_path: Path, heard: Heard) -> None:
    url = f"local:{tmp_path / 'parked'}"

    class Service:
        name = "billing"

        @event_handler("orgs", "Happened")
        def on_happened(self, message: dict[str, Any]) -> None:
            raise Refused("no", "No.")

    class Healed:
        name = "billing"

        @event_handler("orgs", "Happened")
        def on_happened(self, message: dict[str, Any]) -> None:
            heard.put(message)

    before = open_transport(url, name="before")
    host = ServiceHost(Service, before)
    host.start()
    for number in range(3):
        before.publish("orgs", "Happened", wire.encode({"n": number}), {}, handled=True).result(10)
    host.stop()

    after = open_transport(url, name="after")
    first, second, third = list_parked(after)
    assert [wire.decode(parked.original) for parked in (first, second, third)] == [{"n": n} for n in range(3)]
    assert first == list_parked(before)[0]
    with pytest.raises(NotFound, match="there is no queue"):
        resend(after, first.id)
    discard(after, third.id)
    host = ServiceHost(Healed, after)
    host.start()
    resend(after, second.id)
    assert heard.take() == {"n": 1}
    host.stop()
    assert list_parked(open_transport(url, name="later")) == [first]


def test_only_so_many_messages_are_parked(tmp_path: Path) -> None:
    from shared.bus.kept import KeptMessages

    transport = LocalTransport()
    transport.kept = KeptMessages(None, limit=1)
    held: list[Any] = []
    transport.consume(EventQueue("q", "a", ["B"]), held.append, prefetch=5)
    transport.publish("a", "B", b"1", {})
    transport.park(held[0], "c.d", "error").result(0)
    with pytest.raises(Unavailable):
        transport.park(held[0], "c.d", "error").result(0)


def test_queues_can_be_declared_for_services_that_run_elsewhere(heard: Heard) -> None:
    class Service:
        name = "billing"

        @event_handler("orgs", "Happened")
        def on_happened(self, message: dict[str, Any]) -> None:
            heard.put(message)

    transport = LocalTransport()
    declare_queues(transport, [Service])
    transport.publish("orgs", "Happened", b"1", {}).result(0)
    host = ServiceHost(Service, transport)
    host.start()
    assert heard.take() == 1
    host.stop()


@pytest.mark.parametrize("url", ["redis://somewhere", "amqp:", ""])
def test_another_url_is_refused(url: str) -> None:
    with pytest.raises(Refused):
        open_transport(url, name="x")
    with pytest.raises(Refused):
        open_bus(url)


UNPATCHED = """
import asyncio, socket, threading, time
before = (socket.socket, threading.Thread, threading.Lock, time.sleep)
from nameko.rpc import rpc
from shared.bus.host import ServiceHost
from shared.bus.open import open_bus, open_transport
from shared.context import Context

class Service:
    name = "orgs"

    @rpc
    def ping(self):
        return threading.current_thread().name

async def main(transport):
    return await open_bus(transport).call("orgs", "ping", Context.new("anonymous", "test"))

transport = open_transport("local:", name="test")
host = ServiceHost(Service, transport)
host.start()
assert asyncio.run(main(transport)) == "orgs-rpc-1"
host.stop()
from eventlet import hubs, patcher
assert before == (socket.socket, threading.Thread, threading.Lock, time.sleep)
assert not any(patcher.is_monkey_patched(name) for name in ("os", "select", "socket", "thread", "time"))
assert getattr(hubs._threadlocal, "hub", None) is None
assert threading.active_count() == 1, threading.enumerate()
"""


def test_running_a_service_leaves_the_standard_library_unpatched() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", UNPATCHED], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
