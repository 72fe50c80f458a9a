"""Says which EventStoreDB the platform ran on."""

from __future__ import annotations

import pytest

from tests import eventstore
from tests.standins.eventstoredb import servers


def pytest_report_header() -> str:
    return f"event store server of the platform: {servers.planned()}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Also where the header could not say it, because this folder was found after it."""
    for how in dict.fromkeys(eventstore.used):
        terminalreporter.write_line(f"event store server of the platform: {how}")
