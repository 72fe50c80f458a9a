"""Progress on the terminal: how much, how fast, how much longer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

Moved = Callable[[int, int], None]
"""Hears how far it is, in the unit of the total, and how many events that were."""
Told = Callable[[int, int | None], None]
"""Hears of how many events it is done with, and of about how many in all; None while that is unknown."""


class Rate(ProgressColumn):
    """Events, or whatever is counted, and how many a second since the start."""

    def render(self, task: Task) -> Text:
        """See ``ProgressColumn``."""
        events, before = int(task.fields["events"]), int(task.fields["before"])
        rate = (events - before) / max(task.elapsed or 0.0, 0.001)
        return Text(f"{events:,} {task.fields['unit']}, {rate:,.0f}/s")


@contextmanager
def bar(text: str, total: int | None, *, quiet: bool = False, unit: str = "events", before: int = 0) -> Iterator[Moved]:
    """A bar on standard error, so that what is written to standard output stays clean. ``unit`` is what is counted, of
    which so many were done ``before``."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        Rate(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), disable=quiet) as progress:
        task = progress.add_task(text, total=total, completed=before, events=before, before=before, unit=unit)
        yield lambda done, events: progress.update(task, completed=done, events=events)


@contextmanager
def event_bars() -> Iterator[Callable[[str], Told]]:
    """Bars that count events, one for each task that is named, and say how much memory this process has."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[text]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:

        def added(name: str) -> Told:
            task, began = progress.add_task(name, total=None, text=""), time.monotonic()

            def told(done: int, total: int | None) -> None:
                progress.update(task, completed=done, total=total, text=_text(done, total, time.monotonic() - began))

            return told

        yield added


def _text(done: int, total: int | None, took_s: float) -> str:
    of = "" if total is None or total == done else f" of about {total:,}"
    return f"{done:,}{of} events, {done / max(took_s, 1e-9):,.0f}/s, {_memory_mib():,.0f} MiB"


def _memory_mib() -> float:
    """What this process has in memory now; 0 where nothing tells."""
    try:
        fields = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in fields if line.startswith("VmRSS:")), 0.0)
