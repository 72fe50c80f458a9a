from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from shared.events.devices import DeviceClaimed, DeviceUnclaimed
from shared.events.gateway import DeviceConnected
from shared.events.orgs import ProductCreated

P, OTHER = 1000, 2000
A, B, C = (f"{number:024x}" for number in (10, 11, 12))
ME, ANOTHER = "1" * 24, "2" * 24


def claimed(platform: Any, device_id: str, product_id: int, owner_id: str = ME) -> None:
    platform.record(f"device-{device_id}", DeviceClaimed(device_id, product_id, owner_id))


def connected(platform: Any, device_id: str, second: int) -> None:
    at = datetime(2030, 1, 1, 0, 0, second, tzinfo=UTC)
    fact = DeviceConnected(device_id, P, "a", 1, second, at, "mqtt/3.1.1", "10.0.0.7", False, "client")
    platform.record("connection-a-2030010100", fact)


@pytest.fixture
def devices(platform: Any) -> Any:
    """A and B are mine, of two products; C is somebody else's."""
    for product_id, name in ((P, "kettle"), (OTHER, "pot")):
        made = ProductCreated(product_id, "0" * 24, "org", name.title(), name, "", "Photon", 6, "Consumer", "")
        platform.record(f"product-{product_id}", made)
    platform.call("import_lines", product_id=P, lines=[A, C])
    platform.call("import_lines", product_id=OTHER, lines=[B])
    claimed(platform, A, P)
    claimed(platform, B, OTHER)
    claimed(platform, C, P, ANOTHER)
    return platform


def listed(platform: Any, account_id: str = ME) -> list[str]:
    return [device["id"] for device in platform.call("list_own_devices", account_id=account_id)["devices"]]


def test_an_account_has_what_it_claimed_in_every_product_the_newest_connection_first(devices: Any) -> None:
    assert listed(devices) == [A, B]
    connected(devices, A, 1)
    connected(devices, B, 2)
    assert listed(devices) == [B, A]
    assert listed(devices, ANOTHER) == [C]
    assert listed(devices, "3" * 24) == []


def test_its_devices_are_shown_as_their_products_show_them(devices: Any) -> None:
    shown = devices.call("list_own_devices", account_id=ME)["devices"]
    assert shown == [
        devices.call("get_device", product_id=product_id, device_id=device_id)
        for device_id, product_id in ((A, P), (B, OTHER))
    ]
    assert [(device["product_id"], device["platform_id"], device["user_id"]) for device in shown] == [
        (P, 6, ME),
        (OTHER, 6, ME),
    ]


def test_a_device_that_is_unclaimed_or_leaves_its_product_is_nobody_s(devices: Any) -> None:
    devices.record(f"device-{A}", DeviceUnclaimed(A, P, ME))
    assert listed(devices) == [B]
    devices.call("remove_device", product_id=OTHER, device_id=B)
    assert listed(devices) == []


def test_a_name_is_found_among_the_account_s_own(devices: Any) -> None:
    for device_id, product_id, name in ((A, P, "desk"), (B, OTHER, "desk"), (C, P, "cellar")):
        devices.call("update_device", product_id=product_id, device_id=device_id, changes={"name": name})
    assert called(devices, ME, "desk") == [A, B]
    assert devices.call("find_own_devices", account_id=ME, name="desk", product_id=OTHER) == {"device_ids": [B]}
    assert called(devices, ANOTHER, "cellar") == [C]
    for account_id, name in ((ME, "cellar"), (ANOTHER, "desk"), (ME, "Desk"), (ME, ""), (ME, "de")):
        assert called(devices, account_id, name) == []


def called(devices: Any, account_id: str, name: str) -> list[str]:
    found: list[str] = devices.call("find_own_devices", account_id=account_id, name=name)["device_ids"]
    return found
