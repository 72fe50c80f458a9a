from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.devices.fleet import FLEET, NEVER, fold, tally
from shared.events import devices as d
from shared.events import gateway as g
from shared.events import rollouts as r
from shared.projections.view import Row
from shared.store.port import Position, Recorded

ID = "53ff6f066667574834212367"
P = 1000
START = datetime(2030, 1, 1, tzinfo=UTC)


def at(second: int) -> datetime:
    return START + timedelta(seconds=second)


def recorded(second: int) -> Recorded:
    return Recorded(UUID(int=0), "x", "s", second, Position(second), at(second), b"{}", b"{}")


def after(*events: Any) -> Row:
    row: Row | None = None
    for second, event in enumerate(events):
        row = fold(row, event, recorded(second))
    assert row is not None
    assert set(row) == set(FLEET.columns)
    return row


def online(second: int, gateway: str = "a", session: int = 1, epoch: int = 1) -> g.DeviceConnected:
    return g.DeviceConnected(
        ID, P, gateway, epoch, session, at(second), "mqtt/3.1.1", f"10.0.0.{second}", False, "client"
    )


def offline(gateway: str = "a", session: int = 1, epoch: int = 1, reason: Any = "disconnected") -> g.DeviceDisconnected:
    return g.DeviceDisconnected(ID, P, gateway, epoch, session, reason, 1, 0, 0, 0, 0)


def reported(product: int | None = P, version: int | None = 2) -> g.FirmwareReported:
    return g.FirmwareReported(ID, None, product, version, "", "", "a", 1, 1)


IMPORTED = d.DeviceImported(ID, P, False)


def test_a_device_that_was_never_imported_has_a_row_without_a_product():
    row = after(online(1))
    assert (row["product_id"], row["online"]) == (None, True)
    assert list(tally(row)) == [("sessions", "1 a")]


def test_a_device_that_was_imported_was_never_online():
    row = after(IMPORTED)
    assert (row["online"], row["connected_at"], row["last_heard_at"]) == (False, NEVER, None)


def test_going_online_and_offline_leaves_when_and_from_where():  # DEV-7
    row = after(IMPORTED, online(1), offline())
    assert (row["online"], row["connected_at"], row["last_heard_at"]) == (False, at(1), at(2))
    assert row["last_address"] == "10.0.0.1"


def test_a_late_offline_of_an_old_session_does_not_count():  # DEV-7
    row = after(online(1, "a", 1), online(2, "b", 1), offline("a", 1))
    assert (row["online"], row["gateway"]) == (True, "b")


def test_a_late_online_of_an_old_session_does_not_count():  # DEV-7
    row = after(online(2, "b", 7), online(1, "a", 1))
    assert (row["gateway"], row["session"], row["connected_at"]) == ("b", 7, at(2))


def test_an_offline_of_the_same_session_of_another_epoch_does_not_count():
    assert after(online(1, epoch=2), offline(epoch=1))["online"]


def test_a_session_that_a_gateway_lost_was_not_heard_at_its_end():
    assert after(online(1), offline(reason="gateway_lost"))["last_heard_at"] == at(0)


sessions = st.integers(0, 5).map(lambda n: (n, "ab"[n % 2], n // 2 + 1))
facts = st.lists(st.tuples(sessions, st.booleans()), max_size=14)


@given(facts)
def test_in_any_order_of_facts_the_newest_session_alone_decides(told: list[tuple[tuple[int, str, int], bool]]):  # DEV-7
    events = [online(n, gateway, session) if up else offline(gateway, session) for (n, gateway, session), up in told]
    row = after(IMPORTED, *events)
    seen = [(index, key) for index, (key, up) in enumerate(told) if up]
    if not seen:
        assert not row["online"]
        return
    newest = max(key for _, key in seen)
    began = next(index for index, key in seen if key == newest)
    ended = any(key == newest and not up for key, up in told[began:])
    assert (row["connected_at"], row["gateway"], row["session"]) == (at(newest[0]), newest[1], newest[2])
    assert row["online"] is not ended


@given(facts, st.data())
def test_a_fact_that_is_told_again_changes_no_presence(
    told: list[tuple[tuple[int, str, int], bool]], data: st.DataObject
):
    events = [online(n, gateway, session) if up else offline(gateway, session) for (n, gateway, session), up in told]
    row = after(IMPORTED, *events)
    if events:
        row_again = fold(row, data.draw(st.sampled_from(events)), recorded(99))
        assert row_again is not None
        is_first_offline = row["online"] != row_again["online"]
        names = ("gateway", "epoch", "session", "connected_at", "last_address")
        assert [row[name] for name in names] == [row_again[name] for name in names]
        # told again behind its online, an offline that had come too early counts; nothing ever comes online by it
        assert not is_first_offline or not row_again["online"]


def test_what_changes_nothing_keeps_the_row():
    row = after(IMPORTED, online(5))
    assert fold(row, online(1), recorded(1)) is row
    assert fold(row, offline("b", 9), recorded(9)) is row
    assert fold(row, IMPORTED, recorded(9)) is row


def test_nothing_compiled_in_is_no_version():  # contract 7.1
    assert after(reported(65_535, 65_535))["shown_version"] == -1
    assert after(reported(None, None))["shown_version"] == -1
    assert after(reported(P, 65_535))["shown_version"] == 65_535


def test_flash_now_is_pending_until_the_version_is_reported():
    row = after(IMPORTED, reported(version=1), d.DeviceLocked(ID, P, 2, True))
    assert row["flash_pending"]
    for version, pending in ((1, True), (2, False)):
        done = fold(row, reported(version=version), recorded(9))
        assert done is not None
        assert done["flash_pending"] is pending


@pytest.mark.parametrize(
    ("events", "pending"),
    [
        ([reported(version=2), d.DeviceLocked(ID, P, 2, True)], False),
        ([reported(product=6, version=2), d.DeviceLocked(ID, P, 2, True)], True),
        ([d.DeviceLocked(ID, P, 2, True), d.DeviceUnlocked(ID, P)], False),
        ([d.DeviceLocked(ID, P, 2, True), d.DeviceLocked(ID, P, 3, False)], False),
        ([d.DeviceLocked(ID, P, 2, False)], False),
    ],
)
def test_flash_now_is_pending_only_for_what_the_device_does_not_run(events: list[Any], pending: bool):
    assert after(IMPORTED, *events)["flash_pending"] is pending


def test_a_removal_forgets_decisions_and_keeps_what_was_seen():  # DEV-8
    row = after(
        IMPORTED,
        online(1),
        reported(),
        d.DeviceDescribed(ID, P, "Kettle", ""),
        d.DeviceGrouped(ID, P, ["a"]),
        d.DeviceRemoved(ID, P),
    )
    assert (row["product_id"], row["name"], row["groups"]) == (None, "", [])
    assert (row["online"], row["shown_version"]) == (True, 2)
    assert list(tally(row)) == [("sessions", "1 a")]


def test_another_product_is_told_nothing_of_a_devices_time_with_the_one_before():  # DEV-8
    seen = (IMPORTED, online(1), reported(), g.UpdateFailed(ID, P, 7, 1, "device_failed", "", 3))
    moved = (d.DeviceRemoved(ID, P), d.DeviceImported(ID, P + 1, False))
    left = after(*seen, offline(), *moved)
    assert (left["product_id"], left["last_heard_at"], left["last_address"]) == (P + 1, None, None)
    assert (left["update_version"], left["update_reason"], left["update_failures"]) == (None, None, 0)
    connected = after(*seen, *moved)
    assert (connected["online"], connected["update_failures"]) == (True, 0)
    assert connected["last_address"] is not None


@pytest.mark.parametrize(
    ("events", "counted"),
    [
        ([IMPORTED], ["total"]),
        ([IMPORTED, online(1), reported()], ["online", "total", "version 2"]),
        ([IMPORTED, reported(None, 2)], ["total", "version 2"]),
        ([IMPORTED, reported(6, 2)], ["total"]),
        ([d.DeviceImported(ID, P, True), reported(6, 2)], ["total"]),
        ([d.DeviceImported(ID, P, True), reported(P, 2)], ["total", "version 2"]),
        ([IMPORTED, reported(None, None)], ["total"]),
        ([d.DeviceQuarantined(ID, P), reported()], ["quarantined", "total"]),
        ([d.DeviceQuarantined(ID, P), d.DeviceApproved(ID, P, False), reported()], ["total", "version 2"]),
        ([d.DeviceQuarantined(ID, P), d.DeviceDenied(ID, P), reported()], ["total"]),
        ([IMPORTED, d.DevelopmentMarked(ID, P, True)], ["development", "total"]),
    ],
)
def test_a_device_is_counted_by_what_it_is(events: list[Any], counted: list[str]):
    named = {f"product-{P}": "", f"product-{P}/version": "version "}
    found = [named[scope] + item for scope, item in tally(after(*events)) if scope in named]
    assert sorted(found) == counted


def update(event: type, **fields: Any) -> Any:
    return event(**{"device_id": ID, "product_id": P, "version": 3, "attempt": 1, **fields})


def test_the_fate_of_an_update_is_kept():  # FW-7
    started = update(g.UpdateStarted, cause="lock", size_bytes=1)
    half = update(g.UpdateAdvanced, state="downloading", percent=50)
    failed = update(g.UpdateFailed, reason="stalled", text="", failures=1)
    names = ("state", "percent", "failures", "reason")

    def fate(*events: Any) -> tuple[Any, ...]:
        row = after(IMPORTED, *events)
        return tuple(row[f"update_{name}"] for name in names)

    assert fate() == (None, None, 0, None)
    assert fate(started) == ("started", 0, 0, None)
    assert fate(started, half) == ("downloading", 50, 0, None)
    assert fate(started, half, update(g.UpdateInterrupted, percent=50)) == ("interrupted", 50, 0, None)
    assert fate(started, half, failed) == ("failed", 50, 1, "stalled")
    assert fate(started, failed, msgspec.structs.replace(started, attempt=2)) == ("started", 0, 1, None)
    assert fate(started, failed, msgspec.structs.replace(started, version=4)) == ("started", 0, 0, None)
    assert fate(started, failed, update(g.UpdateSucceeded)) == ("succeeded", 100, 0, None)


def test_a_lock_on_the_version_that_failed_lets_it_be_tried_again():  # FW-7
    failed = g.UpdateFailed(ID, P, 7, 1, "device_failed", "", 3)
    assert after(IMPORTED, failed)["update_failures"] == 3
    assert after(IMPORTED, failed, d.DeviceLocked(ID, P, 7, True))["update_failures"] == 0
    assert after(IMPORTED, failed, d.DeviceLocked(ID, P, 8, True))["update_failures"] == 3


def test_counters_name_each_device_once():
    counted = Counter(tally(after(IMPORTED, online(1), reported())))
    assert set(counted.values()) == {1}


def test_the_owner_is_shown_until_the_device_is_unclaimed_or_removed():  # CUS-5, DEV-8
    claimed = d.DeviceClaimed(ID, P, "a" * 24)
    assert after(IMPORTED, claimed)["owner_id"] == "a" * 24
    assert after(IMPORTED, claimed, d.DeviceUnclaimed(ID, P, "a" * 24))["owner_id"] is None
    assert after(IMPORTED, claimed, d.DeviceRemoved(ID, P))["owner_id"] is None


def test_a_device_that_flaps_is_counted_once():
    events = [event for n in range(50) for event in (online(2 * n, session=n + 1), offline(session=n + 1))]
    assert Counter(tally(after(IMPORTED, *events)))["product-1000", "online"] == 0
    late = [offline(session=n) for n in range(50)]
    row = after(IMPORTED, *events, online(200, session=99), *late, reported(P, 2), reported(P, 3), reported(P, 2))
    assert Counter(tally(row))["product-1000", "online"] == 1
    assert [item for scope, item in tally(row) if scope == "product-1000/version"] == ["2"]


def test_a_turn_is_known_until_it_ends_or_the_device_leaves_the_product():
    rollout_id, other = "a" * 24, "b" * 24
    given = r.RolloutTurnsGiven(P, rollout_id, 7, 0, [ID], [])
    assert after(IMPORTED, given)["turn"] == rollout_id
    assert after(IMPORTED, given, r.RolloutTurnsEnded(P, other, [ID], [], [], []))["turn"] == rollout_id
    assert after(IMPORTED, given, r.RolloutTurnsEnded(P, rollout_id, [], [], [ID], []))["turn"] is None
    assert after(IMPORTED, given, d.DeviceRemoved(ID, P))["turn"] is None
    assert after(IMPORTED, r.RolloutTurnsGiven(2000, rollout_id, 7, 0, [ID], []))["turn"] is None
    assert fold(None, given, recorded(1)) is None
    assert list(FLEET.keys(r.RolloutTurnsEnded(P, other, ["1"], ["2"], ["3"], ["4", "1"]))) == [
        ("1",),
        ("2",),
        ("3",),
        ("4",),
    ]


@pytest.mark.parametrize(
    ("enabled", "forced", "said"),
    [(True, False, None), (False, False, "disabled"), (False, True, "disabled_forced"), (True, True, "forced")],
)
def test_what_a_device_declares_of_updates_is_kept(enabled: bool, forced: bool, said: str | None):
    assert after(IMPORTED, g.UpdatesDeclared(ID, P, enabled, forced, "a", 1, 1))["updates_said"] == said


def test_an_attempt_keeps_what_it_is_for_and_the_next_one_has_its_own():
    started = g.UpdateStarted(ID, P, 7, 1, "rollout", 9)
    assert after(IMPORTED, started, g.UpdateAdvanced(ID, P, 7, 1, "applying", 100))["update_cause"] == "rollout"
    assert after(IMPORTED, started, g.UpdateSucceeded(ID, P, 7, 1))["update_cause"] == "rollout"
    assert after(IMPORTED, started, g.UpdateSucceeded(ID, P, 8, 2))["update_cause"] is None
    failed = g.UpdateFailed(ID, P, 8, 1, "stalled", "", 3, "lock")
    assert after(IMPORTED, started, failed)["update_cause"] == "lock"
    assert after(IMPORTED, failed, d.UpdateRetryAsked(ID, P))["update_failures"] == 0
