"""``flotilla fleet``: a product's fleet now and as it was, for the operator, straight from the read models (EVT-3).

It works while the platform serves and when it is stopped. A past moment that nobody has asked for yet is built in this
process; the platform and further commands find it then.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from deploy import insight_command
from deploy.csv_output import Csv, print_csv
from deploy.paged import pages
from deploy.wide import people_console
from services.devices import fleet_queries, listing, past_changes
from services.devices.bootstrap import PAST_VIEWS
from services.devices.past_changes import Side
from services.gateway.http import documents
from shared import csv_text
from shared.bus.past_answers import stamp
from shared.bus.providers import WorkerViews
from shared.clock import system_clock
from shared.context import Context
from shared.events.contracts import CONTRACTS
from shared.projections.database import Database
from shared.projections.history import open_history
from shared.projections.past import Past
from shared.projections.past_moments import Copy, Moment, parse
from shared.settings import Settings
from shared.store.open import open_existing

app = typer.Typer(help="A product's fleet, now and as it was at a past moment.", no_args_is_help=True)
app.command("errors")(insight_command.errors)
app.command("usage")(insight_command.usage)
app.command("questions")(insight_command.answers)
console = people_console(markup=False)
notes = Console(stderr=True)

MAX_PRODUCT_ID = 2**63 - 1
"""The largest integer that every database can compare with."""

Product = Annotated[int, typer.Option("--product", min=1, max=MAX_PRODUCT_ID, help="The product's ID.")]
AsOf = Annotated[str | None, typer.Option("--as-of", help="A time such as 2026-01-31T12:00:00Z, or a position.")]
Json = Annotated[bool, typer.Option("--json", help="The documents of the API instead of a table.")]
Data = Annotated[Path | None, typer.Option(help="Data folder (default: ./data).")]

Limit = Annotated[int | None, typer.Option(min=1, max=10_000_000, help="Most devices (default: 100, with --csv all).")]

DEVICE_COLUMNS = ("id", "name", "online", "firmware_version", "desired_firmware_version", "groups", "quarantined")
FAILING_COLUMNS = (
    "id",
    "name",
    "online",
    "firmware_version",
    "firmware_update.version",
    "firmware_update.failures",
    "firmware_update.reason",
)
SHOWN = 100
"""Devices in a table, unless it is said how many."""
IDENTIFYING = ("id", "device")
"""Columns that are never broken: people copy from them, and look for what is in them."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """The read models of the devices service, and their past."""

    views: WorkerViews
    past: Past

    def side(self, text: str | None, name: str = "as_of") -> Side:
        """The views of a moment, built with a progress bar if need be; None: of now. Raises ``Refused``."""
        if text is None:
            return Side(self.views, past_changes.present(self.views))
        copy = self._copy(parse(text, name), name)
        return Side(self.views.at(self.past.open(copy)), stamp(copy))

    def _copy(self, moment: Moment, name: str) -> Copy:
        columns = (TextColumn("as of {task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
        with Progress(*columns, console=notes, transient=True) as progress:
            task = progress.add_task(str(moment), total=None)
            return self.past.obtain(
                moment, lambda done, total: progress.update(task, completed=done, total=total), name=name
            )


@app.command("list")
def list_devices(
    product: Product,
    as_of: AsOf = None,
    online: Annotated[bool | None, typer.Option("--online/--offline")] = None,
    version: Annotated[int | None, typer.Option(min=0, max=65_535, help="What runs.")] = None,
    group: Annotated[list[str] | None, typer.Option(help="Any of these groups.")] = None,
    quarantined: Annotated[bool | None, typer.Option("--quarantined/--approved")] = None,
    query: Annotated[
        str | None, typer.Option(help="Such as 'online and version < 7 and group = beta'; see docs/queries.md.")
    ] = None,
    sort: Annotated[
        str, typer.Option(help=f"{', '.join(listing.SORTS)}; with - in front the other way round.")
    ] = "deviceId",
    limit: Limit = None,
    as_json: Json = False,
    as_csv: Csv = False,
    data: Data = None,
) -> None:
    """Devices that fit all of the filters and the query; owners by their IDs."""
    wanted = {"online": online, "firmware_version": version, "groups": group or None, "quarantined": quarantined}
    _list(data, as_of, _Wanted(product, wanted, query, sort), DEVICE_COLUMNS, limit, as_json=as_json, as_csv=as_csv)


@app.command()
def failing(
    product: Product,
    as_of: AsOf = None,
    limit: Limit = None,
    as_json: Json = False,
    as_csv: Csv = False,
    data: Data = None,
) -> None:
    """Devices that are left alone after a version failed too often, and why it did (FW-7)."""
    asked = _Wanted(product, {}, "failing", "deviceId")
    _list(data, as_of, asked, FAILING_COLUMNS, limit, as_json=as_json, as_csv=as_csv)


def _list(
    data: Path | None,
    as_of: str | None,
    wanted: _Wanted,
    columns: Sequence[str],
    limit: int | None,
    *,
    as_json: bool,
    as_csv: bool,
) -> None:
    with _fleet(data) as fleet:
        side = fleet.side(as_of)
        asked = _Asked(wanted, _moment_of(side))
        first = asked.page(side, None)
        found = pages(lambda after: first if after is None else asked.page(side, after), "devices")
        if as_csv:
            print_csv(documents.Device(), islice(found, limit))
            return
        shown = list(islice(found, limit or SHOWN))
    total, exact = first["meta"]["total"], first["meta"]["total_exact"]
    if as_json:
        _print_json({"devices": shown, "meta": {"total": total, "total_exact": exact, "as_of": side.as_of}})
        return
    console.print(_table(columns, [csv_text.values(device, columns) for device in shown]))
    _say(f"{len(shown)} of {'' if exact else 'at most '}{total} devices, {_when(side)}")


def _moment_of(side: Side) -> datetime:
    """From when ages are counted."""
    at = side.as_of["at"]
    return system_clock() if at is None else datetime.fromisoformat(at)


def _names_of_nobody(owner_ids: Sequence[str]) -> Mapping[str, Any]:
    """What is personal is with the orgs service; here owners are shown by their ids."""
    return {}


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Which devices, in which order."""

    product: int
    filters: Mapping[str, Any]
    query: str | None
    sort: str


@dataclass(frozen=True, slots=True)
class _Asked:
    """A list, page by page."""

    wanted: _Wanted
    now: datetime

    def page(self, side: Side, after: str | None) -> dict[str, Any]:
        wanted, per_page = self.wanted, listing.MAX_PER_PAGE
        name = wanted.sort.removeprefix("-")
        is_descending = name != wanted.sort
        asked = listing.parse(
            wanted.product, wanted.filters, name, is_descending, 1, per_page, after, query=wanted.query, now=self.now
        )
        return fleet_queries.list_devices(side.views, asked, _names_of_nobody)


@app.command()
def show(device: str, product: Product, as_of: AsOf = None, as_json: Json = False, data: Data = None) -> None:
    """One device."""
    with _fleet(data) as fleet:
        side = fleet.side(as_of)
        found = fleet_queries.get_device(side.views, product, device, _names_of_nobody)
    if as_json:
        _print_json({**found, "as_of": side.as_of})
        return
    console.print(_table(("field", "value"), list(found.items())))
    _say(_when(side))


@app.command()
def stats(product: Product, as_of: AsOf = None, as_json: Json = False, data: Data = None) -> None:
    """The counters of the fleet."""
    with _fleet(data) as fleet:
        side = fleet.side(as_of)
        found = fleet_queries.statistics(side.views, product)
    if as_json:
        _print_json({**found, "as_of": side.as_of})
        return
    console.print(_table(("what", "devices"), list(_counters(found).items())))
    _say(_when(side))


@app.command()
def changes(
    product: Product,
    since: Annotated[str, typer.Option("--from", help="A time with its zone, or a position.")],
    until: Annotated[str | None, typer.Option("--to", help="The same (default: now).")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="Most devices.")] = 100,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """What changed between two moments: counters, and the devices that differ."""

    def page(after: str | None) -> dict[str, Any]:
        asked = past_changes.parse(product, since, until, after, past_changes.MAX_PER_PAGE)
        return past_changes.compare(before, now, asked)

    with _fleet(data) as fleet:
        past_changes.parse(product, since, until, None, 1)  # refuse what makes no sense before anything is built
        before, now = fleet.side(since, "from"), fleet.side(until, "to")
        first = page(None)
        found = [change for _, change in zip(range(limit), pages(page, "changes"), strict=False)]
    if as_json:
        _print_json({"from": first["from"], "to": first["to"], "changes": found})
        return
    _print_changes(first, found)
    _say(f"{len(found)} devices differ{' (at least)' if len(found) == limit else ''}: {_when(before)}, {_when(now)}")


def _print_changes(first: Mapping[str, Any], found: Sequence[Mapping[str, Any]]) -> None:
    then, now = _counters(first["from"]), _counters(first["to"])
    console.print(
        _table(("what", "before", "after"), [(name, then.get(name, 0), now.get(name, 0)) for name in then | now])
    )
    rows = [(one["id"], ", ".join(one["what"]), one["before"], one["after"]) for one in found]
    console.print(_table(("device", "what", "before", "after"), rows))


def _counters(found: Mapping[str, Any]) -> dict[str, int]:
    versions = {f"version {one['version']}": one["device_count"] for one in found["firmware"]}
    return {**found["devices"], **versions}


@contextmanager
def _fleet(data: Path | None) -> Iterator[Fleet]:
    settings = Settings.load(data=data)
    with ExitStack() as stack:
        store = stack.enter_context(closing(open_existing(settings.store)))
        history = stack.enter_context(closing(open_history(settings.mirror, store, alone=True)))
        database = stack.enter_context(closing(Database(settings.db, "devices")))
        database.prepare(PAST_VIEWS)
        past = Past("devices", store, database, PAST_VIEWS, CONTRACTS, history=history, keep=settings.past_copies)
        stack.callback(past.stop)
        yield Fleet(WorkerViews(database, None, Context.new("system:operator", "command line")), past)


def _table(headings: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
    table = Table()
    for heading in headings:
        table.add_column(heading, overflow="fold", no_wrap=heading in IDENTIFYING)
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    return table


def _cell(value: Any) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case list():
            return ", ".join(map(str, value))
        case dict():
            return ", ".join(f"{name} {_cell(inner)}" for name, inner in value.items())
        case _:
            return str(value)


def _when(side: Side) -> str:
    position, at = side.as_of["position"], side.as_of["at"]
    if at is not None:
        return f"as of position {position}, {at}"
    return "before the first event" if position is None else f"now (position {position})"


def _say(text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def _print_json(document: Any) -> None:
    typer.echo(json.dumps(document, ensure_ascii=False))
