"""Views against the past: each as the platform has it, and folded from the first event up to the same position."""

from __future__ import annotations

import tempfile
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import cast

import sqlalchemy as sa

from deploy.views import SERVICE_VIEWS
from services.gateway.directory_views import VIEWS as DIRECTORY
from shared.events.contracts import Registry
from shared.projections.database import Database
from shared.projections.positions import stored
from shared.projections.projector import Projector
from shared.projections.view import View
from shared.settings import Settings
from shared.store.port import EventStore, Only, Page, Position, Recorded

SAME_MOMENT_S = 20.0


class Past:
    """The part of an event store that a projector asks, with these events in it and no others."""

    def __init__(self, events: Sequence[Recorded]) -> None:
        self._events = events
        self._positions = [event.position for event in events]

    def read_all(self, after: Position | None = None, limit: int = 1_000, only: Only = Only()) -> Page:  # noqa: B008
        first = 0 if after is None else bisect_right(self._positions, after)
        wanted = [event for event in self._events[first:] if event.type in only.types]
        end = len(wanted) <= limit
        looked = self.head() if end else wanted[limit - 1].position
        return Page(wanted[:limit], looked, end)

    def head(self) -> Position | None:
        return self._positions[-1] if self._positions else None

    def up_to(self, position: Position | None) -> Past:
        """What was there at that position."""
        return Past(self._events[: 0 if position is None else bisect_right(self._positions, position)])

    def is_behind(self, position: Position | None, types: frozenset[str]) -> bool:
        """Whether there is an event of these types after this position."""
        first = 0 if position is None else bisect_right(self._positions, position)
        return any(event.type in types for event in self._events[first:])


@dataclass(frozen=True, slots=True)
class Kept:
    """A view as a service or a gateway keeps it."""

    owner: str
    database: Database
    view: View

    def position(self) -> Position | None:
        with self.database.connect() as connection:
            found = stored(connection, self.database.tables(self.view).checkpoint)
        return None if found is None else found.position

    def at_a_moment(self) -> tuple[Position | None, str]:
        """Position and digest that belong together."""
        deadline = time.monotonic() + SAME_MOMENT_S
        while time.monotonic() < deadline:
            before = self.position()
            digest = self.database.digest(self.view)
            if self.position() == before:
                return before, digest
        raise TimeoutError(f"the view {self.owner}/{self.view.name} does not stand still")


def kept_views(settings: Settings, stack: ExitStack) -> Iterator[Kept]:
    """All views of all services and of the directories of all gateways."""
    places = [(service, service, settings.db, views) for service, views in SERVICE_VIEWS.items()]
    folders = sorted(settings.data.glob("gateway-*"))
    places += [(folder.name, "directory", f"sqlite:///{folder}", DIRECTORY) for folder in folders]
    for owner, service, url, views in places:
        database = stack.enter_context(closing(Database(url, service)))
        yield from (Kept(owner, database, view) for view in views)


def behind(settings: Settings, events: Sequence[Recorded]) -> list[str]:
    """The views that have not taken all of these events yet."""
    past = Past(events)
    with ExitStack() as stack:
        return [
            f"{kept.owner}/{kept.view.name} is behind"
            for kept in kept_views(settings, stack)
            if past.is_behind(kept.position(), kept.view.event_types)
        ]


def miscounted(settings: Settings) -> list[str]:
    """The views whose counters are not what a scan of their rows counts."""
    with ExitStack() as stack:
        return [
            f"{kept.owner}/{kept.view.name} is miscounted"
            for kept in kept_views(settings, stack)
            if is_miscounted(kept)
        ]


def is_miscounted(kept: Kept) -> bool:
    with kept.database.connect() as connection:
        rows = connection.execute(sa.select(kept.database.table(kept.view))).mappings()
        scanned = Counter(item for row in rows for item in kept.view.tally(dict(row)))
        counted = {
            (scope, item): n for scope, item, n in connection.execute(sa.select(kept.database.counts(kept.view)))
        }
    return scanned != counted


@dataclass(frozen=True, slots=True)
class Moment:
    """A view at a position, by its digest."""

    owner: str
    view: View
    position: Position | None
    digest: str

    def is_that_of(self, past: Past, contracts: Registry) -> bool:
        """Whether a rebuild from the first event to this position makes the same."""
        with (
            tempfile.TemporaryDirectory(prefix="flotilla-rebuilt-") as folder,
            closing(Database(f"sqlite:///{folder}", "rebuilt")) as database,
        ):
            store = cast(EventStore, past.up_to(self.position))
            Projector("rebuilt", store, database, [self.view], contracts).catch_up()
            return database.digest(self.view) == self.digest


def moments(settings: Settings) -> list[Moment]:
    """Each view as it is now; read the events after that, so that none of them has seen more."""
    with ExitStack() as stack:
        return [Moment(kept.owner, kept.view, *kept.at_a_moment()) for kept in kept_views(settings, stack)]


def differing(found: Sequence[Moment], events: Sequence[Recorded], contracts: Registry) -> list[str]:
    """Those of them that are not what a rebuild makes of the events."""
    past = Past(events)
    return [
        f"{one.owner}/{one.view.name} at {one.position} is not what a rebuild makes"
        for one in found
        if not one.is_that_of(past, contracts)
    ]
