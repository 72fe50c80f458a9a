from __future__ import annotations

import hashlib
import struct
import zlib
from base64 import b64encode
from time import monotonic
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from shared.context import Context
from shared.errors import NotFound, Refused
from shared.events.devices import DeviceApproved, DeviceImported, DeviceQuarantined, DeviceRemoved
from shared.events.firmware import (
    FirmwareReleased,
    FirmwareReleasedToGroups,
    ReleaseWithdrawn,
    VersionDeleted,
    VersionFirstRan,
    VersionUploaded,
)
from shared.events.gateway import FirmwareReported
from shared.events.groups import GroupCreated, GroupRenamed
from shared.ids import derived_uuid

PHOTON, MQTT, CORE = 1000, 2000, 3000
ID = "53ff6f066667574834212367"


def module(product: int = PHOTON, version: int = 7, code_bytes: int = 64) -> bytes:
    """A correct module for the Photon."""
    start, length = 0x080A0000, code_bytes + 24 + 44
    prefix = struct.pack("<IIBBHHBB8x", start, start + length - 4, 0, 0, 3, 6, 5, 1)
    head = prefix + bytes(code_bytes) + struct.pack("<HHH", product, version, 0)
    body = head + hashlib.sha256(head).digest() + struct.pack("<H", 40)
    return body + struct.pack(">I", zlib.crc32(body))


def upload(platform: Any, image: bytes, version: int = 7, product_id: int = PHOTON, **given: Any) -> dict[str, Any]:
    context = given.pop("context", None)
    blob = platform.blobs.put([image])
    arguments = {
        "product_id": product_id,
        "version": version,
        "title": f"v{version}",
        "description": None,
        "file_name": "firmware.bin",
        "sha256": blob.sha256,
        "size_bytes": blob.size_bytes,
        "uploaded_by": "anna@example.com",
        "uploader_id": "a" * 24,
        **given,
    }
    answer: dict[str, Any] = platform.call("upload_version", context=context, **arguments)
    return answer


def reported(
    version: int | None, product_id: int | None = MQTT, reported_product: int | None = MQTT, device_id: str = ID
) -> FirmwareReported:
    return FirmwareReported(device_id, product_id, reported_product, version, "", "", "a", 1, 1)


def code(call: Any, *args: Any, **arguments: Any) -> str:
    with pytest.raises(Refused) as refusal:
        call(*args, **arguments)
    return refusal.value.code


def test_an_upload_is_answered_with_the_firmware_object_and_read_back(platform: Any):  # contract 9.1
    image = module()
    answer = upload(platform, image, description=" Boils. ", file_name="C:\\build\\kettle.bin")
    del answer["position"]
    assert answer == {
        "_id": derived_uuid("firmware", "1000", "7").hex[:24],
        "version": 7,
        "title": "v7",
        "description": "Boils.",
        "name": "kettle.bin",
        "size": len(image),
        "sha256": hashlib.sha256(image).hexdigest(),
        "module": {
            "platform_id": 6,
            "function": 5,
            "index": 1,
            "module_version": 3,
            "dependencies": [],
            "app_hash": image[-38:-6].hex(),
            "app_hash_right": True,
        },
        "signature": None,
        "signature_key": None,
        "uploaded_on": "2030-01-01T00:00:00.000Z",
        "updated_at": "2030-01-01T00:00:00.000Z",
        "uploaded_by": {"username": "anna@example.com"},
        "product_id": PHOTON,
        "product_default": False,
        "current": False,
        "groups": [],
        "mandatory": False,
        "device_count": 0,
        "releasable": False,
    }
    assert platform.call("get_version", product_id=PHOTON, version=7) == answer
    assert platform.call("list_versions", product_id=PHOTON) == {"versions": [answer]}


def test_versions_are_listed_from_the_highest(platform: Any):
    for version in (1, 2, 10):
        upload(platform, b"any", version, MQTT)
    listed = platform.call("list_versions", product_id=MQTT)["versions"]
    assert [firmware["version"] for firmware in listed] == [10, 2, 1]
    assert platform.call("list_versions", product_id=PHOTON) == {"versions": []}


def test_an_upload_that_is_repeated_answers_the_same(platform: Any):
    context = Context.new("account:tester", "tests")
    first = upload(platform, b"any", 1, MQTT, context=context)
    assert upload(platform, b"any", 1, MQTT, context=context) == first
    assert len(platform.events(f"firmware-{MQTT}")) == 1


@pytest.mark.parametrize(
    ("image", "given", "refused_with"),
    [
        (module(), {"title": " "}, "invalid_request"),
        (module(), {"title": "x" * 129}, "invalid_request"),
        (module(), {"title": "two\nlines"}, "invalid_request"),
        (module(), {"description": "x" * 4_001}, "invalid_request"),
        (module(), {"version": -1}, "invalid_request"),
        (module(), {"version": 65_535}, "invalid_request"),
        (module(), {"version": "7"}, "invalid_request"),
        (module(), {"file_name": "/"}, "invalid_request"),
        (module(), {"sha256": "0" * 64}, "invalid_request"),
        (module(), {"size_bytes": 1}, "invalid_request"),
        (b"", {}, "invalid_request"),
        (b"any file", {}, "invalid_binary"),
        (module()[:-1], {}, "invalid_binary"),
        (module(), {"product_id": CORE}, "platform_mismatch"),
        (module(product=1001), {}, "product_mismatch"),
        (module(version=8), {}, "version_mismatch"),
        (module(code_bytes=131_072), {}, "too_large"),
        (module(code_bytes=120_000), {"product_id": CORE}, "too_large"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_with_the_reason(  # FW-1
    platform: Any, image: bytes, given: dict[str, Any], refused_with: str
):
    assert code(upload, platform, image, **given) == refused_with
    assert platform.store.head() is None


def checked(platform: Any, image: bytes, product_id: int = PHOTON) -> Any:
    blob = platform.blobs.put([image])
    return platform.call("check_file", product_id=product_id, sha256=blob.sha256, size_bytes=blob.size_bytes)


@pytest.mark.parametrize(
    ("image", "product_id", "refused_with"),
    [
        (b"any file", PHOTON, "invalid_binary"),
        (b"", PHOTON, "invalid_request"),
        (module(), CORE, "platform_mismatch"),
        (module(product=1001), PHOTON, "product_mismatch"),
        (module(product=0xFFFF), PHOTON, "product_mismatch"),
        (module(version=0xFFFF), PHOTON, "version_mismatch"),
        (module(code_bytes=131_072), PHOTON, "too_large"),
        (module(), MQTT, "not_supported"),
    ],
)
def test_a_file_for_one_device_must_fit_its_product(  # contract 9.5
    platform: Any, image: bytes, product_id: int, refused_with: str
):
    assert code(checked, platform, image, product_id) == refused_with


def test_a_file_for_one_device_carries_a_version_and_becomes_none(platform: Any):
    assert checked(platform, module(version=9)) == {"version": 9}
    assert platform.store.head() is None
    assert platform.call("list_versions", product_id=PHOTON) == {"versions": []}


def test_a_product_of_any_other_hardware_takes_any_file(platform: Any):  # FW-1
    assert upload(platform, b"any file", 0, MQTT)["version"] == 0


def test_an_upload_for_a_product_that_does_not_exist_is_not_found(platform: Any):
    with pytest.raises(NotFound, match=r"Product not found\."):
        upload(platform, b"any", 1, 4000)


def test_numbers_rise_and_titles_are_unique(platform: Any):  # FW-1
    upload(platform, b"any", 5, MQTT)
    assert code(upload, platform, b"other", 5, MQTT, title="new") == "version_not_incremented"
    assert code(upload, platform, b"other", 6, MQTT, title="v5") == "title_taken"


@pytest.mark.parametrize("version", [1, 8, -1, 2**70])
def test_a_version_that_does_not_exist_is_not_found(platform: Any, version: int):
    upload(platform, module())
    for method in ("get_version", "release_version"):
        with pytest.raises(NotFound, match=r"Firmware not found\."):
            platform.call(method, product_id=PHOTON, version=version)


def test_an_upload_is_warned_of_versions_in_use_that_it_begins_with(platform: Any):  # MQF-10
    upload(platform, b"any", 1, MQTT)
    platform.record(f"device-{ID}", DeviceImported(ID, MQTT, False))
    platform.record("connection-a.1-1", reported(1))
    platform.wait_for_event(f"firmware-{MQTT}", VersionFirstRan)
    assert "warnings" not in upload(platform, b"any", 2, MQTT)
    [warning] = upload(platform, b"any", 12, MQTT)["warnings"]
    assert "Devices run version 1, which 12 begins with" in warning
    assert "warnings" not in upload(platform, b"any", 13, MQTT, version_width=5)


def test_a_version_is_released_once_a_device_came_back_running_it(platform: Any):  # FW-4, FW-5
    upload(platform, b"any", 1, MQTT)
    upload(platform, b"other", 2, MQTT)
    platform.record(f"device-{ID}", DeviceImported(ID, MQTT, False))
    assert code(platform.call, "release_version", product_id=MQTT, version=2) == "firmware_not_running"
    platform.record("connection-a.1-1", reported(2))
    platform.wait_for_event(f"firmware-{MQTT}", VersionFirstRan)
    shown = platform.call("get_version", product_id=MQTT, version=2)
    assert (shown["releasable"], shown["device_count"], shown["product_default"]) == (True, 1, False)
    answer = platform.call("release_version", product_id=MQTT, version=2, product_default=True, intelligent=True)
    assert (answer["product_default"], answer["current"]) == (True, True)
    assert platform.events(f"firmware-{MQTT}")[-1] == FirmwareReleased(MQTT, 2, None, True)
    assert [f["product_default"] for f in platform.call("list_versions", product_id=MQTT)["versions"]] == [True, False]


def test_a_release_is_withdrawn_and_needs_no_second_proof(platform: Any):  # contract 9.4
    upload(platform, b"any", 1, MQTT)
    platform.record(f"firmware-{MQTT}", VersionFirstRan(MQTT, 1, ID))
    platform.call("release_version", product_id=MQTT, version=1)
    answer = platform.call("release_version", product_id=MQTT, version=1, product_default=False)
    assert not answer["product_default"]
    assert platform.events(f"firmware-{MQTT}")[-1] == ReleaseWithdrawn(MQTT, 1)
    assert platform.call("release_version", product_id=MQTT, version=1)["product_default"]


def test_a_later_release_takes_the_place_of_the_earlier_one(platform: Any):  # FW-4
    for version in (1, 2):
        upload(platform, b"any", version, MQTT)
        platform.record(f"firmware-{MQTT}", VersionFirstRan(MQTT, version, ID))
        platform.call("release_version", product_id=MQTT, version=version)
    assert [f["product_default"] for f in platform.call("list_versions", product_id=MQTT)["versions"]] == [True, False]


def test_a_device_that_reported_the_version_before_its_upload_is_proof(platform: Any):  # FW-5
    platform.record(f"device-{ID}", DeviceImported(ID, MQTT, False))
    platform.record("connection-a.1-1", reported(3))
    upload(platform, b"any", 3, MQTT)
    assert platform.call("get_version", product_id=MQTT, version=3)["releasable"]
    assert platform.call("release_version", product_id=MQTT, version=3)["current"]
    kinds = [type(event) for event in platform.events(f"firmware-{MQTT}")]
    assert kinds == [VersionUploaded, VersionFirstRan, FirmwareReleased]


def test_a_device_that_does_not_count_proves_nothing_until_it_does(platform: Any):  # FW-5, DEV-4
    upload(platform, b"any", 3, MQTT)
    platform.record(f"device-{ID}", DeviceQuarantined(ID, MQTT))
    platform.record("connection-a.1-1", reported(3, product_id=None))
    assert code(platform.call, "release_version", product_id=MQTT, version=3) == "firmware_not_running"
    platform.record(f"device-{ID}", DeviceApproved(ID, MQTT, False))
    assert platform.call("release_version", product_id=MQTT, version=3)["device_count"] == 1


def test_a_forced_device_that_runs_another_products_version_proves_nothing(platform: Any):  # contract 7.4
    upload(platform, b"any", 2, MQTT)
    platform.record(f"device-{ID}", DeviceImported(ID, MQTT, True))
    platform.record("connection-a.1-1", reported(2, MQTT, 6))
    assert code(platform.call, "release_version", product_id=MQTT, version=2) == "firmware_not_running"
    assert platform.call("get_version", product_id=MQTT, version=2)["device_count"] == 0


def test_devices_are_counted_by_the_version_that_they_run(platform: Any):  # FW-2
    upload(platform, b"any", 1, MQTT)
    upload(platform, b"any", 2, MQTT)
    ids = [f"{number:024x}" for number in range(4)]
    for device_id in ids:
        platform.record(f"device-{device_id}", DeviceImported(device_id, MQTT, False))
        platform.record("connection-a.1-1", reported(1, device_id=device_id))
    platform.record("connection-a.1-1", reported(2, device_id=ids[0]))
    platform.record(f"device-{ids[1]}", DeviceRemoved(ids[1], MQTT))
    listed = platform.call("list_versions", product_id=MQTT)["versions"]
    assert [(firmware["version"], firmware["device_count"]) for firmware in listed] == [(2, 1), (1, 2)]


def test_a_version_is_described_anew(platform: Any):  # contract 9.2
    upload(platform, module())
    asked = {"product_id": PHOTON, "version": 7}
    changed = platform.call("describe_version", **asked, title=" Seven ", description="Boils.")
    assert (changed["title"], changed["description"]) == ("Seven", "Boils.")
    assert platform.call("describe_version", **asked, description="")["title"] == "Seven"
    read = platform.call("get_version", **asked)
    assert (read["title"], read["description"], read["name"]) == ("Seven", "", "firmware.bin")
    assert code(platform.call, "describe_version", **asked, title="") == "invalid_request"
    with pytest.raises(NotFound):
        platform.call("describe_version", product_id=PHOTON, version=8, title="x")


def test_a_version_that_nobody_needs_is_deleted_and_its_number_is_not_used_again(platform: Any):  # FW-2
    upload(platform, module())
    asked = {"product_id": PHOTON, "version": 7}
    platform.locked[PHOTON, 7] = 1
    assert code(platform.call, "delete_version", **asked) == "firmware_in_use"
    platform.locked.clear()
    context = Context.new("account:tester", "tests")
    first = platform.call("delete_version", context=context, **asked)
    assert platform.call("delete_version", context=context, **asked) == first
    assert platform.events("firmware-1000")[1:] == [VersionDeleted(PHOTON, 7)]
    with pytest.raises(NotFound):
        platform.call("get_version", **asked)
    assert platform.call("list_versions", product_id=PHOTON) == {"versions": []}
    assert code(upload, platform, module()) == "version_not_incremented"


def test_a_version_that_ran_before_it_was_uploaded_is_not_deleted(platform: Any):  # FW-2
    platform.record("connection-a.1-1", reported(7, PHOTON, PHOTON))
    upload(platform, module())
    assert code(platform.call, "delete_version", product_id=PHOTON, version=7) == "firmware_ran"


def groups_of(platform: Any) -> dict[int, list[str]]:
    return {one["version"]: one["groups"] for one in platform.call("list_versions", product_id=MQTT)["versions"]}


def test_versions_are_released_to_groups_and_follow_them(platform: Any):  # contract 9.4
    for version in (1, 2):
        upload(platform, b"x", version, MQTT)
        platform.record("connection-a.1-1", reported(version, device_id=f"{version:024x}"))
    asked = {"product_id": MQTT, "version": 1}
    released = platform.call("release_version", **asked, groups=["lab", "hall"])
    assert (released["groups"], released["product_default"], released["releasable"]) == (["hall", "lab"], False, True)
    platform.call("release_version", product_id=MQTT, version=2, groups=["lab"], product_default=True)
    assert groups_of(platform) == {1: ["hall"], 2: ["lab"]}
    assert platform.call("release_version", **asked, groups=[])["groups"] == []
    assert code(platform.call, "release_version", **asked, groups=["attic"]) == "invalid_request"
    platform.record("groups-2000", GroupCreated(MQTT, "den", "", ""), GroupRenamed(MQTT, "lab", "den"))
    deadline = monotonic() + 10
    while groups_of(platform) != {1: [], 2: ["den"]}:
        assert monotonic() < deadline
        platform.after = platform.store.head()


def test_a_version_that_ran_before_it_was_uploaded_is_released_to_a_group(platform: Any):  # FW-5
    platform.record("connection-a.1-1", reported(1))
    upload(platform, b"x", 1, MQTT)
    platform.call("release_version", product_id=MQTT, version=1, groups=["lab"])
    assert platform.events("firmware-2000")[-1] == FirmwareReleasedToGroups(MQTT, 1, ["lab"], [], False)


PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PEM = PRIVATE.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def signed(image: bytes) -> str:
    return b64encode(PRIVATE.sign(image)).decode()


def test_a_signature_is_checked_kept_and_shown(platform: Any):
    key = platform.call("add_signing_key", product_id=PHOTON, name=" build ", public_key=PEM)["key"]
    image = module()
    assert code(upload, platform, image, signature=signed(image + b".")) == "bad_signature"
    answer = upload(platform, image, signature=signed(image))
    assert (answer["signature"], answer["signature_key"]) == (PRIVATE.sign(image).hex(), key["id"])
    asked = platform.call("get_signing", product_id=PHOTON)
    assert asked == {"signature_required": False, "keys": [key]}
    assert (key["name"], key["added_on"]) == ("build", "2030-01-01T00:00:00.000Z")
    shown = platform.call("get_version", product_id=PHOTON, version=7)
    assert (shown["signature"], shown["signature_key"]) == (answer["signature"], key["id"])


def test_where_signatures_are_required_nothing_else_is_taken(platform: Any):
    platform.call("add_signing_key", product_id=PHOTON, name="build", public_key=PEM)
    required = platform.call("require_signatures", product_id=PHOTON, required=True)
    assert required["signature_required"]
    image = module()
    assert code(upload, platform, image) == "signature_required"
    assert code(checked, platform, image) == "signature_required"
    blob = platform.blobs.put([image])
    arguments = {"product_id": PHOTON, "sha256": blob.sha256, "size_bytes": blob.size_bytes}
    assert code(platform.call, "check_file", **arguments, signature=b64encode(bytes(64)).decode()) == "bad_signature"
    assert platform.call("check_file", **arguments, signature=signed(image)) == {"version": 7}
    assert upload(platform, image, signature=signed(image))["version"] == 7
    assert upload(platform, b"any", 1, MQTT)["signature"] is None  # another product


def test_a_wrong_hash_in_the_suffix_is_told(platform: Any):
    body = bytearray(module()[:-4])
    body[-10] ^= 1
    image = bytes(body) + struct.pack(">I", zlib.crc32(body))
    answer = upload(platform, image)
    assert not answer["module"]["app_hash_right"]
    assert len(answer["warnings"]) == 1
