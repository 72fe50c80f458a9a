"""``flotilla billing simulate``: a year of many organizations in seconds, and what billing does in each month of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from time import process_time
from typing import Annotated

import typer
from rich.table import Table

from deploy.durations import duration_s
from deploy.wide import people_console
from services.billing.mail.wording import dollars
from services.billing.simulated_lives import Habits
from services.billing.simulation import Simulation

console = people_console(markup=False)

BEGINS_AT = datetime(2026, 1, 31, tzinfo=UTC)
"""The last of a long month: the days on which periods end are clamped (CAL-2)."""
COLUMNS = {
    "began": "SubscriptionStarted",
    "invoices": "InvoiceIssued",
    "paid": "PaymentSucceeded",
    "settled": "InvoiceSettledWithoutCharge",
    "failed": "PaymentFailed",
    "postponed": "ChargePostponed",
    "void": "InvoiceVoided",
    "locked": "AccountLocked",
    "cancelled": "SubscriptionCancelled",
    "ended": "SubscriptionEnded",
    "back": "SubscriptionReactivated",
}
"""Heading of each column, with the events that it counts."""


def simulate(
    organizations: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many.")] = 1_000,
    days: Annotated[int, typer.Option(min=1, max=36_600, help="How long.")] = 365,
    seed: Annotated[int, typer.Option(min=0, help="The same number, the same lives.")] = 1,
    grain: Annotated[
        float, typer.Option(parser=duration_s, metavar="TIME", help="How far the clock goes at once.")
    ] = "1d",  # type: ignore[assignment]  # the parser is given it
    declined: Annotated[float, typer.Option(min=0, max=1, help="Part of the charges that banks decline.")] = 0.06,
    unreachable: Annotated[
        float, typer.Option(min=0, max=0.9, help="Part of the tries in which the provider does not answer.")
    ] = 0.02,
    twice: Annotated[
        bool, typer.Option("--twice", help="Once more, with another grain and in another order; all must be equal.")
    ] = False,
) -> None:
    """Begin so many organizations within a month, and live with them; nothing is stored, nothing is charged."""
    habits = Habits(declined=declined, unreachable=unreachable)
    made = Simulation.of(organizations, days, seed, BEGINS_AT, habits=habits)
    took_s = _timed(made, timedelta(seconds=grain), 0)
    console.print(table(made))
    issued = made.total("InvoiceIssued")
    console.print(
        f"{issued:,} invoices in {took_s:.1f} s of CPU, {issued / max(took_s, 1e-9):,.0f} a second; "
        f"streams {made.digest()}",
        highlight=False,
    )
    wrong = made.unbalanced()
    console.print("every cent is accounted for" if not wrong else f"the cents of {wrong} organizations do NOT add up")
    if twice:
        again = Simulation.of(organizations, days, seed, BEGINS_AT, habits=habits)
        _timed(again, timedelta(seconds=7 * grain), 1)
        is_equal = again.digest() == made.digest()
        console.print("the streams are equal" if is_equal else "the streams are NOT equal", highlight=False)
        wrong += not is_equal
    if wrong:
        raise typer.Exit(1)


def table(made: Simulation) -> Table:
    """By month, and all together."""
    shown = Table("month", *COLUMNS, "charged")
    for column in shown.columns[1:]:
        column.justify = "right"
    for month in sorted({month for month, _ in made.counts}):
        numbers = [made.counts[month, kind] for kind in COLUMNS.values()]
        shown.add_row(month, *(f"{number:,}" for number in numbers), dollars(made.counts[month, "cents"]))
    shown.add_section()
    totals = [made.total(kind) for kind in COLUMNS.values()]
    shown.add_row("all", *(f"{number:,}" for number in totals), dollars(made.total("cents")))
    return shown


def _timed(made: Simulation, grain: timedelta, order: int) -> float:
    began_s = process_time()
    made.run(grain, order)
    return process_time() - began_s
