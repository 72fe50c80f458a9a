"""Folds views up to a past moment, by the machinery of a rebuild, and not beyond."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from shared.clock import Clock
from shared.errors import Unavailable
from shared.events.contracts import Registry
from shared.projections.database import Database
from shared.projections.history import History
from shared.projections.parked import ParkedEvents
from shared.projections.past_moments import Moment, Stamp, stamp_of
from shared.projections.runner import ViewRunner
from shared.projections.tools import Tools
from shared.projections.view import View
from shared.store.port import Only, Page, Position

PAGE_EVENTS = 1_000
BREATH_S = 0.001
"""Between two steps everybody else in the process has a turn."""

Told = Callable[[int], None]
"""Called after each step with the position up to which all views have looked."""


class UpTo:
    """A history that ends at a moment, and notes what it met on both sides: ``last``, the last event that belongs to
    the moment, and ``next``, the first one that does not."""

    def __init__(self, history: History, moment: Moment, last: Stamp | None = None) -> None:
        self._history = history
        self._moment = moment
        self.last = last
        self.next: Stamp | None = None

    def read_all(self, after: Position | None = None, limit: int = 1_000, only: Only = Only()) -> Page:  # noqa: B008
        """As ``EventStore.read_all``, to the moment; the page before it is the end."""
        if self.next is not None and after is not None and after >= self.next.position:
            return Page([], after, end=True)  # another view has met the end already
        page = self._history.read_all(after, limit, only)
        kept = self._moment.kept(page.events)
        if kept:
            self.last = max(filter(None, (self.last, stamp_of(page.events[kept - 1]))), key=_position)
        if kept == len(page.events):
            return page
        self.next = min(filter(None, (self.next, stamp_of(page.events[kept]))), key=_position)
        return Page(page.events[:kept], page.events[kept - 1].position if kept else after, end=True)

    def head(self) -> Position | None:
        """As ``EventStore.head``."""
        return self._history.head()


def _position(stamp: Stamp) -> Position:
    return stamp.position


def first_behind(history: History, views: Sequence[View], after: Position) -> Stamp | None:
    """The first event behind a position that one of the views takes."""
    only = Only(types=frozenset().union(*(view.event_types for view in views)))
    looked: Position | None = after
    while True:
        page = history.read_all(looked, 1, only)
        if page.events:
            return stamp_of(page.events[0])
        if page.end:
            return None
        looked = page.looked


def fill(
    database: Database,
    views: Sequence[View],
    history: UpTo,
    contracts: Registry,
    *,
    clock: Clock,
    told: Told,
    stopping: threading.Event,
) -> None:
    """Bring the views of a copy, which may hold a part already, to the moment of ``history``. Raises
    ``Unavailable``, also when ``stopping`` is set, and ``PoisonError``."""
    tools = Tools(history, database, contracts, ParkedEvents(database, clock), PAGE_EVENTS, stopping)
    runners = [_runner(tools, database, view) for view in views]
    for runner in runners:
        runner.load()
    unfinished = list(runners)
    while unfinished:
        behind = min(unfinished, key=lambda runner: runner.looked or 0)  # so that all views are about as far
        if not behind.step(patient=False):
            behind.save()
            unfinished.remove(behind)
        told(min(runner.looked or 0 for runner in unfinished or runners))
        if stopping.wait(BREATH_S):
            raise Unavailable("the platform stops; ask again")


def _runner(tools: Tools, database: Database, view: View) -> ViewRunner:
    return ViewRunner(tools, database.tables(view), lambda keys: None, lambda: None)
