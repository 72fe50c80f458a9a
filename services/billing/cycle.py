"""Boundaries of periods (CAL-1 to CAL-3). Pure; everything in UTC and whole seconds."""

from __future__ import annotations

import calendar
from datetime import UTC, datetime


def in_seconds(moment: datetime) -> datetime:
    """The instant in UTC, cut down to its second (CAL-3)."""
    return moment.astimezone(UTC).replace(microsecond=0)


def boundary(anchor: datetime, months: int) -> datetime:
    """The anchor plus so many calendar months, at the same time of day, clamped to the last day of the month; always
    counted from the anchor (CAL-2)."""
    year, month = divmod(anchor.year * 12 + anchor.month - 1 + months, 12)
    last_day = calendar.monthrange(year, month + 1)[1]
    return anchor.replace(year=year, month=month + 1, day=min(anchor.day, last_day))
