"""What is asked of usage: a product's days, a device's, an owner's, and who of them uses theirs. Reads views only, by
key or by index."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from services.devices.device import NOT_A_MEMBER
from services.devices.error_queries import day_of, parse_day
from services.devices.errors import Stretch
from services.devices.fleet import FLEET
from services.devices.members import known_id
from services.devices.usage import (
    ALL,
    COUNTS,
    DAYS,
    NEVER,
    OWNERS,
    PRODUCT_DAYS,
    USAGE,
    owned_by,
    owners_scope,
    used_scope,
)
from shared.bus.providers import WorkerViews
from shared.errors import NotFound, Refused
from shared.ids import device_id
from shared.projections.sql import Sql, between, equal, execute, select
from shared.projections.tables import moment
from shared.projections.view import Row

DEFAULT_DAYS = 30
MAX_DAYS = 400
MAX_PER_PAGE = 100
ONE_DAY = timedelta(days=1)
ALWAYS = datetime.max.replace(tzinfo=UTC)

Owners = Callable[[list[str]], Mapping[str, Mapping[str, Any]]]
"""As that of ``fleet_queries``."""


def usage(
    views: WorkerViews, product_id: int, now: datetime, since: str | None = None, until: str | None = None
) -> dict[str, Any]:
    """Each day of a product from ``since`` to ``until``, both included (the last 30 days), and the sums of all of them.
    Raises ``Refused``."""
    first, last = _days(PRODUCT_DAYS, now, since, until)
    with views.read() as connection:
        days = product_days(views, connection, product_id, first, last)
    return {"days": days, "total": _total(days)}


def product_days(
    views: WorkerViews, connection: sa.Connection, product_id: int, first: datetime, last: datetime
) -> list[dict[str, Any]]:
    """These days of a product, with how many of its devices did anything on each."""
    rows = _rows(views, connection, product_id, ALL, first, last)
    of_days = between("item", day_of(first), day_of(last))
    query = select("item, n", views.counts(USAGE).name, equal("scope", used_scope(product_id)), *of_days)
    devices: dict[str, int] = dict(execute(connection, query).tuples().all())
    days = [(at, day_of(at)) for at in _each(first, last)]
    return [{"day": day, "devices": devices.get(day), **_counts(rows.get(at))} for at, day in days]


def device_usage(
    views: WorkerViews,
    product_id: int,
    text: object,
    now: datetime,
    since: str | None = None,
    until: str | None = None,
) -> dict[str, Any]:
    """Each day of a device in this product, its present session up to now included. Raises ``NotFound`` for one that
    neither is a member nor was one lately, and ``Refused``."""
    found, (first, last) = known_id(text), _days(DAYS, now, since, until)
    fleet = views.table(FLEET)
    present = sa.select(fleet.c.online, fleet.c.connected_at).where(
        fleet.c.device_id == found, fleet.c.product_id == product_id
    )
    with views.read() as connection:
        rows = _rows(views, connection, product_id, found)
        member = connection.execute(present).mappings().first()
    if member is None and not rows:
        raise NotFound(NOT_A_MEMBER)
    days: list[dict[str, Any]] = [{"day": day_of(at), **_counts(rows.get(at))} for at in _each(first, last)]
    today = DAYS.begin(now)
    if member is not None and member["online"] and last == today:
        days[-1]["connected_s"] += max(0, int((now - max(member["connected_at"], today)).total_seconds()))
    return {"id": found, "days": days, "total": _total(days)}


def owner_usage(
    views: WorkerViews,
    product_id: int,
    owner_id: str,
    now: datetime,
    since: str | None = None,
    until: str | None = None,
) -> dict[str, Any]:
    """Each day of what somebody's devices of this product did. Raises ``NotFound`` for somebody who has none and had
    none lately, and ``Refused``."""
    first, last = _days(DAYS, now, since, until)
    owners = views.table(OWNERS)
    present = sa.select(owners).where(owners.c.product_id == product_id, owners.c.owner_id == owner_id)
    with views.read() as connection:
        rows = _rows(views, connection, product_id, owned_by(owner_id))
        owner = connection.execute(present).mappings().first()
    if owner is None and not rows:
        raise NotFound("Customer not found.")
    days = [{"day": day_of(at), **_counts(rows.get(at))} for at in _each(first, last)]
    return {
        "owner_id": owner_id,
        "devices": 0 if owner is None else owner["devices"],
        "days": days,
        "total": _total(days),
    }


def customers(
    views: WorkerViews,
    product_id: int,
    now: datetime,
    owners: Owners,
    days: int = DEFAULT_DAYS,
    active: bool | None = None,
    after: str | None = None,
    per_page: int = 25,
) -> dict[str, Any]:
    """Who has devices of the product, those first who used one last; ``active``: only those who used one in the last
    ``days`` days, or only the others. With what their devices did in these days, as far as it is kept. Raises
    ``Refused``."""
    if not 1 <= per_page <= MAX_PER_PAGE:
        raise Refused("invalid_request", f"per_page: must be 1 to {MAX_PER_PAGE}.")
    first = first_day(now, days)
    table = views.table(OWNERS)
    query = sa.select(table).where(table.c.product_id == product_id)
    if active is not None:
        query = query.where(table.c.last_used >= first if active else table.c.last_used < first)
    if after is not None:
        last_used, last_id = _cursor(after)
        last = sa.tuple_(sa.literal(last_used, table.c.last_used.type), sa.literal(last_id))
        query = query.where(sa.tuple_(table.c.last_used, table.c.owner_id) < last)
    query = query.order_by(table.c.last_used.desc(), table.c.owner_id.desc()).limit(per_page + 1)
    with views.read() as connection:
        found: list[Row] = [dict(row) for row in connection.execute(query).mappings()]
        page = found[:per_page]
        sums = _sums(views, connection, product_id, [row["owner_id"] for row in page], first)
        counted = customer_counts(views, connection, product_id, now, days)
    names = owners([row["owner_id"] for row in page])
    following = f"{day_of(page[-1]['last_used'])}.{page[-1]['owner_id']}" if len(found) > per_page else None
    return {
        "customers": [_customer(row, names.get(row["owner_id"]), sums.get(row["owner_id"])) for row in page],
        "counts": counted,
        "meta": {"per_page": per_page, "next": following},
    }


def customer_counts(
    views: WorkerViews, connection: sa.Connection, product_id: int, now: datetime, days: int
) -> dict[str, int]:
    """How many have devices of the product, and how many of them used one in the last days and did not."""
    since = day_of(first_day(now, days))
    summed = Sql("coalesce(sum(n), 0), coalesce(sum(n) FILTER (WHERE item >= ?), 0)", (since,))
    query = select(summed, views.counts(OWNERS).name, equal("scope", owners_scope(product_id)))
    total, active = map(int, execute(connection, query).one())
    return {"days": days, "with_device": total, "active": active, "inactive": total - active}


def first_day(now: datetime, days: int) -> datetime:
    """The first of the last days, today among them. Raises ``Refused``."""
    if not 1 <= days <= MAX_DAYS:
        raise Refused("invalid_request", f"days: must be 1 to {MAX_DAYS}.")
    return PRODUCT_DAYS.begin(now) - (days - 1) * ONE_DAY


def _rows(
    views: WorkerViews,
    connection: sa.Connection,
    product_id: int,
    who: str,
    first: datetime = NEVER,
    last: datetime = ALWAYS,
) -> dict[datetime, Row]:
    """The counts of these days, or of all that are kept."""
    its_own = (equal("product_id", product_id), equal("who", who), *between("at", first, last))
    query = select(", ".join(("at", *COUNTS)), views.table(USAGE).name, *its_own)
    return {moment(at): dict(zip(COUNTS, counts, strict=True)) for at, *counts in execute(connection, query).all()}


def _sums(
    views: WorkerViews, connection: sa.Connection, product_id: int, owner_ids: list[str], first: datetime
) -> dict[str, Row]:
    table, named = views.table(USAGE), {owned_by(owner_id): owner_id for owner_id in owner_ids}
    sums = [sa.func.sum(table.c[name]).label(name) for name in COUNTS]
    theirs = (table.c.product_id == product_id, table.c.who.in_(list(named)), table.c.at >= first)
    query = sa.select(table.c.who, *sums).where(*theirs).group_by(table.c.who)
    return {named[row["who"]]: dict(row) for row in connection.execute(query).mappings()}


def _customer(row: Row, known: Mapping[str, Any] | None, sums: Row | None) -> dict[str, Any]:
    """``known``: None for somebody whom the team may not know."""
    return {
        "owner_id": row["owner_id"],
        "customer_id": None if known is None else known["customer_id"],
        "username": None if known is None else known["username"],
        "devices": row["devices"],
        "last_used": None if row["last_used"] == NEVER else day_of(row["last_used"]),
        "usage": _counts(sums),
    }


def _counts(row: Row | None) -> dict[str, int]:
    return dict.fromkeys(COUNTS, 0) if row is None else {name: int(row[name]) for name in COUNTS}


def _total(days: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    all_days = list(days)
    return {name: sum(day[name] for day in all_days) for name in COUNTS}


def _days(stretch: Stretch, now: datetime, since: str | None, until: str | None) -> tuple[datetime, datetime]:
    today = stretch.begin(now)
    last = today if until is None else parse_day(until, "until")
    first = last - (DEFAULT_DAYS - 1) * ONE_DAY if since is None else parse_day(since, "since")
    if not first <= last <= today or last - first >= stretch.kept * ONE_DAY:
        raise Refused("invalid_request", f"since: {stretch.kept} days are kept; they end with {day_of(today)}.")
    return first, last


def _each(first: datetime, last: datetime) -> list[datetime]:
    return [first + number * ONE_DAY for number in range((last - first) // ONE_DAY + 1)]


def _cursor(after: str) -> tuple[datetime, str]:
    day, _, owner_id = after[:64].partition(".")
    found = device_id(owner_id)  # an account's ID has the same form
    if found is None:
        raise Refused("invalid_request", "after: is no cursor; take meta.next of the answer before.")
    return parse_day(day, "after"), found
