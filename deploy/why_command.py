"""``flotilla why``: why a device is in the state that it is in (EVT-3), straight from the store and the views, so that
an operator needs no account. Sees every product's events."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import sqlalchemy as sa
import typer
from rich.markup import escape
from rich.tree import Tree

from deploy.wide import people_console
from services.devices.why import why
from services.orgs.views import ACCOUNTS
from shared.bus.providers import WorkerViews
from shared.clock import system_clock
from shared.context import Context
from shared.errors import NotFound
from shared.projections.database import Database
from shared.settings import Settings
from shared.store.open import open_existing

console = people_console()

_STEPS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def why_command(
    device_id: Annotated[str, typer.Argument(help="24 hex digits.")],
    as_json: Annotated[bool, typer.Option("--json", help="The answer as the HTTP API gives it.")] = False,
    data: Annotated[Path | None, typer.Option(help="Data folder (default: ./data).")] = None,
) -> None:
    """Why a device is in the state that it is in: what brought each of its values about, and who."""
    answer = look(Settings.load(data=data), device_id)
    if as_json:
        typer.echo(json.dumps(answer, ensure_ascii=False, indent=2))
    else:
        console.print(tree(answer, system_clock()), highlight=False)


def look(settings: Settings, device_id: str) -> dict[str, Any]:
    """The answer for an operator. Raises ``NotFound`` and ``Unavailable``."""
    with ExitStack() as stack:
        store = open_existing(settings.store)
        stack.callback(store.close)
        if store.head() is None:
            raise NotFound(f"there are no events in {settings.store.rpartition('@')[2]}; `--data` names another folder")
        devices, orgs = Database(settings.db, "devices"), Database(settings.db, "orgs")
        stack.callback(devices.close)
        stack.callback(orgs.close)
        views = WorkerViews(devices, None, Context.new("system:operator", "flotilla why"))
        try:
            return why(store, views, lambda accounts: _emails(orgs, accounts), None, device_id)
        except NotFound:
            raise NotFound(f"no device {device_id} was ever imported or seen") from None


def _emails(orgs: Database, account_ids: list[str]) -> Mapping[str, str]:
    accounts = orgs.table(ACCOUNTS)
    query = sa.select(accounts.c.account_id, accounts.c.email).where(accounts.c.account_id.in_(account_ids))
    with orgs.connect() as connection:
        return {row.account_id: row.email for row in connection.execute(query)}


def tree(answer: Mapping[str, Any], now: datetime) -> Tree:
    """The answer to be read by people; texts of devices and people are shown as they are."""
    product = f"product {answer['product_id']}" if answer["product_id"] is not None else "no product"
    root = Tree(f"[bold]{answer['id']}[/bold] [dim]· {product}[/dim]")
    if answer["rule"] is not None:
        root.add(f"[bold yellow]{escape(answer['rule']['text'])}[/bold yellow]")
    for aspect in answer["aspects"]:
        branch = root.add(f"[bold cyan]{aspect['aspect']}[/bold cyan]  {escape(aspect['text'])}")
        for link in aspect["chain"]:
            branch.add(_line(link, now))
    if answer["cut"]:
        root.add("[dim]older events exist that are not shown, or were forgotten[/dim]")
    return root


def _line(link: Mapping[str, Any], now: datetime) -> str:
    at = datetime.fromisoformat(link["at"])
    place = f"{link['type']} {link['stream']}@{link['version']}"
    when = f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} ({ago(at, now)})"
    return f"{escape(link['text'])} [dim]· {when} · {escape(link['actor'])} · {escape(place)}[/dim]"


def ago(at: datetime, now: datetime) -> str:
    """How long ago, in the largest unit that fits."""
    seconds = int((now - at).total_seconds())
    for size, unit in _STEPS:
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return "now"
