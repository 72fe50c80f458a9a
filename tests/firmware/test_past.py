"""A product's firmware as it was, asked of the running service (EVT-3)."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from shared.errors import NotFound
from shared.events.orgs import AccountForgotten

PRODUCT = 2000
UPLOADER = "a" * 24
DEADLINE_S = 20.0


def ask(platform: Any, method: str, **arguments: Any) -> dict[str, Any]:
    """Ask again as long as the past is being built, as a client does."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        answer: dict[str, Any] = platform.call(method, product_id=PRODUCT, **arguments)
        if "building" not in answer:
            return answer
    raise AssertionError(f"{method} is still being built: {answer}")


def upload(platform: Any, version: int) -> str:
    """The position behind it."""
    blob = platform.blobs.put([b"\x01\x02"])
    platform.call(
        "upload_version",
        product_id=PRODUCT,
        version=version,
        title=f"v{version}",
        file_name="firmware.bin",
        sha256=blob.sha256,
        size_bytes=blob.size_bytes,
        uploaded_by="anna@example.com",
        uploader_id=UPLOADER,
    )
    return str(platform.after)


def test_versions_are_listed_as_they_were(platform: Any) -> None:
    one = upload(platform, 1)
    two = upload(platform, 2)
    first, both = (ask(platform, "list_versions", as_of=position) for position in (one, two))
    assert [version["version"] for version in first["versions"]] == [1]
    assert [version["version"] for version in both["versions"]] == [2, 1]
    assert first["as_of"]["position"] == int(one)
    assert both["versions"] == platform.call("list_versions", product_id=PRODUCT)["versions"]
    assert ask(platform, "get_version", version=1, as_of=one)["title"] == "v1"
    with pytest.raises(NotFound):
        ask(platform, "get_version", version=2, as_of=one)
    assert ask(platform, "list_versions", as_of="0")["versions"] == []


def test_the_past_forgets_whom_the_present_forgets(platform: Any, tmp_path: Path) -> None:  # EVT-5
    one = upload(platform, 1)
    before = ask(platform, "list_versions", as_of=one)["versions"][0]
    assert before["uploaded_by"] == {"username": "anna@example.com"}
    platform.record(f"account-{UPLOADER}", AccountForgotten(UPLOADER))
    now = platform.call("get_version", product_id=PRODUCT, version=1)
    after = ask(platform, "get_version", version=1, as_of=one)
    assert after["uploaded_by"] == now["uploaded_by"] != before["uploaded_by"]
    for path in (tmp_path / "views" / "past").glob("*"):
        assert b"anna@example.com" not in path.read_bytes()
