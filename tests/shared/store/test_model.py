"""Any sequence of calls has the effect that it has on a list of events in memory."""

from __future__ import annotations

import tempfile
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from shared.errors import Conflict, NotFound
from shared.store.port import (
    ANY,
    NO_STREAM,
    Append,
    Appended,
    EventStore,
    Expected,
    New,
    Only,
    Position,
    StreamNotFound,
)
from shared.store.sqlite import SqliteEventStore

STREAMS = ("device-1", "device-2", "product-1")
TYPES = ("Locked", "Released")
streams = st.sampled_from(STREAMS)
expectations = st.one_of(st.sampled_from([NO_STREAM, ANY]), st.integers(0, 6))
batches = st.lists(st.sampled_from(TYPES), min_size=1, max_size=3)
filters = st.builds(
    Only, st.frozensets(st.sampled_from([*TYPES, "Unheard"]), max_size=2), st.sampled_from([(), ("dev",)])
)

Event = tuple[str, int, UUID, str]
"""Stream, version, id, type."""


class Store(RuleBasedStateMachine):
    """The real store beside the model: ``events`` in order of position, ``last`` versions, ``first`` ones left."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.store = self.opened()
        self.events: list[Event] = []
        self.last = dict.fromkeys(STREAMS, -1)
        self.first = dict.fromkeys(STREAMS, 0)
        self.made = 0
        self.answers: list[tuple[Append, Appended]] = []

    def opened(self) -> EventStore:
        return SqliteEventStore(Path(self.folder.name) / "events.db", durable=False)

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()

    def new(self, kinds: list[str]) -> list[New]:
        self.made += len(kinds)
        return [New(UUID(int=self.made - n), kind, b"{}", b"{}") for n, kind in enumerate(kinds)]

    def fits(self, stream: str, expected: int | Expected) -> bool:
        if expected is ANY:
            return True
        is_empty = self.first[stream] > self.last[stream]
        return is_empty if expected is NO_STREAM else expected == self.last[stream]

    def record(self, append: Append) -> None:
        for event in append.events:
            self.last[append.stream] += 1
            self.events.append((append.stream, self.last[append.stream], event.id, event.type))

    def visible(self, stream: str) -> list[Event]:
        return [event for event in self.events if event[0] == stream and event[1] >= self.first[stream]]

    @rule(stream=streams, expected=expectations, kinds=batches)
    def append(self, stream: str, expected: int | Expected, kinds: list[str]) -> None:
        append = Append(stream, expected, self.new(kinds))
        if not self.fits(stream, expected):
            with pytest.raises(Conflict) as conflict:
                self.store.append(stream, expected, append.events)
            assert conflict.value.actual == str(self.last[stream])
            return
        answer = self.store.append(stream, expected, append.events)
        self.record(append)
        assert answer.version == self.last[stream]
        self.answers.append((append, answer))

    @rule(wanted=st.lists(st.tuples(streams, expectations, batches), max_size=5))
    def append_many(self, wanted: list[tuple[str, int | Expected, list[str]]]) -> None:
        appends = [Append(stream, expected, self.new(kinds)) for stream, expected, kinds in wanted]
        for append, outcome in zip(appends, self.store.append_many(appends), strict=True):
            if isinstance(outcome, Appended):
                assert self.fits(append.stream, append.expected)
                self.record(append)
                assert outcome.version == self.last[append.stream]
                self.answers.append((append, outcome))
            else:
                assert isinstance(outcome, Conflict)
                assert not self.fits(append.stream, append.expected)

    @precondition(lambda self: self.answers)
    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        append, answer = data.draw(st.sampled_from(self.answers))
        if self.first[append.stream] == 0:  # what was forgotten cannot be compared
            assert self.store.append(append.stream, append.expected, append.events) == answer

    @rule(stream=streams, before=st.integers(0, 8))
    def truncate(self, stream: str, before: int) -> None:
        self.store.truncate(stream, before)
        self.first[stream] = max(self.first[stream], min(before, self.last[stream] + 1))

    @rule(stream=streams)
    def delete(self, stream: str) -> None:
        self.store.delete(stream)
        self.first[stream] = self.last[stream] + 1

    @rule()
    def open_again(self) -> None:
        self.store.close()
        self.store = self.opened()

    @rule(
        stream=streams, first=st.integers(0, 8), limit=st.one_of(st.none(), st.integers(1, 4)), backwards=st.booleans()
    )
    def read(self, stream: str, first: int, limit: int | None, backwards: bool) -> None:
        visible = self.visible(stream)
        try:
            read = self.store.read(stream, first, limit, backwards=backwards)
        except StreamNotFound:
            assert not visible
            return
        assert visible
        stretch = [e for e in visible[::-1] if e[1] <= first] if backwards else [e for e in visible if e[1] >= first]
        assert [(e.stream, e.version, e.id, e.type) for e in read] == stretch[:limit]

    @rule(limit=st.integers(1, 5), only=filters)
    def read_all(self, limit: int, only: Only) -> None:
        read: list[Event] = []
        position: Position | None = None
        end = False
        while not end:
            page = self.store.read_all(position, limit, only)
            assert len(page.events) <= limit
            assert page.end or (page.looked or 0) > (position or 0)
            read += [(e.stream, e.version, e.id, e.type) for e in page.events]
            position, end = page.looked, page.end
        assert position == self.store.head()
        types, prefixes = only.types or set(TYPES), only.prefixes or ("",)
        wanted = [e for e in self.events if e[3] in types and e[0].startswith(prefixes) and e[1] >= self.first[e[0]]]
        assert [e for e in read if e[1] >= self.first[e[0]]] == wanted

    @precondition(lambda self: self.answers)
    @rule(data=st.data())
    def at(self, data: st.DataObject) -> None:
        append, answer = data.draw(st.sampled_from(self.answers))
        if answer.version < self.first[append.stream]:
            with pytest.raises(NotFound):
                self.store.at(answer.position)
        else:
            assert self.store.at(answer.position).id == append.events[-1].id

    @invariant()
    def there_is_a_head_once_something_was_appended(self) -> None:
        assert (self.store.head() is None) == (not self.events)


Store.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestStore = Store.TestCase
