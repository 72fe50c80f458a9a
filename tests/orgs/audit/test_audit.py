from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from services.orgs.audit import audit_queries
from services.orgs.audit.audit_view import AUDIT
from services.orgs.views import VIEWS
from shared.bus.providers import WorkerViews
from shared.context import Context
from shared.errors import Refused
from shared.events import customers, devices, oauth, orgs
from shared.events.contracts import CONTRACTS, Registry
from shared.events.fields import FORGOTTEN
from shared.people.addresses import Addresses
from shared.people.keys import Keys
from shared.projections.database import Database
from shared.projections.projector import Projector
from shared.store.open import open_store
from shared.store.port import ANY, EventStore
from tests.keys import MemoryTable

ADA, BOB, CUSTOMER = "1" * 24, "2" * 24, "7" * 24
OURS, THEIRS = "a" * 24, "b" * 24
ADDRESS = "192.0.2.1"


class Told:
    """A store that is told what happens, and the views of it."""

    def __init__(self, store: EventStore, database: Database) -> None:
        self.table = MemoryTable()
        keys = Keys(self.table, lambda person: False)
        self.contracts: Registry = CONTRACTS.with_keys(keys)
        self.addresses = Addresses(keys)
        self.store = store
        self._projector = Projector("orgs", store, database, VIEWS, self.contracts)
        self.views = WorkerViews(database, None, Context.new("system:test", "test"))
        self.add(orgs.AccountCreated(ADA, "ada@example.com", "hash", "Ada", "", ""), None)

    def add(self, event: object, where: str | None = OURS + "/1000", actor: str = f"account:{ADA}") -> str:
        """The command that did it."""
        context = replace(Context.new(actor, "test"), token="c" * 24, about=where)
        context = replace(context, address=self.addresses.sealed(actor, ADDRESS))
        self.store.append("s", ANY, [self.contracts.encode(event, 0, context)])
        return context.correlation_id

    def page(self, org_id: str = OURS, **asked: Any) -> dict[str, Any]:
        self._projector.catch_up()
        given: dict[str, Any] = dict.fromkeys(("product_id", "actor", "kind", "since", "until", "after"))
        wanted = audit_queries.parse(org_id, **{**given, "per_page": 25, **asked})
        return audit_queries.page(self.views, self.addresses, wanted)

    def ids(self, org_id: str = OURS, **asked: Any) -> list[str]:
        return [found["id"] for found in self.page(org_id, **asked)["audit"]]


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Told]:
    with (
        closing(open_store(f"sqlite://{tmp_path / 'events.db'}?durability=normal")) as store,
        closing(Database(f"sqlite:///{tmp_path}", "orgs")) as database,
    ):
        yield Told(store, database)


def removed(number: int, product_id: int = 1000) -> devices.DeviceRemoved:
    return devices.DeviceRemoved(f"d{number:023x}", product_id)


def test_a_command_is_shown_with_name_address_and_token(told: Told) -> None:
    command = told.add(removed(1))
    (shown,) = told.page()["audit"]
    at = shown.pop("at")
    assert datetime.fromisoformat(at) <= datetime.now(UTC)
    assert shown == {
        "id": command,
        "actor": f"account:{ADA}",
        "name": "ada@example.com",
        "token": "c" * 24,
        "address": ADDRESS,
        "product_id": 1000,
        "what": ["DeviceRemoved"],
        "things": ["device d" + "0" * 22 + "1"],
        "events": 1,
    }


def test_whoever_is_forgotten_leaves_no_address_and_no_name(told: Told) -> None:  # EVT-5
    told.add(removed(1))
    told.add(orgs.AccountForgotten(ADA), None)
    told.table.destroy(ADA)
    told.contracts.keys.forgotten(ADA)
    (shown,) = told.page()["audit"]
    assert (shown["actor"], shown["name"], shown["address"]) == (f"account:{ADA}", FORGOTTEN, FORGOTTEN)


def test_the_newest_comes_first_and_pages_follow_each_other_without_gap_or_double(told: Told) -> None:
    commands = [told.add(removed(number)) for number in range(7)]
    seen, after = [], None
    while True:
        page = told.page(per_page=3, after=after)
        seen += [found["id"] for found in page["audit"]]
        after = page["meta"]["next"]
        if after is None:
            break
        told.add(removed(99))  # what is new does not move the pages
    assert seen == commands[::-1]


def test_an_organization_sees_its_own(told: Told) -> None:
    ours, theirs = told.add(removed(1)), told.add(removed(1, 2000), THEIRS + "/2000")
    assert (told.ids(), told.ids(THEIRS), told.ids("c" * 24)) == ([ours], [theirs], [])
    assert told.ids(OURS, product_id=2000) == []


def test_it_is_picked_by_product_person_and_event(told: Told) -> None:
    told.add(customers.CustomerCreated(CUSTOMER, CUSTOMER, OURS, 1001, "jo@example.org", "", "two_legged"), None, "x:")
    told.add(
        oauth.ClientCreated("lamp-1", OURS, 1001, None, "Lamp Server", "installed", "0" * 64, None, ""), None, "x:"
    )
    one = told.add(removed(1))
    two = told.add(orgs.ProductChanged(1001, "Lamp", "", "Consumer", ""), OURS + "/1001", "client:lamp-1")
    three = told.add(removed(2, 1001), OURS + "/1001", f"customer:{CUSTOMER}")
    assert told.ids(product_id=1001) == [three, two]
    for who in (ADA, f"account:{ADA}", "Ada@Example.com"):
        assert told.ids(actor=who) == [one]
    assert told.ids(actor="lamp server") == told.ids(actor="client:lamp-1") == [two]
    assert told.ids(actor="jo@example.org") == [three]
    assert told.ids(kind="DeviceRemoved") == [three, one]
    assert told.ids(kind="DeviceRemoved", actor=ADA, product_id=1001) == []


def test_it_is_found_by_time_and_by_position(told: Told) -> None:
    commands = [told.add(removed(number)) for number in range(3)]
    told.page()
    with told.views.read() as connection:
        table = told.views.table(AUDIT)
        stamps = connection.execute(sa.select(table.c.at, table.c.position).order_by(table.c.position)).all()
    first, last = stamps[0], stamps[-1]
    assert told.ids(since=str(first.position), until=str(stamps[1].position)) == [commands[1], commands[0]]
    assert told.ids(since=first.at.isoformat(), until=last.at.isoformat()) == commands[::-1]
    assert told.ids(since=(last.at + timedelta(seconds=1)).isoformat()) == []
    assert told.ids(until=(first.at - timedelta(seconds=1)).isoformat()) == []


def test_an_answer_looks_at_so_many_commands_and_says_where_to_go_on(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_queries, "MAX_LOOKED", 4)
    monkeypatch.setattr(audit_queries, "STRETCH", 3)
    wanted = told.add(orgs.OrganizationRenamed(OURS, "New"))
    for number in range(6):
        told.add(removed(number))
    first = told.page(kind="OrganizationRenamed")
    assert first["audit"] == []
    second = told.page(kind="OrganizationRenamed", after=first["meta"]["next"])
    assert ([found["id"] for found in second["audit"]], second["meta"]["next"]) == ([wanted], None)


@pytest.mark.parametrize("wanted", [{}, {"product_id": 1000}])
def test_a_page_is_looked_up_and_not_searched_for(told: Told, wanted: dict[str, Any]) -> None:
    told.page()
    given: dict[str, Any] = dict.fromkeys(("product_id", "actor", "kind"))
    times = {"since": "2020-01-01T00:00:00Z", "until": "2040-01-01T00:00:00Z", "after": "1800000000000000-7"}
    asked = audit_queries.parse(OURS, **{**given, **times, "per_page": 25, **wanted})
    query = audit_queries._query(told.views, asked, asked.after).limit(25)
    with told.views.read() as connection:
        text = query.compile(connection, compile_kwargs={"literal_binds": True})
        plan = " ".join(str(row[-1]) for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}"))
    assert "SEARCH audit USING INDEX" in plan
    assert "SCAN" not in plan
    assert "TEMP B-TREE" not in plan


@pytest.mark.parametrize(
    "wrong",
    [
        {"per_page": 0},
        {"per_page": 101},
        {"per_page": True},
        {"per_page": "many"},
        {"kind": "DeviceEaten"},
        {"kind": 7},
        {"since": "yesterday"},
        {"until": "2030-01-01T00:00:00"},
        {"since": "9", "until": "8"},
        {"after": "here"},
        {"after": "1-2-3"},
        {"after": "9999999999999999999-1"},
        {"after": "1-9999999999999999999"},
        {"after": "-"},
    ],
)
def test_what_makes_no_sense_is_refused(told: Told, wrong: dict[str, Any]) -> None:
    with pytest.raises(Refused) as refusal:
        told.page(**wrong)
    assert refusal.value.code == "invalid_request"
