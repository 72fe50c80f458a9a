"""Progress on the terminal: how much, how fast, how much longer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

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


class Rate(ProgressColumn):
    """Events, and events a second since the start."""

    def render(self, task: Task) -> Text:
        """See ``ProgressColumn``."""
        events = int(task.fields.get("events", 0))
        return Text(f"{events:,} events, {events / max(task.elapsed or 0.0, 0.001):,.0f}/s")


@contextmanager
def bar(text: str, total: int | None, *, quiet: bool = False) -> Iterator[Moved]:
    """A bar on standard error, so that what is written to standard output stays clean."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        Rate(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), disable=quiet) as progress:
        task = progress.add_task(text, total=total, events=0)
        yield lambda done, events: progress.update(task, completed=done, events=events)
