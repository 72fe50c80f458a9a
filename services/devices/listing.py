"""Lists of a product's devices: what is asked for, checked, and the cursors between pages (DEV-6). Pure.

A cursor is the sort value and the ID of the last device of a page, so that devices which come, go or change while
somebody pages shift nothing that is behind it.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from services.devices.fleet import NOTHING
from services.devices.query_language import Named, parse_query, with_owners
from services.devices.query_terms import EVERYTHING, AllOf, Expression, Term, folded
from shared.errors import Refused
from shared.ids import device_id
from shared.projections.tables import micros, moment

MAX_PAGE = 1_000_000
MAX_PER_PAGE = 1_000
MAX_TEXT = 4_096
MAX_GROUPS = 100
MAX_OWNERS = 10
"""Who may have one name: a customer of the product, one of the organization, a member of the team."""
MAX_CURSOR = 4_096
LAST_MOMENT_US = 253_402_300_799_999_999
"""The end of the year 9999."""


@dataclass(frozen=True, slots=True)
class Sort:
    """``column`` of view ``fleet``, and by ID where that is the same. ``some``: only some devices have it; those that
    have not come last, whichever the direction, by ID."""

    column: str
    kind: type
    some: bool = False


SORTS: Mapping[str, Sort] = {
    "deviceId": Sort("device_id", str),
    "firmwareVersion": Sort("shown_version", int),
    "lastConnection": Sort("connected_at", datetime),
    "name": Sort("name_key", str, some=True),
    "lastHeard": Sort("last_heard_at", datetime, some=True),
}
"""The contract's words for orders (7.2), and ours."""

_FLAGS = ("quarantined", "online", "development")


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in an order; ``value`` None: among those that have none."""

    value: Any
    device_id: str


@dataclass(frozen=True, slots=True)
class Listing:
    """A checked query."""

    product_id: int
    expression: Expression
    sort: Sort
    descending: bool
    page: int
    per_page: int
    cursor: Cursor | None

    def encode(self, place: Cursor) -> str:
        """The cursor as text."""
        plain = micros(place.value) if isinstance(place.value, datetime) else place.value
        data = msgspec.json.encode([_order(self.sort, self.descending), plain, place.device_id])
        return base64.urlsafe_b64encode(data).decode().rstrip("=")


def no_names(name: str) -> list[str]:
    """For who knows nobody's address."""
    raise _invalid(f"owner: {name!r} is nobody's ID, and addresses are not known here")


def parse(
    product_id: int,
    filters: Mapping[str, Any] | None,
    sort: str | None,
    descending: bool,
    page: int,
    per_page: int,
    after: str | None,
    *,
    query: str | None = None,
    now: datetime,
    named: Named = no_names,
) -> Listing:
    """A list as it was asked for; raises ``Refused("invalid_request")`` for what makes no sense. ``query`` and all of
    the filters have to be true; ``named`` looks the addresses of owners up."""
    order = SORTS.get(sort or "lastConnection")
    if order is None:
        raise _invalid(f"sort must be one of {', '.join(SORTS)}")
    if not _is_whole(page, 1, MAX_PAGE) or not _is_whole(per_page, 1, MAX_PER_PAGE):
        raise _invalid(f"page must be 1 to {MAX_PAGE} and per_page 1 to {MAX_PER_PAGE}")
    if not isinstance(query, str | None):
        raise _invalid("query must be text")
    parts = [_filter(name, value) for name, value in (filters or {}).items() if value is not None]
    asked = parse_query(query, now) if query and query.strip() else EVERYTHING
    wanted = with_owners(asked, named)
    expression = AllOf((*parts, wanted)) if parts and wanted != EVERYTHING else AllOf(tuple(parts)) if parts else wanted
    cursor = None if after is None else _decode(after, order, bool(descending))
    return Listing(product_id, expression, order, bool(descending), page, per_page, cursor)


def _is_whole(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _filter(name: str, value: object) -> Expression:
    if name in _FLAGS and isinstance(value, bool):
        return Term(name, "=", (value,))
    if name == "firmware_version" and isinstance(value, int) and _is_whole(value, 0, 65_535):
        return Term("version", "=", (value,))
    if name in ("device_id", "name") and isinstance(value, str) and len(value) <= MAX_TEXT:
        field = "name" if name == "name" else "id"
        return _part(field, folded(field, value if field == "name" else value.strip()))
    if name == "owners" and isinstance(value, list) and len(value) <= MAX_OWNERS:
        return Term("owner", "=", tuple(map(str, value)))
    if name == "groups" and isinstance(value, str | list):
        names = value.split(",") if isinstance(value, str) else value
        if len(names) <= MAX_GROUPS and all(isinstance(group, str) and len(group) <= MAX_TEXT for group in names):
            return Term("group", "=", tuple(group.strip() for group in names if group.strip()))
    raise _invalid(f"{name[:64]} is no filter, or its value is none")


def _part(field: str, text: str) -> Expression:
    if not text:
        return EVERYTHING
    whole = device_id(text) if field == "id" else None
    return Term(field, "contains", (text,)) if whole is None else Term(field, "=", (whole,))


def _order(sort: Sort, descending: bool) -> str:
    return f"{sort.column}{'-' if descending else '+'}"


def _decode(after: str, sort: Sort, descending: bool) -> Cursor:
    no_cursor = "after is no cursor; take meta.next of the answer before"
    try:
        padded = after[:MAX_CURSOR].encode("ascii") + b"=" * (-len(after[:MAX_CURSOR]) % 4)
        data = base64.b64decode(padded, altchars=b"-_", validate=True)
        order, value, text = msgspec.json.decode(data, type=tuple[str, int | str | None, str])
        last = device_id(text)
    except (ValueError, msgspec.MsgspecError):
        raise _invalid(no_cursor) from None
    if order != _order(sort, descending):
        raise _invalid("after is a cursor of another order")
    if last is None or isinstance(value, str) is not (sort.kind is str and value is not None):
        raise _invalid(no_cursor)
    if value is None:
        if not sort.some:
            raise _invalid(no_cursor)
        return Cursor(None, last)
    if isinstance(value, str):
        return Cursor(last if sort.column == "device_id" else value, last)
    if not NOTHING <= value <= LAST_MOMENT_US:
        raise _invalid(no_cursor)
    return Cursor(moment(value) if sort.kind is datetime else value, last)


def _invalid(reason: str) -> Refused:
    return Refused("invalid_request", reason)
