"""``flotilla projections``: how far the views are, whether they are right, and building one anew while the platform
serves (EVT-2)."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from deploy.bars import Told, event_bars
from deploy.views import find_view, projectors
from shared.errors import FlotillaError, Refused
from shared.projections.comparison import Comparison, Difference
from shared.projections.projector import Projector
from shared.projections.rebuild import Rebuilt
from shared.projections.verify import Verified
from shared.settings import Settings

app = typer.Typer(help="Views: how far they are, whether they are right, and building them anew.", no_args_is_help=True)
console = Console(markup=False)

DIGEST_CHARS = 16
"""So much of a digest is shown in tables."""
ROW_CHARS = 400
"""Longest shown content of a row that differs."""

Data = Annotated[Path | None, typer.Option(help="Data folder (default: ./data).")]


@app.command()
def status(data: Data = None) -> None:
    """Position, lag and parked events of every view."""
    table = _table("service", "view", "version", "position", "head", "behind (events, at most)", "parked", "error")
    with _projectors(data) as found:
        for service, projector in found.items():
            for view in projector.status():
                cells = (view.version, view.position, view.head, view.lag_events, view.parked, view.error or "")
                table.add_row(service, view.name, *map(str, cells))
    console.print(table)


@app.command()
def rebuild(name: str, data: Data = None) -> None:
    """Build a view anew from the streams beside the old one, compare the two, and swap; readers never see a half."""
    with _projectors(data) as found:
        projector, view = find_view(found, name)
        began = time.monotonic()
        with event_bars() as told:
            rebuilt = projector.rebuild(view, told(name), comparing=True)
        _tell_rebuilt(name, rebuilt, time.monotonic() - began)


@app.command()
def verify(names: Annotated[list[str] | None, typer.Argument()] = None, data: Data = None) -> None:
    """Fold every view (or those named) once more beside the live one and compare; exit code 1 if any differs."""
    table = _table("view", "position", "rows", "equal?", "digest", "remark")
    details: list[str] = []
    all_equal = True
    with _projectors(data) as found:
        chosen = [find_view(found, name) for name in names] if names else _all(found)
        with event_bars() as told:
            for projector, view in chosen:
                name = f"{_owner(found, projector)}/{view}"
                verified = _verified(projector, view, told(name))
                all_equal = all_equal and verified.equal
                table.add_row(name, *_cells(verified))
                details += _details(name, verified.comparison)
    console.print(table)
    for line in details:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    if not all_equal:
        raise typer.Exit(1)


@app.command()
def parked(name: str | None = typer.Argument(None), data: Data = None) -> None:
    """Events that a view could not take, with the error; `retry` takes one again."""
    table = _table("view", "id", "position", "type", "stream", "at", "error")
    with _projectors(data) as found:
        asked = [(projector, None) for projector in found.values()] if name is None else [find_view(found, name)]
        for projector, view in asked:
            for event in projector.parked(view):
                cells = (event.id, event.position, event.type, event.stream, event.at, event.error)
                table.add_row(event.view, *map(str, cells))
    console.print(table)


@app.command()
def retry(name: str, parked_id: int, data: Data = None) -> None:
    """Take a parked event again."""
    with _projectors(data) as found:
        if not find_view(found, name)[0].retry(parked_id):
            raise Refused(
                "still_poison", f"{name} cannot take event {parked_id}; `flotilla projections parked` says why"
            )
    console.print("taken", highlight=False)


@contextmanager
def _projectors(data: Path | None) -> Iterator[dict[str, Projector]]:
    with projectors(Settings.load(data=data)) as found:
        yield found


def _all(found: dict[str, Projector]) -> list[tuple[Projector, str]]:
    return [(projector, view.name) for projector in found.values() for view in projector.status()]


def _owner(found: dict[str, Projector], wanted: Projector) -> str:
    return next(owner for owner, projector in found.items() if projector is wanted)


# rebuild


def _tell_rebuilt(name: str, rebuilt: Rebuilt, took_s: float) -> None:
    rate = rebuilt.events / max(took_s, 1e-9)
    console.print(
        f"{name} is built anew and in use: {rebuilt.events:,} events in {took_s:.1f} s ({rate:,.0f} a second), "
        f"position {rebuilt.position}",
        highlight=False,
    )
    compared = rebuilt.comparison
    if compared is None:
        console.print("there was no old view of this version to compare it with", highlight=False)
        return
    console.print(f"at position {rebuilt.compared_at}, {compared.rows:,} rows:", highlight=False)
    console.print(f"  old {compared.left_digest}\n  new {compared.right_digest}", highlight=False)
    console.print("they are equal" if compared.equal else "they are NOT equal", highlight=False)
    for line in _details(name, compared):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


# verify


def _verified(projector: Projector, view: str, told: Told) -> Verified:
    """What cannot be verified differs; the others are verified all the same."""
    try:
        return projector.verify(view, told)
    except FlotillaError as error:
        return Verified(view, None, 0, None, problem=str(error))


def _cells(verified: Verified) -> tuple[str, ...]:
    compared, remark = verified.comparison, verified.problem or ""
    if compared is None:
        return str(verified.position), "", "NO", "", remark
    if verified.parked or verified.folded_parked:
        remark = f"{verified.parked} events parked, {verified.folded_parked} now"
    if not compared.equal:
        remark = "; ".join(filter(None, (f"{compared.different:,} differ", remark)))
    answer = "yes" if compared.equal else "NO"
    return str(verified.position), f"{compared.rows:,}", answer, compared.left_digest[:DIGEST_CHARS], remark


def _details(name: str, compared: Comparison | None) -> list[str]:
    if compared is None or compared.equal:
        return []
    shown = [line for difference in compared.shown for line in _contents(name, difference)]
    more = compared.different - len(compared.shown)
    return shown + ([f"{name}: and {more:,} more"] if more > 0 else [])


def _contents(name: str, difference: Difference) -> Iterator[str]:
    kinds = {"counts": "counter", "members": "member of a set"}
    kind = kinds.get(difference.table.rpartition("_")[2], "row")
    yield f"{name}: a {kind} differs (as stored: times in microseconds)"
    yield f"  is        {_shown(difference.left)}"
    yield f"  should be {_shown(difference.right)}"


def _shown(content: dict[str, object] | None) -> str:
    text = "not there" if content is None else json.dumps(content, ensure_ascii=False)
    return text if len(text) <= ROW_CHARS else text[: ROW_CHARS - 1] + "…"


def _table(*headings: str) -> Table:
    table = Table()
    for heading in headings:
        is_number = heading in ("position", "head", "rows", "parked")
        table.add_column(heading, justify="right" if is_number else "left")
    return table
