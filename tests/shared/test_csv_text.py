from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.csv_text import cell, lines, values


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (True, "true"),
        (-7, "-7"),
        (0.5, "0.5"),
        ("plain", "plain"),
        ("=1+1", "'=1+1"),
        ("-7", "'-7"),
        ("+7", "'+7"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("  =1", "'  =1"),
        ("\t=1", "'\t=1"),
        (["a", "b"], "a; b"),
        (["=a"], "'=a"),
        ([], ""),
        ([1, None], "1; "),
        ({"a": [1]}, '{"a":[1]}'),
        ([{"a": 1}], '[{"a":1}]'),
        (datetime(2030, 1, 1, tzinfo=UTC), "2030-01-01T00:00:00.000Z"),
    ],
)
def test_a_value_is_one_cell(value: Any, text: str):
    assert cell(value) == text


@given(st.lists(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), min_size=2)))
def test_what_is_written_is_read_again_and_no_cell_is_a_formula(rows: list[list[str]]):
    found = list(csv.reader(io.StringIO(lines(rows), newline="")))
    assert [[text.removeprefix("'") for text in row] for row in found] == [
        [text.removeprefix("'") for text in row] for row in rows
    ]
    assert not [text for row in found for text in row if text.lstrip(" ").startswith(("=", "+", "-", "@"))]


def test_columns_are_members_of_members():
    document = {"id": 1, "update": {"state": "failed"}, "none": None}
    assert values(document, ("id", "update.state", "none.state", "other")) == [1, "failed", None, None]
