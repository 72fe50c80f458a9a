"""``flotilla messages``: what no handler could handle, and why; send it again, or discard it (EVT-4)."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from deploy.running import DataFolder
from shared.bus import parking
from shared.bus.kept import KeptMessages
from shared.bus.transport import Transport
from shared.errors import NotFound
from shared.settings import Settings

app = typer.Typer(help="Messages that no handler could handle.", no_args_is_help=True)
console = Console()
LOOK_S = 1.0

Data = Annotated[Path | None, typer.Option(help="Data folder (default: ./data).")]


def parked_folder(settings: Settings) -> Path:
    """Where the embedded bus keeps parked messages."""
    return settings.data / "parked"


class Resender:
    """A part of the embedded platform: sends again what the command line asks for, by files named after messages."""

    name = "parked messages"

    def __init__(self, transport: Transport, folder: Path) -> None:
        self._transport = transport
        self._wishes = folder / "again"
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to look."""
        self._wishes.mkdir(parents=True, exist_ok=True)
        self._thread = threading.Thread(target=self._look, name=self.name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout=10)

    def _look(self) -> None:
        while not self._stopping.wait(LOOK_S):
            for wish in sorted(self._wishes.iterdir()):
                try:
                    parking.resend(self._transport, wish.name)
                except NotFound as gone:
                    console.print(f"parked message {wish.name}: {gone}", highlight=False)
                wish.unlink()


@app.command("list")
def list_them(data: Data = None, limit: Annotated[int, typer.Option(min=1, max=10_000)] = 100) -> None:
    """The oldest parked messages, each with its handler and error."""
    settings = Settings.load(data=data)
    bus = _broker(settings)
    kept = parking.list_parked(bus, limit) if bus else KeptMessages(parked_folder(settings)).first(limit)
    table = Table()
    for heading in ("id", "parked at", "handler", "error", "message"):
        table.add_column(heading, overflow="fold")
    for message in kept:
        at = f"{message.at:%Y-%m-%d %H:%M:%S}"
        table.add_row(message.id, at, message.handler, message.error, message.message[:200])
    console.print(table)


@app.command()
def resend(message_id: str, data: Data = None) -> None:
    """Give a message to its handler again."""
    settings = Settings.load(data=data)
    bus = _broker(settings)
    if bus:
        parking.resend(bus, message_id)
        console.print("sent again", highlight=False)
        return
    KeptMessages(parked_folder(settings)).get(message_id)
    wishes = parked_folder(settings) / "again"
    wishes.mkdir(parents=True, exist_ok=True)
    (wishes / message_id).touch()
    console.print("is sent again within a second, or when the platform next starts", highlight=False)


@app.command()
def discard(message_id: str, data: Data = None) -> None:
    """Forget a message (on the embedded platform: while it is stopped)."""
    settings = Settings.load(data=data)
    bus = _broker(settings)
    if bus:
        parking.discard(bus, message_id)
    else:
        with DataFolder(settings.data).claimed():
            KeptMessages(parked_folder(settings)).remove(message_id)
    console.print("forgotten", highlight=False)


def _broker(settings: Settings) -> str | None:
    """The broker that is set, or that of the distributed platform that runs on this data; None for the embedded one."""
    if settings.bus != "local:":
        return settings.bus
    return next((process.bus for process in DataFolder(settings.data).processes() if process.bus), None)
