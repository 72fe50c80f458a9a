"""A store with a past: streams that grew together, one whose beginning was truncated, deleted ones."""

from __future__ import annotations

from uuid import UUID

from shared.store.port import ANY, EventStore, New, Position, Recorded

PAGE = 1_000


def new(number: int, count: int = 1, kind: str = "Happened") -> list[New]:
    return [New(UUID(int=number * 10_000 + n), kind, b'{"n":%d}' % n, b'{"schema":1}') for n in range(count)]


def grow(store: EventStore, appends: int = 60, start: int = 1) -> None:
    """Streams ``device-0`` to ``device-6``, of changing types."""
    for number in range(start, start + appends):
        store.append(f"device-{number % 7}", ANY, new(number, number % 5 + 1, ("Locked", "Released")[number % 2]))


def live_through(store: EventStore, appends: int = 60) -> None:
    """``grow`` and forget some of it."""
    grow(store, appends)
    store.append("gone", ANY, new(9_001, 4))
    store.append("gone-for-ever", ANY, new(9_002, 3))
    store.append("back", ANY, new(9_003, 3))
    store.truncate("device-1", 3)
    store.delete("gone")
    store.delete("gone-for-ever", forever=True)
    store.delete("back")
    store.append("back", ANY, new(9_004, 2))
    store.append("device-1", ANY, new(9_005, 2))


def everything(store: EventStore) -> list[Recorded]:
    """All events, in order."""
    events: list[Recorded] = []
    position: Position | None = None
    while True:
        page = store.read_all(position, PAGE)
        events += page.events
        position = page.looked
        if page.end:
            return events
