from __future__ import annotations

from base64 import b64encode
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization as s
from cryptography.hazmat.primitives.asymmetric import rsa

from services.devices import bootstrap
from shared.context import Context
from shared.errors import NotFound, Refused
from shared.events.devices import DeviceLocked, DeviceQuarantined, DeviceTokenReplaced
from shared.events.firmware import FirmwareReleased
from shared.events.gateway import DescriptionReported, DeviceConnected, FirmwareReported
from shared.events.orgs import ProductCreated
from shared.ids import digest

P, OTHER = 1000, 2000
A, B, C = (f"{number:024x}" for number in (10, 11, 12))
KEY, LONG_KEY = (
    b64encode(
        rsa.generate_private_key(65_537, bits)
        .public_key()
        .public_bytes(s.Encoding.DER, s.PublicFormat.SubjectPublicKeyInfo)
    ).decode()
    for bits in (1_024, 2_048)
)


def code(call: Any, *args: Any, **arguments: Any) -> str:
    with pytest.raises(Refused) as refusal:
        call(*args, **arguments)
    return refusal.value.code


def reported(
    device_id: str, product_id: int | None, reported_product: int | None, version: int | None = 1
) -> FirmwareReported:
    return FirmwareReported(device_id, product_id, reported_product, version, "", "", "a", 1, 1)


def connected(device_id: str, second: int = 0) -> DeviceConnected:
    at = datetime(2030, 1, 1, 0, 0, second, tzinfo=UTC)
    return DeviceConnected(device_id, P, "a", 1, second, at, "mqtt/3.1.1", "10.0.0.7", False, "client")


def product(product_id: int = P) -> ProductCreated:
    return ProductCreated(product_id, "0" * 24, "org", "Kettle", "kettle", "", "Photon", 6, "Consumer", "")


def test_the_answer_of_an_import_tells_the_fate_of_every_line(platform: Any):  # DEV-1, contract 7.3
    platform.call("import_lines", product_id=OTHER, lines=[C])
    platform.call("import_lines", product_id=P, lines=[B])
    report = platform.call("import_lines", product_id=P, lines=[f"\ufeff{A}", "", f" {A.upper()} ", B, "nope", C])
    del report["position"]
    assert report == {
        "updated": 1,
        "updatedDeviceIds": [A],
        "existingDeviceIds": [B],
        "nonmemberDeviceIds": [],
        "invalidDeviceIds": ["nope", C],
        "keys_set": 0,
        "problems": [
            {"line": 5, "text": "nope", "code": "malformed", "reason": "line 5: a device ID has 24 hex digits"},
            {
                "line": 6,
                "text": C,
                "code": "other_product",
                "reason": "line 6: the device is a member of another product",
            },
        ],
    }


def test_a_device_that_said_it_is_of_another_platform_is_refused(platform: Any):  # contract 7.3
    platform.record("product-1", product())
    platform.record("product-2", msgspec.structs.replace(product(OTHER), platform_id=65_535, device_type="mqtt"))
    for device_id, platform_id in ((A, 10), (B, 6)):
        platform.record("gateway-a", DescriptionReported(device_id, None, [], [], platform_id, None, "a", 1, 1))
    platform.call("list_devices", product_id=P)  # the views know of it
    report = platform.call("import_lines", product_id=P, lines=[A, B, C], force=True)
    assert (report["updatedDeviceIds"], report["invalidDeviceIds"]) == ([B, C], [A])
    (problem,) = report["problems"]
    assert (problem["line"], problem["code"]) == (1, "wrong_platform")
    assert platform.call("import_lines", product_id=OTHER, lines=[A])["updatedDeviceIds"] == [A]


def test_a_key_that_cannot_be_used_refuses_its_line_alone(platform: Any):  # DEV-1
    lines = [f"{A},{KEY}", f"{B},{KEY[:-8]}", f"{C};{LONG_KEY}", C]
    report = platform.call("import_lines", product_id=P, lines=lines)
    assert (report["updatedDeviceIds"], report["keys_set"]) == ([A, C], 1)
    reasons = [(one["line"], one["text"], one["code"], one["reason"]) for one in report["problems"]]
    assert reasons == [
        (2, B, "bad_key", "line 2: not a public key: neither PEM (BEGIN PUBLIC KEY) nor DER in base64"),
        (3, C, "bad_key", "line 3: devices have RSA keys with 1024 bits and the exponent 65537"),
    ]


def test_a_line_that_is_too_long_says_so(platform: Any):
    report = platform.call("import_lines", product_id=P, lines=[A, f"{B},{'x' * 600}"])
    assert [one["reason"] for one in report["problems"]] == ["line 2: the line has more than 600 bytes"]


def test_an_import_that_is_repeated_answers_the_same(platform: Any):
    context = Context.new("account:tester", "tests")
    lines = [A, f"{B},{KEY}"]
    first = platform.call("import_lines", context=context, product_id=P, lines=lines)
    assert first["keys_set"] == 1
    assert platform.call("import_lines", context=context, product_id=P, lines=lines) == first


def test_an_import_of_too_many_lines_names_the_other_call(platform: Any):
    with pytest.raises(Refused, match="/v1/products/1000/imports") as refusal:
        platform.call("import_lines", product_id=P, lines=[""] * 10_001)
    assert refusal.value.code == "too_large"


def test_an_import_without_any_id_is_refused(platform: Any):
    assert code(platform.call, "import_lines", product_id=P, lines=["", "  "]) == "invalid_request"


def test_a_member_is_shown_with_every_field_of_the_contract(platform: Any):  # contract 7.1
    platform.record("product-1000", product())
    platform.call("import_lines", product_id=P, lines=[A])
    platform.record("connection-a.1-1", connected(A), reported(A, P, P, 2))
    platform.record("firmware-1000", FirmwareReleased(P, 5, None, False))
    assert platform.call("get_device", product_id=P, device_id=A.upper()) == {
        "id": A,
        "name": None,
        "notes": None,
        "product_id": P,
        "platform_id": 6,
        "online": True,
        "connected": True,
        "last_heard": "2030-01-01T00:00:00.000Z",
        "last_handshake_at": "2030-01-01T00:00:00.000Z",
        "last_ip_address": "10.0.0.7",
        "firmware_product_id": P,
        "firmware_version": 2,
        "desired_firmware_version": None,
        "targeted_firmware_release_version": 5,
        "development": False,
        "quarantined": False,
        "denied": False,
        "groups": [],
        "owner": None,
        "functions": None,
        "variables": None,
        "status": "normal",
        "cellular": False,
        "last_app": None,
        "firmware_updates_enabled": True,
        "firmware_updates_forced": False,
        "firmware_update": None,
    }


@pytest.mark.parametrize("device_id", [B, "nonsense", ""])
def test_who_is_no_member_is_not_found_by_any_call(platform: Any, device_id: str):
    platform.call("import_lines", product_id=OTHER, lines=[B])
    for method, arguments in (
        ("get_device", {}),
        ("update_device", {"changes": {}}),
        ("update_device", {"changes": {"name": "x"}}),
        ("update_device", {"changes": {"desired_firmware_version": 3, "flash": True}}),
        ("remove_device", {}),
    ):
        with pytest.raises(NotFound, match="Device not found for this product"):
            platform.call(method, product_id=P, device_id=device_id, **arguments)


def test_a_change_answers_with_the_changed_fields_and_is_read_back(platform: Any):
    platform.call("import_lines", product_id=P, lines=[A])
    changes = {"name": " Kettle ", "notes": None, "development": True, "groups": ["b", "a", "b"]}
    answer = platform.call("update_device", product_id=P, device_id=A, changes=changes)
    del answer["position"]
    shown = {"name": "Kettle", "notes": None, "development": True, "groups": ["a", "b"]}
    assert answer == {"id": A, "updated_at": "2030-01-01T00:00:00.000Z", **shown}
    device = platform.call("get_device", product_id=P, device_id=A)
    assert {name: device[name] for name in shown} == shown


@pytest.mark.parametrize(
    "changes",
    [
        {"name": 5},
        {"name": "x" * 129},
        {"notes": "x" * 4_001},
        {"groups": "a"},
        {"groups": ["A"]},
        {"groups": ["a"] * 101},
        {"development": "yes"},
        {"desired_firmware_version": "3"},
        {"desired_firmware_version": 65_535},
        {"desired_firmware_version": True},
        {"flash": True},
        {"flash": 1, "desired_firmware_version": 3},
        {"quarantined": True},
        {"owner": "me"},
    ],
)
def test_a_change_that_makes_no_sense_is_refused_whole(platform: Any, changes: dict[str, Any]):
    platform.call("import_lines", product_id=P, lines=[A])
    wanted = {"denied": True, **changes}
    assert code(platform.call, "update_device", product_id=P, device_id=A, changes=wanted) == "invalid_request"
    assert not platform.call("get_device", product_id=P, device_id=A)["denied"]


def test_a_lock_needs_a_version_that_was_uploaded(platform: Any):  # contract 7.5
    platform.call("import_lines", product_id=P, lines=[A])
    with pytest.raises(NotFound, match=r"Firmware not found\."):
        platform.call("update_device", product_id=P, device_id=A, changes={"desired_firmware_version": 4})


def test_a_lock_on_reset_is_fine_while_the_device_is_offline(platform: Any):  # FW-3
    platform.call("import_lines", product_id=P, lines=[A])
    answer = platform.call("update_device", product_id=P, device_id=A, changes={"desired_firmware_version": 3})
    assert answer["desired_firmware_version"] == 3
    assert "flash" not in answer
    device = platform.call("get_device", product_id=P, device_id=A)
    assert (device["desired_firmware_version"], device["targeted_firmware_release_version"]) == (3, 3)
    answer = platform.call("update_device", product_id=P, device_id=A, changes={"desired_firmware_version": None})
    assert answer["desired_firmware_version"] is None
    assert platform.call("get_device", product_id=P, device_id=A)["desired_firmware_version"] is None


def test_flash_now_is_for_devices_that_are_online_and_leaves_no_lock_otherwise(platform: Any):  # FW-3
    platform.call("import_lines", product_id=P, lines=[A])
    now = {"desired_firmware_version": 3, "flash": True}
    assert code(platform.call, "update_device", product_id=P, device_id=A, changes=now) == "device_offline"
    assert platform.call("get_device", product_id=P, device_id=A)["desired_firmware_version"] is None
    platform.record("connection-a.1-1", connected(A))
    platform.call("update_device", product_id=P, device_id=A, changes=now)
    assert platform.events(f"device-{A}")[-1] == DeviceLocked(A, P, 3, True)


def test_flash_now_is_refused_where_nothing_would_be_sent_and_leaves_no_lock(platform: Any):  # FW-3, DEV-3, DEV-4
    now = {"desired_firmware_version": 3, "flash": True}
    platform.call("import_lines", product_id=P, lines=[B])
    seen = (reported(A, None, P), reported(B, None, OTHER))
    platform.record("connection-a.1-1", connected(A), connected(B), *seen)
    platform.after = platform.wait_for_event(f"device-{A}", DeviceQuarantined).position
    for device_id, refused in ((A, "device_quarantined"), (B, "product_mismatch")):
        arguments = {"product_id": P, "device_id": device_id}
        assert code(platform.call, "update_device", changes=now, **arguments) == refused
        assert platform.call("get_device", **arguments)["desired_firmware_version"] is None
    platform.call("update_device", product_id=P, device_id=A, changes={"quarantined": False, **now})
    assert platform.events(f"device-{A}")[-1] == DeviceLocked(A, P, 3, True)


def test_a_device_of_another_platform_is_not_locked(platform: Any):
    platform.record(f"product-{P}", product())
    platform.call("import_lines", product_id=P, lines=[A])
    platform.record("connection-a.1-1", DescriptionReported(A, P, [], [], 8, None, "a", 1, 1))
    lock = {"desired_firmware_version": 3}
    assert code(platform.call, "update_device", product_id=P, device_id=A, changes=lock) == "platform_mismatch"
    platform.record("connection-a.1-1", DescriptionReported(A, P, [], [], 6, None, "a", 1, 1))
    platform.call("update_device", product_id=P, device_id=A, changes=lock)


def test_a_denied_device_stays_listed_and_a_removed_one_does_not(platform: Any):  # DEV-4, DEV-8
    platform.call("import_lines", product_id=P, lines=[A, B])
    platform.call("remove_device", product_id=P, device_id=A, deny=True)
    platform.call("remove_device", product_id=P, device_id=B)
    listed = platform.call("list_devices", product_id=P)["devices"]
    assert [(device["id"], device["denied"]) for device in listed] == [(A, True)]
    assert platform.call("import_lines", product_id=OTHER, lines=[B])["updated"] == 1


def test_tokens_are_shown_once_and_stored_as_digests(platform: Any):
    platform.call("import_lines", product_id=P, lines=[A, B])
    context = Context.new("account:tester", "tests")
    tokens = platform.call("replace_tokens", context=context, product_id=P, device_ids=[A, B, A])["tokens"]
    assert [entry["id"] for entry in tokens] == [A, B]
    for entry in tokens:
        assert len(entry["token"]) == 32
        assert platform.events(f"device-{entry['id']}")[-1].token_digest == digest(entry["token"])
    again = platform.call("replace_tokens", context=context, product_id=P, device_ids=[A])["tokens"][0]["token"]
    assert platform.events(f"device-{A}")[-1] == DeviceTokenReplaced(A, P, digest(again))


def test_no_device_gets_a_token_if_one_is_no_member(platform: Any):
    platform.call("import_lines", product_id=P, lines=[A])
    with pytest.raises(NotFound):
        platform.call("replace_tokens", product_id=P, device_ids=[A, B])
    assert len(platform.events(f"device-{A}")) == 1
    assert code(platform.call, "replace_tokens", product_id=P, device_ids=[A] * 1_001) == "invalid_request"


def test_the_numbers_of_a_product_are_counted(platform: Any):
    platform.call("import_lines", product_id=P, lines=[A, B, C])
    platform.call("update_device", product_id=P, device_id=A, changes={"development": True})
    platform.record(
        "connection-a.1-1", connected(A), reported(A, P, P, 9), reported(B, P, P, 10), reported(C, None, 6, 2)
    )
    found = platform.call("statistics", product_id=P)
    assert {name: found[name] for name in ("devices", "firmware")} == {
        "devices": {"total": 3, "online": 1, "quarantined": 0, "development": 1},
        "firmware": [{"version": 10, "device_count": 1}, {"version": 9, "device_count": 1}],
    }
    assert platform.call("statistics", product_id=OTHER)["devices"]["total"] == 0


def test_a_device_that_reports_a_product_without_being_a_member_is_quarantined(platform: Any):  # DEV-4
    platform.record("connection-a.1-1", reported(A, None, P))
    platform.wait_for_event(f"device-{A}", DeviceQuarantined)
    platform.after = platform.store.head()
    device = platform.call("get_device", product_id=P, device_id=A)
    assert (device["quarantined"], device["product_id"]) == (True, P)
    assert platform.call("import_lines", product_id=P, lines=[A])["updatedDeviceIds"] == [A]
    assert not platform.call("get_device", product_id=P, device_id=A)["quarantined"]


def test_only_a_product_that_exists_and_is_not_its_own_quarantines(platform: Any):  # DEV-4
    platform.call("import_lines", product_id=OTHER, lines=[B])
    stream = "connection-a.1-1"
    platform.record(
        stream, reported(A, None, 3000), reported(A, None, 6), reported(B, None, P), reported(A, None, 65_535)
    )
    platform.record(stream, reported(C, None, P))  # handled behind the others
    platform.wait_for_event(f"device-{C}", DeviceQuarantined)
    assert [event.stream for event in platform.store.read_all(None).events if event.type == "DeviceQuarantined"] == [
        f"device-{C}"
    ]


def test_a_member_that_was_removed_is_quarantined_when_it_reports_the_product_again(platform: Any):  # DEV-4
    platform.call("import_lines", product_id=P, lines=[A])
    platform.call("remove_device", product_id=P, device_id=A)
    platform.record("connection-a.1-1", reported(A, None, P))
    platform.wait_for_event(f"device-{A}", DeviceQuarantined)


def test_the_views_are_the_same_when_they_are_built_anew(platform: Any):  # EVT-2
    platform.record("product-1000", product())
    platform.call("import_lines", product_id=P, lines=[A, B, "nope"])
    platform.call("update_device", product_id=P, device_id=A, changes={"name": "Kettle", "groups": ["a"]})
    platform.record("connection-a.1-1", connected(A, 1), reported(A, P, P, 2), connected(B, 2), connected(A, 0))
    platform.call("remove_device", product_id=P, device_id=B)
    assert platform.projector.wait_for(platform.store.head(), 5.0)
    views = bootstrap.VIEWS
    live = [platform.database.digest(view) for view in views]
    for view in views:
        platform.projector.rebuild(view.name)
    assert [platform.database.digest(view) for view in views] == live
    assert len(set(live)) > 1
