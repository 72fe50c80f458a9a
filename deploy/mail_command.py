"""``flotilla mail``: what people were told by mail, what waits, and what will not be taken. No platform need run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from email import message_from_bytes, policy
from pathlib import Path
from typing import Annotated

import typer
import uvicorn
from rich.console import Console
from rich.table import Table

from deploy import mail_page
from services.gateway.web import bound_socket
from shared.clock import system_clock
from shared.errors import NotFound, Refused
from shared.mail.queue import MAX_LISTED, Entry, MailQueue
from shared.projections.database import Database
from shared.settings import Settings
from shared.times import iso

app = typer.Typer(help="Mail: what was sent, what waits, what is parked.", no_args_is_help=True)
console = Console()

Data = Annotated[Path | None, typer.Option(help="Data folder (default: ./data).")]
Json = Annotated[bool, typer.Option("--json", help="As JSON.")]
COLUMNS = ("id", "queued", "what", "state", "tries", "error")
SHOWN_OF_ID = 8
"""Characters in a table; enough for the other commands, and so the rest fits into a terminal. Of mails to several
people all are shown, which differ at their end."""
SERVICES = ("orgs", "billing")
"""Those that write to people."""


@app.command("list")
def list_them(
    state: Annotated[
        str | None, typer.Option(help="Only waiting, sent, addressed, over, forgotten, late or parked.")
    ] = None,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """The newest first. Addresses stand in the messages alone: see ``show``."""
    with _queues(Settings.load(data=data)) as queues:
        entries = _listed(queues, state)
    if as_json:
        typer.echo(json.dumps([_row(entry) for entry in entries], indent=2))
        return
    table = Table()
    for name in COLUMNS:
        table.add_column(name, no_wrap=name != "error", overflow="fold")
    for entry in entries:
        id_ = entry.event_id if entry.person else entry.event_id[:SHOWN_OF_ID]
        shown = {**_row(entry), "id": id_, "queued": f"{entry.queued_at:%Y-%m-%d %H:%M:%S}"}
        table.add_row(*(str(shown[name]) for name in COLUMNS))
    console.print(table)
    if not entries:
        console.print("There is no mail.", markup=False)


@app.command()
def show(
    mail: Annotated[str, typer.Argument(metavar="ID", help="As list shows it, or its beginning.")], data: Data = None
) -> None:
    """A message as it was written to the outbox; one that went by SMTP is not kept."""
    path = _file(Path(Settings.load(data=data).mail), mail)
    message = message_from_bytes(path.read_bytes(), policy=policy.default)
    for name in ("From", "To", "Subject", "Date"):
        console.print(f"{name}: {message[name]}", markup=False, highlight=False)
    body = message.get_body(("plain",))
    console.print("\n" + (body.get_content() if body else ""), markup=False, highlight=False)


@app.command()
def page(
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0: any that is free.")] = 0, data: Data = None
) -> None:
    """All of it as a page in the browser, on this machine alone, until this command ends."""
    settings = Settings.load(data=data)
    secret = mail_page.new_secret()
    with _queues(settings) as queues, bound_socket("127.0.0.1", port) as listening:
        address = f"http://127.0.0.1:{listening.getsockname()[1]}/{secret}/"
        console.print(f"mail is shown at {address}\nCtrl-C ends it", markup=False, highlight=False, soft_wrap=True)
        pages = mail_page.build(lambda: _listed(queues), Path(settings.mail), secret)
        server = uvicorn.Server(uvicorn.Config(pages, lifespan="off", log_config=None, access_log=False))
        with suppress(KeyboardInterrupt):  # uvicorn raises it anew once it has ended
            server.run(sockets=[listening])


@app.command()
def again(
    mail: Annotated[str, typer.Argument(metavar="[ID]", help="As list shows it, or its beginning.")] = "",
    parked: Annotated[bool, typer.Option("--parked", help="All that is parked.")] = False,
    data: Data = None,
) -> None:
    """Have one tried once more, whatever became of it, or all that is parked."""
    if bool(mail) == parked:
        raise typer.BadParameter("either the ID of one mail, or --parked")
    with _queues(Settings.load(data=data)) as queues:
        if parked:
            console.print(f"{sum(queue.parked_again() for queue in queues)} mails wait to be sent", markup=False)
            return
        found = [(queue, entry.event_id) for queue in queues for entry in _meant(queue.found(mail), mail)]
        if len(found) != 1:
            raise NotFound(f"{'Several mails begin with' if found else 'No mail'} {mail}.")
        queue, id_ = found[0]
        if not queue.again(id_):
            raise Refused("mail_in_hand", f"Mail {id_} is being sent just now.")
    console.print(f"mail {id_} waits to be sent", markup=False)


def _meant(found: Sequence[Entry], mail: str) -> Sequence[Entry]:
    """The one with this very id, if there is one: it may be the beginning of others."""
    return [entry for entry in found if entry.event_id == mail] or found


def _listed(queues: Sequence[MailQueue], state: str | None = None) -> list[Entry]:
    """Of all services, the newest first."""
    entries = [entry for queue in queues for entry in queue.listed(state)]
    return sorted(entries, key=lambda entry: entry.queued_at, reverse=True)[:MAX_LISTED]


def _row(entry: Entry) -> dict[str, str | int]:
    return {
        "id": entry.event_id,
        "queued": iso(entry.queued_at),
        "what": entry.type,
        "state": entry.state,
        "tries": entry.tries,
        "error": entry.error,
    }


def _file(folder: Path, mail: str) -> Path:
    found = mail_page.find(folder, mail)
    if len(found) != 1:
        raise NotFound(f"No mail {mail} in {folder}.")
    return found[0]


@contextmanager
def _queues(settings: Settings) -> Iterator[list[MailQueue]]:
    with ExitStack() as stack:
        found = []
        for service in SERVICES:
            database = stack.enter_context(closing(Database(settings.db, service)))
            database.prepare([])
            queue = MailQueue(database, system_clock)
            queue.prepare()
            found.append(queue)
        yield found
