"""What is asked of customers: a product's page of them, and who the owners of devices are (CUS-6). Reads views only."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from services.orgs.customers.customer_views import CUSTOMERS, SCOPE, place_item
from services.orgs.views import ACCOUNTS, MEMBERS, PRODUCTS
from shared.bus.providers import WorkerViews
from shared.errors import NotFound, Refused
from shared.projections.view import Row
from shared.store.port import Position

MAX_OWNERS = 1_000
"""Owners that are looked up by one call."""


def page(views: WorkerViews, product_id: int, number: int, per_page: int) -> tuple[list[Row], int]:
    """Rows of one page, the newest customers first, and how many there are in all. Raises ``NotFound``."""
    table = views.table(CUSTOMERS)
    with views.read() as connection:
        theirs = _of_product(views, connection, product_id)
        newest = sa.select(table).where(theirs).order_by(table.c.created_at.desc(), table.c.customer_id)
        rows = connection.execute(newest.offset((number - 1) * per_page).limit(per_page)).mappings()
        return [dict(row) for row in rows], _count(views, connection, product_id)


def count(views: WorkerViews, product_id: int) -> int:
    """How many customers the page has. Raises ``NotFound``."""
    with views.read() as connection:
        return _count(views, connection, product_id)


def owners(views: WorkerViews, product_id: int, owner_ids: Sequence[str]) -> dict[str, Row]:
    """By id those owners of devices whom the product's team may know: its customers, with their ``customer_id``, and
    the members of the team itself. Raises ``Refused`` for more than ``MAX_OWNERS``."""
    if len(owner_ids) > MAX_OWNERS:
        raise Refused("invalid_request", f"at most {MAX_OWNERS} owners are looked up at a time")
    accounts, members, products = views.table(ACCOUNTS), views.table(MEMBERS), views.table(PRODUCTS)
    table = views.table(CUSTOMERS)
    team = (
        sa.select(accounts.c.account_id, accounts.c.email)
        .join_from(products, members, members.c.org_id == products.c.org_id)
        .join(accounts, accounts.c.account_id == members.c.account_id)
        .where(products.c.product_id == product_id, members.c.account_id.in_(owner_ids))
    )
    with views.read() as connection:
        found: dict[str, Row] = {
            row["account_id"]: {"username": row["email"], "customer_id": None}
            for row in connection.execute(team).mappings()
        }
        theirs = sa.select(table).where(_of_product(views, connection, product_id), table.c.owner_id.in_(owner_ids))
        for row in connection.execute(theirs).mappings():
            found[row["owner_id"]] = {"username": row["email"], "customer_id": row["customer_id"]}
    return found


def linked(views: WorkerViews, account_id: str, position: Position) -> list[str]:
    """The customers that an account is linked to, no older than this event."""
    table = views.table(CUSTOMERS)
    with views.since(position).read() as connection:
        return list(connection.execute(sa.select(table.c.customer_id).where(table.c.owner_id == account_id)).scalars())


def _count(views: WorkerViews, connection: sa.Connection, product_id: int) -> int:
    counts, org_id = views.counts(CUSTOMERS), _org_of(views, connection, product_id)
    places = [place_item(org_id, None), place_item(org_id, product_id)]
    query = sa.select(counts.c.n).where(counts.c.scope == SCOPE, counts.c.item.in_(places))
    return sum(connection.execute(query).scalars())


def _org_of(views: WorkerViews, connection: sa.Connection, product_id: int) -> str:
    products = views.table(PRODUCTS)
    org_id = connection.execute(sa.select(products.c.org_id).where(products.c.product_id == product_id)).scalar()
    if org_id is None:
        raise NotFound("Product not found.")
    return str(org_id)


def _of_product(views: WorkerViews, connection: sa.Connection, product_id: int) -> sa.ColumnElement[bool]:
    """A condition: customers of the product itself, and those of all products of its organization."""
    table, org_id = views.table(CUSTOMERS), _org_of(views, connection, product_id)
    of_all = sa.and_(table.c.org_id == org_id, table.c.product_id.is_(None))
    return sa.or_(table.c.product_id == product_id, of_all)
