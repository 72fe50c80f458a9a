"""Images in memory: one read for all who want a block, bounded, and errors for those who wait."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from typing import Any

import pytest

from services.gateway.devices.images import BLOCK_BYTES, Images
from shared.errors import NotFound, Unavailable


class SlowBlobs:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.reads = 0
        self.go = threading.Event()

    def read(self, sha256: str, offset: int, length: int) -> bytes:
        self.reads += 1
        assert self.go.wait(10)
        return self.data[offset : offset + length]


def test_a_block_is_read_once_for_all_who_wait_for_it() -> None:
    blobs = SlowBlobs(b"x" * 10)

    async def body() -> None:
        images = Images(blobs, 1 << 20)
        waiting = [asyncio.create_task(images.load("digest", 0)) for _ in range(50)]
        await asyncio.sleep(0)
        blobs.go.set()
        await asyncio.gather(*waiting)
        assert bytes(images.piece("digest", 2, 3) or b"") == b"xxx"
        await images.close()

    asyncio.run(body())
    assert blobs.reads == 1


def test_pieces_end_with_their_block_and_give_the_image_together(blobs: Any) -> None:
    image = hashlib.sha256(b"seed").digest() * 20_000
    blobs.put(image)
    digest = hashlib.sha256(image).hexdigest()

    async def body() -> None:
        images, got = Images(blobs, 1 << 20), b""
        while len(got) < len(image):
            assert images.piece(digest, len(got), 100_000) is None or got
            await images.load(digest, len(got))
            piece = images.piece(digest, len(got), len(image))
            assert piece is not None
            assert len(piece) <= BLOCK_BYTES
            got += piece
        assert got == image

    asyncio.run(body())


def test_the_cache_keeps_what_was_used_last_within_its_bytes(blobs: Any) -> None:
    image = bytes(4 * BLOCK_BYTES)
    blobs.put(image)
    digest = hashlib.sha256(image).hexdigest()

    async def body() -> None:
        images = Images(blobs, 2 * BLOCK_BYTES)
        for block in (0, 1, 0, 2):
            if images.piece(digest, block * BLOCK_BYTES, 1) is None:
                await images.load(digest, block * BLOCK_BYTES)
        assert images.held_bytes == 2 * BLOCK_BYTES
        assert [images.piece(digest, block * BLOCK_BYTES, 1) is not None for block in range(3)] == [True, False, True]

    asyncio.run(body())


def test_what_cannot_be_read_is_an_error_for_who_waits(blobs: Any) -> None:
    blobs.put(b"short")

    async def body() -> None:
        images = Images(blobs, 1 << 20)
        with pytest.raises(NotFound):
            await images.load("0" * 64, 0)
        with pytest.raises(Unavailable):
            await images.load(hashlib.sha256(b"short").hexdigest(), BLOCK_BYTES)

    asyncio.run(body())
