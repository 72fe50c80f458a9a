"""A store, and a database on SQLite and, if ``FLOTILLA_TEST_POSTGRES`` is its URL, on PostgreSQL."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from shared.store.open import open_store
from shared.store.port import EventStore
from tests.shared.projections.fleet import Flaky, Log

POSTGRES = os.environ.get("FLOTILLA_TEST_POSTGRES", "")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EventStore]:
    opened = open_store(f"sqlite://{tmp_path}/events.db?durability=normal")
    yield opened
    opened.close()


@pytest.fixture
def log(store: EventStore) -> Log:
    return Log(store)


@pytest.fixture(params=["sqlite", "postgresql"] if POSTGRES else ["sqlite"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/views" if request.param == "sqlite" else POSTGRES


@pytest.fixture
def service(database_url: str) -> str:
    """A name of its own, because a PostgreSQL outlives the test."""
    return "fleet" if database_url.startswith("sqlite") else f"t{uuid.uuid4().hex[:12]}"


@pytest.fixture
def open_database(database_url: str, service: str) -> Iterator[Callable[[], Flaky]]:
    """Opens the same database as often as it is called."""
    opened: list[Flaky] = []

    def opener() -> Flaky:
        opened.append(Flaky(database_url, service))
        return opened[-1]

    yield opener
    for database in opened:
        database.close()
    if opened and not opened[0].is_sqlite:
        cleaner = Flaky(database_url, service)
        with cleaner.writing() as connection:
            connection.execute(sa.schema.DropSchema(service, cascade=True, if_exists=True))
        cleaner.close()


@pytest.fixture
def database(open_database: Callable[[], Flaky]) -> Flaky:
    return open_database()
