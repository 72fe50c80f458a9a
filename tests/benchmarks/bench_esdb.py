"""The EventStoreDB adapter against its bare client, and replay from a cluster against replay from its local mirror.

``python tests/benchmarks/bench_esdb.py [--quick]``. The server is a process of its own (``ESDB_URI``, Docker, or the
stand-in: the title says which), so only the client's side is in the CPU seconds.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from uuid import uuid4

from bench_replay import FLEET, fill
from esdbclient import EventStoreDBClient, NewEvent, StreamState
from report import Contender, Line, compare, show

from shared.events.contracts import CONTRACTS
from shared.projections.database import Database
from shared.projections.projector import Projector
from shared.store.mirror import Mirror
from shared.store.open import open_store
from shared.store.port import NO_STREAM, EventStore, New
from shared.store.sqlite import SqliteEventStore
from tests.eventstore import any_event_store

PAGE_EVENTS = 1_000
READ, APPEND = "all events, in order", "append 3 events to a new stream"
REPLAY = "rebuild of a fleet-like view"
DATA, META = b'{"device_id":"0123456789abcdef01234567","product_id":1000,"forced":false}', b'{"schema":1}'


def _read(store: EventStore) -> int:
    looked, events, at_end = None, 0, False
    while not at_end:
        page = store.read_all(looked, PAGE_EVENTS)
        events += len(page.events)
        looked, at_end = page.looked, page.end
    return events


def _iterate(client: EventStoreDBClient) -> int:
    return sum(1 for _ in client.read_all())


def _append(store: EventStore, times: int) -> int:
    for _ in range(times):
        store.append(f"bench-{uuid4()}", NO_STREAM, [New(uuid4(), "Bench", DATA, META) for _ in range(3)])
    return 3 * times


def _append_bare(client: EventStoreDBClient, times: int) -> int:
    for _ in range(times):
        events = [NewEvent(type="Bench", data=DATA, metadata=META, id=uuid4()) for _ in range(3)]
        client.append_to_stream(f"bench-{uuid4()}", current_version=StreamState.NO_STREAM, events=events)
    return 3 * times


def _rebuilding(store: EventStore, folder: Path, events: int) -> Callable[[], int]:
    runs = iter(range(1_000))

    def rebuild() -> int:
        with closing(Database(f"sqlite:///{folder / str(next(runs))}", "bench")) as database:
            Projector("bench", store, database, [FLEET], CONTRACTS, page_events=PAGE_EVENTS).rebuild("fleet")
        return events

    return rebuild


def measured(url: str, folder: Path, events: int, appends: int, rounds: int) -> list[Line]:
    """All comparisons."""
    with ExitStack() as stack:
        store = stack.enter_context(closing(open_store(url)))
        client = stack.enter_context(closing(EventStoreDBClient(url)))
        fill(store, events, events // 10)
        mirror = stack.enter_context(closing(SqliteEventStore(folder / "mirror.db", alone=True)))
        Mirror(store, mirror, lambda progress: None).catch_up()
        return [
            *compare(
                READ,
                Contender("esdbclient, bare iteration", lambda: _iterate(client)),
                [
                    Contender("adapter", lambda: _read(store), 0.80),
                    Contender("local mirror", lambda: _read(mirror)),
                ],
                rounds=rounds,
            ),
            *compare(
                REPLAY,
                Contender("from the local mirror", _rebuilding(mirror, folder / "a", events)),
                [Contender("from the cluster", _rebuilding(store, folder / "b", events))],
                rounds=rounds,
            ),
            *compare(
                APPEND,
                Contender("esdbclient, bare", lambda: _append_bare(client, appends)),
                [Contender("adapter", lambda: _append(store, appends), 0.80)],
                rounds=rounds,
            ),
        ]


def main() -> None:
    """Print the table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--quick", action="store_true", help="a tenth of the events and two rounds")
    quick = arguments.parse_args().quick
    events, appends, rounds = (3_000, 50, 2) if quick else (30_000, 300, 5)
    with tempfile.TemporaryDirectory() as name, any_event_store(Path(name) / "server") as server:
        lines = measured(server.url, Path(name), events, appends, rounds)
        show(f"EventStoreDB ({server.how}): events a CPU second of the client", lines)


if __name__ == "__main__":
    main()
