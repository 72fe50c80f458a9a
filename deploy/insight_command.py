"""``flotilla fleet errors``, ``usage`` and ``questions``, and ``flotilla devices timeline``: what a fleet does, for the
operator, straight from the read models. It works while the platform serves and when it is stopped."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import sqlalchemy as sa
import typer
from rich.bar import Bar
from rich.table import Table

from deploy.csv_output import Csv, print_csv
from deploy.paged import pages
from deploy.wide import people_console
from services.devices import device_page, error_queries, questions, usage_queries
from services.devices.errors import DEVICE_ERRORS, ERRORS
from services.devices.fates import FATES
from services.devices.fleet import FLEET
from services.devices.happened import HAPPENED
from services.devices.members import known_id
from services.devices.usage import OWNERS, USAGE
from services.gateway.http import insight_schemas as schemas
from shared.bus.providers import WorkerViews
from shared.clock import system_clock
from shared.context import Context
from shared.errors import NotFound
from shared.projections.database import Database
from shared.settings import Settings
from shared.store.open import open_existing
from shared.store.port import EventStore

console = people_console(markup=False)

READ = (
    FLEET,
    HAPPENED,
    FATES,
    DEVICE_ERRORS,
    ERRORS,
    USAGE,
    OWNERS,
)
BAR_CHARACTERS = 24
MAX_PRODUCT_ID = 2**63 - 1
"""The largest integer that every database can compare with."""

Product = Annotated[int, typer.Option("--product", min=1, max=MAX_PRODUCT_ID, help="The product's ID.")]
Json = Annotated[bool, typer.Option("--json", help="The document of the API instead of tables.")]
Data = Annotated[Path | None, typer.Option(help="Data folder (default: ./data).")]
Limit = Annotated[int, typer.Option(min=1, max=1_000_000, help="Most lines.")]
Since = Annotated[str | None, typer.Option(help="The first day, such as 2026-01-31 (UTC).")]
Until = Annotated[str | None, typer.Option(help="The last day.")]


class Step(StrEnum):
    """How fine a course over time is told."""

    TEN_MINUTES = "ten_minutes"
    HOUR = "hour"
    DAY = "day"


@dataclass(frozen=True, slots=True)
class _Opened:
    store: EventStore
    views: WorkerViews


def errors(
    product: Product,
    step: Annotated[Step, typer.Option(help="How fine the course over time is.")] = Step.HOUR,
    since: Annotated[str | None, typer.Option(help="A time with its zone, such as 2026-01-31T12:00:00Z.")] = None,
    until: Annotated[str | None, typer.Option(help="The same (default: now).")] = None,
    kind: Annotated[str | None, typer.Option(help="Errors of this kind alone.")] = None,
    version: Annotated[int | None, typer.Option(min=0, max=65_535, help="On this version alone.")] = None,
    devices: Annotated[bool, typer.Option("--devices", help="The devices with most of them, of one day.")] = False,
    day: Annotated[str | None, typer.Option(help="That day (default: today).")] = None,
    limit: Limit = 100,
    as_json: Json = False,
    as_csv: Csv = False,
    data: Data = None,
) -> None:
    """Errors that devices reported: by kind, by version, over time; or who reported most."""
    with _opened(data) as opened:
        if devices:
            _erring(opened, product, day, limit, as_json, as_csv)
            return
        asked = (product, system_clock(), step.value, since, until, kind, version)
        found = error_queries.errors(opened.views, *asked)
    if as_json:
        _print_json(found)
        return
    if as_csv:
        print_csv(schemas.Step(), found["course"])
        return
    _print_errors(found)
    _say(f"{found['total']} errors from {found['since']} to {found['until']}")


def _print_errors(found: Mapping[str, Any]) -> None:
    console.print(_barred(("kind", "errors"), [(one["kind"], one["errors"]) for one in found["kinds"]]))
    versions = [(_version(one["version"]), one["errors"]) for one in found["versions"]]
    console.print(_barred(("version", "errors"), versions))
    course = [(one.get("at") or one["day"], one["errors"]) for one in found["course"]]
    console.print(_barred(("from", "errors"), course))


def _erring(opened: _Opened, product: int, day: str | None, limit: int, as_json: bool, as_csv: bool) -> None:
    def page(after: str | None) -> dict[str, Any]:
        most = error_queries.MAX_PER_PAGE
        return error_queries.erring_devices(opened.views, product, system_clock(), day, after, most)

    found = list(islice(pages(page, "devices"), limit))
    if as_json:
        _print_json({"devices": found})
        return
    if as_csv:
        print_csv(schemas.ErringDevice(), found)
        return
    rows = [(one["id"], one["last"]["kind"], one["last"]["text"], one["errors"]) for one in found]
    console.print(_barred(("device", "the last", "said", "errors"), rows))


def usage(
    product: Product,
    since: Since = None,
    until: Until = None,
    device: Annotated[str | None, typer.Option(help="Of this device alone.")] = None,
    customers: Annotated[bool, typer.Option("--customers", help="Who has devices, and who uses theirs.")] = False,
    active: Annotated[bool | None, typer.Option("--active/--inactive", help="Of customers, these alone.")] = None,
    days: Annotated[
        int, typer.Option(min=1, max=usage_queries.MAX_DAYS, help="Active: used one in so many days.")
    ] = 30,
    limit: Limit = 100,
    as_json: Json = False,
    as_csv: Csv = False,
    data: Data = None,
) -> None:
    """How devices were used, by day: of a product, of a device; or which customers use theirs."""
    with _opened(data) as opened:
        if customers or active is not None:
            _customers(opened, product, days, active, limit, as_json, as_csv)
            return
        now = system_clock()
        if device is None:
            found = usage_queries.usage(opened.views, product, now, since, until)
        else:
            found = usage_queries.device_usage(opened.views, product, device, now, since, until)
    if as_json:
        _print_json(found)
    elif as_csv:
        print_csv(schemas.ProductDay() if device is None else schemas.UsedDay(), found["days"])
    else:
        _print_usage(found["days"])


def _print_usage(days: Sequence[Mapping[str, Any]]) -> None:
    names = [name for name in ("devices", "calls", "reads", "sessions", "connected_s", "events") if name in days[0]]
    console.print(_barred(("day", *names), [(one["day"], *(one[name] for name in names)) for one in days]))


def _customers(
    opened: _Opened, product: int, days: int, active: bool | None, limit: int, as_json: bool, as_csv: bool
) -> None:
    def page(after: str | None) -> dict[str, Any]:
        asked = (product, system_clock(), _names_of_nobody, days, active, after, usage_queries.MAX_PER_PAGE)
        return usage_queries.customers(opened.views, *asked)

    counts = page(None)["counts"]
    found = list(islice(pages(page, "customers"), limit))
    if as_json:
        _print_json({"customers": found, "counts": counts})
        return
    if as_csv:
        print_csv(schemas.UsingCustomer(), found)
        return
    rows = [
        (one["owner_id"], one["devices"], one["last_used"], one["usage"]["calls"], one["usage"]["events"])
        for one in found
    ]
    console.print(_barred(("owner", "devices", "last used", "calls", "events"), rows))
    _say(f"{counts['active']} of {counts['with_device']} used theirs in the last {days} days")


def answers(
    product: Product,
    days: Annotated[int, typer.Option(min=1, max=questions.MAX_DAYS, help="Over so many days.")] = 30,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """The five questions: who is online, which customers use theirs, how, what runs, which errors there are."""
    with _opened(data) as opened:
        found = questions.answers(opened.views, product, system_clock(), days)
    if as_json:
        _print_json(found)
        return
    counted = found["devices"]
    _say(f"{counted['online']} of {counted['total']} devices are online")
    customers = found["customers"]
    _say(f"{customers['active']} of {customers['with_device']} customers with a device used it in {days} days")
    versions = [(_version(one["version"]), one["device_count"]) for one in found["versions"]]
    console.print(_barred(("version", "devices"), versions))
    _print_usage(found["usage"])
    _print_errors(found["errors"])


def timeline(
    device_id: Annotated[str, typer.Argument(help="24 hex digits.")],
    product: Annotated[
        int | None, typer.Option(min=1, max=MAX_PRODUCT_ID, help="While it was in this product (default: the present).")
    ] = None,
    limit: Limit = 50,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """What happened to a device, the newest first: decisions, sessions, updates, errors."""
    with _opened(data) as opened:
        of = _product_of(opened.views, device_id) if product is None else product

        def page(after: str | None) -> dict[str, Any]:
            asked = (_names_of_nobody, of, device_id, after, min(limit, device_page.MAX_PER_PAGE))
            return device_page.timeline(opened.store, opened.views, *asked)

        found = list(islice(pages(page, "events"), limit))
    if as_json:
        _print_json({"events": found})
        return
    table = Table()
    for heading in ("at", "what", "who"):
        table.add_column(heading, overflow="fold", no_wrap=heading == "at")
    for one in found:
        table.add_row(one["at"], one["text"], one["actor"])
    console.print(table)


def _names_of_nobody(_: Sequence[str]) -> Mapping[str, Any]:
    """What is personal is with the orgs service; here people are shown by their ids."""
    return {}


def _product_of(views: WorkerViews, text: str) -> int:
    fleet = views.table(FLEET)
    query = sa.select(fleet.c.product_id).where(fleet.c.device_id == known_id(text))
    with views.read() as connection:
        found = connection.execute(query).scalar()
    if found is None:
        raise NotFound(f"device {text} is in no product now; --product names one that it was in")
    return int(found)


@contextmanager
def _opened(data: Path | None) -> Iterator[_Opened]:
    settings = Settings.load(data=data)
    with ExitStack() as stack:
        store = stack.enter_context(closing(open_existing(settings.store)))
        database = stack.enter_context(closing(Database(settings.db, "devices")))
        database.prepare(READ)
        yield _Opened(store, WorkerViews(database, None, Context.new("system:operator", "command line")))


def _barred(headings: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
    """A table whose last column, a number, is drawn as a bar, too."""
    table, most = Table(), max((row[-1] for row in rows), default=0)
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="left" if index == 0 else "right", no_wrap=index == 0)
    table.add_column("", width=BAR_CHARACTERS)
    for row in rows:
        table.add_row(*("-" if value is None else str(value) for value in row), Bar(max(most, 1), 0, row[-1]))
    return table


def _version(number: int | None) -> str:
    return "not said" if number is None else str(number)


def _say(text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def _print_json(document: Any) -> None:
    typer.echo(json.dumps(document, ensure_ascii=False))
