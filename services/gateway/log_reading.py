"""Reading what was published back from a gateway's log, by place: a bounded piece at a time, of named streams only."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter

import msgspec

from services.gateway.log_pages import Newest
from shared.store.port import EventStore, Position, Recorded, StreamNotFound

MAX_STREAMS = 500
"""Streams that are read at once."""
MOST_EVENTS = 500
"""Events that are looked at for one piece."""
MOST_BYTES = 512 * 1024
"""Of one piece; a single event may be larger."""


MOST_LOOKED = 5_000
"""Events that are looked at for one page that is asked for backwards."""


class _Said(msgspec.Struct):
    name: str
    device_id: str | None = None


_said = msgspec.json.Decoder(_Said).decode


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events of a product's log: by the beginning of their name, and the device."""

    prefix: str = ""
    device_id: str | None = None

    def takes(self, recorded: Recorded) -> bool:
        """Whether it is one of these."""
        if not self.prefix and self.device_id is None:
            return True
        try:
            said = _said(recorded.data)
        except msgspec.MsgspecError:
            return False
        return said.name.startswith(self.prefix) and self.device_id in (None, said.device_id)


@dataclass(frozen=True, slots=True)
class Piece:
    """``looked``: the position up to which these are all events of the streams. ``end``: there was nothing more.
    ``gap``: older ones are forgotten. ``restarted``: the log has never been where the reader says to have been."""

    events: Sequence[Recorded]
    looked: Position | None
    end: bool
    gap: bool = False
    restarted: bool = False


def read_behind(store: EventStore, streams: Sequence[str], after: Position | None, since: datetime) -> Piece:
    """What these streams have behind the position ``after``; without one, what was recorded at ``since`` and later.
    Raises ``Unavailable``."""
    head = store.head()  # read first: all up to it is visible to what is read then
    restarted = after is not None and after > (head or 0)
    if restarted:
        after = None

    def is_behind(recorded: Recorded) -> bool:
        return recorded.at >= since if after is None else recorded.position > after

    found: list[list[Recorded]] = []
    bound: Position | None = None
    gap = restarted or len(streams) > MAX_STREAMS
    for stream in streams[:MAX_STREAMS]:
        start, forgotten = _first(store, stream, is_behind)
        gap = gap or forgotten
        events = [] if start is None else _from(store, stream, start)
        found.append(events)
        if len(events) == MOST_EVENTS:
            bound = events[-1].position if bound is None else min(bound, events[-1].position)
    merged = heapq.merge(*found, key=attrgetter("position"))
    until = head if bound is None else min(bound, Position(head or 0))
    wanted = [one for one in merged if until is not None and one.position <= until]
    taken = _bounded(wanted)
    if bound is None and len(taken) == len(wanted):
        return Piece(taken, head, True, gap, restarted)
    return Piece(taken, taken[-1].position if taken else until, False, gap, restarted)


def _bounded(events: Sequence[Recorded]) -> list[Recorded]:
    taken: list[Recorded] = []
    size_bytes = 0
    for event in events[:MOST_EVENTS]:
        size_bytes += len(event.data) + len(event.meta)
        if taken and size_bytes > MOST_BYTES:
            break
        taken.append(event)
    return taken


def _from(store: EventStore, stream: str, version: int) -> list[Recorded]:
    try:
        return store.read(stream, version, MOST_EVENTS)
    except StreamNotFound:
        return []


def _first(store: EventStore, stream: str, is_behind: Callable[[Recorded], bool]) -> tuple[int | None, bool]:
    """The version of the first event that is behind, and whether some before it may be forgotten."""
    try:
        oldest, newest = store.read(stream, 0, 1), store.read(stream, -1, 1, backwards=True)
    except StreamNotFound:
        return None, False
    if not oldest or not newest or not is_behind(newest[0]):
        return None, False
    if is_behind(oldest[0]):
        return oldest[0].version, oldest[0].version > 0
    low, high = oldest[0].version, newest[0].version  # low is not behind, high is
    while high - low > 1:
        middle = (low + high) // 2
        found = store.read(stream, middle, 1)
        if not found or is_behind(found[0]):
            high = middle
        else:
            low = found[0].version
    return high, False


def read_newest(store: EventStore, stream: str, before: int | None, wanted: Wanted, limit: int) -> Newest:
    """At most ``limit`` events of a stream with versions below ``before`` (None: all), the newest first. Looks at no
    more than ``MOST_LOOKED``. Raises ``Unavailable``."""
    found: list[Recorded] = []
    top = looked = before
    looked_at: datetime | None = None
    seen = size_bytes = 0
    while looked != 0:
        events = _backwards(store, stream, -1 if looked is None else looked - 1)
        if not events:
            break
        if top is None:
            top = events[0].version + 1
        for event in events:
            is_wanted = wanted.takes(event)
            if is_wanted:
                size_bytes += len(event.data) + len(event.meta)
                if found and (len(found) == limit or size_bytes > MOST_BYTES):
                    return Newest(found, top, looked or top, looked_at, end=False)
                found.append(event)
            looked, looked_at, seen = event.version, event.at, seen + 1
            if seen == MOST_LOOKED:
                return Newest(found, top, looked, looked_at, end=False)
    return Newest(found, top or 0, looked or 0, looked_at, end=True)


def _backwards(store: EventStore, stream: str, version: int) -> list[Recorded]:
    try:
        return store.read(stream, version, MOST_EVENTS, backwards=True)
    except StreamNotFound:
        return []
