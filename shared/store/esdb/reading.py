"""Reads: one stream, all streams, a stretch of all streams through a filter; in pages, each with its time limit."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

from esdbclient.exceptions import DeadlineExceeded

from shared.errors import Misuse, NotFound, Unavailable
from shared.store.esdb.client import positions
from shared.store.esdb.connection import Connection
from shared.store.esdb.failures import FAILURES, explained
from shared.store.esdb.wire import END, SYSTEM, filter_of, fits
from shared.store.port import Only, Page, Position, Recorded, StreamNotFound, StreamTombstoned

PAGE = 1_000
"""Most events asked for in one call when a stream is read."""
PAGE_S = 10.0
SCAN_S = 5.0
"""How long a filtered page looks for events that match before it says how far it has looked."""
LONG_S = 120.0
"""How long a search for rare events among all may take."""
WINDOW = 100
STEP = 10
"""After ``WINDOW * STEP`` events that a filtered subscription has looked at, the server says where it is."""

_EVERYTHING = Only()


class Reading:
    """Through one connection. ``page_s`` and ``scan_s``: see the constants."""

    def __init__(self, connection: Connection, *, page_s: float = PAGE_S, scan_s: float = SCAN_S) -> None:
        self._connection = connection
        self._page_s = page_s
        self._scan_s = scan_s

    def head(self) -> int:
        """The position of the last event that is not the server's own, 0 for none."""
        last = self._fetch("head", {"backwards": True, "limit": 1, **filter_of(_EVERYTHING)}, self._page_s)
        return last[0].position if last else 0

    def stream(self, stream: str, first: int, limit: int | None, backwards: bool) -> list[Recorded]:
        """As ``EventStore.read``."""
        if not (-1 if backwards else 0) <= first < END or (limit is not None and limit < 1):
            raise Misuse(f"cannot read {limit} events from version {first} of {stream}")
        start: int | None = None if first == -1 else first
        events: list[Recorded] = []
        while True:
            wanted = PAGE if limit is None else min(PAGE, limit - len(events))
            page = self._page_of(stream, start, wanted, backwards)
            events += page
            if len(page) < wanted or len(events) == limit:
                return events
            start = page[-1].version + (-1 if backwards else 1)
            if start < 0:
                return events

    def page(self, after: int, limit: int, only: Only) -> Page:
        """As ``EventStore.read_all``. What is forgotten is still seen until the server scavenges it away."""
        if limit < 1 or not 0 <= after < END:
            raise Misuse(f"cannot read {limit} events behind position {after}")
        if only.types or only.prefixes:
            return self._filtered(after, limit, only)
        events = self._behind(after, self._all(after, limit + 2, only))
        is_end = len(events) <= limit
        events = events[:limit]
        return _page(events, events[-1].position if events else after, is_end, only)

    def at(self, position: int) -> Recorded:
        """As ``EventStore.at``. The log may still hold what its stream does not show any more, so both are asked."""
        event = self._in_log(position) if 0 < position < END else None
        if event is None or not self._is_shown(event):
            raise NotFound(f"there is no event at position {position}: it was forgotten, or never was")
        return event

    def metadata(self) -> Iterator[Recorded]:
        """All metadata that streams ever got, oldest first: of each stream the last one counts."""
        return self._raw({"filter_include": [r"\$\$[\s\S]*"], "filter_by_stream_name": True})

    def tombstones(self) -> Iterator[Recorded]:
        """The last event of each stream that was deleted for ever."""
        return self._raw({"filter_include": [r"\$streamDeleted"]})

    def last_of_deleted(self, stream: str) -> int | None:
        """The last version of a stream that cannot be read by its name; None if the server has none of its events."""
        where = {"filter_include": [re.escape(stream)], "filter_by_stream_name": True, "backwards": True, "limit": 1}
        last = self._fetch(stream, where, LONG_S)
        return last[0].version if last else None

    def _raw(self, where: dict[str, Any]) -> Iterator[Recorded]:
        after = 0
        while True:
            events = self._behind(after, self._fetch("read of all", {"limit": PAGE, **_from(after), **where}, LONG_S))
            yield from events
            if len(events) < PAGE - 1:
                return
            after = events[-1].position

    def _in_log(self, position: int) -> Recorded | None:
        try:
            found = self._fetch("read of all", {"limit": 1, **_from(position)}, self._page_s)
        except Misuse:  # the server's word for a position where no event begins
            return None
        return next((each for each in found if each.position == position and fits(each, _EVERYTHING)), None)

    def _is_shown(self, event: Recorded) -> bool:
        try:
            return event in self.stream(event.stream, event.version, 1, False)
        except (StreamNotFound, StreamTombstoned):
            return False

    def _filtered(self, after: int, limit: int, only: Only) -> Page:
        """The head is read first: all up to it is visible to what is read then."""
        head = self.head()
        found: list[Recorded] = []
        if head > after:
            try:
                found = self._all(after, limit + 1, only, self._scan_s)
            except _OutOfTime as partial:
                return self._partial(after, limit, only, partial.events)
        fresh = self._behind(after, found)[:limit]
        looked = fresh[-1].position if len(fresh) == limit else max([head, after, *(e.position for e in fresh[-1:])])
        return _page(fresh, looked, looked >= head, only)

    def _partial(self, after: int, limit: int, only: Only, found: list[Recorded]) -> Page:
        """What came in time; if nothing came, how far a subscription gets, which tells where it is as it goes."""
        events = self._behind(after, found)[:limit]
        looked = events[-1].position if events else self._scan(after, only, events)
        return _page(events, looked, False, only)

    def _scan(self, after: int, only: Only, events: list[Recorded]) -> int:
        """Where a subscription has looked after ``scan_s``, or at its first event, which is added to ``events``."""
        where = {"window_size": WINDOW, "checkpoint_interval_multiplier": STEP, **filter_of(only)}
        looked = after
        deadline = time.monotonic() + self._scan_s
        try:
            for told in positions(self._connection.client().follow(where | _from(after), self._scan_s + self._page_s)):
                if isinstance(told, Recorded):
                    events.append(told)
                    return told.position
                looked = max(looked, told or 0)
                if told is None or time.monotonic() > deadline:
                    break
        except DeadlineExceeded:
            if looked == after:
                raise Unavailable("read of all: the server gives no sign of how far it has looked") from None
        except FAILURES as failure:
            raise explained(failure, "read of all") from failure
        return looked

    def _behind(self, after: int, events: list[Recorded]) -> list[Recorded]:
        """Reads forwards include the event at the position that they start from."""
        return events[1:] if events and events[0].position <= after else events

    def _all(self, after: int, limit: int, only: Only, timeout_s: float | None = None) -> list[Recorded]:
        where = {"limit": limit, **_from(after), **filter_of(only)}
        return self._fetch("read of all", where, timeout_s or self._page_s, is_partial_useful=timeout_s is not None)

    def _page_of(self, stream: str, start: int | None, limit: int, backwards: bool) -> list[Recorded]:
        where: dict[str, Any] = {"stream_name": stream, "stream_position": start, "backwards": backwards}
        page = self._fetch(stream, {**where, "limit": limit}, self._page_s)
        if page or not backwards or start is None:
            return page
        # Whether reading down from beyond the end finds anything is the server's version's affair.
        last = self._fetch(stream, {**where, "stream_position": None, "limit": limit}, self._page_s)
        return last if last and last[0].version < start else []

    def _fetch(
        self, doing: str, where: dict[str, Any], timeout_s: float, *, is_partial_useful: bool = False
    ) -> list[Recorded]:
        events: list[Recorded] = []
        try:
            self._connection.client().fetch(where, timeout_s, events)
        except DeadlineExceeded as failure:
            if is_partial_useful:
                raise _OutOfTime(events) from None
            raise explained(failure, doing) from failure
        except FAILURES as failure:
            raise explained(failure, doing) from failure
        return events


class _OutOfTime(Exception):
    """A read that was cut by its time limit, with what had come."""

    def __init__(self, events: list[Recorded]) -> None:
        super().__init__(len(events))
        self.events = events


def _page(read: list[Recorded], looked: int, is_end: bool, only: Only) -> Page:
    return Page([event for event in read if fits(event, only)], Position(looked) if looked else None, is_end)


def _from(after: int) -> dict[str, Any]:
    return {"commit_position": after} if after else {}


def everything() -> dict[str, Any]:
    """The arguments of a subscription to whatever comes from now on, but not to the server's own events."""
    return {"from_end": True, "filter_exclude": [SYSTEM]}
