"""The relay over both transports, with the SQLite event store."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from nameko.events import event_handler

from shared.bus import wire
from shared.bus.messages import to_message
from shared.bus.open import open_transport
from shared.bus.relay import Relay
from shared.bus.transport import EventQueue
from shared.context import Context
from shared.errors import Unavailable
from shared.events.contracts import CONTRACTS
from shared.events.devices import DeviceLocked, DeviceUnlocked
from shared.events.orgs import NameReserved
from shared.store.open import open_store
from shared.store.port import ANY, EventStore, Position
from tests.keys import contracts_with_keys

Bed = Any
Heard = Any
TYPES = CONTRACTS.of_service("devices")
DEVICE = "0" * 24


class MemoryCheckpoints:
    """Checkpoints that can be told to fail."""

    def __init__(self) -> None:
        self.positions: dict[str, Position] = {}
        self.failures = 0
        self._moved = threading.Condition()

    def load(self, name: str) -> Position | None:
        return self.positions.get(name)

    def advance(self, name: str, old: Position | None, new: Position) -> bool:
        with self._moved:
            if self.failures:
                self.failures -= 1
                raise Unavailable("the database is away")
            if self.positions.get(name) != old:
                return False
            self.positions[name] = new
            self._moved.notify_all()
            return True

    def wait_for(self, position: Position | None, timeout_s: float = 15.0) -> bool:
        with self._moved:
            return self._moved.wait_for(lambda: position in self.positions.values(), timeout_s)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EventStore]:
    opened = open_store(f"sqlite:///{tmp_path / 'events.db'}?durability=normal")
    yield opened
    opened.close()


@pytest.fixture
def checkpoints() -> MemoryCheckpoints:
    return MemoryCheckpoints()


def append(store: EventStore, number: int, stream: str = f"device-{DEVICE}") -> Position:
    context = Context.new("account:x", "test")
    event = DeviceLocked(DEVICE, 1000, number, flash=False)
    return store.append(stream, ANY, [CONTRACTS.encode(event, 0, context)]).position


def relay_of(bed: Bed, store: EventStore, checkpoints: Any, source: str, transport: Any = None) -> Relay:
    return Relay("devices", store, transport or bed.transport, checkpoints, TYPES, source=source, contracts=CONTRACTS)


def listener(bed: Bed, source: str, heard: Heard, service: str) -> None:
    class Service:
        name = service

        @event_handler(source, "DeviceLocked")
        def on_locked(self, message: dict[str, Any]) -> None:
            heard.put(message["data"]["version"])

    bed.host(Service)


def test_it_publishes_the_events_of_its_service_as_messages_in_order_and_no_others(
    bed: Bed, store: EventStore, checkpoints: MemoryCheckpoints, unique: Callable[[str], str], heard: Heard
) -> None:
    source = unique("devices")
    bed.loop.run(bed.bus.listen(source, heard.put))
    context = Context.new("account:x", "test")
    append(store, 1)
    other = NameReserved("email", "a@b.example", "account-1")
    store.append("name-1", ANY, [contracts_with_keys().encode(other, 0, context)])
    relay = relay_of(bed, store, checkpoints, source)
    relay.start()
    unlocked = CONTRACTS.encode(DeviceUnlocked(DEVICE, 1000), 0, context)
    last = store.append(f"device-{DEVICE}", ANY, [unlocked]).position
    messages = heard.many(2)
    assert messages == [to_message(recorded) for recorded in store.read(f"device-{DEVICE}")]
    assert checkpoints.wait_for(last)
    status = relay.status()
    assert (status["active"], status["position"], status["head"]) == (True, last, last)
    relay.stop()
    assert not relay.status()["active"]


def test_it_goes_on_where_it_was_confirmed(
    bed: Bed, store: EventStore, checkpoints: MemoryCheckpoints, unique: Callable[[str], str], heard: Heard
) -> None:
    source = unique("devices")
    listener(bed, source, heard, unique("firmware"))
    for first in (0, 400, 800):
        relay = relay_of(bed, store, checkpoints, source)
        relay.start()
        for number in range(first, first + 400):
            last = append(store, number)
        assert heard.many(400) == list(range(first, first + 400))
        assert checkpoints.wait_for(last)
        relay.stop()
    assert heard.is_empty


def test_what_was_published_before_a_failed_checkpoint_is_published_again(
    bed: Bed, store: EventStore, checkpoints: MemoryCheckpoints, unique: Callable[[str], str], heard: Heard
) -> None:
    source = unique("devices")
    bed.loop.run(bed.bus.listen(source, lambda message: heard.put((message["id"], message["data"]["version"]))))
    checkpoints.failures = 1
    relay = relay_of(bed, store, checkpoints, source)
    relay.start()
    append(store, 7)
    first, second = heard.many(2)
    assert first == second
    last = append(store, 8)
    assert heard.take()[1] == 8
    assert checkpoints.wait_for(last)
    relay.stop()


def test_a_stand_by_takes_over_and_nothing_is_lost(
    bed: Bed, store: EventStore, checkpoints: MemoryCheckpoints, unique: Callable[[str], str], heard: Heard
) -> None:
    source = unique("devices")
    listener(bed, source, heard, unique("firmware"))
    with ExitStack() as stack:
        transports = [bed.transport, bed.transport]
        if not bed.is_local:
            transports = [open_transport(bed.url, name=f"replica-{number}") for number in range(2)]
            for transport in transports:
                transport.start()
                stack.callback(transport.stop)
        first, second = (relay_of(bed, store, checkpoints, source, transport) for transport in transports)
        first.start()
        append(store, 1)
        assert heard.take() == 1
        second.start()
        append(store, 2)
        assert heard.take() == 2
        assert not second.status()["active"]
        if bed.is_local:
            first.stop()
        else:
            transports[0].stop()  # as if its process were killed
        append(store, 3)
        numbers = [heard.take()]
        while numbers[-1] != 3:  # an unconfirmed event may come again
            numbers.append(heard.take())
        assert second.status()["active"]
        assert not first.status()["active"]
        for relay in (first, second):
            relay.stop()


def test_two_that_move_the_same_checkpoint_notice_it(
    bed: Bed, store: EventStore, checkpoints: MemoryCheckpoints, unique: Callable[[str], str], heard: Heard
) -> None:
    source = unique("devices")
    bed.loop.run(bed.bus.listen(source, lambda message: heard.put(message["data"]["version"])))
    relay = relay_of(bed, store, checkpoints, source)
    relay.start()
    first = append(store, 1)
    assert heard.take() == 1
    assert checkpoints.wait_for(first)
    position = append(store, 2, "device-other")
    checkpoints.positions[f"relay-{source}"] = position  # somebody else did
    append(store, 3)
    numbers = [heard.take()]
    while numbers[-1] != 3:
        numbers.append(heard.take())
    assert checkpoints.wait_for(store.head())
    relay.stop()


def test_on_the_local_bus_the_checkpoint_waits_for_the_handler(
    store: EventStore, checkpoints: MemoryCheckpoints, heard: Heard, unique: Callable[[str], str]
) -> None:
    source = unique("devices")
    began, go = threading.Event(), threading.Event()
    transport = open_transport("local:", name="test")

    class Service:
        name = unique("firmware")

        @event_handler(source, "DeviceLocked")
        def on_locked(self, message: dict[str, Any]) -> None:
            began.set()
            go.wait(10)

    from shared.bus.host import ServiceHost

    host = ServiceHost(Service, transport)
    host.start()
    relay = Relay("devices", store, transport, checkpoints, TYPES, source=source, contracts=CONTRACTS)
    relay.start()
    position = append(store, 1)
    assert began.wait(10)
    assert checkpoints.positions == {}
    go.set()
    assert checkpoints.wait_for(position)
    relay.stop()
    host.stop()


def test_a_type_without_contract_is_refused(store: EventStore, checkpoints: MemoryCheckpoints) -> None:
    transport = open_transport("local:", name="test")
    with pytest.raises(ValueError, match="no contract for Nothing"):
        Relay("x", store, transport, checkpoints, frozenset({"Nothing"}), contracts=CONTRACTS)


def test_on_the_local_bus_what_nobody_wants_is_not_even_read_and_nothing_is_missed_once_somebody_does(
    store: EventStore, checkpoints: MemoryCheckpoints, unique: Callable[[str], str], heard: Heard
) -> None:
    source, wanting = unique("devices"), threading.Event()
    transport = open_transport("local:", name="test")
    transport.start()

    def hear(delivery: Any) -> None:
        heard.put(wire.decode(delivery.message)["data"]["version"])
        delivery.settle()

    queue = EventQueue("readers", source, ["DeviceLocked"], lasting=False, exclusive=True, wanted=wanting.is_set)
    consumed = transport.consume(queue, hear, prefetch=10)
    relay = relay_of(None, store, checkpoints, source, transport)
    relay.start()
    for round_ in (1, 2):
        assert checkpoints.wait_for(append(store, 10 * round_))
        assert relay.status()["active"]
        assert heard.is_empty
        wanting.set()
        last = append(store, 10 * round_ + 1)
        assert heard.take() == 10 * round_ + 1
        assert checkpoints.wait_for(last)
        wanting.clear()
    relay.stop()
    consumed.close()
    transport.stop()
