"""``flotilla projections``: how far the views are, and building one anew while the platform serves (EVT-2)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from deploy.views import projectors
from shared.errors import NotFound, Refused
from shared.projections.projector import Projector
from shared.settings import Settings

app = typer.Typer(
    help="Views: how far they are, what they could not take, and building them anew.", no_args_is_help=True
)
console = Console()

Data = Annotated[Path | None, typer.Option(help="Data folder (default: ./data).")]


@app.command()
def status(data: Data = None) -> None:
    """Position, lag and parked events of every view."""
    table = Table()
    for heading in ("service", "view", "version", "position", "head", "behind (events, at most)", "parked", "error"):
        table.add_column(heading, justify="right" if heading in ("position", "head", "parked") else "left")
    with _projectors(data) as found:
        for service, projector in found.items():
            for view in projector.status():
                table.add_row(
                    service,
                    view.name,
                    str(view.version),
                    str(view.position),
                    str(view.head),
                    str(view.lag_events),
                    str(view.parked),
                    view.error or "",
                )
    console.print(table)


@app.command()
def rebuild(name: str, data: Data = None) -> None:
    """Build a view anew from the streams beside the old one, and swap; readers never see a half."""
    with _projectors(data) as found:
        projector = _owner(found, name)
        columns = (TextColumn(name), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console) as progress:
            task = progress.add_task(name, total=None)
            projector.rebuild(name, lambda done, total: progress.update(task, completed=done, total=total))
    console.print(f"{name} is built anew and in use", highlight=False)


@app.command()
def parked(name: str | None = typer.Argument(None), data: Data = None) -> None:
    """Events that a view could not take, with the error; `retry` takes one again."""
    table = Table()
    for heading in ("view", "id", "position", "type", "stream", "at", "error"):
        table.add_column(heading)
    with _projectors(data) as found:
        for projector in found.values() if name is None else [_owner(found, name)]:
            for event in projector.parked(name):
                table.add_row(
                    event.view, str(event.id), str(event.position), event.type, event.stream, str(event.at), event.error
                )
    console.print(table)


@app.command()
def retry(name: str, parked_id: int, data: Data = None) -> None:
    """Take a parked event again."""
    with _projectors(data) as found:
        if not _owner(found, name).retry(parked_id):
            raise Refused(
                "still_poison", f"{name} cannot take event {parked_id}; `flotilla projections parked` says why"
            )
    console.print("taken", highlight=False)


@contextmanager
def _projectors(data: Path | None) -> Iterator[dict[str, Projector]]:
    with projectors(Settings.load(data=data)) as found:
        yield found


def _owner(found: dict[str, Projector], name: str) -> Projector:
    for projector in found.values():
        if any(view.name == name for view in projector.status()):
            return projector
    raise NotFound(f"there is no view {name!r}; `flotilla projections status` lists them")
