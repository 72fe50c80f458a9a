"""The sandbox of payments, one for all modules that ask; and a billing engine without threads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.payment_sandbox import Sandbox
from shared.store.open import open_store
from tests.billing.kept import Kept


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its URL."""
    beside = Sandbox(tmp_path_factory.mktemp("sandbox"))
    running = beside.start()
    assert beside.start() == running  # the next platform on the same data folder goes on with it
    yield running.url
    beside.stop()
    assert beside.found() is None


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    store = open_store(f"sqlite://{tmp_path / 'events.db'}")
    made = Kept(store, f"sqlite:///{tmp_path / 'views'}")
    yield made
    made.close()
    store.close()
