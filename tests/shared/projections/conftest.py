"""A store, and a database on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shared.store.open import open_store
from shared.store.port import EventStore
from tests.prompt import prompt
from tests.shared.projections.fleet import Flaky, Log


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EventStore]:
    opened = open_store(f"sqlite://{tmp_path}/events.db?durability=normal")
    yield prompt(opened)
    opened.close()


@pytest.fixture
def log(store: EventStore) -> Log:
    return Log(store)


@pytest.fixture
def open_database(views_url: str) -> Iterator[Callable[[], Flaky]]:
    """Opens the same database as often as it is called."""
    opened: list[Flaky] = []

    def opener() -> Flaky:
        opened.append(Flaky(views_url, "fleet"))
        return opened[-1]

    yield opener
    for database in opened:
        database.close()


@pytest.fixture
def database(open_database: Callable[[], Flaky]) -> Flaky:
    return open_database()
