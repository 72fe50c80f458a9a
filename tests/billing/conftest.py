"""The sandbox of payments, one for all modules that ask."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from deploy.payment_sandbox import Sandbox


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its URL."""
    beside = Sandbox(tmp_path_factory.mktemp("sandbox"))
    running = beside.start()
    assert beside.start() == running  # the next platform on the same data folder goes on with it
    yield running.url
    beside.stop()
    assert beside.found() is None
