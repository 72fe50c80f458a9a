"""``flotilla audit``: who did what to an organization's things, for the operator, straight from the view of the events.
It works while the platform serves and when it is stopped; what is asked for means the same as in the HTTP API.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Annotated, Any

import sqlalchemy as sa
import typer
from rich.table import Table

from deploy.csv_output import Csv, print_csv
from deploy.paged import pages
from deploy.wide import people_console
from services.gateway.http.audit_schemas import Command
from services.orgs.audit import audit_queries
from services.orgs.views import ORGANIZATIONS, VIEWS
from shared.bus.providers import WorkerViews
from shared.context import Context
from shared.errors import NotFound
from shared.people.addresses import Addresses
from shared.people.open import PeopleKeys
from shared.projections.database import Database
from shared.settings import Settings
from shared.store.open import open_existing

console = people_console(markup=False)

COLUMNS = ("at", "who", "address", "token", "product", "what", "things")
Page = Callable[[str | None], dict[str, Any]]


def audit_command(
    org: Annotated[str, typer.Argument(metavar="ORG", help="The organization's ID or slug.")],
    product: Annotated[int | None, typer.Option(min=0, max=65_535, help="The product's ID.")] = None,
    actor: Annotated[str | None, typer.Option(help="An ID, account:ID, or an e-mail address.")] = None,
    kind: Annotated[str | None, typer.Option("--type", help="The type of an event, such as FirmwareReleased.")] = None,
    since: Annotated[str | None, typer.Option("--from", help="A time with its zone, or a position.")] = None,
    until: Annotated[str | None, typer.Option("--to", help="The same.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="Most commands.")] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="The document of the API instead of a table.")] = False,
    as_csv: Csv = False,
    data: Annotated[Path | None, typer.Option(help="Data folder (default: ./data).")] = None,
) -> None:
    """Who did what to an organization's things, when, from where and under which token: the newest first."""
    with _opened(Settings.load(data=data)) as (views, addresses):
        org_id = _org_id(views, org)

        def page(after: str | None) -> dict[str, Any]:
            asked = audit_queries.parse(
                org_id, product, actor, kind, since, until, after, min(limit, audit_queries.MAX_PER_PAGE)
            )
            return audit_queries.page(views, addresses, asked)

        found = [command for _, command in zip(range(limit), pages(page, "audit"), strict=False)]
    if as_json:
        typer.echo(json.dumps({"audit": found}, ensure_ascii=False))
        return
    if as_csv:
        print_csv(Command(), found)
        return
    console.print(table(found))
    console.print(f"{len(found)} commands{' (at least)' if len(found) == limit else ''}", highlight=False)


def table(found: Sequence[Mapping[str, Any]]) -> Table:
    """To be read by people."""
    shown = Table(*COLUMNS)
    for one in found:
        more = one["events"] - len(one["things"])
        things = ", ".join(one["things"]) + (f" ({one['events']} events)" if more > 0 else "")
        who, product = one["name"] or one["actor"], one["product_id"]
        cells = (one["at"], who, one["address"], one["token"], product, ", ".join(one["what"]), things)
        shown.add_row(*("-" if cell in (None, "") else str(cell) for cell in cells))
    return shown


@contextmanager
def _opened(settings: Settings) -> Iterator[tuple[WorkerViews, Addresses]]:
    with ExitStack() as stack:
        store = stack.enter_context(closing(open_existing(settings.store)))
        keys = stack.enter_context(closing(PeopleKeys(settings.keys, store)))
        database = stack.enter_context(closing(Database(settings.db, "orgs")))
        database.prepare(VIEWS)
        yield WorkerViews(database, None, Context.new("system:operator", "flotilla audit")), Addresses(keys)


def _org_id(views: WorkerViews, ref: str) -> str:
    orgs = views.table(ORGANIZATIONS)
    named = sa.or_(orgs.c.org_id == ref, orgs.c.slug == ref)
    query = sa.select(orgs.c.org_id).where(named).order_by(orgs.c.org_id != ref).limit(1)  # the ID counts first
    with views.read() as connection:
        found: str | None = connection.execute(query).scalar()
    if found is None:
        raise NotFound(f"there is no organization {ref!r}")
    return found
