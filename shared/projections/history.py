"""What a replay reads: all events in order, from a local mirror as far as that goes and from the store behind it."""

from __future__ import annotations

from typing import Protocol

from shared.errors import NotFound, Refused
from shared.store.open import open_store, sqlite_path
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
    """A store, read from a copy with the same positions, if there is one, to the copy's end, and from itself behind
    that. The copy may grow meanwhile; it is closed with this, the store is not.

    Reading raises ``Refused("wrong_mirror")`` when the copy's last event is not what the store has there: it is a copy
    of another store. Where the store has forgotten that event, the first one decides.
    """

    def __init__(self, mirror: EventStore | None, store: EventStore) -> None:
        self._mirror = mirror
        self._store = store
        self._end: Position | None = None

    def read_all(self, after: Position | None = None, limit: int = 1_000, only: Only = Only()) -> Page:  # noqa: B008
        """As ``EventStore.read_all``; never the end while it reads the mirror."""
        if self._mirror is None or not self._goes_on(self._mirror, after):
            return self._store.read_all(after, limit, only)
        page = self._mirror.read_all(after, limit, only)
        return Page(page.events, page.looked, end=False)

    def head(self) -> Position | None:
        """That of the store."""
        return self._store.head()

    def close(self) -> None:
        """Let go of the copy."""
        if self._mirror is not None:
            self._mirror.close()

    def _goes_on(self, mirror: EventStore, after: Position | None) -> bool:
        """Whether the copy has something behind this position."""
        if self._end is None or (after is not None and after >= self._end):
            end = mirror.head()
            if self._end is None and end is not None:
                _check_same(mirror, self._store, end)
            self._end = end
        return self._end is not None and (after is None or after < self._end)


def open_history(mirror: str, store: EventStore, *, alone: bool = False) -> Mirrored:
    """What replays of this store read, by the setting ``mirror``, which may be empty; ``alone`` as in ``open_store``.
    Close it. Raises ``Refused`` for a mirror that is not there."""
    if not mirror:
        return Mirrored(None, store)
    path = sqlite_path(mirror)
    if path is None or not path.is_file():
        shown = mirror.rpartition("@")[2]
        reason = f"FLOTILLA_MIRROR is {shown!r}, and no such file is there; `flotilla events mirror` makes it"
        raise Refused("bad_setting", reason)
    return Mirrored(open_store(mirror, alone=alone), store)


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
    head = store.head()
    if head is None or head < end or not _is_same(mirror, store, end):
        reason = f"its last event, at position {end}, is not what the store has there"
        raise Refused("wrong_mirror", f"FLOTILLA_MIRROR is a mirror of another store: {reason}")


def _is_same(mirror: EventStore, store: EventStore, end: Position) -> bool:
    try:
        return mirror.at(end).id == store.at(end).id
    except NotFound:  # forgotten since, as old beats of gateways are
        ours, theirs = (read.read_all(None, 1).events for read in (mirror, store))
        return [event.id for event in ours] == [event.id for event in theirs]
