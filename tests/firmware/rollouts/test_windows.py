from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.firmware.rollouts.windows import is_open, left_of_the_hour
from shared.events.rollouts import RolloutWindow

MONDAY = datetime(2030, 1, 7, tzinfo=UTC)
DAYTIME, NIGHT = RolloutWindow([0, 1], 480, 960), RolloutWindow([4], 1_320, 360)


def at(day: int, hour: int, minute: int = 0) -> datetime:
    return MONDAY + timedelta(days=day, hours=hour, minutes=minute)


def test_without_windows_it_is_always_open():
    assert is_open([], at(3, 3))


@pytest.mark.parametrize(
    ("moment", "opened"),
    [
        (at(0, 7, 59), False),
        (at(0, 8), True),
        (at(1, 15, 59), True),
        (at(1, 16), False),
        (at(2, 12), False),
        (at(4, 21, 59), False),
        (at(4, 22), True),
        (at(5, 5, 59), True),  # over midnight it is Friday's still
        (at(5, 6), False),
        (at(5, 22), False),
        (at(0, 8).astimezone(timezone(timedelta(hours=5))), True),
    ],
)
def test_windows_open_and_close_to_the_minute(moment: datetime, opened: bool):
    assert is_open([DAYTIME, NIGHT], moment) is opened


def test_a_window_over_midnight_on_sunday_goes_on_on_monday():
    assert is_open([RolloutWindow([6], 1_380, 60)], at(7, 0, 30))


def test_a_whole_day_has_no_gap():
    assert all(is_open([RolloutWindow(list(range(7)), 0, 1_440)], at(2, hour, 59)) for hour in range(24))


@given(st.lists(st.tuples(st.integers(0, 7_200), st.integers(1, 50)), max_size=20), st.integers(1, 60))
def test_no_hour_has_more_turns_than_it_may(wishes: list[tuple[int, int]], per_hour: int):
    given: list[tuple[datetime, int]] = []
    for second, wanted in sorted(wishes):
        now = MONDAY + timedelta(seconds=second)
        left = left_of_the_hour(given, per_hour, now)
        assert left is not None
        given.append((now, min(wanted, left)))
    for end, _ in given:
        hour = [count for at, count in given if end - timedelta(hours=1) < at <= end]
        assert sum(hour) <= per_hour
    assert left_of_the_hour(given, None, MONDAY) is None
