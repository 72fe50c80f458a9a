"""Lists of a product's devices: filters, order, pages by number or by cursor (DEV-6). Reads the view ``fleet``.

A cursor is the sort value and the ID of the last device of a page, so that devices which come, go or change while
somebody pages shift nothing that is behind it.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa

from services.devices.fleet import FLEET, NOTHING, devices_scope
from shared.bus.providers import WorkerViews
from shared.errors import Refused
from shared.ids import device_id
from shared.projections.tables import micros, moment
from shared.projections.view import Row

MAX_PAGE = 1_000_000
MAX_PER_PAGE = 1_000
MAX_TEXT = 4_096
MAX_GROUPS = 100
MAX_OWNERS = 10
"""Who may have one name: a customer of the product, one of the organization, a member of the team."""
MAX_CURSOR = 1_024
LAST_MOMENT_US = 253_402_300_799_999_999
"""The end of the year 9999."""

SORTS = {"deviceId": "device_id", "firmwareVersion": "shown_version", "lastConnection": "connected_at"}
"""The contract's words for orders (7.2) and the columns that they are orders by."""

_FLAGS = ("quarantined", "online", "development")
_COUNTED: dict[tuple[Any, ...], str] = {(): "total", **{((flag, True),): flag for flag in _FLAGS}}
"""Filters whose devices are counted by the view already."""


@dataclass(frozen=True, slots=True)
class Listing:
    """A checked query."""

    product_id: int
    filters: Mapping[str, Any]
    sort: str
    descending: bool
    page: int
    per_page: int
    cursor: tuple[Any, str] | None


@dataclass(frozen=True, slots=True)
class Found:
    """One page of rows, how many there are in all, and the cursor of the next page if there is one."""

    rows: Sequence[Row]
    total: int
    next: str | None


def parse(
    product_id: int,
    filters: Mapping[str, Any] | None,
    sort: str | None,
    descending: bool,
    page: int,
    per_page: int,
    after: str | None,
) -> Listing:
    """A query as it was asked; raises ``Refused("invalid_request")`` for what makes no sense."""
    column = SORTS.get(sort or "lastConnection")
    if column is None:
        raise _invalid(f"sort must be one of {', '.join(SORTS)}")
    if not _is_whole(page, 1, MAX_PAGE) or not _is_whole(per_page, 1, MAX_PER_PAGE):
        raise _invalid(f"page must be 1 to {MAX_PAGE} and per_page 1 to {MAX_PER_PAGE}")
    checked = {name: _filter(name, value) for name, value in (filters or {}).items() if value is not None}
    cursor = None if after is None else _decode(after, column, bool(descending))
    return Listing(product_id, checked, column, bool(descending), page, per_page, cursor)


def _is_whole(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _filter(name: str, value: object) -> Any:
    if name in _FLAGS and isinstance(value, bool):
        return value
    if name == "firmware_version" and _is_whole(value, 0, 65_535):
        return value
    if name in ("device_id", "name") and isinstance(value, str) and len(value) <= MAX_TEXT:
        return value
    if name == "owners" and isinstance(value, list) and len(value) <= MAX_OWNERS:
        return tuple(map(str, value))
    if name == "groups" and isinstance(value, str | list):
        names = value.split(",") if isinstance(value, str) else value
        if len(names) <= MAX_GROUPS and all(isinstance(group, str) and len(group) <= MAX_TEXT for group in names):
            return tuple(group.strip() for group in names if group.strip())
    raise _invalid(f"{name[:64]} is no filter, or its value is none")


def find(views: WorkerViews, connection: sa.Connection, listing: Listing) -> Found:
    """The page that was asked for."""
    fleet = views.table(FLEET)
    conditions = _conditions(fleet, listing)
    key = sa.tuple_(fleet.c[listing.sort], fleet.c.device_id)
    query = sa.select(fleet).where(*conditions)
    if listing.cursor is None:
        query = query.offset((listing.page - 1) * listing.per_page)
    else:
        value, last_id = listing.cursor
        last = sa.tuple_(sa.literal(value, fleet.c[listing.sort].type), sa.literal(last_id))
        query = query.where(key < last if listing.descending else key > last)
    order = [
        column.desc() if listing.descending else column.asc() for column in (fleet.c[listing.sort], fleet.c.device_id)
    ]
    rows = [dict(row) for row in connection.execute(query.order_by(*order).limit(listing.per_page + 1)).mappings()]
    has_more = len(rows) > listing.per_page
    page = rows[: listing.per_page]
    cursor = _encode(listing, page[-1]) if has_more else None
    return Found(page, _total(views, connection, listing, conditions), cursor)


def _conditions(fleet: sa.Table, listing: Listing) -> list[sa.ColumnElement[bool]]:
    conditions: list[sa.ColumnElement[bool]] = [fleet.c.product_id == listing.product_id]
    for name, value in listing.filters.items():
        match name:
            case "device_id":
                conditions.append(fleet.c.device_id.contains(value.strip().lower(), autoescape=True))
            case "name":
                conditions.append(sa.func.lower(fleet.c.name).contains(value.lower(), autoescape=True))
            case "groups":
                column = sa.type_coerce(fleet.c.groups, sa.Text)  # a JSON list of names that need no escapes
                conditions.append(
                    sa.or_(sa.false(), *(column.contains(f'"{group}"', autoescape=True) for group in value))
                )
            case "firmware_version":
                conditions.append(fleet.c.shown_version == value)
            case "owners":
                conditions.append(fleet.c.owner_id.in_(value))
            case _:
                conditions.append(fleet.c[name].is_(value))
    return conditions


def _total(
    views: WorkerViews, connection: sa.Connection, listing: Listing, conditions: list[sa.ColumnElement[bool]]
) -> int:
    """From the counters where they know it, else counted."""
    counter = _COUNTED.get(tuple(listing.filters.items()))
    if counter is not None:
        counts = views.counts(FLEET)
        query = sa.select(counts.c.n).where(counts.c.scope == devices_scope(listing.product_id))
        return connection.execute(query.where(counts.c.item == counter)).scalar() or 0
    fleet = views.table(FLEET)
    return connection.execute(sa.select(sa.func.count()).select_from(fleet).where(*conditions)).scalar_one()


def _encode(listing: Listing, row: Row) -> str:
    value = row[listing.sort]
    plain = micros(value) if isinstance(value, datetime) else value
    data = msgspec.json.encode([_order(listing.sort, listing.descending), plain, row["device_id"]])
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _order(column: str, descending: bool) -> str:
    return f"{column}{'-' if descending else '+'}"


def _decode(after: str, column: str, descending: bool) -> tuple[Any, str]:
    no_cursor = "after is no cursor; take meta.next of the answer before"
    try:
        padded = after[:MAX_CURSOR].encode("ascii") + b"=" * (-len(after[:MAX_CURSOR]) % 4)
        data = base64.b64decode(padded, altchars=b"-_", validate=True)
        order, value, text = msgspec.json.decode(data, type=tuple[str, int | str, str])
        last = device_id(text)
    except (ValueError, msgspec.MsgspecError):
        raise _invalid(no_cursor) from None
    if order != _order(column, descending):
        raise _invalid("after is a cursor of another order")
    if last is None or isinstance(value, str) is not (column == "device_id"):
        raise _invalid(no_cursor)
    if isinstance(value, str):
        return last, last
    if not NOTHING <= value <= LAST_MOMENT_US:
        raise _invalid(no_cursor)
    return (moment(value) if column == "connected_at" else value), last


def _invalid(reason: str) -> Refused:
    return Refused("invalid_request", reason)
