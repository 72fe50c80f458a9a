from __future__ import annotations

from typing import Any

import pytest

from shared.errors import NotFound, Refused

UPDATED = {"id": "0123456789abcdef01234567", "updated_at": "2026-03-01T12:00:00.000Z"}
META = {"page": 1, "per_page": 25, "total": 1, "total_exact": True, "total_pages": 1, "next": None}
BASE = "/v1/products/thermo/devices"
NOT_HERE = "Device not found for this product"


def answer_update(asked: Any) -> Any:
    """What the service says: the fields as they are now; it does not tell of ``flash``."""
    fields = {name: value for name, value in asked["changes"].items() if name != "flash"}
    return {**UPDATED, **fields, "position": 8}


@pytest.fixture(autouse=True)
def answers(api: Any, world: Any) -> None:
    api.bus.answers["devices.list_devices"] = {"devices": [world.DEVICE_OBJECT], "customers": [], "meta": META}
    api.bus.answers["devices.get_device"] = world.DEVICE_OBJECT
    api.bus.answers["devices.update_device"] = answer_update
    api.bus.answers["devices.remove_device"] = {"position": 9}
    api.bus.answers["devices.replace_tokens"] = lambda asked: {
        "tokens": [{"id": device_id, "token": "t" * 40} for device_id in asked["device_ids"]],
        "position": 10,
    }


def listed(api: Any, **query: str) -> Any:
    assert api.get(BASE, params=query).status_code == 200
    return api.bus.last("list_devices").arguments


def change(api: Any, **body: Any) -> Any:
    return api.put(f"{BASE}/0123456789ABCDEF01234567", json=body)


def test_without_a_query_the_list_is_the_first_page_by_last_connection(api: Any) -> None:
    assert listed(api) == {
        "product_id": 1000,
        "filters": {},
        "sort": "lastConnection",
        "descending": True,
        "page": 1,
        "per_page": 25,
        "after": None,
    }


def test_every_filter_of_the_contract_is_passed_on(api: Any) -> None:
    asked = listed(
        api,
        deviceId="89ab",
        deviceName="cellar + attic",
        groups="red,green,",
        quarantined="false",
        online="true",
        owner="jo@example.org",
        firmwareVersion="7",
        development="1",
        sortAttr="deviceId",
        sortDir="asc",
        page="3",
        per_page="1000",
        after="cursor",
    )
    assert asked == {
        "product_id": 1000,
        "filters": {
            "device_id": "89ab",
            "name": "cellar + attic",
            "groups": ["red", "green"],
            "quarantined": False,
            "online": True,
            "owner": "jo@example.org",
            "firmware_version": 7,
            "development": True,
        },
        "sort": "deviceId",
        "descending": False,
        "page": 3,
        "per_page": 1000,
        "after": "cursor",
    }


def test_per_page_has_two_spellings_and_empty_parameters_are_none(api: Any) -> None:
    asked = listed(api, perPage="7", deviceName="", groups="", nonce="5")
    assert (asked["per_page"], asked["filters"]) == (7, {})


def test_no_device_has_a_serial_number_yet(api: Any) -> None:
    answer = api.get(BASE, params={"serialNumber": "X1", "page": "2"}).json()
    assert (answer["devices"], answer["meta"]["total"], answer["meta"]["page"]) == ([], 0, 2)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("page", "0"),
        ("page", "x"),
        ("per_page", "1001"),
        ("per_page", "0"),
        ("online", "maybe"),
        ("sortAttr", "colour"),
        ("sortDir", "sideways"),
        ("firmwareVersion", "65536"),
        ("deviceName", "n" * 129),
        ("deviceName", "a\x00b"),
    ],
)
def test_a_bad_parameter_is_named(api: Any, world: Any, name: str, value: str) -> None:
    status, code, text = world.error_of(api.get(BASE, params={name: value}))
    assert (status, code) == (400, "invalid_request")
    assert text.startswith(f"{name}: ")


def test_a_device_is_read_by_its_id_in_any_case(api: Any, world: Any) -> None:
    assert api.get(f"{BASE}/0123456789ABCDEF01234567").json() == world.DEVICE_OBJECT
    assert api.bus.last("get_device").arguments == {"product_id": 1000, "device_id": world.DEVICE}


@pytest.mark.parametrize("device", ["name", "0123", "0" * 25, "..%2F..", "tokens"])
def test_what_is_no_device_id_is_not_found(api: Any, world: Any, device: str) -> None:
    assert world.error_of(api.get(f"{BASE}/{device}")) == (404, NOT_HERE, NOT_HERE)


def test_a_device_of_another_product_is_not_found(api: Any, world: Any) -> None:
    api.bus.answers["devices.get_device"] = NotFound(NOT_HERE)
    assert world.error_of(api.get(f"{BASE}/{world.DEVICE}")) == (404, NOT_HERE, NOT_HERE)


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "cellar"},
        {"name": None, "notes": "über\nall"},
        {"development": True},
        {"groups": ["red", "green"]},
        {"groups": []},
        {"desired_firmware_version": 7},
        {"desired_firmware_version": None},
        {"denied": True, "quarantined": False},
    ],
)
def test_changes_are_passed_on_and_answered(api: Any, world: Any, changes: Any) -> None:
    answer = change(api, **changes, unknown="ignored")
    assert answer.json() == {**UPDATED, **changes}
    assert answer.headers["X-Flotilla-Position"] == "8"
    assert api.bus.last("update_device").arguments == {
        "product_id": 1000,
        "device_id": world.DEVICE,
        "changes": changes,
    }


def test_flash_is_passed_on_and_not_answered(api: Any) -> None:
    assert change(api, desired_firmware_version=7, flash=True).json() == {**UPDATED, "desired_firmware_version": 7}
    assert api.bus.last("update_device").arguments["changes"] == {"desired_firmware_version": 7, "flash": True}


def test_no_flash_without_a_lock_asks_for_nothing(api: Any) -> None:
    assert change(api, desired_firmware_version=None, flash=False).status_code == 200
    assert api.bus.last("update_device").arguments["changes"] == {"desired_firmware_version": None}


def test_a_device_has_its_products_platform_even_before_the_service_knows_it(api: Any, world: Any) -> None:
    unknown = {**world.DEVICE_OBJECT, "platform_id": None}
    api.bus.answers["devices.get_device"] = unknown
    api.bus.answers["devices.list_devices"] = {"devices": [unknown], "customers": [], "meta": META}
    assert api.get(f"{BASE}/{world.DEVICE}").json()["platform_id"] == 6
    assert api.get(BASE).json()["devices"][0]["platform_id"] == 6


def test_the_word_null_unlocks_in_json_too(api: Any) -> None:
    assert change(api, desired_firmware_version="null").json()["desired_firmware_version"] is None


@pytest.mark.parametrize(
    ("form", "changes"),
    [
        ("desired_firmware_version=null", {"desired_firmware_version": None}),
        ("desired_firmware_version=7&flash=1", {"desired_firmware_version": 7, "flash": True}),
        ("groups[]=red&groups[]=green", {"groups": ["red", "green"]}),
        ("groups%5B1%5D=green&groups%5B0%5D=red", {"groups": ["red", "green"]}),
        ("name=null&development=false", {"name": None, "development": False}),
        ("name=a+b%2Bc", {"name": "a b+c"}),
    ],
)
def test_a_form_changes_as_json_does(api: Any, form: str, changes: Any) -> None:
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    assert api.put(f"{BASE}/{UPDATED['id']}", content=form, headers=kind).status_code == 200
    assert api.bus.last("update_device").arguments["changes"] == changes


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"unknown": 1},
        {"flash": True},
        {"flash": True, "desired_firmware_version": None},
        {"desired_firmware_version": 65_535},
        {"desired_firmware_version": 7.5},
        {"desired_firmware_version": True},
        {"development": "maybe"},
        {"development": None},
        {"groups": "red"},
        {"groups": ["g"] * 101},
        {"name": "n" * 129},
        {"name": "a\x00b"},
    ],
)
def test_bad_changes_are_refused(api: Any, world: Any, changes: Any) -> None:
    assert world.error_of(change(api, **changes))[:2] == (400, "invalid_request")
    assert api.bus.count("update_device") == 0


def test_flashing_a_file_is_said_to_be_unsupported(api: Any, world: Any) -> None:
    answer = api.put(f"{BASE}/{world.DEVICE}", files={"file": b"binary"})
    assert world.error_of(answer)[:2] == (400, "not_supported")


@pytest.mark.parametrize(
    ("refusal", "expected"),
    [
        (Refused("device_offline", "It is offline."), (400, "device_offline", "It is offline.")),
        (NotFound("Firmware not found."), (404, "Firmware not found.", "Firmware not found.")),
    ],
)
def test_a_refused_lock_says_why(api: Any, world: Any, refusal: Exception, expected: Any) -> None:
    api.bus.answers["devices.update_device"] = refusal
    assert world.error_of(change(api, desired_firmware_version=7, flash=True)) == expected


@pytest.mark.parametrize(("body", "deny"), [(b"", False), (b"{}", False), (b'{"deny": true}', True)])
def test_a_device_is_removed_with_or_without_a_body(api: Any, world: Any, body: bytes, deny: bool) -> None:
    answer = api.delete(f"{BASE}/{world.DEVICE}", content=body)
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["X-Flotilla-Position"] == "9"
    assert api.bus.last("remove_device").arguments == {"product_id": 1000, "device_id": world.DEVICE, "deny": deny}


def test_a_device_gets_a_token_once(api: Any, world: Any) -> None:
    answer = api.post(f"{BASE}/{world.DEVICE}/token")
    assert (answer.status_code, answer.json()) == (201, {"token": "t" * 40})
    assert answer.headers["cache-control"] == "no-store"
    assert api.bus.last("replace_tokens").arguments == {"product_id": 1000, "device_ids": [world.DEVICE]}


def test_a_device_that_connects_with_its_token_at_once_is_known_here(api: Any, world: Any) -> None:
    api.bus.answers["devices.replace_tokens"] = {"tokens": [{"id": world.DEVICE, "token": "t" * 40}], "position": 31}
    answer = api.post(f"{BASE}/{world.DEVICE}/token")
    assert answer.headers["X-Flotilla-Position"] == "31"
    assert api.directory.waited == [31]


def test_many_devices_get_tokens_at_once_each_id_one(api: Any, world: Any) -> None:
    other = "f" * 24
    answer = api.post(f"{BASE}/tokens", json={"device_ids": [world.DEVICE, other, world.DEVICE.upper()]})
    assert answer.status_code == 201
    assert answer.json() == {
        "ok": True,
        "tokens": [{"id": world.DEVICE, "token": "t" * 40}, {"id": other, "token": "t" * 40}],
    }
    assert api.bus.last("replace_tokens").arguments["device_ids"] == [world.DEVICE, other]


@pytest.mark.parametrize("ids", [[], ["f" * 24] * 1_001, ["cellar"], "f" * 24, [7], None])
def test_tokens_are_for_1_to_1000_device_ids(api: Any, world: Any, ids: Any) -> None:
    status, code, text = world.error_of(api.post(f"{BASE}/tokens", json={"device_ids": ids}))
    assert (status, code) == (400, "invalid_request")
    assert text.startswith("device_ids")


def test_what_failed_on_a_device_is_tried_again(api: Any, world: Any) -> None:  # FW-7
    api.bus.answers["devices.retry_update"] = {"position": 8}
    path = "/v1/products/thermo/devices/0123456789ABCDEF01234567/firmware/retry"
    answer = api.post(path)
    assert (answer.status_code, answer.json()) == (200, {"ok": True})
    assert api.bus.last("retry_update").arguments == {"product_id": 1000, "device_id": "0123456789abcdef01234567"}
    assert api.post(path, token=world.STRANGER_TOKEN).status_code == 404
