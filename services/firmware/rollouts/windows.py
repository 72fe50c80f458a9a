"""When turns are given: within windows of the week, and not more than so many within any hour. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from shared.events.rollouts import RolloutWindow

HOUR = timedelta(hours=1)


def is_open(windows: Sequence[RolloutWindow], now: datetime) -> bool:
    """Whether one of the windows is open; without any it always is. Days and minutes are UTC; the minute at which a
    window ends is not in it. One that goes over midnight belongs to the day on which it begins."""
    moment = now.astimezone(UTC)
    minute, day = moment.hour * 60 + moment.minute, moment.weekday()
    return not windows or any(_is_open(window, day, minute) for window in windows)


def _is_open(window: RolloutWindow, day: int, minute: int) -> bool:
    if window.from_minute < window.until_minute:
        return day in window.days and window.from_minute <= minute < window.until_minute
    begins_today = day in window.days and minute >= window.from_minute
    began_yesterday = (day - 1) % 7 in window.days and minute < window.until_minute
    return begins_today or began_yesterday


def left_of_the_hour(given: Iterable[tuple[datetime, int]], per_hour: int | None, now: datetime) -> int | None:
    """How many more turns may begin now; ``given``: when how many did. None: without a limit."""
    if per_hour is None:
        return None
    return max(0, per_hour - sum(count for at, count in given if at > now - HOUR))
