"""The five questions that the first screen of a fleet answers: how many devices are online, which customers use theirs,
how they are used, which versions run, and which errors they report. From counters alone."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from services.devices import error_queries, usage_queries
from services.devices.error_queries import day_of
from services.devices.errors import DAY
from services.devices.fleet_queries import read_statistics
from shared.bus.providers import WorkerViews
from shared.errors import Refused

STATISTICS_DAYS = 30
ERROR_DAYS = 7
MAX_DAYS = 90


def answers(views: WorkerViews, product_id: int, now: datetime, days: int) -> dict[str, Any]:
    """All of them over the last days, today among them. Raises ``Refused``."""
    if not 1 <= days <= MAX_DAYS:
        raise Refused("invalid_request", f"days: must be 1 to {MAX_DAYS}.")
    first = usage_queries.first_day(now, days)
    with views.read() as connection:
        counted = read_statistics(views, connection, product_id)
        customers = usage_queries.customer_counts(views, connection, product_id, now, days)
        used = usage_queries.product_days(views, connection, product_id, first, DAY.begin(now))
        errors = error_queries.added(views, connection, "day", product_id, first)
    course = {day_of(at): number for at, number in errors.course.items()}
    return {
        "days": days,
        "devices": counted["devices"],
        "customers": customers,
        "usage": used,
        "versions": counted["firmware"],
        "errors": {
            "total": errors.kinds.total(),
            "kinds": [{"kind": kind, "errors": number} for kind, number in errors.kinds.most_common()],
            "versions": [{"version": version, "errors": number} for version, number in errors.versions.most_common()],
            "course": [{"day": day["day"], "errors": course.get(day["day"], 0)} for day in used],
        },
    }


def statistics(views: WorkerViews, product_id: int, now: datetime) -> dict[str, Any]:
    """The figures of the HTTP contract: usage of 30 days and errors of seven, the newest first."""
    first = usage_queries.first_day(now, STATISTICS_DAYS)
    with views.read() as connection:
        counted = read_statistics(views, connection, product_id)
        customers = usage_queries.customer_counts(views, connection, product_id, now, STATISTICS_DAYS)
        used = usage_queries.product_days(views, connection, product_id, first, DAY.begin(now))
        errors = error_queries.daily(views, connection, product_id, usage_queries.first_day(now, ERROR_DAYS))
    return {
        **counted,
        "customers": {name: customers[name] for name in ("with_device", "active")},
        "usage": [
            {"day": day["day"], "events": day["events"], "calls": day["calls"]}
            for day in reversed(used)
            if day["events"] or day["calls"]
        ],
        "errors": errors,
    }
