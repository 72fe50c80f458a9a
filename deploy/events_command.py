"""``flotilla events``: read and follow streams, and carry them from store to store (EVT-3)."""

from __future__ import annotations

import json
from collections import deque
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from deploy import carry_commands
from deploy.wide import people_console
from shared.bus.messages import to_message
from shared.errors import NotFound
from shared.settings import Settings
from shared.store.open import open_existing
from shared.store.port import CaughtUp, EventStore, Only, Position, Recorded, StreamNotFound
from shared.store.walking import walk

app = typer.Typer(help="Read, follow, export, import and mirror event streams.", no_args_is_help=True)
app.command()(carry_commands.export)
app.command()(carry_commands.verify)
app.command("import")(carry_commands.import_)
app.command()(carry_commands.mirror)
console = people_console()

Data = Annotated[Path | None, typer.Option(help="Data folder (default: ./data).")]
Types = Annotated[list[str] | None, typer.Option("--type", help="Only this event type; may be repeated.")]
Prefixes = Annotated[list[str] | None, typer.Option("--stream", help="Only streams with this prefix; may be repeated.")]


@app.command()
def tail(
    data: Data = None,
    types: Types = None,
    streams: Prefixes = None,
    lines: Annotated[int, typer.Option("-n", "--lines", min=0, max=100_000, help="How many of the last.")] = 20,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with what comes.")] = False,
) -> None:
    """The last events, oldest first; with --follow also those that come."""
    only = _only(types, streams)
    with closing(open_existing(Settings.load(data=data).store)) as store:
        last, position = _last(store, only, lines)
        for event in last:
            _print(event)
        if follow:
            _follow(store, only, position)


@app.command()
def show(
    stream: str,
    data: Data = None,
    first: Annotated[int, typer.Option(min=0, help="From this version on.")] = 0,
    limit: Annotated[int, typer.Option(min=1, max=100_000)] = 1_000,
) -> None:
    """The events of one stream, each with its data and who caused it."""
    with closing(open_existing(Settings.load(data=data).store)) as store:
        try:
            events = store.read(stream, first, limit)
        except StreamNotFound:
            raise NotFound(f"there is no stream {stream!r}; `flotilla events tail` shows names") from None
        for event in events:
            message = to_message(event)
            caused_by = f"{message['meta'].get('actor')} · command {message['meta'].get('command')}"
            console.print(
                f"[bold]{event.version}[/bold] {escape(event.type)} [dim]{message['at']} · position {event.position} · "
                f"{escape(caused_by)}[/dim]",
                highlight=False,
            )
            console.print_json(json.dumps(message["data"]))


def _only(types: list[str] | None, streams: list[str] | None) -> Only:
    return Only(frozenset(types or ()), tuple(streams or ()))


def _last(store: EventStore, only: Only, lines: int) -> tuple[list[Recorded], Position | None]:
    head = store.head()
    if head is None or lines == 0:
        return [], head
    return list(deque(walk(store, only, until=head), maxlen=lines)), head


def _follow(store: EventStore, only: Only, after: Position | None) -> None:
    subscription = store.subscribe(after, only)
    try:
        for event in subscription:
            if not isinstance(event, CaughtUp):
                _print(event)
    except KeyboardInterrupt:
        subscription.stop()


def _print(event: Recorded) -> None:
    text = event.data.decode(errors="replace")
    shown = text if len(text) <= 200 else text[:199] + "…"
    console.print(
        f"[dim]{event.position:>8} {event.at:%Y-%m-%d %H:%M:%S}[/dim] [bold]{escape(event.type)}[/bold] "
        f"[cyan]{escape(event.stream)}[/cyan]@{event.version} ",
        end="",
        highlight=False,
    )
    console.print(shown, markup=False, highlight=False)
