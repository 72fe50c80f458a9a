"""``flotilla why`` on the data of a platform that is not running."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from deploy.cli import app
from deploy.views import SERVICE_VIEWS
from deploy.why_command import ago
from services.orgs.views import ACCOUNTS
from shared.context import Context
from shared.errors import NotFound, Refused
from shared.events.contracts import CONTRACTS
from shared.events.devices import DeviceImported, DeviceLocked
from shared.events.gateway import DeviceConnected, FirmwareReported
from shared.projections.database import Database
from shared.projections.projector import Projector
from shared.settings import Settings
from shared.store.open import open_store
from shared.store.port import ANY

A, B, NEVER = (f"{number:024x}" for number in (10, 11, 12))
ADA = "a" * 24
NOW = datetime(2030, 1, 1, tzinfo=UTC)
NARROW = {"COLUMNS": "40"}
"""A pipe has no width: nothing is cut."""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    settings = Settings.load({}, data=tmp_path)
    store = open_store(settings.store)

    def told(actor: str, stream: str, *events: object) -> None:
        for event in events:
            store.append(stream, ANY, [CONTRACTS.encode(event, 0, Context.new(actor, "test", uuid4()))])

    told(f"account:{ADA}", f"device-{A}", DeviceImported(A, 1000, False), DeviceLocked(A, 1000, 7, True))
    told("account:nobody", f"device-{B}", DeviceImported(B, 1000, False))
    connected = DeviceConnected(A, 1000, "a", 1, 1, NOW, "mqtt/3.1.1", "[red]10.0.0.7", False, "c")
    told(f"device:{A}", "connection-a.1-x", connected, FirmwareReported(A, 1000, 1000, 7, "", "", "a", 1, 1))
    database = Database(settings.db, "devices")
    projector = Projector("devices", store, database, SERVICE_VIEWS["devices"], CONTRACTS)
    projector.start()
    assert projector.wait_for(store.head(), 10.0)
    projector.stop()
    database.close()
    orgs = Database(settings.db, "orgs")
    orgs.prepare([ACCOUNTS])
    with orgs.writing() as connection:
        row = dict.fromkeys(("first_name", "last_name", "company_name"), "")
        account = {"account_id": ADA, "email": "ada@example.com", "created_at": NOW, **row}
        connection.execute(sa.insert(orgs.table(ACCOUNTS)).values(account))
    orgs.close()
    store.close()
    return tmp_path


def run(*words: str, data: Path) -> str:
    done = CliRunner(env=NARROW).invoke(app, ["why", *words, "--data", str(data)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_the_tree_tells_of_each_aspect_when_and_by_whom(data: Path) -> None:
    shown = run(A, data=data)
    assert "It is locked to version 7 and gets no other, whatever is released (FW-3). It runs version 7." in shown
    assert "imported into product 1000 by ada@example.com (DEV-1) · " in shown
    assert "locked to version 7 by ada@example.com, to be flashed at once (FW-3) · " in shown
    assert re.search(rf"\((now|\d+ s ago)\) · ada@example.com · DeviceLocked device-{A}@1", shown)
    assert "It is online." in shown
    assert "from [red]10.0.0.7" in shown  # what devices say is shown as it is


def test_json_is_the_answer_of_the_api(data: Path) -> None:
    answer = json.loads(run(A, "--json", data=data))
    assert (answer["id"], answer["product_id"], answer["rule"]["delivery"]) == (A, 1000, "runs")
    by_name = {aspect["aspect"]: aspect for aspect in answer["aspects"]}
    assert [link["type"] for link in by_name["presence"]["chain"]] == ["DeviceConnected"]
    assert by_name["membership"]["chain"][0]["actor"] == "ada@example.com"
    other = json.loads(run(B, "--json", data=data))
    assert other["aspects"][0]["chain"][0]["actor"] == "account:nobody"


def test_a_device_that_nobody_ever_saw_is_named(data: Path) -> None:
    with pytest.raises(NotFound, match=f"no device {NEVER} was ever imported or seen"):
        run(NEVER, data=data)


def test_a_folder_without_events_is_named(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="there is no event store"):
        run(A, data=tmp_path)
    assert list(tmp_path.iterdir()) == []
    open_store(Settings.load({}, data=tmp_path).store).close()
    with pytest.raises(NotFound, match="there are no events"):
        run(A, data=tmp_path)


@pytest.mark.parametrize(
    ("seconds", "says"),
    [(-3, "now"), (0, "now"), (1, "1 s ago"), (61, "1 min ago"), (7_300, "2 h ago"), (172_801, "2 d ago")],
)
def test_how_long_ago_is_said_in_the_largest_unit(seconds: int, says: str) -> None:
    assert ago(NOW, NOW + timedelta(seconds=seconds)) == says
