"""Lists over generated fleets, expressions and orders, with bounds so low that every way to find a page is taken."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.devices import list_pages, list_ranges, listing
from services.devices.fleet import FLEET, NEVER, NOTHING
from services.devices.list_pages import Bound, Found
from services.devices.query_terms import FIELDS, AllOf, AnyOf, Expression, Not, Term, folded, holds
from shared.bus.providers import WorkerViews
from shared.context import Context
from shared.errors import Refused
from shared.projections.database import Database
from shared.projections.folding import After, changes
from shared.projections.rows import Rows
from shared.projections.view import Row

P, OTHER = 1000, 2000
NOW = datetime(2030, 1, 1, tzinfo=UTC)
BLANK: Row = dict.fromkeys(FLEET.columns) | {
    "forced": False,
    "quarantined": False,
    "denied": False,
    "development": False,
    "name": "",
    "name_key": "",
    "notes": "",
    "groups": [],
    "flash_pending": False,
    "shown_version": NOTHING,
    "reported_text": "",
    "online": False,
    "connected_at": NEVER,
    "update_failures": 0,
}
NAMES = ("", "Kettle", "kettle 2", "TEA_pot", "100%", "ärmel")
GROUPS = ("a", "b", "a_b", "beta")


class Fleet:
    """Rows of the view, put there by hand."""

    def __init__(self, url: str) -> None:
        self.database = Database(url, "devices")
        self.database.prepare([FLEET])
        self.views = WorkerViews(self.database, None, Context.new("system:test", "test"))
        self.rows: dict[str, Row] = {}
        self._writer = Rows(self.database, self.database.tables(FLEET))

    def become(self, rows: dict[str, Row]) -> None:
        """Have these rows, and no others."""
        stored = {(device_id,): row for device_id, row in self.rows.items()}
        after: After = {(device_id,): row for device_id, row in rows.items()}
        after |= {key: None for key in stored if key[0] not in rows}
        with self.database.writing() as connection:
            self._writer.write(connection, changes(FLEET, stored, after))
        self.rows = rows

    def statements(self, run: Callable[[], Any]) -> list[tuple[str, Any]]:
        """What is asked of the database meanwhile, with its values."""
        found: list[tuple[str, Any]] = []

        def note(connection: Any, cursor: Any, statement: str, values: Any, *rest: Any) -> None:
            found.append((statement, values))

        sa.event.listen(sa.Engine, "before_cursor_execute", note)
        try:
            run()
        finally:
            sa.event.remove(sa.Engine, "before_cursor_execute", note)
        return [one for one in found if one[0].startswith(("SELECT", "WITH")) and "0 = 1" not in one[0]]

    def page(self, after: str | None, number: int = 1, **asked: Any) -> Found:
        sort, descending = asked["sort"], asked["descending"]
        cursor = None
        if after is not None:
            word = next(name for name, one in listing.SORTS.items() if one == sort)
            cursor = listing.parse(P, {}, word, descending, 1, 1, after, now=NOW).cursor
        query = listing.Listing(P, asked["expression"], sort, descending, number, asked["per_page"], cursor)
        with self.views.read() as connection:
            return list_pages.find(self.views, connection, query)


@pytest.fixture(scope="module")
def fleet(lasting_views_url: str) -> Iterator[Fleet]:
    made = Fleet(lasting_views_url)
    yield made
    made.database.close()


@pytest.fixture(autouse=True)
def bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(list_ranges, "SKEW", timedelta(0))
    few: dict[str, Any] = {
        "FEW": 3,
        "HANDFUL": 1,
        "GLANCE": Bound(2, 3),
        "NEAR": Bound(5, 7),
        "FAR": Bound(12, 14),
        "SOON": 3,
        "WITHIN": 9,
    }
    for name, bound in few.items():
        monkeypatch.setattr(list_pages, name, bound)


moments = st.integers(1, 4).map(lambda day: NOW - timedelta(days=day))
versions = st.sampled_from([1, 7, 8])
devices = st.builds(
    lambda name, heard_at, connected_at, online, phase, **row: {
        **BLANK,
        **row,
        "name": name,
        "name_key": name.casefold(),
        "last_heard_at": max(heard_at, connected_at) if heard_at and connected_at else heard_at,
        "connected_at": connected_at or NEVER,
        "gateway": "a" if connected_at else None,
        "epoch": 1 if connected_at else None,
        "session": 1 if connected_at else None,
        "online": bool(connected_at) and online,
        "update_phase": phase,
    },
    name=st.sampled_from(NAMES),
    heard_at=st.none() | moments,
    connected_at=st.none() | moments,
    online=st.booleans(),
    phase=st.sampled_from([None, None, "failing", "updating"]),
    product_id=st.sampled_from([P, P, P, OTHER]),
    groups=st.lists(st.sampled_from(GROUPS), unique=True, max_size=2).map(sorted),
    shown_version=st.sampled_from([NOTHING, 1, 7, 7, 8]),
    locked_version=st.none() | versions,
    owner_id=st.sampled_from([None, None, "anna", "bert"]),
    development=st.booleans(),
    quarantined=st.booleans(),
    notes=st.sampled_from(["", "On the ROOF"]),
)
ids = st.integers(0, 40).map(lambda number: f"{number:024x}")
fleets = st.dictionaries(ids, devices, max_size=30).map(
    lambda rows: {device_id: {**row, "device_id": device_id} for device_id, row in rows.items()}
)


def term(name: str, operator: str, *values: Any) -> Term:
    return Term(name, operator, tuple(folded(name, one) if isinstance(one, str) else one for one in values))  # type: ignore[arg-type]


flags = st.builds(
    term, st.sampled_from([name for name, one in FIELDS.items() if one.kind == "flag"]), st.just("="), st.booleans()
)
orders = st.sampled_from(["=", "<", "<=", ">", ">="])
comparisons = st.one_of(
    flags,
    st.builds(term, st.sampled_from(["version", "locked"]), orders, versions),
    st.builds(term, st.sampled_from(["last_heard", "connected"]), st.sampled_from(["<", "<=", ">", ">="]), moments),
    st.builds(term, st.just("name"), st.sampled_from(["=", "contains", "starts_with"]), st.sampled_from(NAMES[1:])),
    st.builds(term, st.just("name"), st.just("contains"), st.sampled_from(["e", "%", "_", "Ä"])),
    st.builds(term, st.sampled_from(["notes", "text"]), st.just("contains"), st.sampled_from(["roof", "00f", "kett"])),
    st.builds(
        term, st.just("id"), st.sampled_from(["contains", "starts_with"]), st.sampled_from(["1", "0" * 23, "0f"])
    ),
    st.builds(term, st.just("group"), st.sampled_from(["=", "contains", "starts_with"]), st.sampled_from(GROUPS)),
    st.builds(term, st.just("owner"), st.just("="), st.sampled_from(["anna", "bert"])),
    st.builds(
        term, st.sampled_from(["version", "locked", "last_heard", "name", "group", "owner"]), st.just("="), st.none()
    ),
    st.builds(term, st.just("group"), st.just("="), st.just("a"), st.just("beta")),
    st.just(Term("group", "=", ())),
)
expressions: st.SearchStrategy[Expression] = st.recursive(
    comparisons,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(AllOf, st.lists(inner, max_size=3).map(tuple)),
        st.builds(AnyOf, st.lists(inner, min_size=1, max_size=2).map(tuple)),
    ),
    max_leaves=5,
)
asked = st.fixed_dictionaries(
    {
        "expression": expressions | st.just(AllOf(())),
        "sort": st.sampled_from(list(listing.SORTS.values())),
        "descending": st.booleans(),
        "per_page": st.integers(1, 4),
    }
)
generated = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def fitting(rows: dict[str, Row], expression: Expression) -> list[Row]:
    return [row for row in rows.values() if row["product_id"] == P and holds(expression, row)]


def sorted_by(rows: list[Row], sort: listing.Sort, descending: bool) -> list[str]:
    def place(row: Row) -> Any:
        return row[sort.column], row["device_id"]

    some = [row for row in rows if row[sort.column] or not sort.some]
    none = [row for row in rows if not row[sort.column] and sort.some]
    ordered = sorted(some, key=place, reverse=descending)
    return [row["device_id"] for row in [*ordered, *sorted(none, key=lambda row: row["device_id"], reverse=descending)]]


@generated
@given(rows=fleets, query=asked)
def test_the_pages_are_what_fits_in_its_order(fleet: Fleet, rows: dict[str, Row], query: dict[str, Any]):  # DEV-6
    fleet.become(rows)
    wanted = fitting(rows, query["expression"])
    seen: list[str] = []
    after: str | None = None
    for _ in range(200):
        page = fleet.page(after, **query)
        assert page.total == len(wanted) if page.exact else page.total >= len(wanted)
        assert len(page.rows) <= query["per_page"]
        seen += [row["device_id"] for row in page.rows]
        after = page.next
        if after is None:
            break
    assert seen == sorted_by(wanted, query["sort"], query["descending"])


@generated
@given(rows=fleets, query=asked, number=st.integers(1, 5))
def test_a_page_by_number_is_the_one_of_that_number_or_is_too_far(
    fleet: Fleet, rows: dict[str, Row], query: dict[str, Any], number: int
):
    fleet.become(rows)
    wanted = sorted_by(fitting(rows, query["expression"]), query["sort"], query["descending"])
    size = query["per_page"]
    try:
        page = fleet.page(None, number, **query)
    except Refused as refusal:
        if refusal.reason != list_pages.TOO_FAR:
            raise
        return
    found = [row["device_id"] for row in page.rows]
    assert found == wanted[(number - 1) * size :][: len(found)]
    assert len(found) == size or page.next is not None or number * size >= len(wanted)


@pytest.mark.parametrize(
    ("query", "sort"),
    [
        ("", "lastConnection"),
        ("", "name"),
        ("online", "lastHeard"),
        ("group = a", "deviceId"),
        ("owner = anna", "name"),
    ],
)
def test_a_page_that_gets_full_is_the_counters_and_one_statement(fleet: Fleet, query: str, sort: str):
    ids = [f"{number:024x}" for number in range(30)]
    row = {**BLANK, "product_id": P, "online": True, "groups": ["a"], "connected_at": NOW, "last_heard_at": NOW}
    named = {"name": "x", "name_key": "x"}
    fleet.become(
        {one: {**row, **named, "device_id": one, "owner_id": "anna" if one == ids[0] else None} for one in ids}
    )
    asked = listing.parse(P, {}, sort, False, 1, 2, None, query=query, now=NOW, named=lambda name: [name])
    with fleet.views.read() as connection:
        statements = fleet.statements(lambda: list_pages.find(fleet.views, connection, asked))
    assert len(statements) == 2


def test_a_number_that_is_too_far_is_refused(fleet: Fleet, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(list_pages, "SKIPPED", 10)
    ids = [f"{number:024x}" for number in range(30)]
    fleet.become({one: {**BLANK, "device_id": one, "product_id": P, "notes": "x"} for one in ids})
    query = {"sort": listing.SORTS["deviceId"], "descending": False, "per_page": 5}
    assert fleet.page(None, 3, expression=AllOf(()), **query).rows[0]["device_id"] == ids[10]
    for expression in (AllOf(()), Term("notes", "contains", ("x",))):
        with pytest.raises(Refused, match="go on from an earlier page"):
            fleet.page(None, 5, expression=expression, **query)


@generated
@given(data=st.data(), rows=fleets, query=asked)
def test_who_does_not_change_is_seen_once_whatever_the_others_do(
    fleet: Fleet, data: st.DataObject, rows: dict[str, Row], query: dict[str, Any]
):  # DEV-6
    fleet.become(rows)
    steady = set(data.draw(st.lists(st.sampled_from(sorted(rows)), unique=True))) if rows else set()
    seen: list[str] = []
    after: str | None = None
    for _ in range(200):
        page = fleet.page(after, **query)
        seen += [row["device_id"] for row in page.rows if row["device_id"] in steady]
        after = page.next
        if after is None:
            break
        others = data.draw(fleets) if len(seen) < 10 else {}
        fleet.become({**others, **{device_id: rows[device_id] for device_id in steady}})
    wanted = [row for row in fitting(rows, query["expression"]) if row["device_id"] in steady]
    assert seen == sorted_by(wanted, query["sort"], query["descending"])


@generated
@given(rows=fleets, query=asked)
def test_no_fleet_is_scanned_and_none_but_few_are_sorted(
    fleet: Fleet, rows: dict[str, Row], query: dict[str, Any]
):  # DEV-6
    """As SQLite plans it: every access has an index, and what is walked comes in the order of one. (Where nothing can
    be true the statement says ``0 = 1``.)"""
    if not fleet.database.is_sqlite:
        return
    fleet.become(rows)
    for statement, values in fleet.statements(lambda: fleet.page(None, **query)):
        with fleet.views.read() as connection:
            plan = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)]
        assert not [step for step in plan if step.startswith("SCAN fleet")], statement
        if "ORDER BY" in statement and "few AS MATERIALIZED" not in statement:
            assert not [step for step in plan if "TEMP B-TREE" in step], statement
