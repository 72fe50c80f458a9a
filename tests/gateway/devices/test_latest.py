"""The latest values of telemetry (MQU-1)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from services.gateway.devices.latest import MOST_KEYS, VALUE_BYTES, moment_us, take_over

NOW = datetime(2026, 1, 1, tzinfo=UTC)
Known = dict[str, tuple[Any, int]]


def merged(known: Known, values: dict[str, Any], at_us: int) -> Known:
    after = dict(known)
    take_over(after, values, at_us)
    return after


@settings(max_examples=50)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9), st.integers(0, 99)), max_size=20))
def test_the_newest_value_of_each_key_is_kept_and_of_two_at_once_the_later(told: list[tuple[str, int, int]]) -> None:
    known: Known = {}
    for key, at_us, value in told:
        known = merged(known, {key: value}, at_us)
    for key in {key for key, _, _ in told}:
        newest = max(at_us for name, at_us, _ in told if name == key)
        assert known[key] == ([value for name, at_us, value in told if (name, at_us) == (key, newest)][-1], newest)


def test_a_device_has_a_bounded_number_of_values() -> None:
    known = merged({}, {f"old{n}": n for n in range(100)}, 1)
    known = merged(known, {f"new{n}": n for n in range(MOST_KEYS)}, 2)
    assert sorted(known) == sorted(f"new{n}" for n in range(MOST_KEYS))


def test_a_long_value_is_not_kept_and_hides_no_older_one() -> None:
    known = merged({}, {"a": "x" * (VALUE_BYTES - 2), "b": [1]}, 1)
    assert set(known) == {"a", "b"}
    assert merged(known, {"a": "x" * (VALUE_BYTES - 1), "c": ["x" * VALUE_BYTES]}, 2) == {"b": ([1], 1)}


def test_a_time_of_more_than_a_day_ahead_counts_as_ours() -> None:
    ours = moment_us(None, NOW)
    assert moment_us(NOW + timedelta(days=1), NOW) == ours + 86_400_000_000
    assert moment_us(NOW + timedelta(days=1, seconds=1), NOW) == ours
    assert moment_us(NOW - timedelta(days=365), NOW) < ours
