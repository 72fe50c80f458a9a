"""A replay over both transports: who gets what, in which order, with which ids; and that it gives way (EVT-3)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nameko.events import BROADCAST, SINGLETON, event_handler
from nameko.testing.services import worker_factory

from shared.bus import wire
from shared.bus.host import ServiceHost
from shared.bus.messages import to_message
from shared.bus.open import open_transport
from shared.bus.providers import EventStreams
from shared.bus.reactions import reaction, reaction_of
from shared.bus.replay import BATCH, Replay
from shared.bus.replay_plan import Done, Range, bounds, count, plan
from shared.bus.transport import REPLAYED_HEADER
from shared.context import Context
from shared.errors import Misuse, NotFound, Refused, Unavailable
from shared.events.billing import TrialStarted
from shared.events.contracts import CONTRACTS
from shared.events.devices import DeviceLocked, DeviceUnlocked
from shared.store.open import open_store
from shared.store.port import ANY, EventStore, Position
from shared.streams import Streams

Bed = Any
Heard = Any
Unique = Callable[[str], str]


def event(number: int) -> Any:
    return DeviceLocked(f"{number:024x}", 1000, number, flash=False)


def append(store: EventStore, happened: Any, stream: str = "device-1") -> Position:
    new = CONTRACTS.encode(happened, 0, Context.new("account:x", "test"), stream=stream)
    return store.append(stream, ANY, [new]).position


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EventStore]:
    opened = open_store(f"sqlite:///{tmp_path / 'events.db'}?durability=normal")
    yield opened
    opened.close()


def service_of(unique: Unique, heard: Heard) -> type:
    class Service:
        name = unique("alerts")

        @event_handler("devices", "DeviceLocked")
        def count(self, message: dict[str, Any]) -> None:
            heard.put(("count", message))

        @reaction("mail")
        @event_handler("devices", "DeviceLocked")
        def tell(self, message: dict[str, Any]) -> None:
            heard.put(("tell", message))

        @event_handler("devices", "DeviceUnlocked")
        @reaction("flash")
        def flash(self, message: dict[str, Any]) -> None:
            heard.put(("flash", message))

        @event_handler("devices", "DeviceLocked", handler_type=SINGLETON)
        def once(self, message: dict[str, Any]) -> None:
            heard.put(("once", message))

        @event_handler("devices", "DeviceLocked", handler_type=BROADCAST, reliable_delivery=False)
        def everywhere(self, message: dict[str, Any]) -> None:
            heard.put(("everywhere", message))

        @event_handler("telemetry", "Measured")
        def measure(self, message: dict[str, Any]) -> None:
            heard.put(("measure", message))

    return Service


# who gets what


def test_reactions_are_left_out_unless_named_and_so_is_what_others_would_hear(unique: Unique, heard: Heard) -> None:
    service = service_of(unique, heard)
    usual = plan(service, CONTRACTS)
    assert [(target.handler, target.event_type) for target in usual.targets] == [("count", "DeviceLocked")]
    assert dict(usual.left_out) == {
        "tell": "it acts on the world (mail): add `--with mail` to let it do so again",
        "flash": "it acts on the world (flash): add `--with flash` to let it do so again",
        "once": "its queue is not of this service alone, or does not last",
        "everywhere": "its queue is not of this service alone, or does not last",
        "measure": "Measured of telemetry is not an event of the store",
    }
    named = plan(service, CONTRACTS, reactions=["mail"])
    assert sorted(target.handler for target in named.targets) == ["count", "tell"]
    assert [target.handler for target in plan(service, CONTRACTS, handlers=["flash"], reactions=["flash"]).targets] == [
        "flash"
    ]
    assert plan(service, CONTRACTS, types=["DeviceUnlocked"]).targets == []


@pytest.mark.parametrize("wrong", [{"handlers": ["no"]}, {"types": ["Nothing"]}, {"reactions": ["charge"]}])
def test_names_that_a_service_does_not_have_are_refused(unique: Unique, heard: Heard, wrong: dict[str, Any]) -> None:
    with pytest.raises(Refused, match="nothing_to_replay"):
        plan(service_of(unique, heard), CONTRACTS, **wrong)


def test_the_mark_of_a_reaction_changes_nothing_else(unique: Unique, heard: Heard) -> None:
    service = service_of(unique, heard)
    assert (reaction_of(service, "tell"), reaction_of(service, "flash"), reaction_of(service, "count")) == (
        "mail",
        "flash",
        None,
    )
    worker_factory(service).tell({"id": "one"})
    assert heard.take() == ("tell", {"id": "one"})
    with pytest.raises(Misuse):
        reaction("Send Mail")


def test_a_live_event_reaches_a_reaction_as_any_handler(bed: Bed, unique: Unique, heard: Heard) -> None:
    source = unique("billing")

    class Service:
        name = unique("mails")

        @reaction("mail")
        @event_handler(source, "PaymentFailed")
        def tell(self, message: dict[str, Any]) -> None:
            heard.put(message)

    bed.host(Service)
    bed.publish(source, "PaymentFailed", {"id": "one"})
    assert heard.take() == {"id": "one"}


# ranges


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), number=st.integers(0, 12))
def test_a_range_is_what_lies_between_its_ends(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, number: int
) -> None:
    opened = open_store(f"sqlite:///{tmp_path_factory.mktemp('range') / 'events.db'}?durability=normal")
    try:
        for index in range(number):
            append(opened, event(index))
        events = opened.read_all(None, 100).events
        ends = st.none() | st.integers(1, number + 3).map(Position)
        moments = st.none() | st.sampled_from(
            [e.at + timedelta(microseconds=by) for e in events for by in (-1, 0, 1)]
            or [datetime(2020, 1, 1, tzinfo=UTC)]
        )
        wanted = Range(data.draw(ends), data.draw(ends), data.draw(moments), data.draw(moments))
        found = bounds(opened, wanted)
        expected = [
            one.position
            for one in events
            if (wanted.first is None or one.position >= wanted.first)
            and (wanted.last is None or one.position <= wanted.last)
            and (wanted.since is None or one.at >= wanted.since)
            and (wanted.until is None or one.at <= wanted.until)
        ]
        within = [] if found is None else [e.position for e in events if (found[0] or 0) < e.position <= found[1]]
        assert within == expected
    finally:
        opened.close()


# sending


def everything(store: EventStore) -> tuple[Position | None, Position]:
    found = bounds(store, Range())
    assert found is not None
    return found


def test_stored_events_go_to_the_named_handlers_of_one_service_with_their_ids_and_nowhere_else(
    bed: Bed, store: EventStore, unique: Unique, heard: Heard
) -> None:
    service, other = service_of(unique, heard), service_of(lambda name: f"other_{unique(name)}", heard)
    bed.host(service)
    bed.host(other)
    bed.loop.run(bed.bus.listen("devices", lambda message: heard.put(("listener", message))))
    for number in range(3):
        append(store, event(number), f"device-{number % 2}")
    append(store, DeviceUnlocked("0" * 24, 1000))
    append(store, TrialStarted("a" * 24, "monthly", datetime(2026, 6, 1, tzinfo=UTC)), "subscription-1")
    wanted = plan(service, CONTRACTS, reactions=["mail"])
    told: list[int] = []
    done = Replay(store, bed.transport, wanted).run(*everything(store), lambda so_far: told.append(so_far.events))
    assert (done.events, done.sent, done.position) == (3, {"count": 3, "tell": 3}, store.head())
    assert told[-1] == 3
    got = heard.many(6)
    locked = [to_message(found) for found in store.read_all(None, 100).events if found.type == "DeviceLocked"]
    for handler in ("count", "tell"):
        mine = [message for name, message in got if name == handler]
        assert sorted(mine, key=lambda message: message["position"]) == locked
    threading.Event().wait(0.3)
    assert heard.is_empty
    assert count(store, wanted, *everything(store)) == Done(3, {"count": 3, "tell": 3}, store.head())


def test_a_handler_that_repeats_its_command_changes_nothing_however_often_it_is_replayed(
    bed: Bed, store: EventStore, unique: Unique, heard: Heard
) -> None:
    from shared.aggregates import Aggregate

    every: Aggregate[None, DeviceUnlocked] = Aggregate(None, lambda _, command: [command], lambda state, _: state)

    class Service:
        name = unique("devices")
        streams = EventStreams()

        @event_handler("devices", "DeviceLocked")
        def unlock(self, message: dict[str, Any]) -> None:
            number = self.streams.event(message).version
            self.streams.handle(every, f"effect-{number % 7}", DeviceUnlocked("0" * 24, 1000))
            heard.put(number)

    bed.host(Service, provide={"streams": EventStreams(Streams(store, CONTRACTS))})
    for number in range(250):
        append(store, event(number), f"device-{number % 7}")
    everyone = everything(store)
    heads: list[Position | None] = []
    for _ in range(3):
        done = Replay(store, bed.transport, plan(Service, CONTRACTS)).run(*everyone, lambda _: None)
        assert done.sent == {"unlock": 250}
        numbers = heard.many(250, 30)
        for stream in range(7):  # in order, as they were published the first time
            assert [number for number in numbers if number % 7 == stream] == list(range(stream, 250, 7))
        heads.append(store.head())
    assert len(set(heads)) == 1
    effects = [found.id for number in range(7) for found in store.read(f"effect-{number}")]
    assert len(effects) == len(set(effects)) == 250


def test_it_waits_while_many_messages_wait_so_that_live_ones_are_handled_first(
    bed: Bed, store: EventStore, unique: Unique, heard: Heard
) -> None:
    source = "devices"
    go = threading.Event()
    handled: list[Any] = []

    class Service:
        name = unique("slow")

        @event_handler(source, "DeviceLocked")
        def on_locked(self, message: dict[str, Any]) -> None:
            go.wait(20)
            handled.append(message.get("live"))

    host = bed.host(Service, workers=1)
    live = 3 * BATCH
    queue = f"evt-{source}-DeviceLocked--{Service.name}.on_locked"
    for number in range(live):
        bed.transport.send(queue, wire.encode({"live": number, "stream": "s"}), {})
    for number in range(5):
        append(store, event(number))
    done: list[Done] = []
    replay = Replay(store, bed.transport, plan(Service, CONTRACTS))
    running = threading.Thread(target=lambda: done.append(replay.run(*everything(store), lambda _: None)))
    running.start()
    threading.Event().wait(0.5)
    assert bed.transport.depth(queue).result(10) >= live - 2 * BATCH
    go.set()
    running.join(30)
    assert done[0].events == 5
    deadline = threading.Event()
    for _ in range(400):
        if len(handled) == live + 5:
            break
        deadline.wait(0.05)
    assert [number for number in handled if number is not None] == list(range(live))
    assert handled.index(None) >= live - 2 * BATCH  # behind most of what waited before it
    host.stop()


def test_a_handler_that_gets_nowhere_and_one_without_a_queue_end_the_replay(
    bed: Bed, store: EventStore, unique: Unique, heard: Heard
) -> None:
    append(store, event(1))
    absent = plan(service_of(unique, heard), CONTRACTS)
    with pytest.raises(NotFound, match="has no queue"):
        Replay(store, bed.transport, absent).run(*everything(store), lambda _: None)

    class Service:
        name = unique("stopped")

        @event_handler("devices", "DeviceLocked")
        def on_locked(self, message: dict[str, Any]) -> None:
            heard.put(message)

    ServiceHost(Service, bed.transport)  # its queue is there, nobody consumes it
    queue = f"evt-devices-DeviceLocked--{Service.name}.on_locked"
    for _ in range(BATCH + 1):
        bed.transport.send(queue, b"{}", {})
    deadline = threading.Event()
    for _ in range(200):
        if bed.transport.depth(queue).result(10) > BATCH:
            break
        deadline.wait(0.02)
    with pytest.raises(Unavailable, match="nobody takes them"):
        Replay(store, bed.transport, plan(Service, CONTRACTS), patience_s=0.3).run(*everything(store), lambda _: None)


def test_it_ends_when_nobody_wants_it_any_more(store: EventStore, unique: Unique, heard: Heard) -> None:
    for number in range(3 * BATCH):
        append(store, event(number))
    transport = open_transport("local:", name="test")
    service = service_of(unique, heard)
    host = ServiceHost(service, transport)
    host.start()
    wanted = [True]
    replay = Replay(store, transport, plan(service, CONTRACTS), is_wanted=lambda: wanted[0])
    done = replay.run(*everything(store), lambda _: wanted.__setitem__(0, False))
    assert done.events == BATCH
    host.stop()


def test_a_replayed_event_that_is_parked_says_so(bed: Bed, store: EventStore, unique: Unique, heard: Heard) -> None:
    class Service:
        name = unique("picky")

        @event_handler("devices", "DeviceLocked")
        def on_locked(self, message: dict[str, Any]) -> None:
            raise Refused("not_yet", "It cannot be taken yet.")

    bed.host(Service)
    position = append(store, event(1))
    noon = datetime(2026, 5, 4, 12, tzinfo=UTC)
    Replay(store, bed.transport, plan(Service, CONTRACTS), clock=lambda: noon).run(*everything(store), lambda _: None)
    (parked,) = bed.wait_for_parked(Service.name)
    assert (parked.position, parked.replayed) == (position, "2026-05-04T12:00:00.000Z")
    assert parked.original.headers[REPLAYED_HEADER] == "2026-05-04T12:00:00.000Z"
