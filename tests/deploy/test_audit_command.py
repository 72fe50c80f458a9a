"""``flotilla audit`` on the data of a platform that is not running."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deploy.cli import app
from services.orgs.views import VIEWS
from shared.context import Context, about
from shared.errors import NotFound, Refused
from shared.events import devices, orgs
from shared.events.contracts import CONTRACTS
from shared.events.fields import FORGOTTEN
from shared.people.addresses import Addresses
from shared.people.open import PeopleKeys
from shared.projections.database import Database
from shared.projections.projector import Projector
from shared.settings import Settings
from shared.store.open import open_store
from shared.store.port import ANY

ADA, ORG = "a" * 24, "b" * 24
ACTOR, TOKEN = f"account:{ADA}", "c" * 24
DEVICES = [f"{number:024x}" for number in range(120)]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    settings = Settings.load({}, data=tmp_path)
    with (
        closing(open_store(settings.store)) as store,
        closing(PeopleKeys(settings.keys, store)) as keys,
        closing(Database(settings.db, "orgs")) as database,
    ):
        contracts, addresses = CONTRACTS.with_keys(keys), Addresses(keys)

        def told(context: Context, *events: object) -> None:
            new = [contracts.encode(event, index, context) for index, event in enumerate(events)]
            store.append(f"account-{ADA}", ANY, new)

        def command() -> Context:
            made = replace(Context.new(ACTOR, "test"), token=TOKEN, about=about(ORG, 1000))
            return replace(made, address=addresses.sealed(ACTOR, "192.0.2.1"))

        told(Context.new("anonymous", "test"), orgs.AccountCreated(ADA, "ada@example.com", "hash", "Ada", "", ""))
        told(command(), orgs.OrganizationCreated(ORG, "Acme", "acme", "monthly", ADA, "ada@example.com"))
        told(command(), *(devices.DeviceImported(device, 1000, False) for device in DEVICES))
        for device in DEVICES:
            told(command(), devices.DeviceRemoved(device, 1000))
        Projector("orgs", store, database, VIEWS, contracts).catch_up()
    return tmp_path


def run(*words: str, data: Path) -> str:
    done = CliRunner(env={"COLUMNS": "40"}).invoke(app, ["audit", *words, "--data", str(data)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def documents(*words: str, data: Path) -> Any:
    return json.loads(run("acme", *words, "--json", data=data))["audit"]


def test_the_newest_commands_are_shown_as_a_table(data: Path) -> None:
    shown = run("acme", "--limit", "2", data=data)
    assert "2 commands (at least)" in shown
    for text in ("ada@example.com", "192.0.2.1", TOKEN, "DeviceRemoved", f"device {DEVICES[-1]}"):
        assert text in shown
    assert DEVICES[-3] not in shown
    csv = run("acme", "--limit", "2", "--csv", data=data).splitlines()
    assert csv[0] == "id,at,actor,name,token,address,product_id,what,things,events"
    assert len(csv) == 3


def test_an_import_is_one_line_that_says_how_much_there_was(data: Path) -> None:
    shown = run(ORG, "--type", "DeviceImported", data=data)
    assert "(120 events)" in shown
    assert "1 commands" in shown


def test_more_than_a_page_is_read_without_gap(data: Path) -> None:
    found = documents("--limit", "1000", "--type", "DeviceRemoved", data=data)
    assert [one["things"] for one in found] == [[f"device {device}"] for device in reversed(DEVICES)]


def test_what_is_asked_for_means_what_it_means_in_the_api(data: Path) -> None:
    everything = documents("--limit", "1000", data=data)
    assert len(everything) == 122
    assert documents("--actor", "ada@example.com", "--limit", "1000", data=data) == everything
    assert documents("--product", "1001", data=data) == []
    assert documents("--to", "1", data=data) == []
    with pytest.raises(Refused, match="no such event"):
        run("acme", "--type", "Nothing", data=data)
    with pytest.raises(Refused, match="from"):
        run("acme", "--from", "yesterday", data=data)
    with pytest.raises(NotFound, match="no organization 'nobody'"):
        run("nobody", data=data)


def test_it_works_without_the_persons_key(data: Path) -> None:  # EVT-5
    settings = Settings.load({}, data=data)
    with closing(open_store(settings.store)) as store, closing(PeopleKeys(settings.keys, store)) as keys:
        keys.destroy(ADA)
    (one,) = documents("--limit", "1", data=data)
    assert one["address"] == FORGOTTEN
