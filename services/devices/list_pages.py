"""Pages of a list of devices, found with bounded work (DEV-6). Reads the view ``fleet``.

Nothing here scans a fleet. Where an index finds few devices for a part of what is asked, the rest is asked of these:
the answer is exact, and so is its total. Else the order that was asked for is walked from the cursor on, past a bounded
number of devices: where so few of them fit that the page does not get full, the answer has what was found and a cursor
to go on with. Its total then comes from counters, as an upper bound, unless they know better.

Most pages are two statements: the counters, and one that finds the devices and loads them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import sqlalchemy as sa

from services.devices.fleet import COVERED, FLEET
from services.devices.list_order import Order
from services.devices.list_ranges import Range, range_of
from services.devices.list_seeks import Seek, Seeks
from services.devices.list_totals import Counters, counters
from services.devices.listing import Cursor, Listing
from services.devices.query_sql import Conditions, columns_of, is_membership
from services.devices.query_terms import EVERYTHING, FIELDS, AllOf, Expression, Term, conjuncts, holds, terms
from shared.bus.providers import WorkerViews
from shared.errors import Refused
from shared.projections.sql import Sql, all_of, between, equal, execute, select
from shared.projections.tables import moment
from shared.projections.view import Row


@dataclass(frozen=True, slots=True)
class Bound:
    """How many devices a walk looks at, and how many where their entries in the index have all that is asked for, each
    of which takes a twentieth of the time."""

    devices: int
    entries: int


HANDFUL = 100
"""Devices that are all loaded."""
FEW = 2_000
"""Devices of a part of an expression that are all looked at."""
WITHIN = 15_000
"""Entries of an index that are searched for a part of a name or an ID."""
GLANCE = Bound(1_000, 10_000)
"""Of a first look, in case many devices fit; a walk goes on from there."""
NEAR = Bound(2_000, 15_000)
FAR = Bound(20_000, 60_000)
"""Of a page by number behind the first, which has to pass those before it."""
SOON = 500
"""Devices that PostgreSQL looks at in less time than their entries and those that fit."""
SKIPPED = 100_000
"""Devices of a list without conditions that a page by number may skip; behind them there are cursors."""
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
class Way:
    """So many devices at most as an index has them: by ``column`` and ID. ``source`` is FROM and WHERE of them,
    ``columns`` what the index or the device is asked for, ``rest`` what has to be true of each. ``is_covered``: the
    index has all that is asked for, but for groups, of which their members tell; ``joined``: the device is asked that
    has this ID."""

    column: str
    columns: tuple[str, ...]
    source: Sql
    rest: Expression
    most: int
    is_covered: bool = False
    joined: bool = False


@dataclass(frozen=True, slots=True)
class Walked:
    """What a walk has found, and where it stopped; None: at the end, or at the last of the page."""

    rows: list[Row]
    stopped: Cursor | None


def find(views: WorkerViews, connection: sa.Connection, listing: Listing) -> Found:
    """The page that was asked for. Raises ``Refused("invalid_request")`` for a number that is too far."""
    return _Search(views, connection, listing).page()


class _Search:
    """One question, on one connection."""

    def __init__(self, views: WorkerViews, connection: sa.Connection, listing: Listing) -> None:
        self._connection = connection
        self._is_sqlite = connection.dialect.name == "sqlite"
        self._listing = listing
        self._order = Order(listing)
        self._fleet = views.table(FLEET).name
        self._rows = views.rows(FLEET)
        self._conditions = Conditions(views, connection, listing.product_id)
        self._seeks = Seeks(views, self._conditions, listing.product_id)
        self._counters: Counters = counters(views, connection, listing.product_id, listing.expression)
        self._skipped = 0 if listing.cursor else (listing.page - 1) * listing.per_page
        self._wanted = listing.per_page + 1

    def page(self) -> Found:
        listing = self._listing
        if listing.expression == EVERYTHING and not listing.sort.some:
            return self._plain()
        seeks = self._seeks.of(listing.expression)
        direct = [seek for seek in seeks if seek.within is None]
        tries_first = any(map(self._may_be_few, direct))
        found = self._handful(direct) or self._among_few(direct) if tries_first else None
        if found is not None:
            return found
        way = next(self._ways(listing.cursor, GLANCE))
        glanced = self._step(way, self._skipped + self._wanted) if self._is_worth_a_glance(way) else None
        if glanced is not None and len(glanced) == self._skipped + self._wanted:
            return self._found(Walked(glanced, None))
        found = self._among_few([seek for seek in seeks if seek.within or not tries_first])
        if found is not None:
            return found
        return self._walk(seeks, way, glanced)

    def _may_be_few(self, seek: Seek) -> bool:
        """Whether nobody knows how many devices it finds; what is a part of the order is walked to its end."""
        of_order = isinstance(seek.part, Term) and FIELDS[seek.part.field].column == self._listing.sort.column
        return not of_order and self._counters.exactly(seek.part) is None

    def _is_worth_a_glance(self, way: Way) -> bool:
        """Whether so many devices may fit that the first of the order fill the page; of few all are looked at, so that
        their total is exact."""
        counters = self._counters
        if counters.total <= FEW and counters.exactly(self._listing.expression) is None:
            return False
        return counters.likely(self._listing.expression) * way.most >= counters.total * self._wanted

    def _plain(self) -> Found:
        """All devices in the order of an index."""
        if self._skipped > SKIPPED and self._counters.total > SKIPPED:
            raise Refused("invalid_request", TOO_FAR)
        column, cursor = self._listing.sort.column, self._listing.cursor
        way = self._stretch(cursor, column, EVERYTHING, Range(), Bound(self._wanted, self._wanted))
        return self._page(self._load(way, f" LIMIT {self._wanted} OFFSET {self._skipped}"), self._counters.total)

    # among few devices

    def _handful(self, seeks: Sequence[Seek]) -> Found | None:
        """What fits among the devices of an owner, of an ID or a name, which are hardly ever more than a handful."""
        named = [seek for seek in seeks if isinstance(seek.part, Term) and seek.part.field in ("owner", "id", "name")]
        conditions = next((seek.conditions for seek in named if seek.by_id and self._may_be_few(seek)), None)
        if conditions is None:
            return None
        source = f"{self._fleet} WHERE " + conditions + f" LIMIT {HANDFUL + 1}"
        rows = self._rows.of(self._connection, source)
        if len(rows) > HANDFUL:
            return None
        fitting = self._order.ordered(row for row in rows if holds(self._listing.expression, row))
        cursor = self._listing.cursor
        behind = [row for row in fitting if self._order.is_behind(row, cursor)] if cursor else fitting[self._skipped :]
        return self._page(behind, len(fitting))

    def _among_few(self, seeks: Sequence[Seek]) -> Found | None:
        """What fits among the devices of the seek that has the fewest, if those are few."""
        if self._counters.total <= FEW:
            return self._among(self._seeks.everything(), is_known=True)
        sizes = [(self._counters.exactly(seek.part), seek) for seek in self._affordable(seeks)]
        few = [(size, seek) for size, seek in sizes if size is None or size <= FEW]
        unknown = [seek for size, seek in few if size is None]
        if len(few) > 1 and unknown:
            counted = self._sizes([seek.source.named("a") for seek in unknown], FEW + 1)
            known = [(size, seek) for size, seek in few if size is not None]
            few = [*known, *((size, seek) for size, seek in zip(counted, unknown, strict=True) if size <= FEW)]
        if not few:
            return None
        size, seek = min(few, key=lambda one: one[0] or 0)
        return self._among(seek, is_known=size is not None)

    def _affordable(self, seeks: Sequence[Seek]) -> Sequence[Seek]:
        """Those that need not look at more entries of an index than ``WITHIN``."""
        if self._counters.total <= WITHIN:
            return seeks
        seeks = [seek for seek in seeks if seek.within is None or seek.within != self._seeks.everything().sources[0]]
        searched = [seek.within for seek in seeks if seek.within is not None]
        counted = iter(self._sizes(searched, WITHIN + 1) if searched else ())
        return [seek for seek in seeks if seek.within is None or next(counted) <= WITHIN]

    def _sizes(self, sources: Sequence[Sql], most: int) -> Sequence[int]:
        """How many rows each of these has, counted up to a bound; as they are behind FROM."""
        bounded = [select("1", source, end=f" LIMIT {most}").named("b") for source in sources]
        counted = [select(f"{number}, count(*)", one) for number, one in enumerate(bounded)]
        query, *others = counted
        for other in others:
            query = query + " UNION ALL " + other
        return [size for _, size in sorted(tuple(row) for row in execute(self._connection, query).all())]

    def _among(self, seek: Seek, *, is_known: bool) -> Found | None:
        """Everything that fits among the devices of a seek; None if they are not few, unless that is known."""
        cursor = self._listing.cursor
        behind = (self._order.behind_all(cursor),) if cursor else ()
        end = f"{self._order.by_all()} LIMIT {self._wanted} OFFSET {self._skipped}"
        page = ", page AS (" + select("device_id", "few", *behind, end=end) + ") "
        also = ("(SELECT count(*) FROM few)", *(() if is_known else ("(SELECT count(*) FROM those)",)))
        before = self._few(seek, is_known=is_known) + page
        rows, (total, *sizes) = self._rows.chosen(self._connection, Sql("page AS wanted"), before=before, also=also)
        if any(size > FEW for size in sizes):
            return None
        return self._page(self._order.ordered(rows), total)

    def _few(self, seek: Seek, *, is_known: bool) -> Sql:
        """WITH ``few``, those that fit by ID and value; and, if it is not known how many they are among, ``those``."""
        fleet, columns = self._fleet, f"device_id, {self._listing.sort.column} AS value"
        fits = self._conditions.of(fleet, self._listing.expression)
        if is_known and not self._is_sqlite and seek.conditions is not None:
            return "WITH few AS MATERIALIZED (" + select(columns, fleet, seek.conditions, fits) + ")"
        its_own = equal("product_id + 0", self._listing.product_id)  # so that no index of it is taken
        if is_known:
            among = "device_id IN (" + seek.source + ")"
            return "WITH few AS MATERIALIZED (" + select(columns, fleet, among, its_own, fits) + ")"
        those = select("device_id", seek.source.named("a"), end=f" LIMIT {FEW + 1}")
        are_few = "(" + select("count(*)", "those") + f") <= {FEW}"
        among = "device_id IN (" + select("device_id", "those", are_few) + ")"
        few = select(columns, fleet, among, its_own, fits)
        return "WITH those AS MATERIALIZED (" + those + "), few AS MATERIALIZED (" + few + ")"

    def _page(self, rows: Sequence[Row], total: int) -> Found:
        """One whose total is known; ``rows`` has one more if there is one."""
        per_page = self._listing.per_page
        more = self._order.place(rows[per_page - 1]) if len(rows) > per_page else None
        return Found(rows[:per_page], total, True, self._listing.encode(more) if more else None)

    # along an order

    def _walk(self, seeks: Sequence[Seek], way: Way, glanced: list[Row] | None) -> Found:
        """From the cursor on, or from where a glance has stopped."""
        listing, most = self._listing, FAR if self._skipped else NEAR
        by_id = [seek for seek in seeks if seek.by_id and listing.sort.column == "device_id"]
        if by_id:
            source = min(by_id, key=self._expected).sources[0]
            walked = self._along([], iter((self._through(source, most.devices),)))
        elif glanced is None:
            walked = self._along([], self._ways(listing.cursor, most))
        else:
            stopped = self._last(way)
            most = Bound(most.devices - GLANCE.devices, most.entries - GLANCE.entries)
            ways = self._ways(stopped or listing.cursor, most)
            if stopped is None:
                next(ways)
            walked = self._along(glanced, ways)
        if walked.stopped is not None and self._skipped and len(walked.rows) < self._skipped:
            raise Refused("invalid_request", TOO_FAR)
        return self._found(walked)

    def _expected(self, seek: Seek) -> int:
        """How many devices a seek finds, as far as the counters know."""
        known = self._counters.exactly(seek.part)
        return self._counters.total if known is None else known

    def _found(self, walked: Walked) -> Found:
        listing = self._listing
        rows = walked.rows[self._skipped :]
        more = self._order.place(rows[listing.per_page - 1]) if len(rows) > listing.per_page else walked.stopped
        total = self._counters.exactly(listing.expression)
        if total is None and more is None and listing.cursor is None:
            total = len(walked.rows)
        page = self._whole(rows[: listing.per_page])
        bound = self._counters.at_most(listing.expression) if total is None else total
        return Found(page, bound, total is not None, listing.encode(more) if more else None)

    def _ways(self, start: Cursor | None, bound: Bound) -> Iterator[Way]:
        """The parts of the order, each as one index has it, from a place on."""
        listing = self._listing
        sort, expression = listing.sort, listing.expression
        known = range_of(expression, sort.column)
        if not sort.some:
            yield self._stretch(start, sort.column, expression, known, bound)
            return
        if start is None or start.value is not None:
            says = Sql(self._conditions.says(sort.column))
            yield self._stretch(start, sort.column, expression, known, bound, says)
        word = "name" if sort.column == "name_key" else "last_heard"
        rest = AllOf((*conjuncts(expression), Term(word, "=", (None,))))
        yield self._stretch(start if start and start.value is None else None, "device_id", rest, Range(), bound)

    def _stretch(
        self, start: Cursor | None, column: str, rest: Expression, known: Range, bound: Bound, *says: Sql
    ) -> Way:
        """``says``: a condition of the index."""
        conditions = [equal("product_id", self._listing.product_id), *says]
        if start is not None:  # that is the bound on this side
            conditions.append(self._order.behind(column, start))
            known = replace(known, upper=None) if self._listing.descending else replace(known, lower=None)
        conditions += between(column, known.lower, known.upper)
        also = COVERED if column in ("connected_at", "last_heard_at") else ()
        is_covered = columns_of(rest, by_members=True) <= {"device_id", column, *also}
        if not self._is_sqlite and rest != EVERYTHING and self._is_soon_full(rest):
            is_covered = False
        names = {"device_id", column, self._listing.sort.column, *columns_of(rest, by_members=is_covered)}
        most = min(bound.entries, self._probes(rest, bound)) if is_covered else bound.devices
        source = f"{self._fleet} WHERE " + all_of(conditions)
        return Way(column, tuple(sorted(names)), source, rest, most, is_covered)

    def _is_soon_full(self, rest: Expression) -> bool:
        """Or of groups alone, whose members take longer to be looked up than PostgreSQL's devices."""
        if all(map(is_membership, terms(rest))):
            return True
        if any(self._counters.exactly(part) is None for part in conjuncts(rest)):
            return False
        return self._counters.total * self._wanted <= self._counters.likely(rest) * SOON

    def _probes(self, rest: Expression, bound: Bound) -> int:
        """How many entries of an index make it that twice as many members of groups are looked up as devices may be
        looked at."""
        if not any(map(is_membership, terms(rest))):
            return bound.entries
        others = AllOf(tuple(part for part in conjuncts(rest) if not any(map(is_membership, terms(part)))))
        share = self._counters.likely(others) / max(self._counters.total, 1)
        return int(2 * bound.devices / share) if share else bound.entries

    def _through(self, source: Sql, most: int) -> Way:
        """The devices of a seek, by ID."""
        cursor = self._listing.cursor
        if cursor is not None:
            source = source + " AND " + self._order.behind("device_id", cursor)
        return Way("device_id", ("device_id",), source, self._listing.expression, most, joined=True)

    def _along(self, rows: list[Row], ways: Iterator[Way]) -> Walked:
        for way in ways:
            rows += self._step(way, self._skipped + self._wanted - len(rows))
            if len(rows) == self._skipped + self._wanted:
                return Walked(rows, None)
            stopped = self._last(way)
            if stopped is not None:
                return Walked(rows, stopped)
        return Walked(rows, None)

    def _step(self, way: Way, wanted: int) -> list[Row]:
        """Those that fit, so many at most; with no more than their places where some are to be skipped."""
        if not self._skipped:
            if way.rest == EVERYTHING:
                return self._load(way, f" LIMIT {min(wanted, way.most)}")
            return self._order.ordered(self._fitting(way, wanted))
        return self._places(way, wanted)

    def _load(self, way: Way, limit: str) -> list[Row]:
        """All that a way has."""
        source = way.source + self._order.by(way.column) + limit
        return self._order.ordered(self._rows.of(self._connection, source))

    def _fitting(self, way: Way, wanted: int) -> list[Row]:
        if not (self._is_sqlite or way.is_covered or way.joined):
            fits = self._conditions.of(self._fleet, way.rest)
            looked = self._looked(replace(way, columns=("*",))).named(self._fleet)
            return self._rows.of(
                self._connection, looked + " WHERE " + fits + self._order.by(way.column) + f" LIMIT {wanted}"
            )
        rows, _ = self._rows.chosen(self._connection, self._ids(way, wanted).named("wanted"))
        return rows

    def _places(self, way: Way, wanted: int) -> list[Row]:
        sort = self._listing.sort
        among = "device_id IN (" + self._ids(way, wanted) + ")"
        is_moment = sort.kind is datetime
        return self._order.ordered(
            {"device_id": device_id, sort.column: moment(value) if is_moment and value is not None else value}
            for device_id, value in execute(
                self._connection, select(f"device_id, {sort.column}", self._fleet, among)
            ).all()
        )

    def _looked(self, way: Way) -> Sql:
        return select(", ".join(way.columns), way.source, end=f"{self._order.by(way.column)} LIMIT {way.most}")

    def _ids(self, way: Way, wanted: int) -> Sql:
        """The IDs of those that fit; the walk ends where there are enough. SQLite gives them as the inner query does,
        and would sort them all if it were asked to."""
        looked, fleet = self._looked(way).named("looked"), self._fleet
        order = "" if self._is_sqlite else self._order.by(way.column, "looked.")
        end = f"{order} LIMIT {wanted}"
        if not way.joined:
            fits = self._conditions.of("looked", way.rest, by_members=way.is_covered)
            return select("looked.device_id", looked, fits, end=end)
        device = Sql(f"{fleet} WHERE {fleet}.device_id = looked.device_id")
        if not self._is_sqlite:  # or it might look at all devices, if it believes that few of them fit
            device = "LATERAL " + select("*", device, end=" OFFSET 0").named(fleet) + " WHERE true"
        its_own = equal(f"{fleet}.product_id + 0", self._listing.product_id)
        fits = all_of([its_own, self._conditions.of(fleet, way.rest)])
        return select("looked.device_id", looked + " CROSS JOIN " + device + " AND " + fits, end=end)

    def _last(self, way: Way) -> Cursor | None:
        """The last that a walk looked at, if there may be more behind it."""
        names = ("device_id",) if way.column == "device_id" else ("device_id", way.column)
        end = f"{self._order.by(way.column)} LIMIT 1 OFFSET {way.most - 1}"
        found = execute(self._connection, select(", ".join(names), way.source, end=end)).all()
        if not found:
            return None
        if way.column != self._listing.sort.column:
            return Cursor(None, found[0][0])
        value = found[0][-1]
        return Cursor(moment(value) if self._listing.sort.kind is datetime else value, found[0][0])

    # rows

    def _whole(self, rows: Sequence[Row]) -> Sequence[Row]:
        """The rows of those of which only the places are known."""
        if not self._skipped:
            return rows
        found = self._rows.load(self._connection, [(row["device_id"],) for row in rows])
        return [found[row["device_id"],] for row in rows]
