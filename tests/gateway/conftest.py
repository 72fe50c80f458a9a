"""What the gateway's tests share: a real event store, and one that fails on demand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from shared.context import Context
from shared.errors import Unavailable, Unknown
from shared.events.contracts import CONTRACTS, Registry
from shared.people.open import PeopleKeys
from shared.store.open import open_store
from shared.store.port import ANY, Append, Appended, EventStore, Expected, New, Position, StreamNotFound
from tests.prompt import prompt


class FlakyStore:
    """A store whose next appends fail: ``"away"`` stores nothing, ``"mute"`` stores and then does not answer."""

    def __init__(self, inner: EventStore) -> None:
        self.inner = inner
        self.failures: list[str] = []
        self.appends = 0

    def append(self, stream: str, expected: int | Expected, events: Sequence[New]) -> Appended:
        self.appends += 1
        failure = self.failures.pop(0) if self.failures else ""
        if failure == "away":
            raise Unavailable("the store is away")
        appended = self.inner.append(stream, expected, events)
        if failure == "mute":
            raise Unknown("no answer")
        return appended

    def append_many(self, appends: Sequence[Append]) -> list[Appended | Exception]:
        outcomes: list[Appended | Exception] = []
        for one in appends:
            try:
                outcomes.append(self.append(one.stream, one.expected, one.events))
            except Unavailable as error:
                outcomes.append(error)
        return outcomes

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EventStore]:
    opened = open_store(f"sqlite:///{tmp_path / 'events.db'}?durability=normal")
    yield prompt(opened)
    opened.close()


@pytest.fixture
def flaky(store: EventStore) -> FlakyStore:
    return FlakyStore(store)


@pytest.fixture
def contracts(store: EventStore, tmp_path: Path) -> Iterator[Registry]:
    """With the keys that a gateway with this data folder has."""
    keys = PeopleKeys(f"sqlite:///{tmp_path / 'keys'}", store)
    yield CONTRACTS.with_keys(keys)
    keys.close()


@pytest.fixture
def happen(store: EventStore, contracts: Registry) -> Callable[..., Position]:
    """Append events as another service would, each to the stream of its kind; the position of the last."""

    def append(*events: object) -> Position:
        position = Position(0)
        for event in events:
            new = contracts.encode(event, 0, Context.new("system:test", "test"))
            position = store.append("happened-1", ANY, [new]).position
        return position

    return append


@pytest.fixture
def events_of(store: EventStore) -> Callable[[str], list[object]]:
    """The decoded events of a stream; none if there is no such stream."""

    def read(stream: str) -> list[object]:
        try:
            return [CONTRACTS.decode(recorded) for recorded in store.read(stream)]
        except StreamNotFound:
            return []

    return read
