"""The fleet as of a past moment: how long the first answer takes, and the next ones.

``python tests/benchmarks/bench_past.py [--devices N] [--events N] [--store FOLDER] [--quick]``, on the history of
``bench_rebuild.py`` and in its folders. It asks for the moment behind nine tenths of the events (built from the first
event), for the same moment again, for the last one (built from the copy before it), and for pages of changes between
them. Then a reader asks the present all the time, while the moment behind eight tenths is built from the first event.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from bench_rebuild import Reader, _prepare, _quantile, _table

from services.devices import fleet_queries, past_changes
from services.devices.bootstrap import PAST_VIEWS
from services.devices.past_changes import Side
from shared.bus.past_answers import stamp
from shared.bus.providers import WorkerViews
from shared.context import Context
from shared.events.contracts import CONTRACTS
from shared.projections.database import Database
from shared.projections.past import Past
from shared.projections.past_copies import copies
from shared.projections.past_moments import Moment
from shared.store.open import open_store
from shared.store.port import Position

PRODUCT = 1000
QUIET_S = 5.0


def _asked(past: Past, views: WorkerViews, position: int) -> tuple[Side, dict[str, Any]]:
    copy = past.obtain(Moment(position=Position(position)))
    side = Side(views.at(past.open(copy)), stamp(copy))
    return side, fleet_queries.statistics(side.views, PRODUCT)


def _timed(ask: Callable[[], Any]) -> tuple[Any, str]:
    began_s, began_cpu_s = time.monotonic(), time.process_time()
    found = ask()
    return found, f"{time.monotonic() - began_s:.3f} s, {time.process_time() - began_cpu_s:.2f} CPU s"


def _rows(past: Past, views: WorkerViews, head: int) -> Iterator[tuple[str, str, str]]:
    earlier, later = head * 9 // 10, head
    (before, figures), took = _timed(lambda: _asked(past, views, earlier))
    yield f"first answer, as of {earlier:,}", took, f"{figures['devices']['total']:,} devices of product {PRODUCT}"
    _, took = _timed(lambda: _asked(past, views, earlier))
    yield "the same moment again", took, ""
    (after, _), took = _timed(lambda: _asked(past, views, later))
    yield f"a later one, as of {later:,}", took, f"built from the copy, {later - earlier:,} events behind it"
    cursor: str | None = None
    for name in ("first page of changes", "second page of changes"):
        asked = past_changes.parse(PRODUCT, str(earlier), str(later), cursor, past_changes.MAX_PER_PAGE)
        page, took = _timed(lambda asked=asked: past_changes.compare(before, after, asked))
        cursor = page["meta"]["next"]
        yield name, took, f"{len(page['changes'])} devices differ"
    asked = past_changes.parse(PRODUCT, str(earlier), None, None, past_changes.MAX_PER_PAGE)
    now = Side(views, past_changes.present(views))
    page, took = _timed(lambda: past_changes.compare(before, now, asked))
    yield "first page of changes until now", took, f"{len(page['changes'])} devices differ"
    yield "peak memory", f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB", ""


def _forget_all(past: Past, database: Database) -> None:
    """What an earlier run has built."""
    past.start()  # so that the table is there
    past.stop()
    with database.writing() as connection:
        connection.execute(sa.delete(copies))
    past.start()  # drops what has no row
    past.stop()


def _noticed(before: Reader, during: Reader) -> Iterator[tuple[str, ...]]:
    for name, quiet in before.times_ms.items():
        for part in (0.5, 0.99):
            one, other = _quantile(quiet, part), _quantile(during.times_ms[name], part)
            yield name, f"p{part * 100:.0f}", f"{one:.2f}", f"{other:.2f}", f"{other / one:.2f}"


def measure(folder: Path, devices: int, events: int, views_url: str) -> None:
    """Fill, ask, and print."""
    _prepare(folder, devices, events, views_url)
    store = open_store(f"sqlite://{folder}/events.db")
    database = Database(views_url, "devices")
    database.prepare(PAST_VIEWS)
    views = WorkerViews(database, None, Context.new("system:bench", "bench"))
    _forget_all(Past("devices", store, database, PAST_VIEWS, CONTRACTS), database)
    past = Past("devices", store, database, PAST_VIEWS, CONTRACTS)
    head = store.head() or 0
    _table(f"{devices:,} devices, {events:,} events", ("asked", "took", ""), _rows(past, views, head))
    quiet, busy, is_over = Reader(views, devices), Reader(views, devices), threading.Event()
    until = time.monotonic() + QUIET_S
    quiet.ask(lambda: time.monotonic() > until)
    reading = threading.Thread(target=lambda: busy.ask(is_over.is_set))
    reading.start()
    try:
        _asked(past, views, head * 8 // 10)
    finally:
        is_over.set()
        reading.join()
        past.stop()
        store.close()
    headings = ("read", "", "alone", "beside", "ratio")
    _table("readers of the present in the process that builds, ms", headings, _noticed(quiet, busy))
    database.close()


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=1_000_000)
    parser.add_argument("--events", type=int, default=3_000_000)
    parser.add_argument("--store", type=Path, help="folder to fill, or filled before with the same numbers")
    parser.add_argument("--views", default="", help="read models, e.g. postgresql+psycopg://… (default: in the folder)")
    parser.add_argument("--quick", action="store_true", help="a hundredth of both")
    given = parser.parse_args()
    part = 100 if given.quick else 1
    with ExitStack() as stack:
        folder = (given.store or Path(stack.enter_context(tempfile.TemporaryDirectory()))).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        measure(folder, given.devices // part, given.events // part, given.views or f"sqlite:///{folder}/views")


if __name__ == "__main__":
    main()
