from __future__ import annotations

import json
from base64 import b64encode
from hashlib import sha256
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization as s
from cryptography.hazmat.primitives.asymmetric import ec

from services.devices.id_file import MAX_LINE_BYTES
from services.gateway.http.bodies import MAX_DISCARDED_BYTES
from services.gateway.http.imports import MAX_IMPORT_BYTES, MAX_LINE, MAX_LINES, MAX_SYNC_BYTES, lines_of
from shared.errors import NotFound, Refused

ID = "0123456789abcdef01234567"
KEY = ec.generate_private_key(ec.SECP256R1()).public_key()
REPORT = {
    "updated": 1,
    "updatedDeviceIds": [ID],
    "existingDeviceIds": [],
    "nonmemberDeviceIds": [],
    "invalidDeviceIds": ["x"],
    "keys_set": 0,
    "problems": [{"line": 2, "text": "x", "code": "malformed", "reason": "no device ID"}],
}
DEVICES = "/v1/products/thermo/devices"
IMPORTS = "/v1/products/thermo/imports"


@pytest.fixture(autouse=True)
def answers(api: Any, world: Any) -> None:
    api.bus.answers["devices.import_lines"] = {**REPORT, "position": 4}
    api.bus.answers["devices.start_import"] = {"import": world.IMPORT, "position": 5}
    api.bus.answers["devices.get_import"] = {"import": {**world.IMPORT, "state": "done"}}
    api.bus.answers["devices.import_problems"] = {
        "problems": REPORT["problems"],
        "meta": {"page": 2, "per_page": 10, "total": 11, "total_pages": 2},
    }


def test_one_device_is_imported_from_json(api: Any) -> None:
    answer = api.post(DEVICES, json={"id": ID})
    assert answer.json() == REPORT
    assert answer.headers["X-Flotilla-Position"] == "4"
    assert api.bus.last("import_lines").arguments == {"product_id": 1000, "lines": [ID], "force": False}


def test_one_device_is_imported_with_its_key_however_it_is_spelt(api: Any) -> None:
    in_base64 = b64encode(KEY.public_bytes(s.Encoding.DER, s.PublicFormat.SubjectPublicKeyInfo)).decode()
    pem = KEY.public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo).decode()
    for spelt in (in_base64, pem, f" {in_base64}\n"):
        assert api.post(DEVICES, json={"id": f" {ID}", "public_key": spelt}).json() == REPORT
        assert api.bus.last("import_lines").arguments["lines"] == [f"{ID},{in_base64}"]
    for none in (None, "", " \n"):
        assert api.post(DEVICES, json={"id": ID, "public_key": none}).json() == REPORT
        assert api.bus.last("import_lines").arguments["lines"] == [ID]
    assert api.post(DEVICES, json={"id": "no id", "public_key": pem}).json() == REPORT
    assert api.bus.last("import_lines").arguments["lines"] == ["no id"]
    assert api.post(IMPORTS, json={"id": ID, "public_key": pem}).status_code == 202
    line = f"{ID},{in_base64}".encode()
    assert api.bus.last("start_import").arguments["blob"] == sha256(line).hexdigest()


@pytest.mark.parametrize("path", [DEVICES, IMPORTS])
def test_one_device_with_a_key_that_cannot_be_used_is_not_imported(api: Any, world: Any, path: str) -> None:
    answer = api.post(path, json={"id": ID, "public_key": "bm8ga2V5"})
    assert world.error_of(answer)[:2] == (400, "invalid_key")
    assert api.bus.asked == []


def test_a_line_with_a_key_is_passed_on_as_it_is_and_whole(api: Any) -> None:
    line = f"{ID};{'A' * (MAX_LINE_BYTES - 25)}"
    assert api.post(DEVICES, files={"file": ("file", f"{line}\r\n{line}AA".encode())}).status_code == 200
    assert api.bus.last("import_lines").arguments["lines"] == [line, f"{line}AA"]
    assert MAX_LINE > MAX_LINE_BYTES


def test_one_device_is_imported_from_a_form_with_force(api: Any) -> None:
    assert api.post(DEVICES, data={"id": ID, "force": "true", "import_method": "one"}).status_code == 200
    assert api.bus.last("import_lines").arguments == {"product_id": 1000, "lines": [ID], "force": True}


def test_a_file_is_imported_whatever_its_name_and_type(api: Any) -> None:
    content = b"\xef\xbb\xbf" + f"{ID}\r\n\r\n  {ID.upper()} \nwrong ü\n".encode()
    for part in [("file", content, "application/octet-stream"), ("devices.txt", content), (None, content)]:
        assert api.post(DEVICES, files={"file": part}).json() == REPORT
        assert api.bus.last("import_lines").arguments == {
            "product_id": 1000,
            "lines": [ID, "", f"  {ID.upper()} ", "wrong ü"],
            "force": False,
        }


@pytest.mark.parametrize("force", ["true", "1"])
def test_force_may_come_before_or_behind_the_file(api: Any, force: str) -> None:
    parts = [("force", (None, force)), ("file", ("file", ID.encode()))]
    for order in (parts, parts[::-1]):
        assert api.post(DEVICES, files=order).status_code == 200
        assert api.bus.last("import_lines").arguments["force"] is True


def test_only_the_first_file_counts(api: Any) -> None:
    files = [("file", ("a", ID.encode())), ("file2", ("b", b"other"))]
    assert api.post(DEVICES, files=files).status_code == 200
    assert api.bus.last("import_lines").arguments["lines"] == [ID]


def test_a_line_of_a_megabyte_is_passed_on_shortened(api: Any) -> None:
    content = b"x" * 1_000_000 + b"\n" + ID.encode()
    assert api.post(DEVICES, files={"file": ("file", content)}).status_code == 200
    assert api.bus.last("import_lines").arguments["lines"] == ["x" * MAX_LINE, ID]


def test_up_to_10000_lines_are_imported_at_once(api: Any, world: Any) -> None:
    content = f"{ID}\n".encode() * MAX_LINES
    assert api.post(DEVICES, files={"file": ("file", content)}).status_code == 200
    assert len(api.bus.last("import_lines").arguments["lines"]) == MAX_LINES
    status, code, text = world.error_of(api.post(DEVICES, files={"file": ("file", content + b"x")}))
    assert (status, code) == (413, "too_large")
    assert "POST /v1/products/1000/imports" in text


@pytest.mark.parametrize(("pieces", "read"), [(200, 200), (2_000, (MAX_SYNC_BYTES + MAX_DISCARDED_BYTES) // 65_536)])
def test_what_is_too_large_is_read_on_for_a_while_so_that_the_answer_arrives(
    api: Any, world: Any, pieces: int, read: int
) -> None:
    arrived = 0

    async def body() -> Any:
        nonlocal arrived
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="file"\r\n\r\n'
        for _ in range(pieces):
            arrived += 1
            yield b"x" * 65_536

    answer = api.post(DEVICES, content=body(), headers={"Content-Type": "multipart/form-data; boundary=b"})
    assert world.error_of(answer)[:2] == (413, "too_large")
    assert answer.headers["connection"] == "close"
    assert read <= arrived <= read + 2


@pytest.mark.parametrize("path", [DEVICES, IMPORTS])
@pytest.mark.parametrize(
    "options",
    [
        {"json": {}},
        {"json": {"id": " "}},
        {"content": b""},
        {"files": {"file": ("file", b"\xef\xbb\xbf \r\n\n")}},
        {"files": {"force": (None, "true")}},
        {"files": {"file": ("file", b"x"), "force": (None, "maybe")}},
        {"json": {"id": 7}},
    ],
)
def test_an_import_without_any_id_is_refused_and_leaves_nothing(
    api: Any, world: Any, tmp_path: Any, path: str, options: Any
) -> None:
    assert world.error_of(api.post(path, **options))[:2] == (400, "invalid_request")
    assert api.bus.asked == []
    assert [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()] == []


def test_a_long_import_is_streamed_to_the_blobs_and_begun(api: Any, world: Any) -> None:
    content = f"{ID}\r\n".encode() * 50_000
    answer = api.post(IMPORTS, files={"file": ("file", content), "force": (None, "1")})
    assert answer.status_code == 202
    assert answer.json() == {"ok": True, "import": world.IMPORT}
    digest = sha256(content).hexdigest()
    assert api.bus.last("start_import").arguments == {
        "product_id": 1000,
        "blob": digest,
        "size_bytes": len(content),
        "force": True,
    }
    assert api.blobs.read(digest, 0, 10_000_000) == content


def test_a_single_id_may_be_imported_as_a_job_too(api: Any) -> None:
    assert api.post(IMPORTS, json={"id": ID}).status_code == 202
    assert api.bus.last("start_import").arguments["blob"] == sha256(ID.encode()).hexdigest()


def test_an_import_is_as_large_as_the_importer_takes(api: Any) -> None:
    assert MAX_IMPORT_BYTES == 256 * 1024 * 1024


def test_an_import_can_be_watched(api: Any, world: Any) -> None:
    answer = api.get(f"{IMPORTS}/{'9' * 24}").json()
    assert answer["import"]["state"] == "done"
    assert api.bus.last("get_import").arguments == {"product_id": 1000, "import_id": "9" * 24}


def test_the_problems_of_an_import_come_in_pages(api: Any) -> None:
    answer = api.get(f"{IMPORTS}/{'9' * 24}/problems", params={"page": "2", "per_page": "10"}).json()
    assert answer["problems"] == REPORT["problems"]
    assert api.bus.last("import_problems").arguments == {
        "product_id": 1000,
        "import_id": "9" * 24,
        "page": 2,
        "per_page": 10,
    }


def test_imports_are_listed_in_pages(api: Any, world: Any) -> None:
    meta = {"page": 3, "per_page": 1, "total": 3, "total_pages": 3}
    api.bus.answers["devices.list_imports"] = {"imports": [world.IMPORT], "meta": meta}
    assert api.get(IMPORTS, params={"page": "3", "per_page": "1"}).json()["imports"] == [world.IMPORT]
    assert api.bus.last("list_imports").arguments == {"product_id": 1000, "page": 3, "per_page": 1}


def test_an_import_is_cancelled_and_shown_as_it_is_then(api: Any, world: Any) -> None:
    api.bus.answers["devices.cancel_import"] = {"position": 8}
    api.bus.answers["devices.get_import"] = {"import": {**world.IMPORT, "state": "cancelling"}}
    answer = api.delete(f"{IMPORTS}/{'9' * 24}")
    assert answer.json()["import"]["state"] == "cancelling"
    assert answer.headers["X-Flotilla-Position"] == "8"
    assert api.bus.last("cancel_import").arguments == {"product_id": 1000, "import_id": "9" * 24}
    assert api.bus.last("get_import").context.after == 8
    api.bus.answers["devices.cancel_import"] = Refused("import_done", "The import is done.")
    assert world.error_of(api.delete(f"{IMPORTS}/{'9' * 24}"))[:2] == (400, "import_done")


def frames_of(written: bytes) -> tuple[str, dict[str, Any]]:
    name, data = written.decode().strip().split("\n")
    return name.removeprefix("event: "), json.loads(data.removeprefix("data: "))


def test_the_progress_of_an_import_is_told_until_its_end(api: Any, world: Any, runner: Any) -> None:
    """The newest of it: what a slow reader did not take is not told any more."""

    async def scenario() -> None:
        api.directory.advance_import(lines_done=1)
        stream = world.Stream(api, f"{IMPORTS}/{'9' * 24}/events")
        status, headers = await stream.head()
        assert (status, headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        assert await stream.write() == b":ok\n\n"
        assert frames_of(await stream.write()) == ("progress", {**world.IMPORT, "lines_done": 1})
        api.directory.advance_import(lines_done=1)
        api.directory.advance_import(lines_done=2)
        assert frames_of(await stream.write()) == ("progress", {**world.IMPORT, "lines_done": 2})
        api.directory.advance_import(lines_done=2, state="done")
        assert frames_of(await stream.write()) == ("done", {**world.IMPORT, "lines_done": 2, "state": "done"})
        assert await stream.write() == b""
        await stream.task
        assert api.directory.watchers == []
        assert api.bus.asked == []

    runner.run(scenario())


def test_only_an_import_of_the_product_is_watched(api: Any, world: Any) -> None:
    api.directory.advance_import()
    for path in (f"{IMPORTS}/{'8' * 24}", f"{IMPORTS}/latest", f"/v1/products/gadget/imports/{'9' * 24}"):
        assert world.error_of(api.get(f"{path}/events")) == (404, "not_found", "Import not found.")
    assert api.get(f"{IMPORTS}/{'9' * 24}/events", token=world.STRANGER_TOKEN).status_code == 404


@pytest.mark.parametrize("end", ["", "/problems"])
def test_an_import_that_does_not_exist_is_not_found(api: Any, world: Any, end: str) -> None:
    api.bus.answers["devices.get_import"] = NotFound("Import not found.")
    api.bus.answers["devices.import_problems"] = NotFound("Import not found.")
    for job in ("9" * 24, "latest"):
        answer = api.get(f"{IMPORTS}/{job}{end}")
        assert world.error_of(answer) == (404, "not_found", "Import not found.")


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"", []),
        (b"a", ["a"]),
        (b"a\n", ["a"]),
        (b"a\n\n", ["a", ""]),
        (b"\na\r\n b \r\n", ["", "a", " b "]),
        (b"\xef\xbb\xbfa", ["a"]),
        (b"\xff\n", ["\ufffd"]),
        ("a\u2028b".encode(), ["a\u2028b"]),
    ],
)
def test_lines_are_those_that_the_file_has(content: bytes, lines: list[str]) -> None:
    assert lines_of(content) == lines
