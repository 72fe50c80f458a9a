"""What a replay reads: all events in order, from a local mirror as far as that goes and from the store behind it."""

from __future__ import annotations

from typing import Protocol

from shared.errors import NotFound, Refused
from shared.store.port import EventStore, Only, Page, Position


class History(Protocol):
    """The part of an event store that a replay needs; every event store is one."""

    def read_all(self, after: Position | None = None, limit: int = 1_000, only: Only = ...) -> Page:
        """As ``EventStore.read_all``."""
        ...

    def head(self) -> Position | None:
        """As ``EventStore.head``."""
        ...


class Mirrored:
    """A store, read from a copy with the same positions to the copy's end, and from itself behind that.

    Raises ``Refused("wrong_mirror")`` when the copy's last event is not where the store has it: it is a copy of
    another store, or so old that the store has forgotten that event.
    """

    def __init__(self, mirror: EventStore, store: EventStore) -> None:
        self._mirror = mirror
        self._store = store
        self._end = mirror.head()
        if self._end is not None:
            _check_same(mirror, store, self._end)

    def read_all(self, after: Position | None = None, limit: int = 1_000, only: Only = Only()) -> Page:  # noqa: B008
        """As ``EventStore.read_all``; never the end while it reads the mirror."""
        if self._end is None or (after is not None and after >= self._end):
            return self._store.read_all(after, limit, only)
        page = self._mirror.read_all(after, limit, only)
        return Page(page.events, page.looked, end=False)

    def head(self) -> Position | None:
        """That of the store."""
        return self._store.head()


class Measured:
    """A history that ends at ``until`` if that is not None, and counts the different ``events`` that it gave."""

    def __init__(self, history: History) -> None:
        self.until: Position | None = None
        self.events = 0
        self._history = history
        self._furthest: Position | None = None

    def read_all(self, after: Position | None = None, limit: int = 1_000, only: Only = Only()) -> Page:  # noqa: B008
        """As ``EventStore.read_all``, up to ``until``."""
        until = self.until
        if until is not None and after is not None and after >= until:
            return Page([], after, end=True)
        page = self._history.read_all(after, limit, only)
        if until is not None and page.looked is not None and page.looked >= until:
            page = Page([event for event in page.events if event.position <= until], until, end=True)
        self._count(after, page)
        return page

    def head(self) -> Position | None:
        """Where it ends now."""
        return self._history.head() if self.until is None else self.until

    def _count(self, after: Position | None, page: Page) -> None:
        last = self._furthest
        if last is None or (after is not None and after >= last):
            self.events += len(page.events)
        else:  # read once more, because a transaction was lost
            self.events += sum(event.position > last for event in page.events)
        if page.looked is not None:
            self._furthest = page.looked if last is None else max(last, page.looked)


def _check_same(mirror: EventStore, store: EventStore, end: Position) -> None:
    try:
        is_same = mirror.at(end).id == store.at(end).id
    except NotFound:
        is_same = False
    if not is_same:
        reason = f"the mirror's last event, at position {end}, is not what the store has there"
        raise Refused("wrong_mirror", f"{reason}; `flotilla events mirror` brings it up to date")
