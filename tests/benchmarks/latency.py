"""How long something takes that is asked again and again: of CPU and by the clock.

CPU is that of the thread that asks, and of the process of PostgreSQL that works for it where that is on this machine:
others may be busy on it. The clock has what is waited for as well, and what the others take.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from shared.projections.database import Database

PATIENCE_S = 2.0
"""For one column of one line; what takes long needs few rounds to tell."""
FEWEST, WARM = 3, 1
LOCAL = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True)
class Times:
    """Milliseconds of CPU and by the clock, each sorted."""

    cpu: list[float]
    clock: list[float]

    @property
    def p50(self) -> float:
        """Of CPU."""
        return statistics.median(self.cpu)

    @property
    def p99(self) -> float:
        """Of CPU."""
        return _p99(self.cpu)

    @property
    def clock_p99(self) -> float:
        """By the clock."""
        return _p99(self.clock)


def verdict(goal_ms: float, *times: Times) -> str:
    """Whether p99 is within the goal, by CPU and by the clock."""
    if any(one.p99 > goal_ms for one in times):
        return "MISSED"
    return "met" if all(one.clock_p99 <= goal_ms for one in times) else "met, not by the clock"


class Stopwatch:
    """For what one thread asks of a database. Of its connections the one that was used last is the next, so that there
    is one process of the server."""

    def __init__(self, database: Database, rounds: int) -> None:
        self._rounds = rounds
        self._backend = None if database.is_sqlite else _server_process(database)

    def times(self, run: Callable[[], Any]) -> Times:
        """Of many runs, after one that warms up; of what takes long as many as patience has time for."""
        return self.in_turn(run)[0]

    def in_turn(self, *runs: Callable[[], Any]) -> list[Times]:
        """Of each, one after the other, so that the machine is as busy for all of them."""
        took: list[Times] = [Times([], []) for _ in runs]
        for _ in range(WARM):
            for run in runs:
                run()
        end_s = time.monotonic() + PATIENCE_S * len(runs)
        while (done := len(took[0].cpu)) < FEWEST or (done < self._rounds and time.monotonic() < end_s):
            for run, times in zip(runs, took, strict=True):
                began, cpu_began = time.perf_counter(), self._cpu_s()
                run()
                times.clock.append((time.perf_counter() - began) * 1_000)
                times.cpu.append((self._cpu_s() - cpu_began) * 1_000)
        return [Times(sorted(times.cpu), sorted(times.clock)) for times in took]

    def _cpu_s(self) -> float:
        if self._backend is None:
            return time.thread_time()
        return time.thread_time() + int(self._backend.read_text().split()[0]) / 1e9


def _server_process(database: Database) -> Path | None:
    """Where Linux says for how long a process had a processor; of a server elsewhere, None."""
    if sa.make_url(database.url).host not in LOCAL:
        return None
    with database.connect() as connection:
        pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
    found = Path(f"/proc/{pid}/schedstat")
    return found if found.exists() else None


def _p99(times: list[float]) -> float:
    return times[min(len(times) - 1, int(len(times) * 0.99))]
