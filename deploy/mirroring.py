"""What a mirror says of itself: a bar on a terminal, and a line now and then in a log."""

from __future__ import annotations

import time
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from deploy.bars import Rate
from shared.clock import Clock, system_clock
from shared.store.mirror import Progress

LINE_EVERY_S = 30.0


class Report:
    """Hears of every page (``told``)."""

    def __init__(self, path: Path, *, clock: Clock = system_clock, console: Console | None = None) -> None:
        self._path = path
        self._clock = clock
        self._console = console or Console(stderr=True)
        columns = (
            TextColumn("mirroring"),
            BarColumn(),
            TaskProgressColumn(),
            Rate(),
            TextColumn("{task.fields[lag]}", markup=False),
        )
        self._bar = Bar(*columns, TimeRemainingColumn(), console=self._console)
        self._task = self._bar.add_task("", total=None, events=0, before=0, unit="events", lag="")
        self._started = self._line_at = time.monotonic()
        self._last = Progress(0, None, None, None)

    def __enter__(self) -> Report:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.stop()

    def told(self, progress: Progress) -> None:
        """How far it is now."""
        self._last = progress
        self._bar.update(
            self._task,
            total=progress.head,
            completed=progress.position or 0,
            events=progress.events,
            lag=self._lag(progress),
        )
        if not self._console.is_terminal and time.monotonic() - self._line_at > LINE_EVERY_S:
            self._line_at = time.monotonic()
            self._console.print(self.summary(), highlight=False, soft_wrap=True)

    def summary(self) -> str:
        """One sentence."""
        took_s = max(time.monotonic() - self._started, 0.001)
        rate = f"{self._last.events:,} events in {took_s:,.0f} s ({self._last.events / took_s:,.0f}/s)"
        return f"{self._path}: {rate}, at position {self._last.position} of {self._last.head}, {self._lag(self._last)}"

    def _lag(self, progress: Progress) -> str:
        if progress.problem:
            return f"waiting: {progress.problem}"
        if progress.is_level or progress.at is None:
            return "level"
        return f"{max((self._clock() - progress.at).total_seconds(), 0):,.1f} s behind"
