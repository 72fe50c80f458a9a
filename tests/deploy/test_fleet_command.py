"""``flotilla fleet`` on the data of a platform that is not running."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deploy.cli import app
from services.devices.bootstrap import VIEWS
from shared.context import Context
from shared.errors import NotFound, Refused
from shared.events.contracts import CONTRACTS
from shared.events.devices import DeviceDescribed, DeviceGrouped, DeviceImported, DeviceRemoved
from shared.projections.database import Database
from shared.projections.projector import Projector
from shared.settings import Settings
from shared.store.open import open_store
from shared.store.port import ANY

IDS = [f"{number:024x}" for number in range(5)]
STORY = [
    *(DeviceImported(device_id, 1000, False) for device_id in IDS),
    DeviceDescribed(IDS[0], 1000, "kettle", ""),
    DeviceGrouped(IDS[1], 1000, ["lab"]),
    DeviceRemoved(IDS[2], 1000),
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    settings = Settings.load({}, data=tmp_path)
    store = open_store(settings.store)
    for event in STORY:
        store.append(f"device-{event.device_id}", ANY, [CONTRACTS.encode(event, 0, Context.new("account:ada", "test"))])
    database = Database(settings.db, "devices")
    Projector("devices", store, database, VIEWS, CONTRACTS).catch_up()
    database.close()
    store.close()
    return tmp_path


def run(*words: str, data: Path) -> str:
    narrow = {"COLUMNS": "40"}  # which a pipe has no use for: no ID is broken
    done = CliRunner(env=narrow).invoke(
        app, ["fleet", *words, "--product", "1000", "--data", str(data)], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    return done.stdout


def documents(*words: str, data: Path) -> Any:
    return json.loads(run(*words, "--json", data=data))


def test_the_fleet_is_listed_now_and_as_it_was(data: Path) -> None:
    now = documents("list", data=data)
    assert [device["id"] for device in now["devices"]] == [IDS[0], IDS[1], IDS[3], IDS[4]]
    assert now["meta"] == {"total": 4, "total_exact": True, "as_of": {"position": 8, "at": None}}
    then = documents("list", "--as-of", "3", data=data)
    assert [device["id"] for device in then["devices"]] == IDS[:3]
    assert then["meta"]["as_of"]["position"] == 3
    assert documents("list", "--limit", "2", data=data)["meta"]["total"] == 4
    assert [one["id"] for one in documents("list", "--group", "lab", data=data)["devices"]] == [IDS[1]]
    assert documents("list", "--online", data=data)["devices"] == []
    shown = run("list", "--as-of", "3", data=data)
    assert "3 of 3 devices, as of position 3" in shown
    assert all(device_id in shown for device_id in IDS[:3])


def test_a_query_and_an_order_are_those_of_the_api(data: Path) -> None:  # DEV-6
    named = documents("list", "--query", "group = lab or name contains KETT", "--sort", "-deviceId", data=data)
    assert [device["id"] for device in named["devices"]] == [IDS[1], IDS[0]]
    heard = documents("list", "--as-of", "3", "--query", "last_heard > 7d", data=data)
    assert heard["devices"] == []
    with pytest.raises(Refused, match="column 1: found `grop`"):
        run("list", "--query", "grop = lab", data=data)
    with pytest.raises(Refused, match="addresses are not known here"):
        run("list", "--query", "owner = anna@example.com", data=data)


def test_a_list_is_written_as_csv(data: Path) -> None:
    found = list(csv.DictReader(io.StringIO(run("list", "--csv", data=data), newline="")))
    assert [(row["id"], row["name"], row["groups"]) for row in found[:2]] == [
        (IDS[0], "kettle", ""),
        (IDS[1], "", "lab"),
    ]
    assert len(found) == 4
    assert run("list", "--csv", "--limit", "1", data=data).count("\n") == 2
    assert run("list", "--csv", "--online", data=data).startswith("id,name,")


def test_one_device_is_shown_as_it_was(data: Path) -> None:
    assert documents("show", IDS[0], data=data)["name"] == "kettle"
    assert documents("show", IDS[0], "--as-of", "5", data=data)["name"] is None
    assert "kettle" in run("show", IDS[0], data=data)
    with pytest.raises(NotFound):
        run("show", IDS[4], "--as-of", "4", data=data)


def test_the_counters_are_told(data: Path) -> None:
    assert documents("stats", "--as-of", "5", data=data)["devices"]["total"] == 5
    assert documents("stats", data=data)["devices"]["total"] == 4
    assert "as of position 5" in run("stats", "--as-of", "5", data=data)


def test_what_changed_is_told(data: Path) -> None:
    found = documents("changes", "--from", "5", data=data)
    assert [(one["id"], one["what"]) for one in found["changes"]] == [
        (IDS[0], ["name"]),
        (IDS[1], ["groups"]),
        (IDS[2], ["removed"]),
    ]
    assert (found["from"]["devices"]["total"], found["to"]["devices"]["total"]) == (5, 4)
    between = documents("changes", "--from", "4", "--to", "6", data=data)
    assert [one["what"] for one in between["changes"]] == [["name"], ["imported"]]
    shown = run("changes", "--from", "5", "--limit", "2", data=data)
    assert "2 devices differ (at least): as of position 5" in shown


def test_what_makes_no_sense_is_a_sentence(data: Path) -> None:
    with pytest.raises(Refused, match="as_of: position 99 is in the future; the last one is 8"):
        run("list", "--as-of", "99", data=data)
    with pytest.raises(Refused, match="from: 6 is later than to, 5"):
        run("changes", "--from", "6", "--to", "5", data=data)
