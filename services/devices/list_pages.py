"""Pages of a list of devices, found with bounded work (DEV-6). Reads the view ``fleet``.

Nothing here scans a fleet. Where an index finds few devices for a part of what is asked, the rest is asked of these:
the answer is exact, and so is its total. Else the order that was asked for is walked from the cursor on, past a bounded
number of devices: where so few of them fit that the page does not get full, the answer has what was found and a cursor
to go on with. Its total then comes from counters, as an upper bound, unless they know better.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from services.devices.fleet import COVERED, FLEET
from services.devices.list_ranges import Range, range_of
from services.devices.list_seeks import Seek, Seeks, inside
from services.devices.list_totals import Counters, counters
from services.devices.listing import Cursor, Listing
from services.devices.query_sql import Condition, Conditions, columns_of
from services.devices.query_terms import EVERYTHING, AllOf, Expression, Term, conjuncts
from shared.bus.providers import WorkerViews
from shared.errors import Refused
from shared.projections.tables import micros, moment, once, says
from shared.projections.view import Row


@dataclass(frozen=True, slots=True)
class Bound:
    """How many devices a walk looks at, and how many where their entries in the index have all that is asked for, each
    of which takes a twentieth of the time."""

    devices: int
    entries: int


FEW = 2_000
"""Devices of a part of an expression that are all looked at."""
WITHIN = 15_000
"""Entries of an index that are searched for a part of a name or an ID."""
GLANCE = Bound(300, 3_000)
"""Of a first look, in case many devices fit."""
NEAR = Bound(2_000, 30_000)
FAR = Bound(20_000, 60_000)
"""Of a page by number behind the first, which has to pass those before it."""
SKIPPED = 100_000
"""Devices of a list without conditions that a page by number may skip; behind them there are cursors."""
CHUNK = 100
"""Of the devices of a seek that are walked by ID, at first; each further look is at twice as many."""
TOO_FAR = "page: is too far to be counted to; go on from an earlier page with after, its meta.next."


@dataclass(frozen=True, slots=True)
class Found:
    """One page of rows, how many there are in all (at most so many, unless ``exact``), and the cursor of the next page
    if there may be one."""

    rows: Sequence[Row]
    total: int
    exact: bool
    next: str | None


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of an order that one index has: by ``column`` and ID, ``between`` two values. ``inside`` are conditions of
    that index; ``rest`` is what has to be asked of each device."""

    column: str
    inside: tuple[Condition, ...]
    between: Range
    rest: Expression

    @property
    def is_covered(self) -> bool:
        """Whether the index has all that is asked for."""
        also = COVERED if self.column in ("connected_at", "last_heard_at") else ()
        return columns_of(self.rest) <= {"device_id", self.column, *also}


@dataclass(slots=True)
class Walked:
    """What a walk has found so far, and where it stopped; None: at the end."""

    keys: list[Cursor] = field(default_factory=list)
    stopped: Cursor | None = None


@dataclass(frozen=True, slots=True)
class Statement:
    """Compiled SQL, with the names of its values in their order, and those that are always the same. Making one anew
    would take more than the answer of most."""

    text: str
    names: tuple[str, ...]
    constants: Mapping[str, Any]

    @classmethod
    def of(cls, query: sa.Select[Any], dialect: sa.Dialect) -> Statement:
        """That of a query without lists of values."""
        compiled = query.compile(dialect=dialect)
        constants = {name: _stored(value) for name, value in compiled.params.items()}
        return cls(str(compiled), tuple(compiled.positiontup or ()), constants)

    def run(
        self, connection: sa.Connection, cursor: Cursor | None, values: Mapping[str, Any] | None = None
    ) -> Sequence[sa.Row[Any]]:
        """The rows, values in them as the database keeps them."""
        given = {**self.constants, **(values or {})}
        if cursor is not None:
            given |= {"cursor_value": _stored(cursor.value), "cursor_id": cursor.device_id}
        return connection.exec_driver_sql(self.text, tuple(given[name] for name in self.names)).all()


def _stored(value: Any) -> Any:
    return micros(value) if isinstance(value, datetime) else value


KEPT = 500
_STATEMENTS: dict[tuple[Any, ...], Statement] = {}
"""Of walks that were asked for lately: the same lists are looked at again and again, page by page."""


def find(views: WorkerViews, connection: sa.Connection, listing: Listing) -> Found:
    """The page that was asked for. Raises ``Refused("invalid_request")`` for a number that is too far."""
    return _Search(views, connection, listing).page()


class _Search:
    """One question, on one connection."""

    def __init__(self, views: WorkerViews, connection: sa.Connection, listing: Listing) -> None:
        self._connection = connection
        self._listing = listing
        self._fleet = views.table(FLEET)
        self._load = views.rows(FLEET).load
        self._where = Conditions(views.members(FLEET), listing.product_id).of
        self._seeks = Seeks(views, listing.product_id)
        self._counters: Counters = counters(views, connection, listing.product_id, listing.expression)
        self._wanted = listing.per_page + 1
        self._skipped = 0 if listing.cursor else (listing.page - 1) * listing.per_page

    def page(self) -> Found:
        listing = self._listing
        if listing.expression == EVERYTHING and not listing.sort.some:
            return self._plain()
        if self._is_worth_a_glance():
            glanced = self._along(self._stretches(), GLANCE)
            if len(glanced.keys) == self._wanted + self._skipped:
                return self._found(glanced)
        seeks = self._seeks.of(listing.expression)
        few = self._few(seeks)
        if few is not None:
            return self._among(few)
        return self._walk(seeks, FAR if self._skipped else NEAR)

    def _is_worth_a_glance(self) -> bool:
        """Whether so many devices may fit that the first of the order fill the page; of few all are looked at, so that
        their total is exact."""
        counters, stretch = self._counters, next(self._stretches())
        if counters.total <= FEW and counters.exactly(self._listing.expression) is None:
            return False
        most = GLANCE.entries if stretch.is_covered else GLANCE.devices
        return counters.at_most(self._listing.expression) * most >= counters.total * self._wanted

    def _plain(self) -> Found:
        """All devices in the order of an index."""
        listing, fleet = self._listing, self._fleet
        if self._skipped > SKIPPED and self._counters.total > SKIPPED:
            raise Refused("invalid_request", TOO_FAR)
        name = f"list by {listing.sort.column} {listing.descending} {listing.cursor is not None}"
        statement = once(fleet, self._connection.dialect, name, self._plain_statement)
        page = {"product_id": listing.product_id, "most": self._wanted, "skipped": self._skipped}
        found = statement.run(self._connection, listing.cursor, page)
        keys = [self._key(self._plain_value(value), device_id) for device_id, value in found]
        more = keys[listing.per_page - 1] if len(keys) > listing.per_page else None
        rows = self._of(keys[: listing.per_page])
        return Found(rows, self._counters.total, True, listing.encode(more) if more else None)

    def _plain_statement(self) -> Statement:
        """The query for all devices, which differs from product to product and page to page in its values alone."""
        fleet, column = self._fleet, self._listing.sort.column
        query = sa.select(fleet.c.device_id, fleet.c[column])
        query = query.where(fleet.c.product_id == sa.bindparam("product_id"), *self._from_cursor(fleet.c, column))
        query = query.order_by(*self._order(fleet.c, column))
        query = query.limit(sa.bindparam("most")).offset(sa.bindparam("skipped"))
        return Statement.of(query, self._connection.dialect)

    def _few(self, seeks: Sequence[Seek]) -> Seek | None:
        """The seek with the fewest devices, if those are few."""
        if self._counters.total <= FEW:
            return self._seeks.everything()
        seeks = [seek for seek in self._affordable(seeks) if (self._counters.exactly(seek.part) or 0) <= FEW]
        if not seeks:
            return None
        sizes = [_size(seek.source, FEW + 1) for seek in seeks]
        size, number = min(
            (size, number) for number, size in enumerate(self._connection.execute(sa.select(*sizes)).one())
        )
        return seeks[number] if size <= FEW else None

    def _affordable(self, seeks: Sequence[Seek]) -> Sequence[Seek]:
        """Those that need not look at more entries of an index than ``WITHIN``."""
        searched = [seek for seek in seeks if seek.within is not None]
        if not searched or self._counters.total <= WITHIN:
            return seeks
        sizes = [_size(seek.within, WITHIN + 1) for seek in searched if seek.within is not None]
        counted = dict(zip(map(id, searched), self._connection.execute(sa.select(*sizes)).one(), strict=True))
        return [seek for seek in seeks if counted.get(id(seek), 0) <= WITHIN]

    def _among(self, seek: Seek) -> Found:
        """Everything that fits among few devices, sorted here."""
        fleet, listing = self._fleet, self._listing
        query = sa.select(fleet.c.device_id, fleet.c[listing.sort.column].label("value")).where(
            fleet.c.device_id.in_(seek.source),
            fleet.c.product_id + 0 == listing.product_id,  # so that no index of the product is taken
            self._where(fleet.c, listing.expression),
        )
        found = [self._key(value, device_id) for device_id, value in self._connection.execute(query).all()]
        ordered = [key for part in self._parts(found) for key in sorted(part, key=_place, reverse=listing.descending)]
        rest = [key for key in ordered if self._is_behind(key)] if listing.cursor else ordered[self._skipped :]
        more = rest[listing.per_page - 1] if len(rest) > listing.per_page else None
        return Found(self._of(rest[: listing.per_page]), len(found), True, listing.encode(more) if more else None)

    def _parts(self, keys: Sequence[Cursor]) -> tuple[list[Cursor], list[Cursor]]:
        """Those that have what is sorted by, and those that have not."""
        return [key for key in keys if key.value is not None], [key for key in keys if key.value is None]

    def _is_behind(self, key: Cursor) -> bool:
        cursor, listing = self._listing.cursor, self._listing
        if cursor is None or (cursor.value is None) is not (key.value is None):
            return cursor is None or key.value is None
        return _place(key) < _place(cursor) if listing.descending else _place(key) > _place(cursor)

    def _walk(self, seeks: Sequence[Seek], most: Bound) -> Found:
        listing = self._listing
        in_order = [seek for seek in seeks if seek.by_id and listing.sort.column == "device_id"]
        by_id = min(in_order, key=self._expected, default=None)
        walked = self._through(by_id, most.devices) if by_id is not None else self._along(self._stretches(), most)
        if walked.stopped is not None and self._skipped and len(walked.keys) < self._skipped:
            raise Refused("invalid_request", TOO_FAR)
        return self._found(walked)

    def _expected(self, seek: Seek) -> int:
        """How many devices a seek finds, as far as the counters know."""
        known = self._counters.exactly(seek.part)
        return self._counters.total if known is None else known

    def _found(self, walked: Walked) -> Found:
        listing = self._listing
        keys = walked.keys[self._skipped :]
        more = keys[listing.per_page - 1] if len(keys) > listing.per_page else walked.stopped
        total = self._counters.exactly(listing.expression)
        if total is None and more is None and listing.cursor is None:
            total = len(walked.keys)
        found = self._of(keys[: listing.per_page])
        bound = self._counters.at_most(listing.expression) if total is None else total
        return Found(found, bound, total is not None, listing.encode(more) if more else None)

    # along an order

    def _stretches(self) -> Iterator[Stretch]:
        """From the cursor on."""
        listing, fleet = self._listing, self._fleet
        sort, cursor = listing.sort, listing.cursor
        between = range_of(listing.expression, sort.column)
        if not sort.some:
            yield Stretch(sort.column, (), between, listing.expression)
            return
        if cursor is None or cursor.value is not None:
            yield Stretch(sort.column, (says(fleet.c[sort.column]),), between, listing.expression)
        word = "name" if sort.column == "name_key" else "last_heard"
        yield Stretch("device_id", (), Range(), AllOf((*conjuncts(listing.expression), Term(word, "=", (None,)))))

    def _along(self, stretches: Iterator[Stretch], bound: Bound) -> Walked:
        walked = Walked()
        for stretch in stretches:
            most = bound.entries if stretch.is_covered else bound.devices
            walked.keys += self._step(stretch, most, self._wanted + self._skipped - len(walked.keys))
            if len(walked.keys) == self._wanted + self._skipped:
                return walked
            walked.stopped = self._last(self._looked(stretch, most), stretch, most)
            if walked.stopped is not None:
                return walked
        return walked

    def _step(self, stretch: Stretch, most: int, wanted: int) -> list[Cursor]:
        """Where those stand that fit, so many at most."""
        listing, cursor, dialect = self._listing, self._listing.cursor, self._connection.dialect
        side = None if cursor is None else cursor.value is None
        order = (listing.sort.column, listing.descending, side)
        asked = (dialect.name, listing.product_id, stretch.column, stretch.between, stretch.rest, most, wanted, order)
        statement = _STATEMENTS.get(asked)
        if statement is None:
            statement = Statement.of(self._fitting(self._looked(stretch, most), stretch, wanted), dialect)
            if len(_STATEMENTS) >= KEPT:
                _STATEMENTS.clear()
            _STATEMENTS[asked] = statement
        found = statement.run(self._connection, cursor)
        return [self._key(self._plain_value(value), device_id) for device_id, value in found]

    def _plain_value(self, value: Any) -> Any:
        """A value as the database keeps it, as the view has it."""
        return moment(value) if self._listing.sort.kind is datetime and value is not None else value

    def _looked(self, stretch: Stretch, most: int) -> sa.Select[Any]:
        """The next devices of a stretch, so many at most."""
        fleet = self._fleet
        names = {"device_id", stretch.column, self._listing.sort.column, *columns_of(stretch.rest)}
        query = sa.select(*(fleet.c[name] for name in sorted(names)))
        query = query.where(fleet.c.product_id == self._listing.product_id, *stretch.inside)
        behind = self._from_cursor(fleet.c, stretch.column)
        between = stretch.between
        if behind:  # that is the bound on this side
            between = replace(between, upper=None) if self._listing.descending else replace(between, lower=None)
        query = query.where(*behind, *inside(fleet.c[stretch.column], between))
        return query.order_by(*self._order(fleet.c, stretch.column)).limit(most)

    def _fitting(self, looked: sa.Select[Any], stretch: Stretch, wanted: int) -> sa.Select[Any]:
        """Those of them that fit, in their order; the walk ends where there are enough. SQLite gives them as the inner
        query does, and would sort them all if it were asked to."""
        inner = looked.subquery("looked")
        query = sa.select(inner.c.device_id, inner.c[self._listing.sort.column].label("value"))
        query = query.where(self._where(inner.c, stretch.rest)).limit(wanted)
        if self._connection.dialect.name == "sqlite":
            return query
        return query.order_by(*self._order(inner.c, stretch.column))

    def _last(self, looked: sa.Select[Any], stretch: Stretch, most: int) -> Cursor | None:
        """The last of them, if there may be more behind it."""
        fleet = self._fleet
        last = looked.with_only_columns(fleet.c.device_id, fleet.c[stretch.column]).limit(1).offset(most - 1)
        found = self._connection.execute(last).one_or_none()
        if found is None:
            return None
        has_value = stretch.column == self._listing.sort.column
        return Cursor(found[1] if has_value else None, found[0])

    # through the devices of a seek, by ID

    def _through(self, seek: Seek, most: int) -> Walked:
        listing, walked = self._listing, Walked()
        last = listing.cursor.device_id if listing.cursor else None
        wanted, left, size = self._wanted + self._skipped, most, CHUNK
        while left > 0:
            size = min(size, left)
            ids = self._next_of(seek, last, size)
            walked.keys += [Cursor(device_id, device_id) for device_id in self._fitting_of(ids)]
            if len(walked.keys) >= wanted:
                del walked.keys[wanted:]
                return walked
            if len(ids) < size:
                return walked
            last, left, size = ids[-1], left - size, size * 2
        walked.stopped = Cursor(last, last) if last is not None else None
        return walked

    def _next_of(self, seek: Seek, last: str | None, size: int) -> list[str]:
        (source,) = seek.sources
        column, descending = source.selected_columns[0], self._listing.descending
        if last is not None:
            source = source.where(column < last if descending else column > last)
        found = self._connection.execute(source.order_by(column.desc() if descending else column).limit(size))
        return list(found.scalars())

    def _fitting_of(self, ids: Sequence[str]) -> list[str]:
        fleet, listing = self._fleet, self._listing
        query = sa.select(fleet.c.device_id).where(
            fleet.c.device_id.in_(ids),
            fleet.c.product_id + 0 == listing.product_id,
            self._where(fleet.c, listing.expression),
        )
        return sorted(self._connection.execute(query).scalars(), reverse=listing.descending)

    # what all have in common

    def _order(self, columns: Any, column: str) -> list[sa.ColumnElement[Any]]:
        names = ("device_id",) if column == "device_id" else (column, "device_id")
        return [columns[name].desc() if self._listing.descending else columns[name].asc() for name in names]

    def _from_cursor(self, columns: Any, column: str) -> list[Condition]:
        cursor = self._listing.cursor
        if cursor is None or (cursor.value is None and column != "device_id"):
            return []
        if cursor.value is not None and column != self._listing.sort.column:
            return []  # the cursor is in the stretch before
        value = sa.bindparam("cursor_value", cursor.value, columns[column].type)
        return [self._behind(columns, column, value, sa.bindparam("cursor_id", cursor.device_id))]

    def _behind(self, columns: Any, column: str, value: Any, device_id: Any) -> Condition:
        """Behind a place in an order."""
        descending = self._listing.descending
        place, last = (
            (columns.device_id, device_id)
            if column == "device_id"
            else (sa.tuple_(columns[column], columns.device_id), sa.tuple_(value, device_id))
        )
        behind: Condition = place < last if descending else place > last
        return behind

    def _key(self, value: Any, device_id: str) -> Cursor:
        return Cursor(value or None if self._listing.sort.some else value, device_id)

    def _of(self, keys: Sequence[Cursor]) -> list[Row]:
        """The rows of these, in their order."""
        rows = self._load(self._connection, [(key.device_id,) for key in keys])
        return [rows[key.device_id,] for key in keys]


def _size(source: sa.Select[Any] | sa.CompoundSelect[Any], most: int) -> sa.ScalarSelect[Any]:
    """How many rows, counted up to a bound."""
    bounded = sa.select(sa.literal_column("1")).select_from(source.subquery()).limit(most).subquery()
    return sa.select(sa.func.count()).select_from(bounded).scalar_subquery()


def _place(key: Cursor) -> tuple[Any, str]:
    """Comparable among keys that have a value, and among those that have none."""
    return key.value if key.value is not None else "", key.device_id
