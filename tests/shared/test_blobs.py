from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from shared.blobs import STALE_S, Blob, FileBlobs, open_blobs
from shared.errors import Refused, Unavailable


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "blobs"


@pytest.fixture
def blobs(folder: Path) -> FileBlobs:
    return FileBlobs(folder)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file() and path.name != "lock")


def test_a_blob_is_named_by_its_content(blobs: FileBlobs, folder: Path):
    data = b"a" * 70_000
    blob = blobs.put([data[:1], b"", data[1:]])
    assert blob == Blob(sha256(data).hexdigest(), len(data))
    assert blobs.size(blob.sha256) == len(data)
    assert blobs.exists(blob.sha256)
    with blobs.open(blob.sha256) as file:
        assert file.read() == data
    assert files(folder) == [blob.sha256]


def test_the_same_content_is_kept_once(blobs: FileBlobs, folder: Path):
    assert blobs.put([b"x"]) == blobs.put([b"x"])
    assert len(files(folder)) == 1


def test_a_blob_above_the_limit_leaves_nothing(blobs: FileBlobs, folder: Path):
    assert blobs.put([b"1234"], limit_bytes=4).size_bytes == 4
    with pytest.raises(Refused) as refusal:
        blobs.put([b"123", b"45"], limit_bytes=4)
    assert refusal.value.code == "too_large"
    assert len(files(folder)) == 1


def test_a_source_that_fails_leaves_nothing(blobs: FileBlobs, folder: Path):
    def broken() -> Iterator[bytes]:
        yield b"some"
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        blobs.put(broken())
    assert files(folder) == []


def test_a_writer_that_is_given_up_leaves_nothing(blobs: FileBlobs, folder: Path):
    writer = blobs.writer()
    writer.write(b"ab")
    writer.abort()
    writer.abort()
    assert files(folder) == []


def test_what_a_crash_left_is_removed_after_a_day(folder: Path):
    first = FileBlobs(folder)
    old, young = first.writer(), first.writer()
    leftovers = sorted((folder / "unfinished").iterdir())
    os.utime(leftovers[0], (0, os.stat(leftovers[0]).st_mtime - STALE_S - 60))
    FileBlobs(folder)
    assert sorted((folder / "unfinished").iterdir()) == leftovers[1:]
    old.abort()
    young.abort()


def test_blobs_are_opened_by_url(tmp_path: Path):
    digest = open_blobs(f"file://{tmp_path}/a%20b").put([b"x"]).sha256
    assert FileBlobs(tmp_path / "a b").exists(digest)


@pytest.mark.parametrize("url", ["", "/folder", "ftp://bucket", "file://host/folder"])
def test_another_kind_of_url_is_refused(url: str):
    with pytest.raises(Refused) as refusal:
        open_blobs(url)
    assert refusal.value.code == "bad_setting"


def test_a_full_disk_is_unavailable_and_leaves_nothing(blobs: FileBlobs, folder: Path):
    least, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    writer = blobs.writer()
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_096, most))
    try:
        with pytest.raises(Unavailable, match="cannot be stored"):
            writer.write(b"x" * 100_000)
        writer.abort()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (least, most))
    assert files(folder) == []
    assert blobs.put([b"x" * 100_000]).size_bytes == 100_000
