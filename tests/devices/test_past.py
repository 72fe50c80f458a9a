"""The fleet as it was, asked of the running service (EVT-3)."""

from __future__ import annotations

import time
from typing import Any

import pytest

from services.devices import past_changes
from shared.context import Context
from shared.errors import NotFound, Refused, Unavailable
from shared.events.devices import DeviceGrouped, DeviceImported, DeviceLocked, DeviceRemoved
from shared.events.firmware import FirmwareReleased
from shared.events.gateway import DeviceConnected, DeviceDisconnected, FirmwareReported
from shared.events.orgs import ProductCreated
from shared.times import iso

P, OTHER = 1000, 2000
A, B, C = (f"{number:024x}" for number in (10, 11, 12))
DEADLINE_S = 20.0


def ask(platform: Any, method: str, **arguments: Any) -> dict[str, Any]:
    """Ask again as long as the past is being built, as a client does."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        answer: dict[str, Any] = platform.call(method, product_id=P, **arguments)
        if "building" not in answer:
            return answer
    raise AssertionError(f"{method} is still being built: {answer}")


def online(device_id: str, platform: Any, session: int = 1) -> DeviceConnected:
    return DeviceConnected(device_id, P, "a", 1, session, platform.clock(), "mqtt/3.1.1", "10.0.0.7", False, "client")


def told(platform: Any) -> dict[str, str]:
    """A little story; the moments between its parts."""
    moments = {}

    def now(name: str) -> None:
        platform.clock.go_on(5)
        moments[name] = iso(platform.clock())
        platform.clock.go_on(5)

    now("nothing")
    platform.record(
        "product-1", ProductCreated(P, "0" * 24, "org", "Kettle", "kettle", "", "Photon", 6, "Consumer", "")
    )
    platform.record(f"device-{A}", DeviceImported(A, P, False))
    platform.record(f"device-{B}", DeviceImported(B, P, False))
    now("imported")
    platform.record("firmware-1000", FirmwareReleased(P, 3, None, False))
    platform.record("connection-a", online(A, platform), FirmwareReported(A, P, P, 2, "", "", "a", 1, 1))
    platform.record(f"device-{A}", DeviceGrouped(A, P, ["lab"]))
    now("released")
    platform.record(f"device-{A}", DeviceLocked(A, P, 3, False))
    platform.record("connection-a", DeviceDisconnected(A, P, "a", 1, 1, "keepalive", 1, 2, 3, 4, 5))
    platform.record(f"device-{B}", DeviceRemoved(B, P))
    platform.record(f"device-{C}", DeviceImported(C, P, False))
    now("later")
    return moments


def test_the_fleet_is_shown_as_it_was(platform: Any) -> None:
    then = told(platform)
    listed = {name: ask(platform, "list_devices", as_of=at, sort="deviceId") for name, at in then.items()}
    assert {name: sorted(one["id"] for one in page["devices"]) for name, page in listed.items()} == {
        "nothing": [],
        "imported": [A, B],
        "released": [A, B],
        "later": [A, C],
    }
    assert listed["nothing"]["as_of"] == {"position": None, "at": None}
    targets = [ask(platform, "get_device", device_id=A, as_of=then[name]) for name in ("imported", "released", "later")]
    assert [one["targeted_firmware_release_version"] for one in targets] == [None, 3, 3]
    assert [one["desired_firmware_version"] for one in targets] == [None, None, 3]
    assert [one["online"] for one in targets] == [False, True, False]
    figures = ask(platform, "statistics", as_of=then["released"])
    assert figures["devices"] == {"total": 2, "online": 1, "quarantined": 0, "development": 0}
    assert figures["firmware"] == [{"version": 2, "device_count": 1}]
    assert figures["as_of"]["at"] < then["released"]
    assert ask(platform, "statistics", as_of=str(figures["as_of"]["position"])) == figures


def test_filters_orders_and_pages_are_those_of_the_present(platform: Any) -> None:
    then = told(platform)
    page = ask(platform, "list_devices", as_of=then["released"], sort="deviceId", descending=False, per_page=1)
    behind = ask(
        platform,
        "list_devices",
        as_of=then["released"],
        sort="deviceId",
        descending=False,
        per_page=1,
        after=page["meta"]["next"],
    )
    assert [one["id"] for one in page["devices"] + behind["devices"]] == [A, B]
    in_the_lab = ask(platform, "list_devices", as_of=then["later"], filters={"groups": ["lab"]})
    assert [one["id"] for one in in_the_lab["devices"]] == [A]
    just_heard = {"as_of": then["released"], "query": "group = lab and last_heard < 8s"}  # of that time's ages
    assert [one["id"] for one in ask(platform, "list_devices", **just_heard)["devices"]] == [A]


def test_a_device_that_was_not_there_yet_is_not_found(platform: Any) -> None:
    then = told(platform)
    for device_id, name in ((A, "nothing"), (C, "released"), (B, "later")):
        with pytest.raises(NotFound):
            ask(platform, "get_device", device_id=device_id, as_of=then[name])


def test_the_future_and_garbage_are_refused(platform: Any) -> None:
    for as_of in ("soon", "2031-01-01T00:00:00Z", "999999"):
        for method in ("list_devices", "statistics"):
            with pytest.raises(Refused) as refusal:
                ask(platform, method, as_of=as_of)
            assert refusal.value.code == "invalid_request"


def test_what_changed_between_two_moments_is_told_device_by_device(platform: Any) -> None:
    then = told(platform)
    found = ask(platform, "changes", since=then["imported"], until=then["released"])
    assert found["from"]["devices"]["online"] == 0
    assert found["to"]["devices"]["online"] == 1
    assert found["to"]["firmware"] == [{"version": 2, "device_count": 1}]
    assert found["changes"] == [
        {
            "id": A,
            "what": ["groups", "firmware_version", "online"],
            "before": {"groups": [], "firmware_version": None, "online": False},
            "after": {"groups": ["lab"], "firmware_version": 2, "online": True},
        }
    ]
    until_now = ask(platform, "changes", since=then["released"])
    assert [(one["id"], one["what"]) for one in until_now["changes"]] == [
        (A, ["desired_firmware_version", "online"]),
        (B, ["removed"]),
        (C, ["imported"]),
    ]
    now = until_now["to"]["as_of"]
    assert platform.after <= now["position"] <= platform.store.head()  # reactions may have recorded something since
    assert now["at"] is None
    assert ask(platform, "changes", since=then["released"], until=then["later"])["changes"] == until_now["changes"]
    nothing = ask(platform, "changes", since=then["released"], until=then["released"])
    assert (nothing["changes"], nothing["meta"]["next"]) == ([], None)


def test_changes_come_in_pages_of_bounded_work(platform: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(past_changes, "STRETCH", 4)
    monkeypatch.setattr(past_changes, "MAX_WALKED", 10)
    ids = [f"{number:024x}" for number in range(40)]
    context = Context.new("account:tester", "tests")
    platform.call("import_lines", context=context, product_id=P, lines=ids)
    then = str(platform.after)
    for device_id in ids[25:35]:
        platform.record(f"device-{device_id}", DeviceGrouped(device_id, P, ["lab"]))
    for device_id in ids[30:40:2]:
        platform.record(f"device-{device_id}", DeviceRemoved(device_id, P))
    changed = [*ids[25:35], ids[36], ids[38]]
    seen, sizes, after = [], [], None
    while True:
        page = ask(platform, "changes", since=then, after=after, per_page=3)
        seen += [one["id"] for one in page["changes"]]
        sizes.append(len(page["changes"]))
        after = page["meta"]["next"]
        if after is None:
            break
    assert seen == changed
    assert sizes[:3] == [0, 0, 3]
    assert max(sizes) == 3


@pytest.mark.parametrize(
    "asked",
    [
        {"since": "9", "until": "1"},
        {"since": "1", "per_page": 101},
        {"since": "1", "per_page": 0},
        {"since": "1", "after": "nothing"},
        {"since": None},
        {"since": "1", "until": "1 o'clock"},
    ],
)
def test_changes_that_make_no_sense_are_refused(platform: Any, asked: Any) -> None:
    for _ in range(3):
        platform.record(f"device-{A}", DeviceImported(A, P, False))
    with pytest.raises(Refused) as refusal:
        ask(platform, "changes", **asked)
    assert refusal.value.code == "invalid_request"


def test_a_comparison_of_a_time_and_a_position_the_wrong_way_round_is_refused(platform: Any) -> None:
    then = told(platform)
    with pytest.raises(Refused, match=r"from: .* is later than to"):
        ask(platform, "changes", since=then["later"], until="2")


def test_a_present_that_is_behind_the_past_says_so(platform: Any) -> None:
    told(platform)
    side = past_changes.Side(platform.database, {"position": 7, "at": None})
    present = past_changes.Side(platform.database, {"position": 6, "at": None})
    with pytest.raises(Unavailable, match="have not reached 7 yet"):
        past_changes.compare(side, present, past_changes.parse(P, "7", None, None, 1))


def test_the_past_outlives_the_service(platform: Any) -> None:
    then = told(platform)
    before = ask(platform, "list_devices", as_of=then["released"])
    platform.restart()
    assert platform.call("list_devices", product_id=P, as_of=then["released"]) == before
