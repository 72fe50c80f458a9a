"""``flotilla blobs`` over a data folder and over a bucket."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from deploy.blobs_command import app
from shared.blobs import Blobs, open_blobs
from shared.context import Context
from shared.events.devices import ImportStarted
from shared.events.fields import Event
from shared.events.firmware import VersionDeleted, VersionUploaded
from shared.settings import Settings
from shared.store.open import open_store
from shared.store.port import ANY
from tests.keys import contracts_with_keys
from tests.s3 import bucket_server, make_bucket

TWO_DAYS = timedelta(days=2)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.load({}, data=tmp_path / "data")


@pytest.fixture
def blobs(settings: Settings) -> Blobs:
    return open_blobs(settings.blobs)


def ran(settings: Settings, *arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments, "--data", str(settings.data)], env={"COLUMNS": "200"})


def happened(settings: Settings, *events: Event) -> None:
    with closing(open_store(settings.store)) as store:
        for event in events:
            store.append("a", ANY, [contracts_with_keys().encode(event, 0, Context.new("account:a", "test"))])


def put(blobs: Blobs, settings: Settings, data: bytes, age: timedelta = TWO_DAYS) -> str:
    digest = blobs.put([data]).sha256
    at = (datetime.now(UTC) - age).timestamp()
    os.utime(settings.data / "blobs" / digest[:2] / digest, (at, at))
    return digest


def version(number: int, digest: str) -> VersionUploaded:
    return VersionUploaded(1000, number, f"v{number}", "", "k.bin", 5, digest, "anna@example.com", "a" * 24)


def test_only_what_nothing_needs_and_is_old_is_collected(settings: Settings, blobs: Blobs):
    kept, importing = put(blobs, settings, b"kept"), put(blobs, settings, b"import")
    young, nothing = put(blobs, settings, b"young", timedelta(minutes=5)), put(blobs, settings, b"nothing")
    happened(settings, version(7, kept), ImportStarted("f" * 24, 1000, importing, 6, 1, False))
    told = ran(settings, "collect")
    assert "1 blobs (0.0 MiB) would be removed with --remove, 2 older than 24 h are needed" in told.output
    assert blobs.exists(nothing)
    done = ran(settings, "collect", "--remove")
    assert nothing in done.output
    assert "1 blobs (0.0 MiB) removed, 0 stored again meanwhile" in done.output
    assert [one.sha256 for one in blobs.stored()] == sorted([kept, importing, young])


def test_what_was_deleted_a_moment_ago_is_kept(settings: Settings, blobs: Blobs):
    digest = put(blobs, settings, b"kept")
    happened(settings, version(7, digest), VersionDeleted(1000, 7))
    ran(settings, "collect", "--remove")
    assert blobs.exists(digest)


def test_what_holds_a_blob_is_listed(settings: Settings, blobs: Blobs):
    kept, nothing = put(blobs, settings, b"kept"), put(blobs, settings, b"nothing")
    happened(settings, version(7, kept))
    lines = ran(settings, "list").output.splitlines()
    [line] = [line for line in lines if kept in line]
    assert line.endswith("firmware 7 of product 1000")
    assert lines[-1] == "2 blobs (0.0 MiB), of which nothing needs 1 blobs (0.0 MiB)"
    unneeded = ran(settings, "list", "--unneeded").output
    assert nothing in unneeded
    assert kept not in unneeded


def test_what_is_damaged_or_missing_is_found(settings: Settings, blobs: Blobs):
    good = put(blobs, settings, b"good")
    happened(settings, version(7, good))
    assert (verified := ran(settings, "verify")).exit_code == 0, verified.output
    bad = put(blobs, settings, b"bad")
    (settings.data / "blobs" / bad[:2] / bad).write_bytes(b"evil")
    happened(settings, version(8, "0" * 64))
    verified = ran(settings, "verify")
    assert verified.exit_code == 1
    assert f"{bad}  is damaged" in verified.output
    assert f"{'0' * 64}  is missing: firmware 8 of product 1000" in verified.output
    assert "2 blobs read, 1 damaged, 1 missing" in verified.output


@pytest.fixture
def bucket() -> Iterator[str]:
    with bucket_server() as url:
        yield make_bucket(url, "moved")


def test_blobs_move_to_a_bucket(settings: Settings, blobs: Blobs, bucket: str, monkeypatch: pytest.MonkeyPatch):
    good, bad = put(blobs, settings, b"good" * 700_000), put(blobs, settings, b"bad")
    (settings.data / "blobs" / bad[:2] / bad).write_bytes(b"evil")
    happened(settings, version(7, good))
    monkeypatch.setenv("FLOTILLA_BLOBS", bucket)
    copied = ran(settings, "copy", settings.blobs)
    assert copied.exit_code == 1
    assert "1 copied, 0 were there already" in copied.output
    assert sha256(open_blobs(bucket).read(good, 0, 3_000_000)).hexdigest() == good
    assert "0 copied, 1 were there already" in ran(settings, "copy", settings.blobs).output
    assert ran(settings, "verify").exit_code == 0
