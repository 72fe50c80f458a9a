"""Commands on aggregates over the real embedded store."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from shared.aggregates import Aggregate
from shared.context import Context
from shared.errors import Conflict, Refused, Unknown
from shared.events.contracts import CONTRACTS
from shared.events.devices import DeviceDescribed, DeviceImported
from shared.store.open import open_store
from shared.store.port import ANY, Append, Appended, EventStore, Expected, New
from shared.streams import ATTEMPTS, Handled, Streams

DEVICE = "0123456789abcdef01234567"
STREAM = f"device-{DEVICE}"


@dataclass(frozen=True)
class State:
    imported: bool = False
    names: int = 0


def decide(state: State, command: str) -> list[object]:
    if command == "import":
        return [] if state.imported else [DeviceImported(DEVICE, 1000, False)]
    if not state.imported:
        raise Refused("not_imported", "it is in no product")
    return [DeviceDescribed(DEVICE, 1000, command, ""), DeviceDescribed(DEVICE, 1000, command, "twice")]


def evolve(state: State, event: Any) -> State:
    return replace(state, imported=True) if isinstance(event, DeviceImported) else replace(state, names=state.names + 1)


COUNTING: Aggregate[State, str] = Aggregate(State(), decide, evolve)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EventStore]:
    opened = open_store(f"sqlite:///{tmp_path / 'events.db'}")
    yield opened
    opened.close()


class Meddling:
    """A store that does something of its own before or after appends."""

    def __init__(self, inner: EventStore) -> None:
        self.inner = inner
        self.before: list[Any] = []
        self.after: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def append(self, stream: str, expected: int | Expected, events: Sequence[New]) -> Appended:
        if self.before:
            self.before.pop(0)()
        appended = self.inner.append(stream, expected, events)
        if self.after:
            self.after.pop(0)()
        return appended

    def append_many(self, appends: Sequence[Append]) -> list[Appended | Exception]:
        if self.before:
            self.before.pop(0)()
        return self.inner.append_many(appends)


def context() -> Context:
    return Context.new("account:a", "test")


def test_a_repeated_command_answers_as_it_did_and_appends_nothing(store: EventStore) -> None:
    streams = Streams(store, CONTRACTS)
    streams.handle(COUNTING, STREAM, "import", context())
    once = context()
    first = streams.handle(COUNTING, STREAM, "kettle", once)
    streams.handle(COUNTING, STREAM, "other", context())
    again = streams.handle(COUNTING, STREAM, "kettle", once)
    assert (again.events, again.version, again.position) == (first.events, first.version, first.position)
    assert len(store.read(STREAM)) == 5


def test_a_command_that_is_already_true_changes_nothing(store: EventStore) -> None:
    streams = Streams(store, CONTRACTS)
    first = streams.handle(COUNTING, STREAM, "import", context())
    second = streams.handle(COUNTING, STREAM, "import", context())
    assert (second.events, second.position) == ([], first.position)


def test_a_conflict_is_decided_again_on_the_new_state(store: EventStore) -> None:
    meddling = Meddling(store)
    streams = Streams(meddling, CONTRACTS)
    streams.handle(COUNTING, STREAM, "import", context())
    other = CONTRACTS.encode(DeviceDescribed(DEVICE, 1000, "between", ""), 0, context())
    meddling.before.append(lambda: store.append(STREAM, ANY, [other]))
    handled = streams.handle(COUNTING, STREAM, "kettle", context())
    assert handled.state.names == 3


def test_an_append_whose_answer_was_lost_happens_once(store: EventStore) -> None:
    def lose() -> None:
        raise Unknown("the answer was lost")

    meddling = Meddling(store)
    streams = Streams(meddling, CONTRACTS)
    streams.handle(COUNTING, STREAM, "import", context())
    meddling.after.append(lose)
    handled = streams.handle(COUNTING, STREAM, "kettle", context())
    assert len(handled.events) == 2
    assert len(store.read(STREAM)) == 3


def test_a_stream_that_never_rests_ends_in_a_conflict(store: EventStore) -> None:
    meddling = Meddling(store)
    streams = Streams(meddling, CONTRACTS)
    streams.handle(COUNTING, STREAM, "import", context())

    def meddle() -> None:
        store.append(STREAM, ANY, [CONTRACTS.encode(DeviceDescribed(DEVICE, 1000, "between", ""), 0, context())])

    meddling.before += [meddle] * ATTEMPTS
    with pytest.raises(Conflict):
        streams.handle(COUNTING, STREAM, "kettle", context())


def test_concurrent_commands_all_happen_once(store: EventStore) -> None:
    streams = Streams(store, CONTRACTS)
    streams.handle(COUNTING, STREAM, "import", context())
    threads = [
        threading.Thread(target=lambda: [streams.handle(COUNTING, STREAM, "x", context()) for _ in range(5)])
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert streams.load(COUNTING, STREAM).state.names == 3 * 5 * 2


def test_many_commands_have_an_outcome_each(store: EventStore) -> None:
    streams = Streams(store, CONTRACTS)
    streams.handle(COUNTING, STREAM, "import", context())
    outcomes = streams.handle_many(
        COUNTING, [(STREAM, "name"), ("device-b", "name"), ("device-c", "import")], context()
    )
    assert [type(outcome) for outcome in outcomes] == [Handled, Refused, Handled]


@pytest.mark.parametrize("likely_new", [False, True])
def test_many_commands_survive_a_conflict_of_one_and_a_repetition_of_all(store: EventStore, likely_new: bool) -> None:
    meddling = Meddling(store)
    streams = Streams(meddling, CONTRACTS)
    once = context()
    commands = [(f"device-{n}", "import") for n in range(5)]
    other = CONTRACTS.encode(DeviceImported(DEVICE, 1000, False), 0, Context.new("account:b", "test", uuid4()))
    meddling.before.append(lambda: store.append("device-3", ANY, [other]))
    first = streams.handle_many(COUNTING, commands, once, likely_new=likely_new)
    second = streams.handle_many(COUNTING, commands, once, likely_new=likely_new)
    assert [isinstance(one, Handled) and len(one.events) for one in first] == [1, 1, 1, 0, 1]
    assert [isinstance(one, Handled) and one.position for one in second] == [
        isinstance(one, Handled) and one.position for one in first
    ]
    assert all(len(store.read(stream)) == 1 for stream, _ in commands)


def test_streams_that_were_wrongly_taken_for_new_are_decided_on_what_they_hold(store: EventStore) -> None:
    streams = Streams(store, CONTRACTS)
    streams.handle(COUNTING, STREAM, "import", context())
    [outcome, refusal] = streams.handle_many(
        COUNTING, [(STREAM, "import"), ("device-b", "x")], context(), likely_new=True
    )
    assert isinstance(outcome, Handled)
    assert outcome.events == []
    assert isinstance(refusal, Refused)


def test_events_of_one_command_in_several_streams_have_ids_of_their_own(store: EventStore) -> None:
    streams = Streams(store, CONTRACTS)
    streams.handle_many(COUNTING, [(f"device-{n}", "import") for n in range(5)], context())
    assert len({event.id for event in store.read_all().events}) == 5
