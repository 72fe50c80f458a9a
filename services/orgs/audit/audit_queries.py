"""What is asked of the audit: a stretch of an organization's commands, the newest first.

Rows are found by organization or product and time; by whom, and what, they are picked from those. An answer looks at a
bounded number, so with such a wish it may have few rows, or none, and still say where to go on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from services.orgs.audit.audit_view import AUDIT
from services.orgs.customers.customer_views import CUSTOMERS
from services.orgs.oauth.client_view import CLIENTS
from services.orgs.views import ACCOUNTS
from shared.bus.providers import WorkerViews
from shared.errors import Refused
from shared.people.addresses import Addresses
from shared.projections.past_moments import MAX_POSITION, Moment, check_order
from shared.projections.past_moments import parse as parse_moment
from shared.projections.tables import micros, moment
from shared.projections.view import Row, View
from shared.times import iso

MAX_PER_PAGE = 100
MAX_LOOKED = 5_000
"""Most commands that are looked at for one answer."""
STRETCH = 500
"""Commands that are read at a time."""
MAX_WISH = 320
"""Characters of whom and what somebody asks for."""
_NAMES: Mapping[str, tuple[View, str, str]] = {
    "account": (ACCOUNTS, "account_id", "email"),
    "customer": (CUSTOMERS, "customer_id", "email"),
    "client": (CLIENTS, "client_id", "name"),
}
"""Where the names of those who act are, by their kind."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A checked query. ``actor``: an id, ``<kind>:<id>``, or a name; ``kind``: the type of an event; ``after``: the
    time and position of the last command that was seen."""

    org_id: str
    product_id: int | None
    actor: str | None
    kind: str | None
    since: Moment | None
    until: Moment | None
    after: tuple[datetime, int] | None
    per_page: int


def parse(
    org_id: str,
    product_id: int | None,
    actor: object,
    kind: object,
    since: object,
    until: object,
    after: object,
    per_page: object,
) -> Asked:
    """A query as it was asked; raises ``Refused("invalid_request")`` for what makes no sense."""
    first = None if since is None else parse_moment(since, "from")
    last = None if until is None else parse_moment(until, "to")
    if first is not None and last is not None:
        check_order(first, last)
    if not isinstance(per_page, int) or isinstance(per_page, bool) or not 1 <= per_page <= MAX_PER_PAGE:
        raise Refused("invalid_request", f"per_page: must be 1 to {MAX_PER_PAGE}.")
    if kind is not None and kind not in AUDIT.event_types:
        raise Refused("invalid_request", "type: there is no such event in the audit; see docs/events.md.")
    who = None if actor is None else str(actor)[:MAX_WISH].casefold()
    return Asked(org_id, product_id, who, kind and str(kind), first, last, _cursor(after), per_page)


def page(views: WorkerViews, addresses: Addresses, asked: Asked) -> dict[str, Any]:
    """``{"audit": […], "meta": {"per_page", "next"}}``; ``next`` is None at the end."""
    found: list[dict[str, Any]] = []
    for looked, (row, name) in enumerate(_walk(views, asked), start=1):
        if _is_wanted(row, name, asked):
            found.append(command_object(row, name, addresses))
        if len(found) == asked.per_page or looked == MAX_LOOKED:
            return {"audit": found, "meta": {"per_page": asked.per_page, "next": _cursor_text(row)}}
    return {"audit": found, "meta": {"per_page": asked.per_page, "next": None}}


def command_object(row: Row, name: str | None, addresses: Addresses) -> dict[str, Any]:
    """A command as the HTTP API shows it."""
    return {
        "id": row["command"],
        "at": iso(row["at"]),
        "actor": row["actor"],
        "name": name,
        "token": row["token"],
        "address": addresses.opened(row["actor"], row["address"]),
        "product_id": row["product_id"],
        "what": row["what"],
        "things": row["things"],
        "events": row["events"],
    }


def _is_wanted(row: Row, name: str | None, asked: Asked) -> bool:
    if row["org_id"] != asked.org_id or (asked.kind is not None and asked.kind not in row["what"]):
        return False
    if asked.actor is None:
        return True
    actor = row["actor"].casefold()
    return asked.actor in (actor, actor.partition(":")[2], (name or "").casefold())


def _walk(views: WorkerViews, asked: Asked) -> Iterator[tuple[Row, str | None]]:
    """Commands with the name of whoever gave them."""
    picky = asked.actor is not None or asked.kind is not None
    size, after = STRETCH if picky else asked.per_page, asked.after
    while True:
        with views.read() as connection:
            query = _query(views, asked, after).limit(size)
            rows = [dict(row) for row in connection.execute(query).mappings()]
            names = _names(views, connection, rows)
        yield from ((row, names.get(row["actor"])) for row in rows)
        if len(rows) < size:
            return
        after = (rows[-1]["at"], rows[-1]["position"])


def _query(views: WorkerViews, asked: Asked, after: tuple[datetime, int] | None) -> sa.Select[Any]:
    """By the one index that fits: of a product, whose organization is looked at afterwards, or of an organization."""
    table = views.table(AUDIT)
    of_product = table.c.product_id == asked.product_id
    query = sa.select(table).where(table.c.org_id == asked.org_id if asked.product_id is None else of_product)
    if asked.since is not None:
        bound, value = _bound(table, asked.since)
        query = query.where(bound >= value)
    if asked.until is not None:
        bound, value = _bound(table, asked.until)
        query = query.where(bound <= value)
    if after is not None:
        at, position = sa.literal(after[0], table.c.at.type), sa.literal(after[1], table.c.position.type)
        query = query.where(sa.tuple_(table.c.at, table.c.position) < sa.tuple_(at, position))
    return query.order_by(table.c.at.desc(), table.c.position.desc())


def _bound(table: sa.Table, moment: Moment) -> tuple[sa.ColumnElement[Any], Any]:
    return (table.c.position, moment.position) if moment.at is None else (table.c.at, moment.at)


def _names(views: WorkerViews, connection: sa.Connection, rows: Sequence[Row]) -> dict[str, str]:
    """By actor, for those that have one."""
    found: dict[str, str] = {}
    actors = {row["actor"] for row in rows}
    for kind, (view, key, name) in _NAMES.items():
        ids = sorted(actor.removeprefix(f"{kind}:") for actor in actors if actor.startswith(f"{kind}:"))
        if ids:
            table = views.table(view)
            query = sa.select(table.c[key], table.c[name]).where(table.c[key].in_(ids))
            found.update({f"{kind}:{one}": shown for one, shown in connection.execute(query)})
    return found


def _cursor_text(row: Row) -> str:
    return f"{micros(row['at'])}-{row['position']}"


def _cursor(text: object) -> tuple[datetime, int] | None:
    if text is None:
        return None
    parts = str(text).split("-")
    try:
        if not all(part.isascii() and part.isdigit() and len(part) <= 19 for part in parts):
            raise ValueError
        at, position = map(int, parts)
        if position > MAX_POSITION:
            raise ValueError
        return moment(at), position
    except (ValueError, OverflowError):
        raise Refused("invalid_request", "after: is no cursor; take meta.next of the answer before.") from None
