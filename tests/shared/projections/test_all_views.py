"""Properties of every view of the platform, over generated histories of its own events: whatever the pages, whoever
folds them, whenever somebody dies, the live view is what a rebuild gives, byte by byte (EVT-2)."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.context import Context
from shared.errors import Unavailable
from shared.events.contracts import CONTRACTS
from shared.events.orgs import AccountForgotten
from shared.people.keys import Keys
from shared.projections.database import Database
from shared.projections.projector import Projector
from shared.projections.view import View
from shared.store.open import open_store
from shared.store.port import ANY, EventStore, Only, Page, Position
from tests.keys import MemoryTable
from tests.shared.projections.fleet import Flaky
from tests.shared.projections.histories import VIEWS, events_of

PROCESSES = 3
examples = count()


class Interleaved:
    """A store whose reader is interrupted: before a page is given, others of the same views have a turn, as planned."""

    def __init__(self, store: EventStore, installation: Installation) -> None:
        self._store = store
        self._installation = installation

    def read_all(self, after: Position | None = None, limit: int = 1_000, only: Only = Only()) -> Page:  # noqa: B008
        page = self._store.read_all(after, limit, only)
        self._installation.interrupt()
        return page

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class Installation:
    """Several processes that project the same views into one database, one after the other or into each other."""

    def __init__(self, folder: Path, url: str, service: str, views: Sequence[View], page: int) -> None:
        self.views = views
        self.interruptions: list[int] = []
        self._stack = ExitStack()
        self._url = url
        self._service = service
        self._page = page
        self._keys = Keys(MemoryTable(), lambda person: False)
        self._contracts = CONTRACTS.with_keys(self._keys)
        self.store = open_store(f"sqlite://{folder / 'events.db'}?durability=normal")
        self._stack.callback(self.store.close)
        self._databases: list[Flaky] = []
        self._processes = [self._process() for _ in range(PROCESSES)]
        self._busy: set[int] = set()

    def close(self) -> None:
        self._stack.close()

    def append(self, events: Sequence[object]) -> None:
        """In one stream, as one command; who is forgotten loses the key at once."""
        context = replace(Context.new("account:test", "test"), token="t", about="b" * 24 + "/1000")
        new = [self._contracts.encode(event, index, context) for index, event in enumerate(events)]
        self.store.append("everything", ANY, new)
        for event in events:
            if isinstance(event, AccountForgotten):
                self._keys.destroy(event.account_id)

    def fail(self, number: int, how: str) -> None:
        """The next transactions of this process fail before their commit, or behind it."""
        self._databases[number].plan += ["", how]

    def kill(self, number: int) -> None:
        """It is gone without a word, and another one started in its place."""
        self._processes[number] = self._process(number)

    def catch_up(self, number: int) -> None:
        """Through all crashes: those of the plan are finite."""
        self._insist(number, lambda projector: projector.catch_up())

    def rebuild(self, number: int, view: int) -> None:
        name = self.views[view % len(self.views)].name
        self._insist(number, lambda projector: projector.rebuild(name, comparing=True))

    def interrupt(self) -> None:
        """Whoever is planned next, if it does nothing yet."""
        if self.interruptions:
            number = self.interruptions.pop()
            if number not in self._busy and len(self._busy) < PROCESSES - 1:
                self.catch_up(number)

    def contents(self, view: View) -> tuple[str, Counter[tuple[str, str]], Counter[tuple[str, str]]]:
        """Its digest, its counters, and what a scan of its rows counts."""
        database = self._databases[0]
        with database.connect() as connection:
            rows = [dict(row) for row in connection.execute(sa.select(database.table(view))).mappings()]
            counters = connection.execute(sa.select(database.counts(view))).all()
        scanned = Counter(counter for row in rows for counter in view.tally(row))
        return database.digest(view), Counter({(row[0], row[1]): row[2] for row in counters}), scanned

    def fresh(self) -> Iterator[str]:
        """The digest of each view of a database that has nothing yet, folded in pages of their own size."""
        database = Database(self._url, f"{self._service}-fresh")
        self._stack.callback(database.close)
        Projector("fresh", self.store, database, self.views, self._contracts).catch_up()
        return (database.digest(view) for view in self.views)

    def parked(self) -> int:
        return len(self._processes[0].parked())

    def _insist(self, number: int, work: Any) -> None:
        self._busy.add(number)
        try:
            for _ in range(100):
                try:
                    work(self._processes[number])
                except Unavailable:
                    continue
                return
            raise AssertionError("a crash that never ends")
        finally:
            self._busy.discard(number)

    def _process(self, number: int | None = None) -> Projector:
        database = Flaky(self._url, self._service)
        self._stack.callback(database.close)
        if number is None:
            self._databases.append(database)
        else:
            self._databases[number] = database
        store: Any = Interleaved(self.store, self)
        return Projector(self._service, store, database, self.views, self._contracts, page_events=self._page)


NUMBERS = st.integers(0, PROCESSES - 1)


def actions(views: Sequence[View]) -> st.SearchStrategy[list[tuple[Any, ...]]]:
    events = st.lists(events_of(views), min_size=1, max_size=12)
    appended = st.tuples(st.just("append"), events)
    return st.lists(
        st.one_of(
            appended,
            appended,
            st.tuples(st.just("catch_up"), NUMBERS),
            st.tuples(st.just("fail"), NUMBERS, st.sampled_from(["before", "after"])),
            st.tuples(st.just("kill"), NUMBERS),
            st.tuples(st.just("rebuild"), NUMBERS, st.integers(0, 9)),
        ),
        min_size=2,
        max_size=10,
    )


def check(url: str, service: str, data: st.DataObject) -> None:
    """Do what is drawn, let everybody catch up, and compare."""
    views, example = VIEWS[service], next(examples)
    with tempfile.TemporaryDirectory() as name:
        page = data.draw(st.sampled_from([1, 2, 3, 7, 1_000]), "page")
        installation = Installation(Path(name), url, f"{service}-{example}", views, page)
        try:
            installation.interruptions = data.draw(st.lists(NUMBERS, max_size=8), "interruptions")
            for word, *arguments in data.draw(actions(views), "actions"):
                getattr(installation, word)(*arguments)
            for number in range(PROCESSES):
                installation.catch_up(number)
            assert installation.parked() == 0
            for view, fresh in zip(views, installation.fresh(), strict=True):
                digest, counters, scanned = installation.contents(view)
                assert counters == scanned, view.name
                assert digest == fresh, view.name
        finally:
            installation.close()


@pytest.mark.parametrize("service", VIEWS)
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_a_live_view_is_what_a_rebuild_gives(tmp_path: Path, service: str, data: st.DataObject) -> None:
    check(f"sqlite:///{tmp_path}/views", service, data)


@pytest.mark.postgres
@pytest.mark.parametrize("service", VIEWS)
@settings(max_examples=3, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_a_live_view_on_postgresql_is_what_a_rebuild_gives(
    postgres_url: str, service: str, data: st.DataObject
) -> None:
    check(postgres_url, service, data)


@pytest.fixture(scope="module")
def postgres_url(postgres: Any) -> Iterator[str]:
    with postgres.database() as url:
        yield url
