"""Cents, and what a change inside a paid period comes to (MON-1, MON-2, BIL-2). Pure; ratios are exact until the one
rounding of a line.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction

from shared.events.billing import Line, LineKind, Prices
from shared.events.orgs import Plan

MONTHS: dict[Plan, int] = {"monthly": 1, "yearly": 12}
STANDARD = Prices(monthly=4_900, yearly=58_800)
"""BIL-1."""
_HALF = Fraction(1, 2)


@dataclass(frozen=True, slots=True)
class Configuration:
    """A plan and a number of seats."""

    plan: Plan
    seats: int


@dataclass(frozen=True, slots=True)
class Period:
    """What one invoice is for, ``starts_at`` included and ``ends_at`` not (CAL-4), with the prices that are frozen
    into it (PLN-3). ``months`` is what the plan of the invoice lasts."""

    starts_at: datetime
    ends_at: datetime
    months: int
    prices: Prices


def to_cents(exact: Fraction) -> int:
    """To the nearest cent, halves away from zero (MON-2)."""
    sign = -1 if exact < 0 else 1
    return sign * int(abs(exact) + _HALF)


def price(prices: Prices, plan: Plan) -> int:
    """Of one seat for one period of the plan, in cents."""
    return prices.monthly if plan == "monthly" else prices.yearly


def cost(period: Period, configuration: Configuration) -> Fraction:
    """What a configuration costs for a period of this length."""
    plan = configuration.plan
    return Fraction(configuration.seats * price(period.prices, plan) * period.months, MONTHS[plan])


def proration(period: Period, at: datetime, before: Configuration, after: Configuration) -> list[Line]:
    """The two lines of a change at this instant; none if nothing costs more or less by it."""
    old, new = cost(period, before), cost(period, after)
    if old == new:
        return []
    left = Fraction(_seconds(period.ends_at - at), _seconds(period.ends_at - period.starts_at))

    def line(kind: LineKind, cents: int, what: Configuration) -> Line:
        return Line(kind, cents, what.plan, what.seats, at, period.ends_at)

    return [line("unused", -to_cents(old * left), before), line("remaining", to_cents(new * left), after)]


def _seconds(span: timedelta) -> int:
    return span // timedelta(seconds=1)
