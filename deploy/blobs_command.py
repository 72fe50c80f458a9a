"""``flotilla blobs``: files of firmware and imports, wherever they are kept: what holds them, whether they are what
their names say, and those that nothing needs any more. Beside a running platform, or without one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from deploy.blob_references import References
from deploy.wide import people_console
from shared.blobs import Blobs, Stored, open_blobs
from shared.clock import system_clock
from shared.errors import NotFound
from shared.projections.history import History, open_history
from shared.settings import Settings
from shared.store.open import open_existing

app = typer.Typer(help="Files of firmware and imports: what holds them, and what nothing needs.", no_args_is_help=True)
console = people_console(markup=False)

PIECE_BYTES = 1 << 20
DAY_H = 24

Data = Annotated[Path | None, typer.Option(help="Data folder (default: ./data).")]
OlderThan = Annotated[
    int, typer.Option("--older-than", min=1, metavar="HOURS", help="Only what was stored, and let go, before so long.")
]


@app.command("list")
def list_them(
    unneeded: Annotated[bool, typer.Option("--unneeded", help="Only those that nothing holds.")] = False,
    data: Data = None,
) -> None:
    """Every blob: since when, how large, and what holds it."""
    settings = Settings.load(data=data)
    blobs = open_blobs(settings.blobs)
    stored = list(blobs.stored())
    holders = _holders(settings, [one.sha256 for one in stored], system_clock())
    for one in stored:
        holder = holders.get(one.sha256)
        if holder is None or not unneeded:
            since = f"{one.stored_at:%Y-%m-%d %H:%M:%S}"
            console.print(f"{one.sha256}  {since}  {one.size_bytes:>11,}  {holder or '-'}", soft_wrap=True)
    _sum_up(stored, holders)


@app.command()
def verify(data: Data = None) -> None:
    """Read every blob, and find those that are not what their digest says, and those that events name and that are
    missing; ends with 1 if there are any."""
    settings = Settings.load(data=data)
    blobs = open_blobs(settings.blobs)
    stored = list(blobs.stored())
    damaged = [one for one in _bar("reading", stored) if not _is_whole(blobs, one.sha256)]
    named = _missing(settings, {one.sha256 for one in stored})
    missing = {digest: words for digest, words in named.items() if not blobs.exists(digest)}  # not even since then
    for one in damaged:
        console.print(f"{one.sha256}  is damaged: its content has another digest", soft_wrap=True)
    for digest, holder in missing.items():
        console.print(f"{digest}  is missing: {holder}", soft_wrap=True)
    console.print(f"{len(stored)} blobs read, {len(damaged)} damaged, {len(missing)} missing")
    raise typer.Exit(1 if damaged or missing else 0)


@app.command()
def collect(
    older_than: OlderThan = DAY_H,
    remove: Annotated[bool, typer.Option("--remove", help="Remove them; else it is only told what would be.")] = False,
    data: Data = None,
) -> None:
    """Remove blobs that no event needs: of deleted versions, of imports that have finished, of files that were flashed,
    of uploads that came to nothing. Nothing happens without --remove. Safe beside a running platform."""
    settings = Settings.load(data=data)
    blobs, now = open_blobs(settings.blobs), system_clock()
    cutoff = now - timedelta(hours=older_than)
    old = {one.sha256: one for one in blobs.stored() if one.stored_at < cutoff}
    holders = _holders(settings, old, cutoff)
    unneeded = [one for digest, one in old.items() if digest not in holders]
    gone = [one for one in unneeded if remove and blobs.remove(one.sha256, cutoff)]
    for one in gone if remove else unneeded:
        console.print(f"{one.sha256}  {one.size_bytes:>11,}", soft_wrap=True)
    kept = f"{len(holders)} older than {older_than} h are needed"
    if remove:
        console.print(f"{_told(gone)} removed, {len(unneeded) - len(gone)} stored again meanwhile, {kept}")
    else:
        console.print(f"{_told(unneeded)} would be removed with --remove, {kept}")


@app.command()
def copy(
    source: Annotated[str, typer.Argument(metavar="URL", help="Where they are now: file:///folder or s3://…")],
    data: Data = None,
) -> None:
    """Copy all blobs of another place to where the settings say, from a folder to a bucket or back; what is damaged is
    not copied. May be repeated."""
    origin, target = open_blobs(source), open_blobs(Settings.load(data=data).blobs)
    stored = list(origin.stored())
    missing = [one for one in stored if not target.exists(one.sha256)]
    damaged = []
    for one in _bar("copying", missing):
        if not _is_whole(origin, one.sha256):
            damaged.append(one)
            console.print(f"{one.sha256}  is damaged and not copied", soft_wrap=True)
        else:
            target.put(_pieces(origin, one.sha256))
    console.print(f"{len(missing) - len(damaged)} copied, {len(stored) - len(missing)} were there already")
    raise typer.Exit(1 if damaged else 0)


def _holders(settings: Settings, asked: Iterable[str], cutoff: datetime) -> Mapping[str, str]:
    """What holds each of these blobs; those that nothing does are not in it. What is let go from ``cutoff`` on is still
    held."""
    references = References(frozenset(asked), cutoff)
    with _history(settings) as history:
        _walk(history, references)
    return {digest: words for digest, words in references.holders().items() if digest in references.asked}


def _missing(settings: Settings, stored: set[str]) -> Mapping[str, str]:
    """What events name by what is known to be a blob, and is not stored."""
    references = References(frozenset(), system_clock())
    with _history(settings) as history:
        _walk(history, references)
    return {digest: words for digest, words in references.holders().items() if digest not in stored}


def _walk(history: History, references: References) -> None:
    after, end = None, False
    with Console(stderr=True).status("reading all events"):
        while not end:
            page = history.read_all(after)
            for recorded in page.events:
                references.take(recorded)
            after, end = page.looked, page.end


@contextmanager
def _history(settings: Settings) -> Iterator[History]:
    with closing(open_existing(settings.store)) as store, closing(open_history(settings.mirror, store)) as history:
        yield history


def _is_whole(blobs: Blobs, sha256: str) -> bool:
    read = hashlib.sha256()
    try:
        for piece in _pieces(blobs, sha256):
            read.update(piece)
    except NotFound:  # it was removed meanwhile
        return True
    return read.hexdigest() == sha256


def _pieces(blobs: Blobs, sha256: str) -> Iterator[bytes]:
    with blobs.open(sha256) as file:
        while piece := file.read(PIECE_BYTES):
            yield piece


def _bar(text: str, stored: list[Stored]) -> Iterator[Stored]:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    shown = Console(stderr=True)
    with Progress(*columns, console=shown, disable=not shown.is_terminal, transient=True) as progress:
        task = progress.add_task(text, total=sum(one.size_bytes for one in stored))
        for one in stored:
            yield one
            progress.advance(task, one.size_bytes)


def _sum_up(stored: list[Stored], holders: Mapping[str, str]) -> None:
    unneeded = [one for one in stored if one.sha256 not in holders]
    console.print(f"{_told(stored)}, of which nothing needs {_told(unneeded)}")


def _told(blobs: list[Stored]) -> str:
    return f"{len(blobs)} blobs ({sum(one.size_bytes for one in blobs) / 2**20:,.1f} MiB)"
