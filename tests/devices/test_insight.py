"""What a fleet does: errors, usage and the page of a device, over a running service. Each test has a product, or
devices, of its own."""

from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from services.devices.errors import HOUR
from services.devices.usage import USAGE
from services.gateway.http import insight_schemas as schemas
from shared.context import Context
from shared.errors import NotFound, Refused
from shared.events.devices import DeviceClaimed
from shared.events.gateway import (
    DeviceConnected,
    DeviceDisconnected,
    DeviceErred,
    DeviceUsage,
    FirmwareReported,
    UpdateFailed,
    UpdateStarted,
    UpdateSucceeded,
    UsageCounted,
)
from shared.times import iso
from tests.devices.conftest import CUSTOMER

P, OTHER, EMPTY = 1000, 2000, 5000
ADA = "a" * 24
A, B, C, D = (f"{number:024x}" for number in (10, 11, 12, 13))
STREAM = "connection-a.1-1"
SESSION = ("a", 1, 1)


def erred(device_id: str, version: int, count: int = 1, product_id: int = P, kind: str = "reset/panic") -> DeviceErred:
    return DeviceErred(device_id, product_id, kind, "panic, hard_fault", count, version, *SESSION)


def reported(device_id: str, version: int) -> FirmwareReported:
    return FirmwareReported(device_id, P, P, version, "", str(version), *SESSION)


@pytest.fixture(scope="module")
def fleet(lasting_platform: Any) -> Any:
    """A and B run version 7, C runs 8, D has not said."""
    platform = lasting_platform
    platform.call("import_lines", product_id=P, lines=[A, B, C, D])
    platform.record(STREAM, reported(A, 7), reported(B, 7), reported(C, 8))
    platform.record(STREAM, erred(A, 7), erred(B, 7, 2), erred(C, 8, 5), erred(A, 7, kind="app/dry"))
    platform.record(STREAM, UpdateFailed(A, P, 8, 1, "stalled", "", 1))
    return platform


def test_a_version_is_compared_with_the_others(fleet: Any) -> None:
    since = iso(fleet.clock.now - timedelta(minutes=1))
    rates = fleet.call("error_rates", product_id=P, since=since, version=8)
    assert rates["version"] == {"errors": 5, "devices": 1}
    assert rates["others"] == {"errors": 4, "devices": 2}
    assert fleet.call("error_rates", product_id=P, since=since, version=9)["version"] == {"errors": 0, "devices": 0}
    none = {"errors": 0, "devices": 0}
    other = fleet.call("error_rates", product_id=EMPTY, since=since, version=8)
    assert (other["version"], other["others"]) == (none, none)


def test_rates_are_of_what_is_kept_and_never_of_the_future(fleet: Any) -> None:
    long_ago = fleet.call("error_rates", product_id=P, since=iso(fleet.clock.now - timedelta(days=99)), version=8)
    assert (long_ago["since"], long_ago["version"]["errors"]) == (iso(HOUR.oldest(fleet.clock.now)), 5)
    for since in (iso(fleet.clock.now + timedelta(hours=1)), "4711", "soon"):
        with pytest.raises(Refused, match="since"):
            fleet.call("error_rates", product_id=P, since=since, version=8)


def test_errors_are_told_by_kind_by_version_and_over_time(fleet: Any) -> None:
    found = fleet.call("errors", product_id=P, step="hour", since=iso(fleet.clock.now - timedelta(days=1)))
    assert found["total"] == 10
    assert found["kinds"] == [
        {"kind": "reset/panic", "errors": 8},
        {"kind": "app/dry", "errors": 1},
        {"kind": "update/stalled", "errors": 1},
    ]
    assert found["versions"] == [{"version": 8, "errors": 6, "devices": 1}, {"version": 7, "errors": 4, "devices": 2}]
    assert len(found["course"]) == 25
    assert found["course"][-1] == {"at": iso(fleet.clock.now), "errors": 10}
    some = fleet.call("errors", product_id=P, step="day", kind="reset/panic", version=7)
    assert (some["total"], some["step"]) == (3, "day")


@pytest.mark.parametrize(
    "asked",
    [
        {"step": "year"},
        {"since": "2029-12-31T23:00:00Z", "until": "2029-12-31T22:00:00Z"},
        {"step": "ten_minutes", "since": "2029-12-01T00:00:00Z"},
        {"step": "hour", "since": "2029-12-01T00:00:00Z", "until": "2029-12-03T00:00:00Z"},
    ],
)
def test_what_makes_no_sense_of_errors_is_refused(fleet: Any, asked: Any) -> None:
    with pytest.raises(Refused):
        fleet.call("errors", product_id=P, **asked)


def test_the_devices_with_most_errors_are_told_page_by_page(fleet: Any) -> None:
    first = fleet.call("erring_devices", product_id=P, per_page=2)
    assert [(one["id"], one["errors"]) for one in first["devices"]] == [(C, 5), (A, 3)]
    assert first["devices"][1]["kinds"] == [
        {"kind": "app/dry", "errors": 1},
        {"kind": "reset/panic", "errors": 1},
        {"kind": "update/stalled", "errors": 1},
    ]
    second = fleet.call("erring_devices", product_id=P, per_page=2, after=first["meta"]["next"])
    assert [(one["id"], one["errors"]) for one in second["devices"]] == [(B, 2)]
    assert second["meta"]["next"] is None
    assert fleet.call("erring_devices", product_id=P, day="2029-12-30")["devices"] == []
    for asked in ({"day": "2029-12-01"}, {"day": "yesterday"}, {"after": "7"}, {"per_page": 1_000}):
        with pytest.raises(Refused):
            fleet.call("erring_devices", product_id=P, **asked)


def used(device_id: str, owner_id: str | None, events: int, day: str, connected_s: int = 0) -> UsageCounted:
    return UsageCounted(
        P,
        datetime.fromisoformat(day + "T00:00Z"),
        [DeviceUsage(device_id, owner_id, events, 1, 0, 1, connected_s)],
        "a",
        1,
    )


@pytest.fixture(scope="module")
def used_fleet(fleet: Any) -> Any:
    """Ada has A and B, a customer has C, D is nobody's; all but Ada's B were used."""
    for device_id, owner_id in ((A, ADA), (B, ADA), (C, CUSTOMER)):
        fleet.record(f"device-{device_id}", DeviceClaimed(device_id, P, owner_id))
    for fact in (
        used(A, ADA, 10, "2029-12-31"),
        used(A, ADA, 1, "2030-01-01", 60),
        used(C, CUSTOMER, 5, "2029-11-20"),
        used(D, None, 3, "2030-01-01"),
    ):
        fleet.record(STREAM, fact)
    return fleet


def test_usage_of_a_product_is_told_by_day(used_fleet: Any) -> None:
    found = used_fleet.call("usage", product_id=P, since="2029-12-30")
    assert [(day["day"], day["events"], day["devices"]) for day in found["days"]] == [
        ("2029-12-30", 0, None),
        ("2029-12-31", 10, 1),
        ("2030-01-01", 4, 2),
    ]
    assert found["total"] == {"events": 14, "calls": 3, "reads": 0, "sessions": 3, "connected_s": 60}
    for asked in ({"since": "2031-01-01"}, {"since": "2028-01-01"}, {"until": "tomorrow"}):
        with pytest.raises(Refused):
            used_fleet.call("usage", product_id=P, **asked)


def test_usage_of_a_device_counts_its_open_session_too(used_fleet: Any) -> None:
    connected_at = used_fleet.clock.now - timedelta(hours=1)
    about = (D, P, "a", 1, 9, connected_at, "mqtt/5.0", "192.0.2.1", True, "")
    used_fleet.record(STREAM, DeviceConnected(*about))
    used_fleet.clock.go_on(30)
    found = used_fleet.call("device_usage", product_id=P, device_id=D, since="2029-12-31")
    assert [(day["day"], day["events"], day["connected_s"]) for day in found["days"]] == [
        ("2029-12-31", 0, 0),
        ("2030-01-01", 3, 30),
    ]
    with pytest.raises(NotFound):
        used_fleet.call("device_usage", product_id=OTHER, device_id=D)


def test_usage_of_an_owner_is_told_to_the_team_of_the_product_alone(used_fleet: Any) -> None:
    found = used_fleet.call("owner_usage", product_id=P, owner_id=ADA)
    assert (found["devices"], found["total"]["events"]) == (2, 11)
    with pytest.raises(NotFound):
        used_fleet.call("owner_usage", product_id=OTHER, owner_id=ADA)


def test_customers_who_use_theirs_and_who_do_not(used_fleet: Any) -> None:
    first = used_fleet.call("using_customers", product_id=P, per_page=1)
    assert [(one["username"], one["devices"], one["last_used"]) for one in first["customers"]] == [
        ("ada@example.com", 2, "2030-01-01")
    ]
    assert first["customers"][0]["usage"]["events"] == 11
    assert first["counts"] == {"days": 30, "with_device": 2, "active": 1, "inactive": 1}
    second = used_fleet.call("using_customers", product_id=P, per_page=1, after=first["meta"]["next"])
    assert [(one["username"], one["last_used"]) for one in second["customers"]] == [
        ("customer@example.com", "2029-11-20")
    ]
    assert second["meta"]["next"] is None
    idle = used_fleet.call("using_customers", product_id=P, active=False)
    assert [one["customer_id"] for one in idle["customers"]] == [CUSTOMER]
    busy = used_fleet.call("using_customers", product_id=P, active=True, days=60)
    assert [one["owner_id"] for one in busy["customers"]] == [ADA, CUSTOMER]
    for asked in ({"days": 0}, {"per_page": 0}, {"after": "x"}, {"after": f"x.{ADA}"}):
        with pytest.raises(Refused):
            used_fleet.call("using_customers", product_id=P, **asked)


def test_the_five_questions_are_answered_at_once(used_fleet: Any) -> None:
    found = used_fleet.call("questions", product_id=P, days=2)
    assert found["devices"]["total"] == 4
    assert found["customers"] == {"days": 2, "with_device": 2, "active": 1, "inactive": 1}
    assert [day["events"] for day in found["usage"]] == [10, 4]
    assert found["versions"] == [{"version": 8, "device_count": 1}, {"version": 7, "device_count": 2}]
    assert found["errors"]["total"] == 10
    assert found["errors"]["course"] == [{"day": "2029-12-31", "errors": 0}, {"day": "2030-01-01", "errors": 10}]
    nothing = used_fleet.call("questions", product_id=EMPTY)
    assert (nothing["devices"]["total"], nothing["errors"]["total"], nothing["versions"]) == (0, 0, [])
    with pytest.raises(Refused):
        used_fleet.call("questions", product_id=P, days=91)


def test_the_figures_of_the_contract_have_usage_customers_and_errors(used_fleet: Any) -> None:
    found = used_fleet.call("statistics", product_id=P)
    assert found["customers"] == {"with_device": 2, "active": 1}
    assert found["usage"] == [
        {"day": "2030-01-01", "events": 4, "calls": 2},
        {"day": "2029-12-31", "events": 10, "calls": 1},
    ]
    assert {"kind": "reset/panic", "version": 8, "day": "2030-01-01", "count": 5} in found["errors"]


G, H = (f"{number:024x}" for number in (20, 21))
STARTED = UpdateStarted(G, OTHER, 8, 1, "release", 10)


def of_other(device_id: str, session: int, at: datetime, address: str = "192.0.2.1") -> DeviceConnected:
    return DeviceConnected(device_id, OTHER, "a", 1, session, at, "mqtt/5.0", address, True, "")


@pytest.fixture(scope="module")
def storied(lasting_platform: Any) -> Any:
    """G is in the other product, with a story; it was in P before, and H in the other product."""
    platform = lasting_platform
    platform.call("import_lines", product_id=P, lines=[G])
    platform.record(STREAM, DeviceConnected(G, P, "a", 1, 70, platform.clock.now, "mqtt/5.0", "203.0.113.9", True, ""))
    platform.call("remove_device", product_id=P, device_id=G)
    platform.call("import_lines", context=Context.new(f"account:{ADA}", "tests"), product_id=OTHER, lines=[G, H])
    platform.call("update_device", product_id=OTHER, device_id=G, changes={"name": "lamp"})
    now = platform.clock.now
    platform.record(STREAM, of_other(G, 71, now), STARTED, UpdateSucceeded(G, OTHER, 8, 1))
    platform.record(STREAM, erred(G, 8, product_id=OTHER))
    ended = DeviceDisconnected(G, OTHER, "a", 1, 71, "connection_lost", 5, 0, 0, 0, 0)
    platform.record(STREAM, ended, of_other(G, 72, now + timedelta(seconds=9), "192.0.2.2"))
    platform.call("update_device", product_id=OTHER, device_id=G, changes={"development": True})
    return platform


STORY = [
    "DevelopmentMarked",
    "DeviceConnected",
    "DeviceDisconnected",
    "DeviceErred",
    "UpdateSucceeded",
    "UpdateStarted",
    "DeviceConnected",
    "DeviceDescribed",
    "DeviceImported",
]


def test_the_timeline_has_what_the_team_decided_and_what_gateways_saw(storied: Any) -> None:
    found = storied.call("timeline", product_id=OTHER, device_id=G.upper())
    assert [event["type"] for event in found["events"]] == STORY
    assert found["events"][-1]["actor"] == "ada@example.com"
    assert found["events"][-1]["text"] == f"imported into product {OTHER} by ada@example.com (DEV-1)"
    assert found["events"][4]["data"] == {"version": 8, "attempt": 1, "reason": None}
    assert found["meta"]["next"] is None


@pytest.mark.parametrize("per_page", [1, 2, 3, 4, 8, 9, 10])
def test_pages_of_a_timeline_leave_nothing_out_and_tell_nothing_twice(storied: Any, per_page: int) -> None:
    told, after = [], None
    while True:
        page = storied.call("timeline", product_id=OTHER, device_id=G, per_page=per_page, after=after)
        told += [event["type"] for event in page["events"]]
        assert len(page["events"]) <= per_page
        after = page["meta"]["next"]
        if after is None:
            break
    assert told == STORY


def test_a_team_sees_what_happened_while_the_device_was_its_own(storied: Any) -> None:  # DEV-8
    found = storied.call("timeline", product_id=P, device_id=G)
    assert [event["type"] for event in found["events"]] == ["DeviceRemoved", "DeviceConnected", "DeviceImported"]
    assert [one["address"] for one in storied.call("list_sessions", product_id=P, device_id=G)["sessions"]] == [
        "203.0.113.9"
    ]
    for method in ("timeline", "list_sessions", "list_updates"):
        with pytest.raises(NotFound):
            storied.call(method, product_id=P, device_id=H)
        with pytest.raises(NotFound):
            storied.call(method, product_id=P, device_id="f" * 24)
    with pytest.raises(NotFound):
        storied.call("list_updates", product_id=P, device_id=G)


def test_the_updates_of_a_device_are_told_with_their_fates(storied: Any) -> None:
    [one] = storied.call("list_updates", product_id=OTHER, device_id=G)["updates"]
    assert (one["version"], one["cause"], one["state"]) == (8, "release", "succeeded")
    assert storied.call("list_updates", product_id=OTHER, device_id=H)["updates"] == []


def test_the_sessions_of_a_device_are_told_page_by_page(storied: Any) -> None:
    first = storied.call("list_sessions", product_id=OTHER, device_id=G, per_page=1)
    assert [(one["session"], one["ended"], one["address"]) for one in first["sessions"]] == [(72, None, "192.0.2.2")]
    second = storied.call("list_sessions", product_id=OTHER, device_id=G, per_page=1, after=first["meta"]["next"])
    assert [(one["session"], one["ended"], one["duration_s"]) for one in second["sessions"]] == [
        (71, "connection_lost", 5)
    ]
    assert second["meta"]["next"] is None
    assert storied.call("list_sessions", product_id=OTHER, device_id=H)["sessions"] == []
    for method, asked in (("timeline", {"after": "x"}), ("list_sessions", {"per_page": 0})):
        with pytest.raises(Refused):
            storied.call(method, product_id=OTHER, device_id=G, **asked)


def test_answers_are_those_that_the_http_contract_promises(used_fleet: Any, storied: Any) -> None:
    of_product, of_device = {"product_id": P}, {"product_id": OTHER, "device_id": G}
    for schema, method, asked in (
        (schemas.Errors, "errors", of_product),
        (schemas.ErringDevices, "erring_devices", of_product),
        (schemas.Usage, "usage", of_product),
        (schemas.UsingCustomers, "using_customers", of_product),
        (schemas.OwnerUsage, "owner_usage", {**of_product, "owner_id": ADA}),
        (schemas.Timeline, "timeline", of_device),
        (schemas.Updates, "list_updates", of_device),
        (schemas.Sessions, "list_sessions", of_device),
        (schemas.DeviceUsage, "device_usage", of_device),
    ):
        assert schema().validate(storied.call(method, **asked)) == {}
    answers = used_fleet.call("questions", product_id=P)
    counted = {**answers, "customers": {"total": 0, **answers["customers"]}}
    assert schemas.Questions().validate(counted) == {}


def test_rows_of_which_an_event_has_many_are_put_right_from_their_events(used_fleet: Any) -> None:
    used_fleet.call("usage", product_id=P)
    table = used_fleet.database.table(USAGE)
    with used_fleet.database.writing() as connection:
        connection.execute(sa.update(table).where(table.c.who == A, table.c.events == 10).values(events=999))
    assert not used_fleet.projector.verify("usage").equal
    refolded = used_fleet.projector.refold("usage")
    assert (refolded.rows, refolded.changed) == (10, 1)
    for name in ("usage", "errors", "owners", "happened"):
        assert used_fleet.projector.verify(name).equal
