"""Rows that are alike are stored as each of them alone would be."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from shared.projections.alike import RUNS, runs
from shared.projections.folding import Changes
from shared.projections.rows import Rows
from shared.projections.view import Key, Row, View
from tests.shared.projections.fleet import NOW, Flaky, Fleet, content, device

COLUMNS = {name: kind for name, kind in Fleet().view().columns.items() if kind is not float}
VIEW = Fleet().view(name="alike", columns=COLUMNS, sets=None)
BLANK = {
    "product_id": 1000,
    "name": "it's 100 % ä",
    "online": False,
    "seen_at": NOW,
    "groups": [],
    "extra": {"z": [None, 1.5]},
}
MANY = RUNS[-1] + 3


def rows_of(count: int, **different: Any) -> list[dict[str, Any]]:
    """``different``: by column, what makes a row's value of its number."""
    made = [{**BLANK, "device_id": device(number)} for number in range(count)]
    return [{**row, **{name: make(n) for name, make in different.items()}} for n, row in enumerate(made)]


def write(database: Flaky, view: View, rows: list[dict[str, Any]]) -> str:
    """All that the statements were given."""
    given: list[str] = []
    written: dict[Key, Row] = {tuple(row[name] for name in view.key): row for row in rows}
    with database.writing() as connection:
        sa.event.listen(connection, "before_cursor_execute", lambda *args: given.append(str(args[3])))
        Rows(database, database.tables(view)).write(connection, Changes(written, [], {}))
    return "".join(given)


@pytest.mark.parametrize(
    "different",
    [
        {},
        {"online": lambda number: number == 50, "name": lambda number: None if number % 2 else f"{number}"},
        {"groups": lambda number: [1] if number % 2 else [True], "seen_at": lambda number: None if number else NOW},
        {"name": lambda number: None if number % 3 else BLANK["name"]},
    ],
)
def test_what_differs_is_kept_and_what_is_the_same_is_too(database: Flaky, different: dict[str, Any]) -> None:
    database.prepare([VIEW])
    write(database, VIEW, rows_of(7))  # some of them are there already, and replaced
    rows = rows_of(MANY, **different)
    write(database, VIEW, rows)
    stored, _ = content(database, VIEW, damaged=True)
    assert stored == {(row["product_id"], row["device_id"]): row for row in rows}
    assert [repr(row["groups"]) for row in stored.values()] == [repr(row["groups"]) for row in rows]


def test_values_that_are_shared_are_given_once(database: Flaky) -> None:
    database.prepare([VIEW])
    assert write(database, VIEW, rows_of(RUNS[-1])).count("100 % ä") == 1
    assert write(database, VIEW, rows_of(RUNS[-1] - 1)).count("100 % ä") == RUNS[-1] - 1


def test_numbers_with_fractions_are_kept(database: Flaky) -> None:
    view = Fleet().view(name="scored", sets=None)
    database.prepare([view])
    rows = rows_of(MANY, score=lambda number: 0.5 if number % 3 else 1e300)
    write(database, view, rows)
    stored, _ = content(database, view, damaged=True)
    assert [row["score"] for row in stored.values()] == [row["score"] for row in rows]


def test_a_view_of_nothing_but_its_key_can_be_written_in_bulk(database: Flaky) -> None:
    view = View("keys", 1, ("device_id",), {"device_id": str}, (), lambda event: (), lambda row, event, recorded: row)
    database.prepare([view])
    rows = [{"device_id": device(number)} for number in range(MANY)]
    write(database, view, rows)
    write(database, view, rows)
    assert len(content(database, view)[0]) == MANY


def test_rows_are_taken_in_runs_and_none_is_left_out() -> None:
    rows: list[Row] = [{"number": number} for number in range(1_730)]
    taken = list(runs(rows))
    assert [len(run) for run in taken] == [500, 500, 500, 100, 100, 30]
    assert [row for run in taken for row in run] == rows
