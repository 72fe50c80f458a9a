from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.devices import listing
from shared.errors import Refused
from shared.events.devices import DeviceClaimed
from shared.events.gateway import DeviceConnected, FirmwareReported
from tests.devices.conftest import CUSTOMER

P = 1000
IDS = [f"{number:024x}" for number in range(0xA0, 0xAA)]


def connected(device_id: str, second: int, session: int) -> DeviceConnected:
    at = datetime(2030, 1, 1, tzinfo=UTC) + timedelta(seconds=second)
    return DeviceConnected(device_id, P, "a", 1, session, at, "mqtt/3.1.1", "10.0.0.7", False, "client")


def ten_devices(platform: Any) -> Any:
    """The first four were online at different times, the first two run versions, the last one was removed."""
    platform.call("import_lines", product_id=P, lines=IDS)
    platform.call("import_lines", product_id=2000, lines=["f" * 24])
    facts: list[object] = [connected(IDS[number], 60 - number, number) for number in range(4)]
    facts += [FirmwareReported(IDS[n], P, P, 7 + n, "", "", "a", 1, n) for n in range(2)]
    platform.record("connection-a.1-1", *facts)
    for number, changes in {
        0: {"name": "Red kettle", "groups": ["a", "a_b"]},
        1: {"name": "blue KETTLE", "groups": ["axb"]},
        2: {"name": "100%", "groups": ["c"]},
        3: {"development": True},
    }.items():
        platform.call("update_device", product_id=P, device_id=IDS[number], changes=changes)
    platform.call("remove_device", product_id=P, device_id=IDS[9])
    return platform


@pytest.fixture(scope="module")
def claimed(lasting_platform: Any, fleet: Any) -> Any:
    """Also a product with two devices, one of them a customer's."""
    mine, other = (f"{number:024x}" for number in (0xC1, 0xC2))
    fleet.call("import_lines", product_id=2000, lines=[mine, other])
    fleet.record(f"device-{mine}", DeviceClaimed(mine, 2000, CUSTOMER))
    return fleet


@pytest.mark.parametrize(
    ("owner", "found"),
    [
        (CUSTOMER, 1),
        (f" {CUSTOMER} ", 1),
        ("customer@example.com", 1),
        ("nobody@example.com", 0),
        ("customer", 0),
        ("", 0),
    ],
)
def test_devices_are_found_by_the_id_or_the_name_of_their_owner(claimed: Any, owner: str, found: int):  # DEV-6
    answer = claimed.call("list_devices", product_id=2000, filters={"owner": owner})
    assert (len(answer["devices"]), answer["meta"]["total"]) == (found, found)
    assert [one["username"] for one in answer["customers"]] == ["customer@example.com"] * found


@pytest.fixture(scope="module")
def fleet(lasting_platform: Any) -> Any:
    return ten_devices(lasting_platform)


def numbers(answer: dict[str, Any]) -> list[int]:
    return [IDS.index(device["id"]) for device in answer["devices"]]


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({}, range(9)),
        ({"device_id": "A3"}, [3]),
        ({"device_id": "00a"}, range(9)),
        ({"device_id": "%"}, []),
        ({"name": "kettle"}, [0, 1]),
        ({"name": "%"}, [2]),
        ({"groups": "a"}, [0]),
        ({"groups": ["a_b"]}, [0]),
        ({"groups": "a, c"}, [0, 2]),
        ({"groups": ""}, []),
        ({"online": True}, [0, 1, 2, 3]),
        ({"online": False}, [4, 5, 6, 7, 8]),
        ({"development": True}, [3]),
        ({"quarantined": True}, []),
        ({"quarantined": False}, range(9)),
        ({"firmware_version": 8}, [1]),
        ({"owner": "anna"}, []),
        ({"online": True, "name": "kettle", "firmware_version": 7}, [0]),
        ({"name": None}, range(9)),
    ],
)
def test_a_filter_lets_through_what_it_says(fleet: Any, filters: dict[str, Any], found: Any):  # DEV-6
    answer = fleet.call("list_devices", product_id=P, filters=filters, sort="deviceId", descending=False)
    assert numbers(answer) == list(found)
    assert answer["meta"]["total"] == len(list(found))
    assert answer["customers"] == []


@pytest.mark.parametrize(
    ("query", "filters", "found"),
    [
        ('online and version < 8 and group = "a_b"', {}, [0]),
        ("online and not version = none", {}, [0, 1]),
        ("name contains kettle", {"groups": "a"}, [0]),
        ("name contains kettle", {"online": False}, []),
        ("last_heard > 1h or development", {}, [3]),
        ("last_heard < 1h", {}, [0, 1, 2, 3]),
        ("connected > 2030-01-01T00:00:59Z", {}, [0]),
        ("owner = anna@example.com", {}, []),
        (" ", {"firmware_version": 8}, [1]),
    ],
)
def test_a_query_and_filters_have_all_to_be_true(fleet: Any, query: str, filters: dict[str, Any], found: list[int]):
    asked = {"filters": filters, "query": query, "sort": "deviceId", "descending": False}
    answer = fleet.call("list_devices", product_id=P, **asked)
    assert numbers(answer) == found
    assert (answer["meta"]["total"], answer["meta"]["total_exact"]) == (len(found), True)


def test_owners_are_asked_for_by_name_in_a_query_too(claimed: Any):
    query = "owner in (customer@example.com, nobody@example.com)"
    assert len(claimed.call("list_devices", product_id=2000, query=query)["devices"]) == 1
    assert len(claimed.call("list_devices", product_id=2000, query=f"not {query}")["devices"]) == 1 + 1
    assert len(claimed.call("list_devices", product_id=2000, query=f"owner = {CUSTOMER}")["devices"]) == 1


def test_a_query_that_cannot_be_read_is_refused(fleet: Any):
    with pytest.raises(Refused, match="query, column 8: found `>`") as refusal:
        fleet.call("list_devices", product_id=P, query="online > 3")
    assert json.loads(refusal.value.detail) == {"field": "query", "column": 8}


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("deviceId", [0, 1, 2, 3, 4, 5, 6, 7, 8]),
        ("firmwareVersion", [2, 3, 4, 5, 6, 7, 8, 0, 1]),
        ("lastConnection", [4, 5, 6, 7, 8, 3, 2, 1, 0]),
    ],
)
@pytest.mark.parametrize("descending", [False, True])
def test_every_order_is_the_same_by_number_and_by_cursor(fleet: Any, sort: str, order: list[int], descending: bool):
    wanted = order[::-1] if descending else order
    query = {"product_id": P, "sort": sort, "descending": descending, "per_page": 2}
    by_number = [number for page in range(1, 6) for number in numbers(fleet.call("list_devices", page=page, **query))]
    assert by_number == wanted
    by_cursor: list[int] = []
    after = None
    while True:
        answer = fleet.call("list_devices", after=after, **query)
        by_cursor += numbers(answer)
        after = answer["meta"]["next"]
        if after is None:
            break
    assert by_cursor == wanted


def test_the_last_connection_comes_first_unless_something_else_is_asked_for(fleet: Any):
    assert numbers(fleet.call("list_devices", product_id=P, per_page=3)) == [0, 1, 2]


def test_a_page_says_where_it_stands(fleet: Any):
    meta = fleet.call("list_devices", product_id=P, per_page=4, page=3)["meta"]
    assert meta == {"page": 3, "per_page": 4, "total": 9, "total_exact": True, "total_pages": 3, "next": None}
    empty = fleet.call("list_devices", product_id=3000)["meta"]
    assert empty == {"page": 1, "per_page": 25, "total": 0, "total_exact": True, "total_pages": 1, "next": None}


def test_a_cursor_is_not_shifted_by_devices_that_come_and_go(platform: Any):  # DEV-6
    fleet = ten_devices(platform)
    query = {"product_id": P, "sort": "deviceId", "descending": False, "per_page": 3}
    first = fleet.call("list_devices", **query)
    fleet.call("remove_device", product_id=P, device_id=IDS[0])
    fleet.call("remove_device", product_id=P, device_id=IDS[2])
    fleet.call("import_lines", product_id=P, lines=["0" * 24, IDS[9]])
    second = fleet.call("list_devices", after=first["meta"]["next"], **query)
    assert numbers(second) == [3, 4, 5]


def parse(**given: Any) -> listing.Listing:
    defaults: dict[str, Any] = {"filters": {}, "sort": None, "descending": True, "page": 1, "per_page": 25}
    return listing.parse(P, **{**defaults, "after": None, "now": datetime(2030, 1, 1, tzinfo=UTC), **given})


def cursor(*parts: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode()


@pytest.mark.parametrize(
    "query",
    [
        {"sort": "color"},
        {"page": 0},
        {"page": 1_000_001},
        {"per_page": 0},
        {"per_page": 1_001},
        {"per_page": True},
        {"filters": {"color": "red"}},
        {"filters": {"online": "yes"}},
        {"filters": {"firmware_version": True}},
        {"filters": {"firmware_version": 65_536}},
        {"filters": {"name": "x" * 4_097}},
        {"filters": {"groups": ["a"] * 101}},
        {"filters": {"groups": [1]}},
        {"after": ""},
        {"after": "nonsense"},
        {"after": "é"},
        {"after": "A" * 5_000},
        {"after": cursor("connected_at-", 1)},
        {"after": cursor("connected_at-", "1", IDS[0])},
        {"after": cursor("connected_at-", 10**30, IDS[0])},
        {"after": cursor("connected_at-", -5, IDS[0])},
        {"after": cursor("connected_at-", 1, "nobody")},
        {"after": cursor("connected_at+", 1, IDS[0])},
        {"after": cursor("device_id-", IDS[0], IDS[0])},
        {"after": cursor("device_id-", 5, IDS[0]), "sort": "deviceId"},
    ],
)
def test_a_query_that_makes_no_sense_is_refused(query: dict[str, Any]):
    with pytest.raises(Refused) as refusal:
        parse(**query)
    assert refusal.value.code == "invalid_request"
