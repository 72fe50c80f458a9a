"""The adapters of the event store port. A further one needs an entry in ``ADAPTERS`` and nothing else here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from shared.store.port import EventStore
from shared.store.sqlite import SqliteEventStore
from tests.standins.eventstoredb import servers
from tests.standins.eventstoredb.node import Cluster, Node

Opener = Callable[[], EventStore]
"""Opens the same store another time, as another process would."""


def _sqlite(folder: Path) -> EventStore:
    return SqliteEventStore(folder / "events.db")


def _sqlite_of_a_tool(folder: Path) -> EventStore:
    return SqliteEventStore(folder / "events.db", durable=False, alone=True)


def _esdb(folder: Path) -> EventStore:
    return servers.server().open(folder)


ADAPTERS: dict[str, Callable[[Path], EventStore]] = {
    "sqlite": _sqlite,
    "sqlite-tool": _sqlite_of_a_tool,
    "esdb": _esdb,
}


def pytest_report_header() -> str:
    return f"event store server: {servers.planned()}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Also where the header could not say it, because this folder was found after it."""
    if servers.started():
        terminalreporter.write_line(f"event store server: {servers.server().how}")


def pytest_unconfigure() -> None:
    servers.stop()


@pytest.fixture(params=sorted(ADAPTERS))
def open_again(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opener]:
    with ExitStack() as opened:

        def another() -> EventStore:
            return opened.enter_context(closing(ADAPTERS[request.param](tmp_path)))

        yield another


@pytest.fixture
def store(open_again: Opener) -> EventStore:
    return open_again()


@pytest.fixture
def node() -> Iterator[Node]:
    node = Node()
    yield node
    node.stop()


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    cluster = Cluster(2)
    yield cluster
    cluster.stop()
