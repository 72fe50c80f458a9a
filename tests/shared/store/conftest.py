"""The adapters of the event store port. A further one needs an entry in ``ADAPTERS`` and nothing else here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from shared.store.port import EventStore
from shared.store.sqlite import SqliteEventStore

Opener = Callable[[], EventStore]
"""Opens the same store another time, as another process would."""


def _sqlite(folder: Path) -> EventStore:
    return SqliteEventStore(folder / "events.db")


def _sqlite_not_durable(folder: Path) -> EventStore:
    return SqliteEventStore(folder / "events.db", durable=False)


ADAPTERS: dict[str, Callable[[Path], EventStore]] = {"sqlite": _sqlite, "sqlite-normal": _sqlite_not_durable}


@pytest.fixture(params=sorted(ADAPTERS))
def open_again(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opener]:
    with ExitStack() as opened:

        def another() -> EventStore:
            return opened.enter_context(closing(ADAPTERS[request.param](tmp_path)))

        yield another


@pytest.fixture
def store(open_again: Opener) -> EventStore:
    return open_again()
