"""``flotilla events export, verify, import, mirror``: carrying streams from store to store (EVT-3)."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated, cast

import typer
from rich.console import Console

from deploy.bars import bar
from deploy.mirroring import Report
from deploy.process import log_to_stderr
from deploy.running import DataFolder
from shared.clock import system_clock
from shared.errors import Refused
from shared.settings import Settings
from shared.store.archive.exporting import export_file, fixed
from shared.store.archive.lines import Header
from shared.store.archive.reading import Archive, Contents
from shared.store.archive.scanning import Place
from shared.store.archive.writing import export as export_to
from shared.store.carrying import Carrying
from shared.store.importing import Import
from shared.store.mirror import Mirror, locked
from shared.store.open import open_existing, open_store
from shared.store.port import EventStore
from shared.store.sqlite import SqliteEventStore

console = Console(markup=False)

Data = Annotated[Path | None, typer.Option(help="Data folder (default: ./data).")]
Types = Annotated[list[str] | None, typer.Option("--type", help="Only this event type; may be repeated.")]
Prefixes = Annotated[list[str] | None, typer.Option("--stream", help="Only streams with this prefix; may be repeated.")]
ArchiveFile = Annotated[Path, typer.Argument(metavar="FILE", help="An archive that `events export` wrote.")]


def export(
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="File to write (-: standard output).")] = None,
    data: Data = None,
    types: Types = None,
    streams: Prefixes = None,
    since: Annotated[int | None, typer.Option("--from", min=1, help="The first position.")] = None,
    until: Annotated[int | None, typer.Option("--to", min=1, help="The last position (default: now's last).")] = None,
) -> None:
    """Events as NDJSON with checksums, in order of position. Repeat it with the same FILE to go on after a stop."""
    asked = Header(
        created=system_clock(), types=tuple(types or ()), streams=tuple(streams or ()), since=since, until=until
    )
    if since is not None and until is not None and since > until:
        raise Refused("empty_range", f"--from {since} is behind --to {until}")
    with _carrying(open_existing(Settings.load(data=data).store)) as store:
        if file is None or str(file) == "-":
            export_to(store, fixed(asked, store), sys.stdout.buffer, told=lambda _, __: None)
        else:
            _export(file, asked, store)


def verify(file: ArchiveFile) -> None:
    """Check an archive without importing it: every checksum, every line, the order of events."""
    contents = _verified(Archive(file))
    end, header = contents.end, contents.header
    console.print(
        f"{file} is whole: {end.events:,} events of {len(contents.last):,} streams, up to position {end.position}, "
        f"exported at {header.created:%Y-%m-%d %H:%M:%S} UTC; SHA-256 before the last line {end.sha256}",
        highlight=False,
        soft_wrap=True,
    )


def import_(file: ArchiveFile, data: Data = None) -> None:
    """Events of an archive into the event store of a platform that does not run. Repeat it to go on after a stop."""
    settings = Settings.load(data=data)
    archive = Archive(file)
    with DataFolder(settings.data).claimed():
        contents = _verified(archive)
        with _carrying(open_store(settings.store)) as store:
            work = Import(archive, contents, store)
            with bar("comparing", contents.size_bytes, quiet=store.head() is None) as moved:
                work.look(moved)
            started = time.monotonic()
            with bar("importing", contents.size_bytes) as moved:
                done = work.run(moved)
    rate = done.events / max(time.monotonic() - started, 0.001)
    console.print(
        f"{done.events:,} events imported ({rate:,.0f}/s), {done.held:,} were there, {done.forgotten:,} had been "
        "forgotten at their source; the next start builds all views from them",
        highlight=False,
        soft_wrap=True,
    )


def mirror(
    url: Annotated[str, typer.Argument(metavar="URL", help="The copy: sqlite:///absolute/path")],
    data: Data = None,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with what comes, for ever.")] = False,
) -> None:
    """Keep a local copy of all events, with their positions, versions and times: an event store as any other."""
    settings = Settings.load(data=data)
    if follow:
        log_to_stderr(settings.log_level)
    with _carrying(open_existing(settings.store)) as source, _copy(url, source) as copy, Report(copy.path) as report:
        work = Mirror(source, copy, report.told)
        if follow:
            work.follow(_stopped())
        else:
            work.catch_up()
    console.print(report.summary(), highlight=False, soft_wrap=True)


def _export(path: Path, asked: Header, store: Carrying) -> None:
    until = asked.until or store.head() or 0

    def goes_on(place: Place) -> None:
        text = f"{path} is unfinished: going on behind {place.events:,} events, position {place.position}"
        console.print(text, highlight=False, soft_wrap=True)

    started = time.monotonic()
    with bar("exporting", until) as moved:
        header, end = export_file(
            path, asked, store, goes_on=goes_on, told=lambda events, position: moved(position or 0, events)
        )
        moved(until, end.events)
    console.print(
        f"{end.events:,} events in {path}, up to position {header.until}, in {time.monotonic() - started:.1f} s",
        highlight=False,
        soft_wrap=True,
    )


def _verified(archive: Archive) -> Contents:
    with bar("verifying", archive.path.stat().st_size) as moved:
        return archive.verify(moved)


def _carrying(store: EventStore) -> closing[Carrying]:
    return closing(cast("Carrying", store))  # every adapter carries


@contextmanager
def _copy(url: str, source: EventStore) -> Iterator[SqliteEventStore]:
    if not url.startswith("sqlite:"):
        raise Refused("bad_mirror", f"{url!r}: a mirror is a file, sqlite:///absolute/path")
    copy = open_store(url)
    try:
        if not isinstance(copy, SqliteEventStore):
            raise Refused("bad_mirror", f"{url!r}: a mirror is a file, sqlite:///absolute/path")
        if isinstance(source, SqliteEventStore) and source.path.samefile(copy.path):
            raise Refused("bad_mirror", f"{copy.path} is the event store itself")
        with locked(copy.path):
            yield copy
    finally:
        copy.close()


def _stopped() -> threading.Event:
    told = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: told.set())
    return told
