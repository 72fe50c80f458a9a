"""The positions in a row's ``causes`` name the events that made it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from services.devices.fleet import FLEET, fold
from shared.events import devices as d
from shared.events import gateway as g
from shared.projections.rows import MAX_PARAMETERS
from shared.projections.view import Row
from shared.store.port import Position, Recorded

ID, OTHER = "53ff6f066667574834212367", "0" * 24
P = 1000
START = datetime(2030, 1, 1, tzinfo=UTC)
UPDATES = (g.UpdateStarted, g.UpdateAdvanced, g.UpdateInterrupted, g.UpdateSucceeded, g.UpdateFailed)
FITTING: dict[str, tuple[type, ...]] = {
    "presence": (g.DeviceConnected, g.SessionReplaced, g.DeviceDisconnected),
    "session": (g.DeviceConnected, g.SessionReplaced),
    "version": (g.FirmwareReported,),
    "version_update": (g.UpdateStarted,),
    "update": UPDATES,
    "update_started": (g.UpdateStarted,),
    "flash": (g.FlashAsked,),
}
numbers = st.integers(1, 3)
products = st.sampled_from([None, P, 6])


def online(device_id: str, session: int) -> g.DeviceConnected:
    at = START + timedelta(seconds=session)
    return g.DeviceConnected(device_id, P, "a", 1, session, at, "mqtt/3.1.1", "10.0.0.7", False, "")


def replaced(device_id: str, session: int) -> g.SessionReplaced:
    at = START + timedelta(seconds=session)
    return g.SessionReplaced(device_id, P, "a", 1, session, at, "mqtt/3.1.1", "10.0.0.7", False, "", "10.0.0.8")


def offline(device_id: str, session: int) -> g.DeviceDisconnected:
    return g.DeviceDisconnected(device_id, P, "a", 1, session, "disconnected", 1, 0, 0, 0, 0)


def reported(device_id: str, version: int | None, product: int | None = P) -> g.FirmwareReported:
    return g.FirmwareReported(device_id, None, product, version, "", "", "a", 1, 1)


def events_of(device_id: str) -> st.SearchStrategy[Any]:
    attempt = (st.just(device_id), st.just(P), numbers, numbers)
    return st.one_of(
        st.just(d.DeviceImported(device_id, P, False)),
        st.just(d.DeviceRemoved(device_id, P)),
        st.builds(d.DeviceLocked, st.just(device_id), st.just(P), numbers, st.booleans()),
        st.builds(online, st.just(device_id), numbers),
        st.builds(replaced, st.just(device_id), numbers),
        st.builds(offline, st.just(device_id), numbers),
        st.builds(reported, st.just(device_id), st.none() | numbers, products),
        st.builds(g.UpdateStarted, *attempt, st.just("release"), st.just(1)),
        st.builds(
            g.FlashAsked,
            st.just(device_id),
            products.map(lambda one: one or P),
            st.just("f" * 24),
            numbers,
            st.just("0" * 64),
            st.just(1),
            st.just("a.bin"),
        ),
        st.builds(g.UpdateAdvanced, *attempt, st.just("downloading"), st.just(5)),
        st.builds(g.UpdateInterrupted, *attempt, st.just(5)),
        st.builds(g.UpdateSucceeded, *attempt),
        st.builds(g.UpdateFailed, *attempt, st.just("stalled"), st.just(""), st.just(1)),
    )


def folded(events: list[Any]) -> dict[str, Row | None]:
    rows: dict[str, Row | None] = {}
    for position, event in enumerate(events):
        recorded = Recorded(UUID(int=0), "x", "s", 0, Position(position), START, b"{}", b"{}")
        rows[event.device_id] = fold(rows.get(event.device_id), event, recorded)
    return rows


@given(st.lists(events_of(ID) | events_of(OTHER), max_size=30))
def test_every_cause_is_an_event_of_that_device_whose_type_fits(events: list[Any]):
    for device_id, row in folded(events).items():
        assert row is not None
        for name, position in (row["causes"] or {}).items():
            assert events[position].device_id == device_id
            assert isinstance(events[position], FITTING[name])


@given(st.lists(events_of(ID), min_size=1, max_size=30))
def test_the_causes_say_what_the_row_says(events: list[Any]):
    row = folded(events)[ID]
    assert row is not None
    causes = {name: events[position] for name, position in (row["causes"] or {}).items()}
    assert ("presence" in causes) == ("session" in causes) == (row["gateway"] is not None)
    if "presence" in causes:
        assert causes["session"].session == row["session"]
        assert row["online"] is not isinstance(causes["presence"], g.DeviceDisconnected)
        assert row["online"] is (causes["presence"] is causes["session"])
    if "version" in causes:
        said = (causes["version"].reported_product, causes["version"].version)
        assert said == (row["reported_product"], row["reported_version"])
    assert ("update" in causes) == (row["update_version"] is not None)
    for name in ("update", "update_started"):
        if name in causes:
            assert (causes[name].version, causes[name].attempt) == (row["update_version"], row["update_attempt"])
    if "version_update" in causes:
        assert causes["version_update"].version == row["reported_version"]


def test_five_hundred_rows_of_the_fleet_fit_into_one_statement():
    assert 500 * len(FLEET.columns) <= MAX_PARAMETERS


def test_an_import_leaves_no_cause():
    row = folded([d.DeviceImported(ID, P, False)])[ID]
    assert row is not None
    assert row["causes"] is None


def test_a_report_that_says_the_same_again_is_no_new_cause():
    row = folded([reported(ID, 1), reported(ID, 1)])[ID]
    assert row is not None
    assert row["causes"] == {"version": 0}


def test_a_version_keeps_the_update_that_brought_it_when_the_next_one_begins():
    started = g.UpdateStarted(ID, P, 2, 1, "release", 1)
    next_one = g.UpdateStarted(ID, P, 3, 1, "release", 1)
    row = folded([started, reported(ID, 2), g.UpdateSucceeded(ID, P, 2, 1), next_one])[ID]
    assert row is not None
    assert row["causes"] == {"update": 3, "update_started": 3, "version": 1, "version_update": 0}
