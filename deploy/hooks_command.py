"""``flotilla hooks``: webhooks of all owners and what became of their deliveries, for the operator, straight from the
service's database and the event store. It works while the platform serves and when it is stopped.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import sqlalchemy as sa
import typer
from rich.table import Table

from deploy.wide import people_console
from services.hooks.addresses import networks
from services.hooks.attempts import Delivery
from services.hooks.bootstrap import SIGNING
from services.hooks.deliveries import MAX_LISTED, Deliveries
from services.hooks.delivering import Courier, Means
from services.hooks.feed import Feed
from services.hooks.heard import made_up
from services.hooks.hook_object import attempt_object, hook_object, with_log
from services.hooks.hook_views import VIEWS, WEBHOOKS
from services.hooks.known_hooks import Hook, Requests, hook_of, owner_of
from services.hooks.posting import Poster
from services.hooks.signing import signing_key
from services.hooks.webhooks import WEBHOOKS as AGGREGATE
from services.hooks.webhooks import Command, DisableWebhook, EnableWebhook, RewindWebhook
from shared.bus.client import LocalBus
from shared.bus.local import LocalTransport
from shared.clock import system_clock
from shared.context import Context
from shared.errors import NotFound, Refused
from shared.events.contracts import CONTRACTS
from shared.people.open import PeopleKeys
from shared.projections.database import Database
from shared.projections.view import Row
from shared.settings import Settings
from shared.store.open import open_existing
from shared.streams import Streams
from shared.times import iso

app = typer.Typer(help="Webhooks: what they deliver, what fails, and delivering again.", no_args_is_help=True)
console = people_console(markup=False)

COLUMNS = ("id", "owner", "event", "requestType", "url", "state", "failures", "failing_since")
LOG_COLUMNS = ("at", "event", "coreid", "outcome", "tries", "status", "duration_ms", "error")
LONGEST_CELL = 60
HookId = Annotated[str, typer.Argument(metavar="WEBHOOK", help="Its ID, or how that begins.")]
Json = Annotated[bool, typer.Option("--json", help="The documents of the API instead of a table.")]
Data = Annotated[Path | None, typer.Option(help="Data folder (default: ./data).")]


@dataclass(frozen=True, slots=True)
class Hooks:
    """The service's database, and the event store behind it."""

    settings: Settings
    database: Database
    streams: Streams
    requests: Requests
    signing: bytes

    @property
    def deliveries(self) -> Deliveries:
        made = Deliveries(self.database)
        made.start()
        return made

    def rows(self) -> list[Row]:
        """Of all owners, the oldest first."""
        table = self.database.table(WEBHOOKS)
        with self.database.connect() as connection:
            query = sa.select(table).order_by(table.c.created_at, table.c.hook_id)
            return [dict(row) for row in connection.execute(query).mappings()]

    def row(self, beginning: str) -> Row:
        """Raises ``NotFound``, and ``Refused`` if several begin so."""
        found = [row for row in self.rows() if row["hook_id"].startswith(beginning)]
        if not found:
            raise NotFound(f"there is no webhook {beginning!r}; `flotilla hooks list` shows all")
        if len(found) > 1:
            raise Refused("ambiguous", f"several webhooks begin with {beginning!r}")
        return found[0]

    def hook(self, row: Row) -> Hook:
        """Raises ``Refused`` if what it requests cannot be read."""
        request = self.requests.opened(owner_of(row), row["hook_id"], row["request"])
        if request is None:
            raise Refused("unreadable", "what it requests was sealed with another key: is FLOTILLA_KEYS the right one?")
        return hook_of(row, request)

    def shown(self, row: Row) -> dict[str, Any]:
        """As the API shows it, with its last attempts."""
        request = self.requests.opened(owner_of(row), row["hook_id"], row["request"])
        made = hook_object(row, request, self.settings.url)
        state = self.deliveries.state(row["hook_id"], row["updated_at"])
        return with_log(made, state, self.deliveries.listed(row["hook_id"], None, MAX_LISTED))

    def do(self, row: Row, command: Command) -> None:
        """Append; a platform that serves hears of it at once."""
        context = Context.new("system:operator", "flotilla hooks")
        self.streams.handle(AGGREGATE, owner_of(row).stream, command, context)


@app.command("list")
def list_them(as_json: Json = False, data: Data = None) -> None:
    """Every webhook with its owner, and how it fares."""
    with _opened(data) as hooks:
        rows = [(row, hooks.shown(row)) for row in hooks.rows()]
    if as_json:
        typer.echo(json.dumps([shown for _, shown in rows], indent=2))
        return
    table = Table(*COLUMNS)
    for row, shown in rows:
        state = f"off: {shown['disabled_reason']}" if shown["disabled"] else "on"
        table.add_row(*_cells({**shown, "owner": _owner(row), "state": state}, COLUMNS))
    console.print(table)


@app.command()
def show(hook_id: HookId, data: Data = None) -> None:
    """One webhook as the API shows it, secrets masked, with its last attempts."""
    with _opened(data) as hooks:
        typer.echo(json.dumps(hooks.shown(hooks.row(hook_id)), indent=2))


@app.command()
def log(
    hook_id: HookId,
    limit: Annotated[int, typer.Option(min=1, max=1_000, help="Most attempts.")] = 50,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Its attempts to deliver, the newest first."""
    with _opened(data) as hooks:
        row, found, before = hooks.row(hook_id), list[Delivery](), None
        while len(found) < limit:
            page = hooks.deliveries.listed(row["hook_id"], before, limit - len(found))
            if not page:
                break
            found, before = [*found, *page], page[-1].id
    attempts = [attempt_object(one) for one in found]
    if as_json:
        typer.echo(json.dumps(attempts, indent=2))
        return
    table = Table(*LOG_COLUMNS)
    for attempt in attempts:
        table.add_row(*_cells(attempt, LOG_COLUMNS))
    console.print(table)


@app.command("test")
def try_out(hook_id: HookId, data: Data = None) -> None:
    """Deliver a made-up event from here, once; exit code 1 if that fails."""
    with _opened(data) as hooks:
        hook = hooks.hook(hooks.row(hook_id))
        done = asyncio.run(_tried(hooks, hook))
        hooks.deliveries.save(hook.hook_id, {}, None, [replace(done, outcome="tested")])
    console.print(f"{'delivered' if not done.error else 'failed'}: {done.error or done.status} ({done.duration_ms} ms)")
    if done.error:
        raise typer.Exit(1)


@app.command()
def redeliver(
    hook_id: HookId,
    since: Annotated[str, typer.Option("--from", help="A time such as 2026-01-31T12:00:00Z; now leaves out the rest.")],
    data: Data = None,
) -> None:
    """Deliver everything since a time once more, as far as it is kept."""
    now = system_clock()
    with _opened(data) as hooks:
        row = hooks.row(hook_id)
        moment = now if since == "now" else _time(since)
        hooks.do(row, RewindWebhook(row["hook_id"], min(moment, now)))
    console.print(f"it goes on at {iso(min(moment, now))}")


@app.command()
def enable(hook_id: HookId, data: Data = None) -> None:
    """Let it go on where it was."""
    with _opened(data) as hooks:
        row = hooks.row(hook_id)
        hooks.do(row, EnableWebhook(row["hook_id"]))
    console.print(f"webhook {row['hook_id']} is on")


@app.command()
def disable(hook_id: HookId, data: Data = None) -> None:
    """Let it rest."""
    with _opened(data) as hooks:
        row = hooks.row(hook_id)
        hooks.do(row, DisableWebhook(row["hook_id"], "asked", "by the operator"))
    console.print(f"webhook {row['hook_id']} is off")


async def _tried(hooks: Hooks, hook: Hook) -> Delivery:
    poster = Poster(networks(hooks.settings.hooks_allow))
    nowhere = Feed(LocalBus(LocalTransport("nowhere"), "hooks"))
    key_of = partial(signing_key, hooks.signing)
    means = Means(nowhere, poster, hooks.deliveries, key_of, system_clock, random.random)
    event = made_up(hook.prefix, hook.owner.product_id, iso(system_clock()))
    try:
        return (await Courier(hook, means).attempt("", event))[0]
    finally:
        await poster.close()


@contextmanager
def _opened(data: Path | None) -> Iterator[Hooks]:
    settings = Settings.load(data=data)
    with ExitStack() as stack:
        store = stack.enter_context(closing(open_existing(settings.store)))
        keys = stack.enter_context(closing(PeopleKeys(settings.keys, store)))
        database = stack.enter_context(closing(Database(settings.db, "hooks")))
        database.prepare(VIEWS)
        yield Hooks(settings, database, Streams(store, CONTRACTS), Requests(keys), keys.secret(SIGNING))


def _owner(row: Row) -> str:
    if row["product_id"] is not None:
        return f"product {row['product_id']}"
    return f"organization {row['org_id']}" if row["org_id"] is not None else f"account {row['account_id']}"


def _cells(shown: dict[str, Any], columns: tuple[str, ...]) -> list[str]:
    return ["-" if shown.get(name) is None else str(shown[name])[:LONGEST_CELL] for name in columns]


def _time(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise Refused("invalid_request", f"--from: {text!r} is no time with its zone")
    return moment
