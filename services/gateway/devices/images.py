"""Firmware images in memory: blocks by digest, the ones used last, bounded in bytes, read in threads."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from services.gateway.blob_threads import in_blob_thread
from services.gateway.devices.ports import Blobs
from shared.errors import Unavailable

BLOCK_BYTES = 262_144
READ_S = 10.0
"""Longest wait for one block."""

_Key = tuple[str, int]


class Images:
    """In the loop's thread. Devices that want the same block wait for one read of it."""

    def __init__(self, blobs: Blobs, most_bytes: int) -> None:
        self._blobs = blobs
        self._most_bytes = most_bytes
        self._blocks: OrderedDict[_Key, bytes] = OrderedDict()
        self._held_bytes = 0
        self._reading: dict[_Key, asyncio.Task[bytes]] = {}

    @property
    def held_bytes(self) -> int:
        """What the cache holds."""
        return self._held_bytes

    def piece(self, sha256: str, offset: int, length: int) -> bytes | memoryview | None:
        """The bytes from ``offset`` on: at most ``length``, and at most up to the end of their block. None if the
        block is not in memory: ``load`` it."""
        key = (sha256, offset // BLOCK_BYTES)
        block = self._blocks.get(key)
        if block is None:
            return None
        self._blocks.move_to_end(key)
        start = offset % BLOCK_BYTES
        return memoryview(block)[start : start + length]

    async def load(self, sha256: str, offset: int) -> None:
        """Have the block of this offset in memory. Raises ``FlotillaError`` if it cannot be read within ``READ_S``."""
        key = (sha256, offset // BLOCK_BYTES)
        task = self._reading.get(key)
        if task is None:
            task = self._reading[key] = asyncio.create_task(self._read(key), name=f"image-{sha256[:8]}-{key[1]}")
            task.add_done_callback(_looked_at)
        try:
            async with asyncio.timeout(READ_S):
                await asyncio.shield(task)
        except TimeoutError:
            raise Unavailable(f"no answer within {READ_S} s") from None

    async def close(self) -> None:
        """Wait for reads that are under way, at most ``READ_S``."""
        if self._reading:
            await asyncio.wait(list(self._reading.values()), timeout=READ_S)

    async def _read(self, key: _Key) -> bytes:
        try:
            block = await in_blob_thread(self._blobs.read, key[0], key[1] * BLOCK_BYTES, BLOCK_BYTES)
        except OSError as error:
            raise Unavailable(str(error)) from error
        finally:
            del self._reading[key]
        if not block:
            raise Unavailable(f"the image ends before byte {key[1] * BLOCK_BYTES}")
        self._blocks[key] = block
        self._held_bytes += len(block)
        while self._held_bytes > self._most_bytes and len(self._blocks) > 1:
            _, dropped = self._blocks.popitem(last=False)
            self._held_bytes -= len(dropped)
        return block


def _looked_at(task: asyncio.Task[bytes]) -> None:
    """A failure is for those who wait; if all have given up, nobody must be warned about it."""
    if not task.cancelled():
        task.exception()
