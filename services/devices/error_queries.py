"""What is asked of the errors that devices report: totals, their course over time, who reported most, and how a version
compares with the others. Reads views only, rows of a bounded number each time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any

import msgspec
import sqlalchemy as sa

from services.devices.errors import DEVICE_DAY, DEVICE_ERRORS, ERRORS, STRETCHES, UPDATE, Stretch, counted
from services.devices.fleet import FLEET, versions_scope
from shared.bus.providers import WorkerViews
from shared.errors import Refused
from shared.ids import device_id
from shared.projections.past_moments import parse
from shared.projections.sql import Sql, equal, execute, select
from shared.projections.tables import micros, moment
from shared.projections.view import Row
from shared.times import iso

MAX_POINTS = 400
"""Of a course over time."""
MAX_PER_PAGE = 100
DEFAULT_SPAN = {"hour": timedelta(days=1), "day": timedelta(days=30), "ten_minutes": timedelta(hours=3)}
SHARP = timedelta(days=2)
"""So far back stretches of ten minutes reach."""
KEPT = 400
"""Rows that need not be read anew, of some 40 kB at most."""


def error_rates(
    views: WorkerViews, product_id: int, since: object, version: int | None, now: datetime
) -> dict[str, Any]:
    """Errors since then on devices that ran this version, and on all others of the product; how many devices report
    each now. Without failed updates: those are of devices that do not run the version yet. ``since`` is the beginning
    of the stretch that the moment is in: ten minutes long, or an hour if the moment is two days ago; at the earliest of
    the oldest that is kept. Raises ``Refused``."""
    moment = _moment(since, "since", now)
    word = "ten_minutes" if now - moment < SHARP - timedelta(minutes=10) else "hour"
    stretch = STRETCHES[word]
    begin = max(stretch.begin(moment), stretch.oldest(now))
    errors: Counter[bool] = Counter()
    with views.read() as connection:
        for _, counts in _rows(views, connection, word, product_id, begin, None):
            for ran, kind, number in counts.items:
                if not kind.startswith(UPDATE):
                    errors[ran == version] += number
        devices = _reporting(views, connection, product_id)
    mine = devices.get(version, 0) if version is not None else 0
    return {
        "since": iso(begin),
        "version": {"errors": errors[True], "devices": mine},
        "others": {"errors": errors[False], "devices": sum(devices.values()) - mine},
    }


def errors(
    views: WorkerViews,
    product_id: int,
    now: datetime,
    step: str = "hour",
    since: object = None,
    until: object = None,
    kind: str | None = None,
    version: int | None = None,
) -> dict[str, Any]:
    """Totals by kind and by version, the highest first, and the course over time in steps (``ten_minutes``, ``hour``,
    ``day``) with all of them, from ``since`` to before ``until``, the end of the present step if that is not said.
    Raises ``Refused``."""
    if step not in STRETCHES:
        raise Refused("invalid_request", f"step: must be one of {', '.join(STRETCHES)}.")
    stretch = STRETCHES[step]
    end = stretch.begin(now) + stretch.length if until is None else _moment(until, "until", now)
    begin = stretch.begin(end - DEFAULT_SPAN[step] if since is None else _moment(since, "since", now))
    if begin >= end:
        raise Refused("invalid_request", "until: must be later than since.")
    if (end - begin) > MAX_POINTS * stretch.length:
        raise Refused("invalid_request", f"since: at most {MAX_POINTS} steps are told at a time.")
    if since is not None:
        _oldest(stretch, now, begin, "since")
    with views.read() as connection:
        found = added(views, connection, step, product_id, begin, end, kind, version)
        devices = _reporting(views, connection, product_id)
    kinds, versions, course = found.kinds, found.versions, found.course
    return {
        "since": iso(begin),
        "until": iso(end),
        "step": step,
        "total": kinds.total(),
        "kinds": [{"kind": what, "errors": number} for what, number in kinds.most_common()],
        "versions": [
            {"version": ran, "errors": number, "devices": devices.get(ran, 0) if ran is not None else None}
            for ran, number in versions.most_common()
        ],
        "course": [{"at": iso(at), "errors": course[at]} for at in _steps(stretch, begin, end)],
    }


@dataclass(frozen=True, slots=True)
class Counts:
    """What a stretch has: version, kind and number of each item, and their sums."""

    items: tuple[tuple[int | None, str, int], ...]
    kinds: Mapping[str, int]
    versions: Mapping[int | None, int]
    total: int

    @classmethod
    def of(cls, items: Iterable[tuple[int | None, str, int]]) -> Counts:
        """With the sums of these."""
        kinds, versions, found = Counter[str](), Counter[int | None](), tuple(items)
        for version, kind, number in found:
            kinds[kind] += number
            versions[version] += number
        return cls(found, kinds, versions, kinds.total())

    def only(self, kind: str | None, version: int | None) -> Counts:
        """Those of a kind and a version, as far as these are said."""
        return Counts.of(item for item in self.items if kind in (None, item[1]) and version in (None, item[0]))


@lru_cache(maxsize=KEPT)
def read_counts(text: str) -> Counts:
    """As a row has them. What is over does not change, and is asked for again and again: for the first screen of a
    product, thirty days of it."""
    return Counts.of(counted(msgspec.json.decode(text)))


@dataclass(frozen=True, slots=True)
class Added:
    """Errors of some time, by kind, by version, and by stretch."""

    kinds: Counter[str]
    versions: Counter[int | None]
    course: Counter[datetime]


def added(
    views: WorkerViews,
    connection: sa.Connection,
    word: str,
    product_id: int,
    since: datetime,
    until: datetime | None = None,
    kind: str | None = None,
    version: int | None = None,
) -> Added:
    """The sums of a product's errors of this kind and on this version, or of all."""
    kinds, versions, course = Counter[str](), Counter[int | None](), Counter[datetime]()
    everything = kind is None and version is None
    for at, counts in _rows(views, connection, word, product_id, since, until):
        some = counts if everything else counts.only(kind, version)
        for what, number in some.kinds.items():
            kinds[what] += number
        for ran, number in some.versions.items():
            versions[ran] += number
        course[at] = some.total
    return Added(kinds, versions, course)


def daily(views: WorkerViews, connection: sa.Connection, product_id: int, since: datetime) -> list[dict[str, Any]]:
    """Each kind, version and day with its number, the newest day first."""
    rows = _rows(views, connection, "day", product_id, STRETCHES["day"].begin(since), None)
    return [
        {"kind": kind, "version": version, "day": day, "count": number}
        for day, counts in [(day_of(at), counts) for at, counts in reversed(rows)]
        for version, kind, number in counts.items
    ]


def erring_devices(
    views: WorkerViews,
    product_id: int,
    now: datetime,
    day: str | None = None,
    after: str | None = None,
    per_page: int = 25,
) -> dict[str, Any]:
    """The devices that reported most errors on a day (today) of the last ones, those with most first. Raises
    ``Refused``."""
    if not 1 <= per_page <= MAX_PER_PAGE:
        raise Refused("invalid_request", f"per_page: must be 1 to {MAX_PER_PAGE}.")
    at = _oldest(DEVICE_DAY, now, DEVICE_DAY.begin(now) if day is None else parse_day(day), "day")
    table = views.table(DEVICE_ERRORS)
    query = sa.select(table).where(table.c.product_id == product_id, table.c.at == at)
    if after is not None:
        last_errors, last_id = _cursor(after)
        key = sa.tuple_(table.c.errors, table.c.device_id)
        query = query.where(key < sa.tuple_(sa.literal(last_errors), sa.literal(last_id)))
    query = query.order_by(table.c.errors.desc(), table.c.device_id.desc()).limit(per_page + 1)
    with views.read() as connection:
        rows: list[Row] = [dict(row) for row in connection.execute(query).mappings()]
    page = rows[:per_page]
    following = f"{page[-1]['errors']}-{page[-1]['device_id']}" if len(rows) > per_page else None
    return {
        "day": day_of(at),
        "devices": [_erring(row) for row in page],
        "meta": {"per_page": per_page, "next": following},
    }


def _erring(row: Row) -> dict[str, Any]:
    kinds = sorted(row["kinds"].items(), key=lambda item: (-item[1], item[0]))
    return {
        "id": row["device_id"],
        "errors": row["errors"],
        "kinds": [{"kind": kind, "errors": number} for kind, number in kinds],
        "last": {
            "kind": row["last_kind"],
            "text": row["last_text"],
            "version": row["last_version"],
            "at": iso(row["last_at"]),
        },
    }


def _rows(
    views: WorkerViews,
    connection: sa.Connection,
    word: str,
    product_id: int,
    since: datetime,
    until: datetime | None,
) -> list[tuple[datetime, Counts]]:
    """The beginnings of stretches, in their order, and what was counted in each."""
    wanted = [equal("product_id", product_id), equal("stretch", word), Sql("at >= ?", (micros(since),))]
    if until is not None:
        wanted.append(Sql("at < ?", (micros(until),)))
    query = select("at, counts", views.table(ERRORS).name, *wanted, end=" ORDER BY at")
    return [(moment(at), read_counts(text)) for at, text in execute(connection, query).all()]


def _reporting(views: WorkerViews, connection: sa.Connection, product_id: int) -> Mapping[int | None, int]:
    """How many devices of the product report each version."""
    query = select("item, n", views.counts(FLEET).name, equal("scope", versions_scope(product_id)))
    return {int(item): number for item, number in execute(connection, query).all()}


def _steps(stretch: Stretch, begin: datetime, end: datetime) -> Iterator[datetime]:
    while begin < end:
        yield begin
        begin += stretch.length


def _moment(text: object, name: str, now: datetime) -> datetime:
    """A time that is past."""
    moment = parse(text, name)
    if moment.at is None:
        raise Refused("invalid_request", f"{name}: must be a time with its zone such as 2026-01-31T12:00:00Z.")
    if moment.at > now + timedelta(minutes=1):
        raise Refused("invalid_request", f"{name}: is in the future; it is {iso(now)} now.")
    return moment.at


def _oldest(stretch: Stretch, now: datetime, begin: datetime, name: str) -> datetime:
    """The same, if it is as new as what is kept."""
    oldest = stretch.oldest(now)
    if begin < oldest or begin > now:
        raise Refused("invalid_request", f"{name}: errors are kept from {iso(oldest)} to now.")
    return begin


def parse_day(text: object, name: str = "day") -> datetime:
    """The beginning of a day, ``2026-01-31`` (UTC). Raises ``Refused``."""
    try:
        found = date.fromisoformat(text) if isinstance(text, str) and len(text) == len("2026-01-31") else None
    except ValueError:
        found = None
    if found is None:
        raise Refused("invalid_request", f"{name}: must be a day such as 2026-01-31.")
    return datetime(found.year, found.month, found.day, tzinfo=UTC)


def day_of(at: datetime) -> str:
    """The day of a moment (UTC)."""
    return at.astimezone(UTC).date().isoformat()


def _cursor(after: str) -> tuple[int, str]:
    number, _, last = after[:64].partition("-")
    found = device_id(last)
    if found is None or not (number.isascii() and number.isdigit()) or len(number) > 18:
        raise Refused("invalid_request", "after: is no cursor; take meta.next of the answer before.")
    return int(number), found
