"""Filling tables that nobody reads yet: one view folded from its history, to the end or to an exact position."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from shared.errors import Unavailable
from shared.projections.history import Measured
from shared.projections.runner import BULK, ViewRunner
from shared.projections.scratch import scratch
from shared.projections.tables import ViewTables
from shared.projections.tools import Tools
from shared.projections.view import View
from shared.store.port import Position

Progress = Callable[[int, int | None], None]
"""Called after each page with the events folded so far, and about how many there will be; None while that is unknown.
The second is an estimate from positions until the end is reached: no store counts the events of some types."""


class Replay:
    """Folds the history into ``tables``, which ``load`` must find prepared. Raises what ``ViewRunner.step`` does."""

    def __init__(self, tools: Tools, tables: ViewTables, progress: Progress | None = None) -> None:
        self._history = Measured(tools.history or tools.store)
        self.tools = replace(tools, store=self._history)
        self.runner = ViewRunner(self.tools, tables, lambda keys: None, lambda: None, stretch=BULK)
        self._progress = progress
        self._first: Position | None = None
        self._epoch = 0

    @property
    def tables(self) -> ViewTables:
        """What it fills."""
        return self.runner.tables

    @property
    def events(self) -> int:
        """How many different events it has folded."""
        return self._history.events

    def load(self, epoch: int = 0) -> None:
        """Go on from where the tables of this epoch are. Raises ``Unavailable`` if those are no longer there."""
        self._epoch = epoch
        self.runner.load()
        self._check_epoch()
        if self.events == 0:
            self._first = self.runner.position

    def run(self, until: Position | None = None) -> None:
        """Fold up to ``until`` exactly, or to the end. Raises ``Unavailable`` when the projector stops, when somebody
        else began anew, and when the history ends before ``until``."""
        runner, self._history.until = self.runner, until
        more = True
        while more:
            if self.tools.stopping.is_set():
                raise Unavailable(f"the replay of {runner.view.name} was interrupted")
            more = runner.step(patient=False)
            self._check_epoch()
            self._tell()
        runner.save()
        if until is not None and runner.position != until:
            raise Unavailable(f"{runner.view.name}: asked for position {until}, the history gave {runner.position}")

    def advance_to(self, position: Position | None) -> None:
        """``run`` scratch tables on to exactly this position. Raises ``Unavailable`` if they are behind it already."""
        reached = self.runner.position
        if position == reached:
            return
        if position is None or (reached is not None and position < reached):
            raise Unavailable(f"view {self.runner.view.name} went back to position {position} meanwhile; try again")
        self.run(position)

    def _check_epoch(self) -> None:
        if self.runner.epoch != self._epoch:
            raise Unavailable(f"somebody else began to replay {self.runner.view.name}")

    def _tell(self) -> None:
        if self._progress is not None:
            self._progress(self.events, self._about())

    def _about(self) -> int | None:
        """As many more events for the same distance as so far."""
        looked, head, first = self.runner.looked or 0, self._history.head() or 0, self._first or 0
        if looked >= head:
            return self.events
        return None if looked <= first else self.events + self.events * (head - looked) // (looked - first)


@contextmanager
def beside(tools: Tools, view: View, progress: Progress | None = None) -> Iterator[Replay]:
    """A replay of a view into empty scratch tables, which are gone afterwards. Raises as ``scratch``."""
    with scratch(tools.database) as database:
        database.prepare([view])
        parked = tools.parked.elsewhere(database)
        replay = Replay(replace(tools, database=database, parked=parked), database.tables(view), progress)
        replay.load()
        yield replay
