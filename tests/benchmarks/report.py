"""Contenders against a reference: run in turn in one process, compared by CPU time, shown as one table.

Ratios are medians over rounds of "units a second of this contender / of the reference in the same round", so that a
noisy neighbour hits both. Nothing is asserted: a goal that is missed is shown, not raised.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Contender:
    """``run`` does the work once and says how many units (events, calls) it did. ``goal`` is the least ratio."""

    name: str
    run: Callable[[], int]
    goal: float | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """What came out for one contender: ``rate`` in units a second, ``ratio`` to the reference."""

    work: str
    contender: str
    rate: float
    ratio: float
    goal: float | None

    @property
    def verdict(self) -> str:
        """Whether the goal is met."""
        if self.goal is None:
            return ""
        return "met" if self.ratio >= self.goal else "MISSED"


def compare(
    work: str,
    reference: Contender,
    contenders: Sequence[Contender],
    *,
    rounds: int = 7,
    timer: Callable[[], float] = time.process_time,
) -> list[Line]:
    """Run all of them ``rounds`` times after one warm-up, each round in another order."""
    everyone = [reference, *contenders]
    for contender in everyone:
        contender.run()
    rates: dict[str, list[float]] = {contender.name: [] for contender in everyone}
    for turn in range(rounds):
        start = turn % len(everyone)
        for contender in everyone[start:] + everyone[:start]:
            rates[contender.name].append(_rate(contender, timer))
    return [_line(work, contender, rates[contender.name], rates[reference.name]) for contender in everyone]


def show(title: str, lines: Sequence[Line]) -> None:
    """Print the table."""
    table = Table(title=title)
    for heading in ("work", "contender", "units/s", "ratio", "goal", ""):
        table.add_column(heading, justify="right" if heading in ("units/s", "ratio", "goal") else "left", no_wrap=True)
    previous = ""
    for line in lines:
        if previous and line.work != previous:
            table.add_section()
        goal = "" if line.goal is None else f"{line.goal:.2f}"
        work = "" if line.work == previous else line.work
        table.add_row(work, line.contender, f"{line.rate:,.0f}", f"{line.ratio:.2f}", goal, line.verdict)
        previous = line.work
    Console(width=120).print(table)


def _rate(contender: Contender, timer: Callable[[], float]) -> float:
    gc.collect()
    started = timer()
    units = contender.run()
    return units / max(timer() - started, 1e-9)


def _line(work: str, contender: Contender, rates: list[float], reference: list[float]) -> Line:
    ratio = statistics.median(mine / theirs for mine, theirs in zip(rates, reference, strict=True))
    return Line(work, contender.name, statistics.median(rates), ratio, contender.goal)
