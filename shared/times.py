"""How moments are written and counted. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def iso(moment: datetime) -> str:
    """ISO 8601 UTC with milliseconds and ``Z`` (HTTP contract 1.2)."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def micros(moment: datetime) -> int:
    """Microseconds since 1970; raises ``TypeError`` for a datetime without a zone."""
    return (moment - EPOCH) // _MICROSECOND


def moment(number: int) -> datetime:
    """The aware UTC datetime of ``micros``."""
    return EPOCH + timedelta(0, 0, number)


def day(moment: datetime) -> str:
    """As people read it: ``05 April 2026``."""
    return f"{moment:%d %B %Y}"


def minute(moment: datetime) -> str:
    """The same with the time of day in UTC."""
    return f"{moment:%d %B %Y, %H:%M} UTC"
