"""Images from a store elsewhere: fetched once, checked, bounded."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path
from threading import Thread
from typing import BinaryIO

import pytest

from services.gateway.devices.kept_images import KeptImages
from shared.blobs import FileBlobs
from shared.errors import NotFound, Unavailable


class Elsewhere(FileBlobs):
    """Counts what is fetched."""

    fetched = 0

    def open(self, sha256: str) -> BinaryIO:
        self.fetched += 1
        return super().open(sha256)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Elsewhere:
    return Elsewhere(tmp_path / "elsewhere")


@pytest.fixture
def kept(tmp_path: Path) -> FileBlobs:
    return FileBlobs(tmp_path / "kept")


def test_an_image_is_fetched_once_whoever_reads_it(elsewhere: Elsewhere, kept: FileBlobs):
    images, digest = KeptImages(elsewhere, kept), elsewhere.put([b"0123456789"]).sha256
    read: list[bytes] = []
    threads = [Thread(target=lambda at=at: read.append(images.read(digest, at, 2))) for at in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(read) == [b"0123456789"[at : at + 2] for at in range(8)]
    assert elsewhere.fetched == 1


def test_an_image_that_is_not_what_its_digest_says_is_never_read(elsewhere: Elsewhere, kept: FileBlobs, tmp_path: Path):
    digest = elsewhere.put([b"good"]).sha256
    (tmp_path / "elsewhere" / digest[:2] / digest).write_bytes(b"evil")
    with pytest.raises(Unavailable, match="damaged"):
        KeptImages(elsewhere, kept).read(digest, 0, 4)
    assert list(kept.stored()) == []


def test_an_image_that_is_nowhere_is_not_found(elsewhere: Elsewhere, kept: FileBlobs):
    with pytest.raises(NotFound):
        KeptImages(elsewhere, kept).read("0" * 64, 0, 1)


def test_what_was_fetched_longest_ago_makes_room(elsewhere: Elsewhere, kept: FileBlobs, tmp_path: Path):
    images = KeptImages(elsewhere, kept, most_bytes=20)
    digests = [elsewhere.put([bytes([number]) * 8]).sha256 for number in range(3)]
    for age, digest in enumerate(digests):
        images.read(digest, 0, 8)
        if age < 2:
            os.utime(tmp_path / "kept" / digest[:2] / digest, (age, age))
    assert {one.sha256 for one in kept.stored()} == set(digests[1:])
    assert images.read(digests[0], 0, 8) == bytes(8)
    assert sha256(bytes(8)).hexdigest() == digests[0]
