"""Views of every service after people were forgotten (EVT-5): the same bytes, whenever they were folded."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import sqlalchemy as sa
from hypothesis import example, given, settings
from hypothesis import strategies as st

from deploy.views import SERVICE_VIEWS
from services.gateway.directory_views import VIEWS as DIRECTORY
from shared.context import Context
from shared.events import firmware as f
from shared.events import orgs as o
from shared.events.contracts import Registry
from shared.events.fields import FORGOTTEN
from shared.projections.database import Database
from shared.projections.projector import Projector
from shared.store.open import open_store
from shared.store.port import ANY, EventStore
from tests.keys import MemoryTable, contracts_with_keys

VIEWS = {"orgs": SERVICE_VIEWS["orgs"], "firmware": SERVICE_VIEWS["firmware"], "directory": DIRECTORY}
FAR = datetime(2100, 1, 1, tzinfo=UTC)
PEOPLE = 3
ACTIONS = st.one_of(
    st.tuples(st.sampled_from(["found", "create", "join", "token", "upload"]), st.integers(0, PEOPLE - 1)),
    st.tuples(st.sampled_from(["forget", "destroy"]), st.integers(0, PEOPLE - 1)),
    st.tuples(st.sampled_from(["project", "restart"]), st.just(0)),
)


def person(number: int) -> str:
    return f"{number + 1:024x}"


def email(number: int) -> str:
    return f"person-{number}@example.com"


@dataclass
class History:
    """Three people in a store. The one who writes remembers keys, and sees nobody forgotten; the one who projects is
    another process."""

    store: EventStore
    table: MemoryTable = field(default_factory=MemoryTable)
    forgotten: set[int] = field(default_factory=set)
    versions: int = 0

    def __post_init__(self) -> None:
        self.writer = contracts_with_keys(self.table)
        for number in range(PEOPLE):
            self.add(o.AccountCreated(person(number), email(number), "hash", f"First{number}", "", "Person Ltd"))

    def add(self, event: object) -> None:
        self.store.append("s", ANY, [self.writer.encode(event, 0, Context.new("system:test", "test"))])

    def act(self, action: str, number: int) -> None:
        account_id, mail, org_id = person(number), email(number), f"{number:x}" * 24
        self.versions += 1
        match action:
            case "found":
                self.add(o.OrganizationFounded(account_id, mail, org_id, "Acme", "acme", "monthly"))
            case "create":
                self.add(o.OrganizationCreated(org_id, "Acme", "acme", "monthly", account_id, mail))
            case "join":
                self.add(o.MemberJoined(org_id, account_id, mail, "administrator"))
            case "token":
                token_id, secret = f"{self.versions:024x}", sha256(str(self.versions).encode()).hexdigest()
                self.add(o.TokenIssued(token_id, account_id, "particle", secret, secret, "ffff", None, FAR))
            case "upload":
                title = f"v{self.versions}"
                self.add(f.VersionUploaded(1000, self.versions, title, "", "x", 1, "0" * 64, mail, account_id))
            case "forget" if number not in self.forgotten:
                self.forgotten.add(number)
                self.add(o.AccountForgotten(account_id))
            case "destroy" if number in self.forgotten:
                self.table.destroy(account_id)


class Process:
    """Projectors of all services, over databases in a folder."""

    def __init__(self, store: EventStore, folder: Path, contracts: Registry) -> None:
        self.databases = {name: Database(f"sqlite:///{folder}", name) for name in VIEWS}
        self._projectors = [
            Projector(name, store, self.databases[name], views, contracts, page_events=3)
            for name, views in VIEWS.items()
        ]

    def catch_up(self) -> None:
        for projector in self._projectors:
            projector.catch_up()
            assert projector.parked() == []

    def digests(self) -> dict[str, str]:
        return {
            f"{name}/{view.name}": self.databases[name].digest(view) for name, views in VIEWS.items() for view in views
        }

    def rows(self) -> dict[str, str]:
        """All rows of each view as text."""
        found = {}
        for name, views in VIEWS.items():
            with self.databases[name].connect() as connection:
                for view in views:
                    rows = connection.execute(sa.select(self.databases[name].table(view))).all()
                    found[f"{name}/{view.name}"] = repr(rows)
        return found

    def close(self) -> None:
        for database in self.databases.values():
            database.close()


@contextmanager
def history() -> Iterator[tuple[History, Path]]:
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        store = open_store(f"sqlite:///{name}/events.db?durability=normal")
        stack.callback(store.close)
        yield History(store), Path(name)


def in_new_process(told: History, folder: Path) -> Process:
    return Process(told.store, folder, contracts_with_keys(told.table))


LATE = [("forget", 0), ("project", 0), ("upload", 0), ("create", 0), ("restart", 0)]
"""Somebody who does not know yet stores something of a forgotten person, and somebody new reads it with the key."""


@settings(max_examples=10)
@given(st.lists(ACTIONS, max_size=15))
@example(LATE)
@example([("upload", 0), ("found", 0), ("create", 0), ("project", 0), *LATE, ("destroy", 0)])
def test_views_that_lived_through_it_equal_those_built_anew(actions: list[tuple[str, int]]) -> None:
    with history() as (told, folder):
        live = in_new_process(told, folder / "live")
        for action, number in actions:
            told.act(action, number)
            if action == "restart":
                live.close()
                live = in_new_process(told, folder / "live")
            if action in ("project", "restart"):
                live.catch_up()
        live.catch_up()
        early = in_new_process(told, folder / "early")  # some keys may not be destroyed yet
        early.catch_up()
        for number in told.forgotten:
            told.act("destroy", number)
        late = in_new_process(told, folder / "late")
        late.catch_up()
        assert live.digests() == early.digests() == late.digests()
        for number in range(PEOPLE):
            shown = email(number) in "".join(live.rows().values())
            assert shown == (number not in told.forgotten)
        for process in (live, early, late):
            process.close()


def test_everything_that_was_shown_of_a_person_says_forgotten() -> None:
    with history() as (told, folder):
        for action in ("found", "create", "join", "token", "upload"):
            told.act(action, 0)
        live = in_new_process(told, folder)
        live.catch_up()
        showing = {view for view, rows in live.rows().items() if email(0) in rows}
        assert showing == {"orgs/accounts", "firmware/uploaders", "directory/accounts"}
        told.act("forget", 0)
        live.catch_up()
        rows = live.rows()
        for word in (email(0), "First0"):
            assert word not in "".join(rows.values())
        assert all(FORGOTTEN in rows[view] for view in showing)
        assert email(1) in rows["orgs/accounts"]
        live.close()
