"""What a fleet does, told by ``flotilla fleet`` and ``flotilla devices timeline`` of a platform that is stopped."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deploy.cli import app
from services.devices.bootstrap import VIEWS
from shared.context import Context
from shared.errors import NotFound
from shared.events.contracts import CONTRACTS
from shared.events.devices import DeviceClaimed, DeviceImported
from shared.events.gateway import DeviceErred, DeviceUsage, FirmwareReported, UpdateFailed, UsageCounted
from shared.projections.database import Database
from shared.projections.projector import Projector
from shared.settings import Settings
from shared.store.open import open_store
from shared.store.port import ANY

A, ADA, P = "a" * 24, "d" * 24, 1000
TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
STORY: list[tuple[str, Any]] = [
    (f"device-{A}", DeviceImported(A, P, False)),
    (f"device-{A}", DeviceClaimed(A, P, ADA)),
    ("connection-a", FirmwareReported(A, P, P, 7, "", "7", "a", 1, 1)),
    ("connection-a", DeviceErred(A, P, "app/dry", "the pump", 3, 7, "a", 1, 1)),
    ("connection-a", UpdateFailed(A, P, 8, 3, "stalled", "", 3, "release")),
    ("connection-a", UsageCounted(P, TODAY, [DeviceUsage(A, ADA, 41, 2, 0, 1, 60)], "a", 1)),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("insight")
    settings = Settings.load({}, data=folder)
    store = open_store(settings.store)
    for stream, event in STORY:
        store.append(stream, ANY, [CONTRACTS.encode(event, 0, Context.new("account:ada", "test"), stream=stream)])
    database = Database(settings.db, "devices")
    Projector("devices", store, database, VIEWS, CONTRACTS).catch_up()
    database.close()
    store.close()
    return folder


def run(data: Path, *words: str) -> str:
    done = CliRunner(env={"COLUMNS": "40"}).invoke(app, [*words, "--data", str(data)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_errors_are_shown_with_bars_and_as_documents(data: Path) -> None:
    shown = run(data, "fleet", "errors", "--product", "1000")
    assert "app/dry" in shown
    assert "█" in shown
    assert "4 errors from" in shown
    assert json.loads(run(data, "fleet", "errors", "--product", "1000", "--json", "--version", "9"))["total"] == 0
    assert A in run(data, "fleet", "errors", "--product", "1000", "--devices")


def test_usage_is_shown_of_the_product_a_device_and_customers(data: Path) -> None:
    assert "41" in run(data, "fleet", "usage", "--product", "1000")
    of_device = json.loads(run(data, "fleet", "usage", "--product", "1000", "--device", A, "--json"))
    assert of_device["total"]["events"] == 41
    assert "1 of 1 used theirs" in run(data, "fleet", "usage", "--product", "1000", "--customers")
    idle = json.loads(run(data, "fleet", "usage", "--product", "1000", "--inactive", "--json"))
    assert idle["customers"] == []


def rows(data: Path, *words: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(run(data, *words, "--product", "1000", "--csv"), newline="")))


def test_what_is_listed_is_written_as_csv(data: Path) -> None:
    assert sum(int(row["errors"]) for row in rows(data, "fleet", "errors")) == 4
    (erring,) = rows(data, "fleet", "errors", "--devices")
    assert (erring["id"], erring["errors"]) == (A, "4")
    assert rows(data, "fleet", "usage")[-1]["events"] == "41"
    assert rows(data, "fleet", "usage", "--device", A)[-1]["events"] == "41"
    (customer,) = rows(data, "fleet", "usage", "--customers")
    assert (customer["owner_id"], customer["usage.events"]) == (ADA, "41")


def test_devices_that_are_left_alone_are_listed_with_the_reason(data: Path) -> None:  # FW-7
    (failing,) = rows(data, "fleet", "failing")
    assert (failing["id"], failing["firmware_update.version"]) == (A, "8")
    assert failing["firmware_update.reason"] == "stalled"
    assert "1 of 1 devices" in run(data, "fleet", "failing", "--product", "1000")


def test_the_five_questions_are_answered(data: Path) -> None:
    shown = run(data, "fleet", "questions", "--product", "1000", "--days", "2")
    assert "0 of 1 devices are online" in shown
    assert "1 of 1 customers with a device used it in 2 days" in shown


def test_the_timeline_of_a_device_is_shown(data: Path) -> None:
    shown = run(data, "devices", "timeline", A)
    assert "reported an error, app/dry, 3 times since it was told last: the pump" in shown
    assert "imported into product 1000 by account:ada" in shown
    assert len(json.loads(run(data, "devices", "timeline", A, "--json", "--limit", "2"))["events"]) == 2
    with pytest.raises(NotFound):
        run(data, "devices", "timeline", "b" * 24)
