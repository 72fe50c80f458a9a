"""A store, and a database on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.events.contracts import CONTRACTS
from shared.projections.projector import Projector
from shared.projections.view import View
from shared.store.open import open_store
from shared.store.port import EventStore
from tests.prompt import prompt
from tests.shared.projections.fleet import FLEET, Flaky, Log, Make


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


@pytest.fixture
def make(store: EventStore, open_database: Callable[[], Flaky]) -> Iterator[Make]:
    """Makes projectors, each on a connection pool of its own as in its own process, that are stopped at the end."""
    made: list[Projector] = []

    def maker(*views: View, **options: Any) -> Projector:
        chosen: dict[str, Any] = {"store": store, "database": open_database(), "contracts": CONTRACTS} | options
        made.append(Projector("fleet", views=views or [FLEET], **chosen))
        return made[-1]

    yield maker
    for projector in made:
        projector.stop()
