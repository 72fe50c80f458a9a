"""Properties: whatever the pages, crashes, redeliveries and rebuilds, a view is what its events say."""

from __future__ import annotations

import tempfile
from itertools import count
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.errors import Unavailable
from shared.events.contracts import CONTRACTS
from shared.projections.projector import Projector
from shared.projections.view import View
from shared.store.open import open_store
from tests.shared.projections.fleet import (
    POISON,
    Flaky,
    Fleet,
    Log,
    connected,
    content,
    disconnected,
    expected,
    grouped,
    imported,
    named,
    removed,
)

DEVICES = st.integers(1, 4)
EVENTS = st.one_of(
    st.builds(imported, DEVICES, st.sampled_from([1000, 2000])),
    st.builds(imported, DEVICES),
    st.builds(removed, DEVICES),
    st.builds(named, DEVICES, st.sampled_from(["a", "b", POISON])),
    st.builds(grouped, DEVICES, st.sampled_from(["g", "h"])),
    st.builds(connected, DEVICES),
    st.builds(disconnected, DEVICES),
)
BATCHES = st.lists(st.lists(EVENTS, min_size=1, max_size=12), min_size=1, max_size=5)
CRASHES = st.lists(st.sampled_from(["", "", "before", "after"]), max_size=12)
examples = count()


def _catch_up(projector: Projector) -> None:
    """Through all crashes: those of the plan are finite, and each is used up once."""
    while True:
        try:
            projector.catch_up()
        except Unavailable:
            continue
        return


def _rebuild(projector: Projector, view: View, log: Log, late: list[object]) -> None:
    """While the new rows are built, another event comes and the old rows follow."""

    def interleave(done: int, head: int | None) -> None:
        if late:
            log.add(late.pop())
            _catch_up(projector)

    while True:
        try:
            projector.rebuild(view.name, interleave)
        except Unavailable:
            continue
        return


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    batches=BATCHES,
    late=st.lists(EVENTS, max_size=3),
    page=st.integers(1, 9),
    crashes=CRASHES,
    rebuilds=st.sets(st.integers(0, 4)),
    healed=st.booleans(),
)
def test_a_view_is_what_its_events_say(
    lasting_views_url: str,
    batches: list[list[object]],
    late: list[object],
    page: int,
    crashes: list[str],
    rebuilds: set[int],
    healed: bool,
) -> None:
    view, example = Fleet(healed).view(), next(examples)
    with tempfile.TemporaryDirectory() as name:
        store = open_store(f"sqlite://{Path(name) / 'events.db'}?durability=normal")
        database = Flaky(lasting_views_url, f"fleet-{example}")
        twin = Flaky(lasting_views_url, f"twin-{example}")
        log = Log(store)
        database.plan = list(crashes)
        for number, batch in enumerate(batches):
            log.add(*batch)
            projector = Projector("fleet", store, database, [view], CONTRACTS, page_events=page)
            _catch_up(projector)
            if number in rebuilds:
                _rebuild(projector, view, log, late)
            assert content(database, view) == expected(view, log.all())
        Projector("fleet", store, twin, [view], CONTRACTS).catch_up()
        assert database.digest(view) == twin.digest(view)
        for each in (database, twin, store):
            each.close()
