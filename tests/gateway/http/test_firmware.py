from __future__ import annotations

from base64 import b64decode
from hashlib import sha256
from typing import Any

import pytest

from services.gateway.http.firmware import MAX_MODULE_BYTES, MAX_MQTT_BYTES, attachment
from services.gateway.http.uploads import base_name
from shared.errors import NotFound, Refused

BASE = "/v1/products/thermo/firmware"
FIELDS = {"version": "7", "title": "seven"}


@pytest.fixture(autouse=True)
def answers(api: Any, world: Any) -> None:
    api.bus.answers["firmware.upload_version"] = {**world.FIRMWARE, "position": 6}
    api.bus.answers["firmware.list_versions"] = {"versions": [world.FIRMWARE]}
    api.bus.answers["firmware.release_version"] = {**world.FIRMWARE, "product_default": True, "position": 7}


def upload(api: Any, path: str = BASE, file: Any = ("firmware.bin", b"\x00\x01\xff"), **fields: Any) -> Any:
    parts: dict[str, Any] = {name: (None, value) for name, value in {**FIELDS, **fields}.items() if value is not None}
    return api.post(path, files={**parts, "file": file} if file else parts)


def stored(api: Any, content: bytes) -> str:
    writer = api.blobs.writer()
    writer.write(content)
    return str(writer.finish().sha256)


def test_a_version_is_uploaded(api: Any, world: Any) -> None:
    answer = upload(api, description="über", mandatory="false")
    assert (answer.status_code, answer.json()) == (201, world.FIRMWARE)
    assert answer.headers["X-Flotilla-Position"] == "6"
    digest = sha256(b"\x00\x01\xff").hexdigest()
    assert api.bus.last("upload_version").arguments == {
        "product_id": 1000,
        "version_width": 0,
        "version": 7,
        "title": "seven",
        "description": "über",
        "file_name": "firmware.bin",
        "sha256": digest,
        "size_bytes": 3,
        "uploaded_by": "member@example.org",
        "uploader_id": world.MEMBER,
        "signature": None,
    }
    assert api.blobs.read(digest, 0, 10) == b"\x00\x01\xff"


def test_the_file_part_may_have_either_name_and_stand_first(api: Any) -> None:
    for name in ("file", "binary"):
        files = [(name, ("x.bin", b"abc")), *((key, (None, value)) for key, value in FIELDS.items())]
        assert api.post(BASE, files=files).status_code == 201
        assert api.bus.last("upload_version").arguments["size_bytes"] == 3


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("/home/jo/fw/tracker.bin", "tracker.bin"),
        ("C:\\fw\\tracker.bin", "tracker.bin"),
        ("", "firmware.bin"),
        ("x/", "firmware.bin"),
    ],
)
def test_only_the_last_component_of_the_file_name_is_kept(api: Any, name: str, kept: str) -> None:
    body = (
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="' + name.encode() + b'"\r\n\r\nabc\r\n'
        b'--b\r\nContent-Disposition: form-data; name="version"\r\n\r\n7\r\n'
        b'--b\r\nContent-Disposition: form-data; name="title"\r\n\r\nseven\r\n--b--\r\n'
    )
    answer = api.post(BASE, content=body, headers={"Content-Type": "multipart/form-data; boundary=b"})
    assert answer.status_code == 201
    assert api.bus.last("upload_version").arguments["file_name"] == kept


def test_a_base_name_has_no_control_characters_and_255_characters_at_most() -> None:
    assert base_name("a\r\nb\x00.bin") == "ab.bin"
    assert len(base_name("x" * 300)) == 255


@pytest.mark.parametrize(
    ("device_type", "most"),
    [
        ("Core", 108 * 1024),
        ("Photon", 128 * 1024),
        ("P0", 128 * 1024),
        ("P1", 128 * 1024),
        ("Electron", 128 * 1024),
        ("mqtt", 8 * 1024 * 1024),
    ],
)
def test_the_size_of_a_file_is_limited_by_device_type(
    api: Any, world: Any, tmp_path: Any, device_type: str, most: int
) -> None:
    assert MAX_MODULE_BYTES.get(device_type, MAX_MQTT_BYTES) == most
    entry = api.directory.products["thermo"]
    api.directory.products["thermo"] = type(entry)(1000, world.OUR_ORG, "thermo", "T", device_type, 6, None)
    assert upload(api, file=("x", b"\x00" * most)).status_code == 201
    status, code, text = world.error_of(upload(api, file=("x", b"\x00" * (most + 1))))
    assert (status, code) == (413, "too_large")
    assert str(most) in text
    assert list((tmp_path / "blobs" / "unfinished").iterdir()) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"file": None},
        {"file": ("x", b"")},
        {"title": None},
        {"title": ""},
        {"version": None},
        {"version": "65535"},
        {"version": "-1"},
        {"version": "one"},
        {"version": "1.0"},
    ],
)
def test_an_upload_without_file_title_or_version_is_refused_and_leaves_nothing(
    api: Any, world: Any, tmp_path: Any, changes: Any
) -> None:
    status, code, text = world.error_of(upload(api, **changes))
    assert (status, code) == (400, "invalid_request")
    assert text.startswith(f"{next(iter(changes))}: ")
    assert [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()] == []


def test_an_upload_is_multipart(api: Any, world: Any) -> None:
    assert world.error_of(api.post(BASE, json=FIELDS))[:2] == (400, "invalid_request")


@pytest.mark.parametrize(
    "code",
    ["invalid_binary", "platform_mismatch", "product_mismatch", "version_mismatch", "version_not_incremented"],
)
def test_a_refused_upload_says_why(api: Any, world: Any, code: str) -> None:
    api.bus.answers["firmware.upload_version"] = Refused(code, "No.")
    assert world.error_of(upload(api)) == (400, code, "No.")


def test_versions_are_listed_as_an_array(api: Any, world: Any) -> None:
    assert api.get(BASE).json() == [world.FIRMWARE]


def test_a_version_is_shown(api: Any, world: Any) -> None:
    api.bus.answers["firmware.get_version"] = world.FIRMWARE
    assert api.get(f"{BASE}/7").json() == world.FIRMWARE
    assert api.bus.last("get_version").arguments == {"product_id": 1000, "version": 7}


@pytest.mark.parametrize("version", ["8", "latest", "release", "-1", "65535", "7.0", "%37%20"])
def test_a_version_that_does_not_exist_is_not_found(api: Any, world: Any, version: str) -> None:
    api.bus.answers["firmware.get_version"] = NotFound("Firmware not found.")
    for end in ("", "/binary"):
        expected = (404, "Firmware not found.", "Firmware not found.")
        assert world.error_of(api.get(f"{BASE}/{version}{end}")) == expected


def test_the_file_comes_back_unchanged(api: Any, world: Any) -> None:
    content = bytes(range(256)) * 1_000
    found = {**world.FIRMWARE, "sha256": stored(api, content), "size": len(content), "name": 'tr"ä.bin'}
    api.bus.answers["firmware.get_version"] = found
    answer = api.get(f"{BASE}/7/binary")
    assert answer.content == content
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-length"] == str(len(content))
    assert answer.headers["content-disposition"] == attachment('tr"ä.bin')
    head = api.request("HEAD", f"{BASE}/7/binary")
    assert (head.content, head.headers["content-length"]) == (b"", str(len(content)))


def test_a_file_name_is_told_in_ascii_and_where_needed_exactly() -> None:
    assert attachment("firmware.bin") == 'attachment; filename="firmware.bin"'
    expected = "attachment; filename=\"a__.bin\"; filename*=UTF-8''a%22%C3%A4.bin"
    assert attachment('a"ä.bin') == expected


def test_a_file_that_this_gateway_lost_is_no_missing_version(api: Any, world: Any) -> None:
    api.bus.answers["firmware.get_version"] = {**world.FIRMWARE, "sha256": "0" * 64}
    assert world.error_of(api.get(f"{BASE}/7/binary"))[:2] == (503, "unavailable")


@pytest.mark.parametrize(
    ("body", "default", "groups", "intelligent"),
    [
        ({"version": 7}, None, None, False),
        ({"version": "7", "groups": []}, None, [], False),
        ({"version": 7, "groups": ["lab", "hall"]}, None, ["lab", "hall"], False),
        ({"version": 7, "product_default": True, "intelligent": True}, True, None, True),
        ({"version": 7, "product_default": False, "groups": ["lab"]}, False, ["lab"], False),
    ],
)
def test_a_version_is_released(
    api: Any, world: Any, body: Any, default: bool | None, groups: Any, intelligent: bool
) -> None:
    answer = api.put(f"{BASE}/release", json=body)
    assert answer.json() == {**world.FIRMWARE, "product_default": True, "ok": True}
    assert api.bus.last("release_version").arguments == {
        "product_id": 1000,
        "version": 7,
        "product_default": default,
        "groups": groups,
        "intelligent": intelligent,
    }


def test_a_version_that_never_ran_is_not_released(api: Any, world: Any) -> None:  # FW-5
    api.bus.answers["firmware.release_version"] = Refused("firmware_not_running", "No device ran version 7 yet.")
    answer = api.put(f"{BASE}/release", json={"version": 7})
    assert world.error_of(answer) == (400, "firmware_not_running", "No device ran version 7 yet.")


def test_a_version_is_described_anew(api: Any, world: Any) -> None:  # contract 9.2
    api.bus.answers["firmware.describe_version"] = {**world.FIRMWARE, "title": "7", "position": 8}
    assert api.put(BASE + "/7", json={"title": "7", "mandatory": True}).json()["title"] == "7"
    assert api.bus.last("describe_version").arguments == {"product_id": 1000, "version": 7, "title": "7"}
    assert world.error_of(api.put(BASE + "/7", json={"title": ""}))[:2] == (400, "invalid_request")
    assert world.error_of(api.put(BASE + "/seven", json={"title": "x"}))[:2] == (404, "Firmware not found.")


@pytest.mark.parametrize("code", ["firmware_ran", "firmware_released", "firmware_in_use"])
def test_a_version_is_deleted_unless_it_has_a_history_or_a_device(api: Any, world: Any, code: str) -> None:  # FW-2
    api.bus.answers["firmware.delete_version"] = {"position": 8}
    assert api.delete(BASE + "/7").status_code == 204
    api.bus.answers["firmware.delete_version"] = Refused(code, "No.")
    assert world.error_of(api.delete(BASE + "/7", json={})) == (400, code, "No.")


@pytest.mark.parametrize(
    ("query", "default", "groups"),
    [
        ("", True, []),
        ("&action=edit_groups_for_firmware&groups=lab,%20hall", False, ["lab", "hall"]),
        ("&groups=lab&product_default=true", True, ["lab"]),
        ("&product_default=false", False, []),
    ],
)
def test_the_impact_of_a_release(api: Any, world: Any, query: str, default: bool, groups: list[str]) -> None:
    found = {"total": 3, "by_version": [{"version": 6, "total": 2}, {"version": None, "total": 1}]}
    api.bus.answers["firmware.get_version"] = world.FIRMWARE
    api.bus.answers["devices.update_impact"] = found
    answer = api.get(f"/v1/products/thermo/impact?firmware_version=7{query}")
    assert answer.json() == {"devices": {"firmware_update": found}}
    asked = {"product_id": 1000, "version": 7, "product_default": default, "groups": groups}
    assert api.bus.last("update_impact").arguments == asked


def test_the_impact_of_nothing_is_refused(api: Any, world: Any) -> None:
    api.bus.answers["firmware.get_version"] = NotFound("Firmware not found.")
    impact = "/v1/products/thermo/impact"
    for query in ("", "?firmware_version=x", "?firmware_version=7&action=other"):
        assert world.error_of(api.get(impact + query))[:2] == (400, "invalid_request")
    assert world.error_of(api.get(impact + "?firmware_version=8"))[:2] == (404, "Firmware not found.")


@pytest.mark.parametrize("part", [("kettle.sig", b"\x00\xffany"), (None, b"\x00\xffany")])
def test_the_signature_comes_as_a_part_and_is_no_second_file(api: Any, part: Any) -> None:
    parts = [("signature", part), *((name, (None, value)) for name, value in FIELDS.items())]
    assert api.post(BASE, files=[*parts, ("file", ("k.bin", b"abc"))]).status_code == 201
    asked = api.bus.last("upload_version").arguments
    assert (asked["file_name"], b64decode(asked["signature"])) == ("k.bin", b"\x00\xffany")
    assert api.post(BASE, files=[("file", ("k.bin", b"abc")), *parts]).status_code == 201
    assert api.bus.last("upload_version").arguments["signature"] == asked["signature"]


def test_signing_is_read_and_changed(api: Any, world: Any) -> None:
    key = {"id": "0" * 16, "name": "build", "public_key": "A" * 43 + "=", "added_on": "2026-03-01T12:00:00.000Z"}
    api.bus.answers["firmware.get_signing"] = {"signature_required": False, "keys": [key]}
    api.bus.answers["firmware.add_signing_key"] = {"key": key, "position": 8}
    api.bus.answers["firmware.require_signatures"] = {"signature_required": True, "position": 9}
    api.bus.answers["firmware.remove_signing_key"] = {"position": 10}
    path = "/v1/products/thermo/signing"
    assert api.get(path).json() == {"signature_required": False, "keys": [key]}
    answer = api.post(f"{path}/keys", json={"name": "build", "public_key": "A" * 43 + "="})
    assert (answer.status_code, answer.json()) == (201, key)
    assert api.put(path, json={"signature_required": "yes"}).status_code == 400
    assert api.put(path, json={"signature_required": True}).json() == {"ok": True, "signature_required": True}
    assert api.delete(f"{path}/keys/{'0' * 16}").status_code == 204
    api.bus.answers["firmware.remove_signing_key"] = NotFound("Signing key not found.")
    assert world.error_of(api.delete(f"{path}/keys/nonsense"))[:2] == (404, "not_found")


def test_a_download_that_was_cut_goes_on(api: Any, world: Any) -> None:
    content = bytes(range(256)) * 3_000
    digest = stored(api, content)
    api.bus.answers["firmware.get_version"] = {**world.FIRMWARE, "size": len(content), "sha256": digest}
    whole = api.get(f"{BASE}/7/binary")
    tag = whole.headers["etag"]
    assert (whole.status_code, whole.content, tag) == (200, content, f'"{digest}"')
    assert whole.headers["accept-ranges"] == "bytes"
    rest = api.get(f"{BASE}/7/binary", headers={"Range": "bytes=300000-", "If-Range": tag})
    assert (rest.status_code, rest.content) == (206, content[300_000:])
    assert rest.headers["content-range"] == f"bytes 300000-767999/{len(content)}"
    assert rest.headers["content-length"] == str(len(content) - 300_000)
    other = api.get(f"{BASE}/7/binary", headers={"Range": "bytes=300000-", "If-Range": '"another"'})
    assert (other.status_code, other.content) == (200, content)


def test_a_range_behind_the_end_is_refused_and_what_is_known_is_not_sent(api: Any, world: Any) -> None:
    api.bus.answers["firmware.get_version"] = {**world.FIRMWARE, "size": 5, "sha256": stored(api, b"12345")}
    answer = api.get(f"{BASE}/7/binary", headers={"Range": "bytes=5-"})
    assert world.error_of(answer)[:2] == (416, "range_not_satisfiable")
    assert answer.headers["content-range"] == "bytes */5"
    tag = api.request("HEAD", f"{BASE}/7/binary").headers["etag"]
    known = api.get(f"{BASE}/7/binary", headers={"If-None-Match": tag})
    assert (known.status_code, known.content, known.headers["etag"]) == (304, b"", tag)
