"""The marker of the sixth group."""

from __future__ import annotations

import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "faults: inflicts faults on the whole platform, minutes of them")
