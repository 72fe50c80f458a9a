"""A corner of a server that others use, too: an event store of its own, by names and by what came after its start."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from shared.errors import Conflict, NotFound
from shared.store.port import (
    Append,
    Appended,
    CaughtUp,
    EventStore,
    Expected,
    New,
    Only,
    Page,
    Position,
    Recorded,
    Subscription,
)

_EVERYTHING = Only()


class Apart:
    """``store`` behind position ``start``, all names of streams beginning with ``prefix``."""

    def __init__(self, store: EventStore, prefix: str, start: Position | None) -> None:
        self._store = store
        self._prefix = prefix
        self._start = start

    def append(self, stream: str, expected: int | Expected, events: Sequence[New]) -> Appended:
        try:
            return self._store.append(self._prefix + stream, expected, events)
        except Conflict as conflict:
            raise self._own(conflict) from None

    def append_many(self, appends: Sequence[Append]) -> list[Appended | Exception]:
        outcomes = self._store.append_many([replace(each, stream=self._prefix + each.stream) for each in appends])
        return [self._own(each) if isinstance(each, Conflict) else each for each in outcomes]

    def read(self, stream: str, first: int = 0, limit: int | None = None, *, backwards: bool = False) -> list[Recorded]:
        return [
            self._shown(each) for each in self._store.read(self._prefix + stream, first, limit, backwards=backwards)
        ]

    def read_all(self, after: Position | None = None, limit: int = 1_000, only: Only = _EVERYTHING) -> Page:
        page = self._store.read_all(after or self._start, limit, self._filter(only))
        looked = None if page.looked == self._start else page.looked
        return Page([self._shown(each) for each in page.events], looked, page.end)

    def at(self, position: Position) -> Recorded:
        event = self._store.at(position)
        if position <= (self._start or 0) or not event.stream.startswith(self._prefix):
            raise NotFound(f"position {position} is outside of this corner")
        return self._shown(event)

    def head(self) -> Position | None:
        head = self._store.head()
        return None if head == self._start else head

    def subscribe(self, after: Position | None = None, only: Only = _EVERYTHING) -> Subscription:
        return _Apart(self._store.subscribe(after or self._start, self._filter(only)), self)

    def wait(self, after: Position | None, timeout_s: float) -> bool:
        return self._store.wait(after or self._start, timeout_s)

    def truncate(self, stream: str, before: int) -> None:
        self._store.truncate(self._prefix + stream, before)

    def delete(self, stream: str, *, forever: bool = False) -> None:
        self._store.delete(self._prefix + stream, forever=forever)

    def close(self) -> None:
        self._store.close()

    def told(self, item: Recorded | CaughtUp) -> Recorded | CaughtUp:
        if isinstance(item, CaughtUp):
            return CaughtUp(None if item.position == self._start else item.position)
        return self._shown(item)

    def _filter(self, only: Only) -> Only:
        return replace(only, prefixes=tuple(self._prefix + each for each in only.prefixes))

    def _shown(self, event: Recorded) -> Recorded:
        id_, kind, stream, *rest = event
        made: Recorded = tuple.__new__(Recorded, (id_, kind, stream.removeprefix(self._prefix), *rest))
        return made

    def _own(self, conflict: Conflict) -> Conflict:
        return Conflict(conflict.stream.removeprefix(self._prefix), conflict.expected, conflict.actual)


class _Apart:
    def __init__(self, subscription: Subscription, corner: Apart) -> None:
        self._subscription = subscription
        self._corner = corner

    def __iter__(self) -> Iterator[Recorded | CaughtUp]:
        return (self._corner.told(item) for item in self._subscription)

    def stop(self) -> None:
        self._subscription.stop()
