from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.devices.attributes import (
    MAX_ATTRIBUTES,
    MAX_BYTES,
    MAX_NAME_BYTES,
    MAX_NESTING,
    Changes,
    as_object,
    merged,
    needed,
    newest,
    parse,
    values_of,
)
from shared.errors import Refused

names = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=8).filter(
    lambda name: not name.startswith(("fw_", "sw_"))
)
json_values: st.SearchStrategy[Any] = st.recursive(
    st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=5,
)
objects = st.dictionaries(names, json_values, max_size=6)


def nested(depth: int) -> Any:
    return [] if depth == 1 else [nested(depth - 1)]


@given(objects)
def test_attributes_come_back_from_their_text(values: dict[str, Any]) -> None:
    wanted = parse(values).values
    assert json.loads(as_object(wanted)) == values
    assert values_of(as_object(wanted)) == wanted


@given(objects, objects, st.sets(names, max_size=3))
def test_what_was_needed_is_true_afterwards_and_not_needed_again(
    before: dict[str, Any], values: dict[str, Any], removed: set[str]
) -> None:
    had, changes = parse(before).values, parse(values, sorted(removed))
    todo, gone = needed(had, changes)
    after = merged(had, todo, gone)
    assert needed(after, changes) == ({}, [])
    assert after == merged(had, changes.values, changes.removed)
    assert set(gone) <= set(had)


def test_null_takes_an_attribute_away_and_a_removal_wins() -> None:
    assert parse({"a": None, "b": 1, "c": 2}, ["c"]) == Changes({"b": "1"}, frozenset({"a", "c"}))


def test_one_and_true_and_one_as_text_are_three_values() -> None:
    had = parse({"a": 1}).values
    assert [needed(had, parse({"a": value}))[0] for value in (1, True, "1")] == [{}, {"a": "true"}, {"a": '"1"'}]


@pytest.mark.parametrize(
    ("values", "removed"),
    [
        ("text", []),
        ([], []),
        ({}, "name"),
        ({"": 1}, []),
        ({"ä" * (MAX_NAME_BYTES // 2 + 1): 1}, []),
        ({"fw_version": 1}, []),
        ({}, ["sw_title"]),
        ({}, [5]),
        ({"a\x00": 1}, []),
        ({"a": float("nan")}, []),
        ({"a": "\ud800"}, []),
        ({"\ud800": 1}, []),
        ({"a": nested(MAX_NESTING + 1)}, []),
        ({str(number): number for number in range(MAX_ATTRIBUTES + 1)}, []),
    ],
)
def test_what_cannot_be_an_attribute_is_refused(values: Any, removed: Any) -> None:
    with pytest.raises(Refused) as refusal:
        parse(values, removed)
    assert refusal.value.code == "invalid_request"


def test_the_limits_themselves_are_no_trouble() -> None:
    values = {"ä" * (MAX_NAME_BYTES // 2): nested(MAX_NESTING), "x": "y" * 100}
    assert needed({}, parse(values))[0] == parse(values).values


def test_a_device_has_so_many_attributes_and_bytes_and_no_more() -> None:
    full = parse({str(number): number for number in range(MAX_ATTRIBUTES)}).values
    assert needed(full, parse({"0": None, "one more": 1})) == ({"one more": "1"}, ["0"])
    overhead = len(as_object({"a": '""'}))
    assert needed({}, parse({"a": "x" * (MAX_BYTES - overhead)}))[0]
    for before, values in ((full, {"one more": 1}), ({}, {"a": "x" * (MAX_BYTES - overhead + 1)})):
        with pytest.raises(Refused, match="at most"):
            needed(before, parse(values))


def test_the_oldest_of_too_many_reports_are_dropped() -> None:
    assert newest([("a", "1", 1), ("b", "2", 2)]) == {"a", "b"}
    many = [(f"k{number}", "1", number) for number in range(MAX_ATTRIBUTES + 1)]
    assert newest(many) == {name for name, _, _ in many} - {"k0"}
    assert newest([("old", "1", 1), ("big", "x" * (MAX_BYTES - 9), 2)]) == {"big"}


@given(st.lists(st.tuples(names, st.integers(0, 40_000), st.integers(0, 9)), max_size=5, unique_by=lambda one: one[0]))
def test_what_is_kept_of_reports_is_within_the_limits_and_newer_than_what_is_not(
    dated: list[tuple[str, int, int]],
) -> None:
    kept = newest((name, '"' + "x" * size + '"', at) for name, size, at in dated)
    assert (
        len(as_object({name: '"' + "x" * size + '"' for name, size, _ in dated if name in kept}).encode()) <= MAX_BYTES
    )
    ages = [at for name, _, at in dated if name in kept]
    assert all(at <= min(ages, default=9) for name, _, at in dated if name not in kept)
