"""``flotilla firmware`` and its downloads, against a gateway that breaks off."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

import deploy.firmware_command
from deploy.api import Api
from deploy.downloads import fetch
from deploy.firmware_command import app
from services.gateway.http.ranges import etag, stretch
from shared.errors import Refused, Unavailable

CONTENT = bytes(range(256)) * 1_000
FIRMWARE = {
    "version": 7,
    "title": "seven",
    "name": "kettle.bin",
    "size": len(CONTENT),
    "sha256": sha256(CONTENT).hexdigest(),
    "module": {
        "platform_id": 6,
        "dependencies": [{"function": 4, "index": 2, "version": 6}],
        "app_hash": "ab" * 32,
    },
    "signature_key": "0123456789abcdef",
    "uploaded_on": "2026-03-01T12:00:00.000Z",
    "uploaded_by": {"username": "ada@example.com"},
    "device_count": 3,
    "product_default": True,
    "groups": ["lab"],
}


@dataclass
class Gateway:
    """Serves one version; each answer breaks off after ``lasts`` bytes."""

    content: bytes = CONTENT
    lasts: int = len(CONTENT)
    asked: list[httpx.Request] = field(default_factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        request.read()
        if request.url.path.endswith("/binary"):
            return self._binary(request)
        if request.url.path.endswith("/signing"):
            return httpx.Response(200, json={"signature_required": True, "keys": []})
        if request.url.path.endswith("/firmware") and request.method == "GET":
            return httpx.Response(200, json=[FIRMWARE])
        return httpx.Response(200, json={**FIRMWARE, "warnings": ["Mind the gap."]})

    def _binary(self, request: httpx.Request) -> httpx.Response:
        tag = etag(sha256(self.content).hexdigest())
        asked, condition = request.headers.get("range"), request.headers.get("if-range")
        wanted = stretch(len(self.content), tag, asked, condition)
        assert wanted is not None
        return httpx.Response(200 if wanted.is_all else 206, content=self._pieces(wanted.first, wanted.end))

    def _pieces(self, at: int, end: int) -> Iterator[bytes]:
        yield self.content[at : min(end, at + self.lasts)]
        if end - at > self.lasts:
            raise httpx.ReadError("the connection is gone")


@pytest.fixture
def gateway() -> Gateway:
    return Gateway()


@pytest.fixture
def api(gateway: Gateway) -> Api:
    return Api("", client=httpx.Client(base_url="http://gateway", transport=httpx.MockTransport(gateway)))


def test_a_download_goes_on_where_it_was_cut(api: Api, gateway: Gateway, tmp_path: Path):
    gateway.lasts = 100_000
    told: list[int] = []
    fetch(api, 1000, FIRMWARE, tmp_path / "kettle.bin", told.append)
    assert (tmp_path / "kettle.bin").read_bytes() == CONTENT
    assert [request.headers.get("range") for request in gateway.asked] == [None, "bytes=100000-", "bytes=200000-"]
    assert told == sorted(told)
    assert told[-1] == len(CONTENT)
    assert [path.name for path in tmp_path.iterdir()] == ["kettle.bin"]


def test_one_that_gets_nowhere_is_told_and_goes_on_the_next_time(api: Api, gateway: Gateway, tmp_path: Path):
    gateway.lasts = 0
    with pytest.raises(Unavailable, match="stopped at 0 of 256000 bytes"):
        fetch(api, 1000, FIRMWARE, tmp_path / "kettle.bin")
    part = tmp_path / f".kettle.bin.{FIRMWARE['sha256'][:12]}.part"
    part.write_bytes(CONTENT[:250_000])
    gateway.lasts = len(CONTENT)
    fetch(api, 1000, FIRMWARE, tmp_path / "kettle.bin")
    assert gateway.asked[-1].headers["range"] == "bytes=250000-"
    assert (tmp_path / "kettle.bin").read_bytes() == CONTENT


def test_what_is_not_what_was_promised_is_not_kept(api: Api, gateway: Gateway, tmp_path: Path):
    gateway.content = b"x" * len(CONTENT)
    with pytest.raises(Refused) as refusal:
        fetch(api, 1000, FIRMWARE, tmp_path / "kettle.bin")
    assert refusal.value.code == "damaged"
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def run(api: Api, monkeypatch: pytest.MonkeyPatch) -> Any:
    @contextmanager
    def opened(*_: object) -> Iterator[Api]:
        yield api

    monkeypatch.setattr(deploy.firmware_command, "_api", opened)

    def ran(*words: str) -> Result:
        done = CliRunner().invoke(app, [*words, "--username", "ada@example.com", "--password", "x"])
        assert done.exit_code == 0, done.output
        return done

    return ran


def test_versions_are_listed_and_shown(run: Any):
    row = next(line for line in run("list", "1000").output.splitlines() if "seven" in line)
    assert [cell.strip() for cell in row.strip("│").split("│")] == [
        "7",
        "seven",
        "256,000",
        str(FIRMWARE["sha256"])[:12],
        "0123456789abcdef",
        "2026-03-01 12:00",
        "ada@example.com",
        "3",
        "all, lab",
    ]
    shown = run("show", "1000", "7").output.split()
    assert shown[shown.index("module.app_hash") + 2] == "ab" * 32
    assert "function 4 index 2 version 6" in " ".join(shown)


def test_a_file_is_uploaded_with_its_signature_and_warnings_are_told(run: Any, gateway: Gateway, tmp_path: Path):
    (tmp_path / "k.bin").write_bytes(CONTENT)
    (tmp_path / "k.sig").write_bytes(b"\xff" * 64)
    told = run(
        "upload", "1000", "7", str(tmp_path / "k.bin"), "--title", "seven", "--signature", str(tmp_path / "k.sig")
    )
    sent = gateway.asked[-1].content
    assert CONTENT in sent
    assert b'name="signature"; filename="signature"' in sent
    assert b"\xff" * 64 in sent
    assert "signed by 0123456789abcdef" in told.output
    assert "Mind the gap." in told.output


def test_a_file_is_downloaded_to_where_it_is_wanted(run: Any, tmp_path: Path):
    run("download", "1000", "7", "--to", str(tmp_path))
    assert (tmp_path / "kettle.bin").read_bytes() == CONTENT


def test_keys_are_changed_and_then_told(run: Any, gateway: Gateway, tmp_path: Path):
    (tmp_path / "key.pem").write_text("PEM")
    told = run("keys", "1000", "--add", str(tmp_path / "key.pem"), "--remove", "0" * 16, "--require")
    assert [(request.method, request.url.path.rpartition("/signing")[2]) for request in gateway.asked] == [
        ("POST", "/keys"),
        ("DELETE", f"/keys/{'0' * 16}"),
        ("PUT", ""),
        ("GET", ""),
    ]
    assert "signatures are required" in told.output
