"""``flotilla messages``: what no handler could handle, and why; send it again, or discard it (EVT-4)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from deploy.running import DataFolder
from deploy.wishes import Wish, Wishes, ask
from shared.bus import parking
from shared.bus.address import with_queues
from shared.bus.kept import KeptMessages
from shared.bus.transport import Transport
from shared.settings import Settings

app = typer.Typer(help="Messages that no handler could handle.", no_args_is_help=True)
console = Console(markup=False)
AGAIN = "again"

Data = Annotated[Path | None, typer.Option(help="Data folder (default: ./data).")]


def parked_folder(settings: Settings) -> Path:
    """Where the embedded bus keeps parked messages."""
    return settings.data / "parked"


def resender(transport: Transport, folder: Path) -> Wishes:
    """The part of the embedded platform that sends again what `resend` wishes for, by files named after messages."""

    def grant(wish: Wish) -> None:
        parking.resend(transport, wish.name)

    return Wishes("parked messages", folder / AGAIN, grant, keep=True)


@app.command("list")
def list_them(data: Data = None, limit: Annotated[int, typer.Option(min=1, max=10_000)] = 100) -> None:
    """The oldest parked messages, each with its handler, its error, and the position of the event in it."""
    settings = Settings.load(data=data)
    bus = broker_of(settings)
    kept = parking.list_parked(bus, limit) if bus else KeptMessages(parked_folder(settings)).first(limit)
    table = Table()
    for heading in ("id", "parked at", "handler", "position", "error", "message"):
        table.add_column(heading, overflow="fold")
    for message in kept:
        at = f"{message.at:%Y-%m-%d %H:%M:%S}"
        position = "" if message.position is None else str(message.position)
        again = "" if message.replayed is None else f" (replayed at {message.replayed})"
        table.add_row(message.id, at, message.handler, position, f"{message.error}{again}", message.message[:200])
    console.print(table)


@app.command()
def resend(message_id: str, data: Data = None) -> None:
    """Give a message to its handler again."""
    settings = Settings.load(data=data)
    bus = broker_of(settings)
    if bus:
        parking.resend(bus, message_id)
        console.print("sent again", highlight=False)
        return
    KeptMessages(parked_folder(settings)).get(message_id)
    ask(parked_folder(settings) / AGAIN, message_id)
    console.print("is sent again within a second, or when the platform next starts", highlight=False)


@app.command()
def discard(message_id: str, data: Data = None) -> None:
    """Forget a message (on the embedded platform: while it is stopped)."""
    settings = Settings.load(data=data)
    bus = broker_of(settings)
    if bus:
        parking.discard(bus, message_id)
    else:
        with DataFolder(settings.data).claimed():
            KeptMessages(parked_folder(settings)).remove(message_id)
    console.print("forgotten", highlight=False)


def broker_of(settings: Settings) -> str | None:
    """The broker that is set, or that of the distributed platform that runs on this data; None for the embedded one."""
    if settings.bus != "local:":
        return with_queues(settings.bus, settings.queues)
    return next((process.bus for process in DataFolder(settings.data).processes() if process.bus), None)
