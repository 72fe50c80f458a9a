"""What every store of blobs promises, over each of them: a folder, and a bucket of a real S3-compatible server."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import count
from pathlib import Path
from threading import Barrier, Thread

import pytest

from shared.blobs import Blob, Blobs, open_blobs
from shared.errors import Misuse, NotFound, Refused
from tests.s3 import bucket_server, make_bucket

_NUMBERS = count(1)
LONG_AGO, SOON = timedelta(hours=1), timedelta(minutes=1)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with bucket_server() as url:
        yield url


@pytest.fixture(params=["file", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "file":
        return f"file://{tmp_path}/blobs"
    return make_bucket(request.getfixturevalue("server"), f"bucket-{next(_NUMBERS)}")


@pytest.fixture
def blobs(url: str) -> Blobs:
    return open_blobs(url)


def now() -> datetime:
    return datetime.now(UTC)


def test_a_blob_is_named_by_its_content_and_kept_once(blobs: Blobs):
    data = b"a" * 70_000
    blob = blobs.put([data[:1], b"", data[1:]])
    assert blob == Blob(sha256(data).hexdigest(), len(data)) == blobs.put([data])
    assert blobs.size(blob.sha256) == len(data)
    assert blobs.exists(blob.sha256)
    assert [(one.sha256, one.size_bytes) for one in blobs.stored()] == [(blob.sha256, len(data))]


def test_all_processes_see_it(blobs: Blobs, url: str):
    assert open_blobs(url).read(blobs.put([b"kettle"]).sha256, 0, 6) == b"kettle"


def test_an_empty_blob_is_one(blobs: Blobs):
    blob = blobs.put([])
    assert blobs.size(blob.sha256) == 0
    assert blobs.read(blob.sha256, 0, 10) == b""


def test_any_stretch_can_be_read(blobs: Blobs):
    digest = blobs.put([b"0123456789"]).sha256
    assert blobs.read(digest, 0, 4) == b"0123"
    assert blobs.read(digest, 8, 4) == b"89"
    assert blobs.read(digest, 10, 4) == b""
    assert blobs.read(digest, 99, 4) == b""
    assert blobs.read(digest, 3, 0) == b""
    with pytest.raises(Misuse):
        blobs.read(digest, -1, 4)


def test_it_is_read_as_a_file_line_by_line_and_from_anywhere(blobs: Blobs):
    lines = [b"%024d\n" % number for number in range(50_000)]
    with blobs.open(blobs.put(lines).sha256) as file:
        assert [file.readline() for _ in range(4)] == lines[:4]
        assert file.tell() == 100
        file.seek(25 * 49_998)
        assert list(file) == lines[-2:]
        assert file.read(1) == b""


def test_a_file_of_several_parts_arrives_whole(blobs: Blobs):
    data = bytes(range(256)) * 40_000  # more than a part, and more than is spooled in memory
    blob = blobs.put(data[at : at + 1_000_000] for at in range(0, len(data), 1_000_000))
    assert blob.sha256 == sha256(data).hexdigest()
    with blobs.open(blob.sha256) as file:
        assert file.read() == data


def test_what_is_too_large_or_given_up_leaves_nothing(blobs: Blobs):
    with pytest.raises(Refused) as refusal:
        blobs.put([b"123", b"45"], limit_bytes=4)
    assert refusal.value.code == "too_large"
    writer = blobs.writer()
    writer.write(b"ab")
    writer.abort()
    writer.abort()
    assert list(blobs.stored()) == []


def test_a_blob_is_there_when_its_writer_has_finished_and_not_before(blobs: Blobs):
    writer = blobs.writer()
    writer.write(b"ab")
    assert not blobs.exists(sha256(b"ab").hexdigest())
    blob = writer.finish()
    writer.abort()
    assert blobs.read(blob.sha256, 0, 9) == b"ab"


@pytest.mark.parametrize("name", ["", "a" * 64, "A" * 64, "../../etc/passwd", "0" * 63, "0" * 64 + "\n"])
def test_what_is_not_stored_or_no_digest_is_not_found(blobs: Blobs, name: str):
    assert not blobs.exists(name)
    for ask in (blobs.open, blobs.size, lambda digest: blobs.read(digest, 0, 1)):
        with pytest.raises(NotFound):
            ask(name)


def test_only_what_is_old_is_removed(blobs: Blobs):
    digest = blobs.put([b"old"]).sha256
    assert not blobs.remove(digest, now() - LONG_AGO)
    assert blobs.exists(digest)
    assert blobs.remove(digest, now() + SOON)
    assert not blobs.exists(digest)
    assert blobs.remove(digest, now() + SOON)  # it is gone already
    assert list(blobs.stored()) == []


def test_what_was_removed_can_be_stored_again(blobs: Blobs):
    digest = blobs.put([b"again"]).sha256
    blobs.remove(digest, now() + SOON)
    assert blobs.put([b"again"]).sha256 == digest
    assert blobs.read(digest, 0, 9) == b"again"


def test_writers_of_the_same_and_a_remover_leave_it_there(blobs: Blobs):
    """Whoever was told that it is stored finds it: the remover spares what was stored behind its moment."""
    before = blobs.put([b"same"])
    moment = now() - SOON  # no writer is as old as that
    together = Barrier(4)
    stored: list[Blob] = []

    def write() -> None:
        together.wait()
        stored.append(blobs.put([b"same"]))

    def remove() -> None:
        together.wait()
        blobs.remove(before.sha256, moment)

    threads = [Thread(target=work) for work in (write, remove, write, remove)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert stored == [before, before]
    assert blobs.read(before.sha256, 0, 9) == b"same"


@pytest.mark.parametrize(
    "wrong", ["s3://", "s3://Bucket_/x", "s3://key:secret@bucket", "s3://bucket?acl=public", "s3://b?endpoint=ftp://x"]
)
def test_a_url_that_says_something_else_is_refused(wrong: str):
    with pytest.raises(Refused) as refusal:
        open_blobs(wrong)
    assert refusal.value.code == "bad_setting"
    assert "secret@" not in str(refusal.value)


def test_a_bucket_that_is_not_there_is_refused_at_once(server: str):
    with pytest.raises(Refused, match="NoSuchBucket") as refusal:
        open_blobs(f"s3://nobody-made-this?endpoint={server}")
    assert refusal.value.code == "bad_setting"
