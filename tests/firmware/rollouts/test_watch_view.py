from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from services.firmware.rollouts.watch_view import KEPT, WATCH_VIEW, fold
from shared.events import devices as d
from shared.events import gateway as g
from shared.events.rollouts import RolloutTurnsEnded, RolloutTurnsGiven
from shared.projections.view import Row
from shared.rollouts import place
from shared.store.port import Position, Recorded

P, R, OTHER, D = 1000, "a" * 24, "b" * 24, "53ff6f066667574834212367"
NOON = datetime(2030, 1, 7, 12, tzinfo=UTC)
ASKED = g.RolloutTurnAsked(D, P, R, 0)
GIVEN = RolloutTurnsGiven(P, R, 7, 0, [D], [])
STARTED = g.UpdateStarted(D, P, 7, 1, "release", 1)
APPLYING = g.UpdateAdvanced(D, P, 7, 1, "applying", 100)
SUCCEEDED = g.UpdateSucceeded(D, P, 7, 1)


def failed(reason: Any = "device_failed") -> g.UpdateFailed:
    return g.UpdateFailed(D, P, 7, 1, reason, "", 1)


def connected(session: int = 2, gateway: str = "gw") -> g.DeviceConnected:
    return g.DeviceConnected(D, P, gateway, 1, session, NOON, "mqtt/3.1.1", "127.0.0.1", False, "x")


def gone(session: int = 1, gateway: str = "gw") -> g.DeviceDisconnected:
    return g.DeviceDisconnected(D, P, gateway, 1, session, "disconnected", 1, 0, 0, 0, 0)


def reported(version: int = 7, product: int | None = P, said: int | None = P) -> g.FirmwareReported:
    return g.FirmwareReported(D, product, said, version, "", "", "gw", 1, 2)


def ended(outcome: str) -> RolloutTurnsEnded:
    return RolloutTurnsEnded(P, R, *[[D] if outcome == one else [] for one in ("succeeded", "failed", "dark", "left")])


def after(*events: Any, row: Row | None = None, at: datetime = NOON) -> Any:
    for position, event in enumerate(events, 1):
        assert (D,) in WATCH_VIEW.keys(event)
        stream = "connection-gw.1-2030010712"
        recorded = Recorded(UUID(int=position), type(event).__name__, stream, 0, Position(position), at, b"", b"")
        row = fold(row, event, recorded)
        assert row is None or set(row) == set(WATCH_VIEW.columns)
    return row


@pytest.mark.parametrize(
    "event", [connected(), gone(), reported(), STARTED, SUCCEEDED, GIVEN, d.DeviceLocked(D, P, 5, False)]
)
def test_what_happens_to_devices_that_never_asked_is_of_no_interest(event: Any):
    assert after(event) is None


def test_a_device_waits_in_its_place_from_when_it_asks():
    row = after(ASKED)
    assert (row["waiting"], row["place"], row["turns"]) == (R, place(R, D), 0)


@pytest.mark.parametrize(
    "event",
    [
        gone(),
        connected(),
        d.DeviceLocked(D, P, 5, False),
        d.DevelopmentMarked(D, P, True),
        d.DeviceRemoved(D, P),
        d.DeviceQuarantined(D, P),
        d.DeviceDenied(D, P),
    ],
)
def test_it_waits_no_longer_when_it_goes_or_is_taken_out_and_asks_anew(event: Any):
    assert after(ASKED, event)["waiting"] is None
    assert after(ASKED, event, ASKED)["waiting"] == R


def test_what_an_older_session_or_another_gateway_says_takes_nobody_offline():
    assert after(ASKED, gone(gateway="other"))["waiting"] == R
    assert after(ASKED, GIVEN, connected(session=3), gone(session=2))["online"]


def test_leaving_the_test_group_changes_nothing():
    before = after(ASKED)
    assert after(d.DevelopmentMarked(D, P, False), row=before) == before


def test_a_turn_goes_its_way_until_the_version_is_reported():
    assert after(ASKED, GIVEN)["turning"] == R
    assert after(ASKED, GIVEN)["waiting"] is None
    assert after(ASKED, GIVEN, STARTED)["state"] == "updating"
    assert after(ASKED, GIVEN, STARTED, APPLYING, gone())["state"] == "applying"
    for told in (SUCCEEDED, reported()):
        row = after(ASKED, GIVEN, STARTED, APPLYING, gone(), connected(), told)
        assert (row["fated"], row["fate"], row["turning"]) == (R, "succeeded", None)
    done = after(ASKED, GIVEN, STARTED, SUCCEEDED, ended("succeeded"))
    assert (done["state"], done["fated"], done["away"]) == ("succeeded", None, None)


def test_who_runs_the_version_when_its_turn_comes_has_had_it():
    assert after(ASKED, reported(), GIVEN)["fate"] == "succeeded"


def test_a_failed_attempt_ends_the_turn():
    assert after(ASKED, GIVEN, STARTED, failed())["fate"] == "failed"
    assert after(ASKED, GIVEN, STARTED, failed(), SUCCEEDED)["fate"] == "failed"
    again = after(ASKED, GIVEN, STARTED, failed(), ended("failed"), ASKED)
    assert (again["waiting"], again["turns"]) == (R, 1)


def test_an_attempt_that_is_broken_off_failed_nobody():
    row = after(ASKED, GIVEN, STARTED, failed("cancelled"))
    assert (row["state"], row["fate"]) == ("leaving", None)


def test_who_leaves_before_it_applies_anything_may_come_back_to_its_turn():
    left = after(ASKED, GIVEN, STARTED, gone())
    assert (left["state"], left["turning"]) == ("leaving", R)
    assert after(ASKED, GIVEN, STARTED, gone(), connected())["state"] == "given"
    assert after(ASKED, gone(), GIVEN)["state"] == "leaving"


def test_a_device_that_was_given_up_while_away_is_lost_and_failed_if_it_comes_back_with_nothing_new():
    lost = after(ASKED, GIVEN, STARTED, APPLYING, gone(), failed("did_not_come_back"))
    assert (lost["state"], lost["fate"]) == ("lost", None)
    assert after(connected(), row=lost)["fate"] == "failed"
    assert after(connected(), reported(), row=lost)["fate"] == "succeeded"


def test_late_success_is_told():
    row = after(ASKED, GIVEN, STARTED, APPLYING, gone(), ended("dark"), connected(), reported())
    assert (row["fated"], row["fate"]) == (R, "succeeded")


def test_a_device_that_goes_dark_after_its_update_is_seen_to_be_away():
    away = after(ASKED, GIVEN, SUCCEEDED, ended("succeeded"), gone())
    assert (away["away"], away["ended"]) == (R, 4)
    assert after(connected(session=4), row=away)["away"] is None


def test_a_device_that_is_taken_out_in_its_turn_leaves_but_what_it_applies_goes_on():
    locked = d.DeviceLocked(D, P, 5, False)
    assert after(ASKED, GIVEN, locked)["state"] == "leaving"
    assert after(ASKED, GIVEN, APPLYING, locked)["state"] == "applying"
    assert after(ASKED, GIVEN, APPLYING, d.DeviceRemoved(D, P))["state"] == "leaving"
    assert after(ASKED, GIVEN, reported(5, None, 9))["state"] == "leaving"


def test_a_device_that_left_the_product_after_its_turn_is_not_missed():
    out = after(ASKED, GIVEN, SUCCEEDED, ended("succeeded"), d.DeviceRemoved(D, P), gone())
    assert (out["state"], out["away"]) == ("out", None)
    assert after(reported(), row=out)["fate"] is None


def test_other_versions_and_other_rollouts_are_not_mixed_up():
    row = after(ASKED, GIVEN)
    assert after(g.UpdateFailed(D, P, 6, 1, "device_failed", "", 1), row=row) == row
    assert after(RolloutTurnsEnded(P, OTHER, [D], [], [], []), row=row) == row
    other = after(g.RolloutTurnAsked(D, P, OTHER, 0), row=after(ended("succeeded"), row=row))
    assert (other["waiting"], other["turns"], other["state"]) == (OTHER, 0, "asked")


def test_a_row_goes_when_its_device_is_heard_of_long_after():
    done = after(ASKED, GIVEN, SUCCEEDED, ended("succeeded"))
    assert after(connected(), row=done, at=NOON + KEPT) is not None
    assert after(connected(), row=done, at=NOON + KEPT + timedelta(seconds=1)) is None
