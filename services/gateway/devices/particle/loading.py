"""Stretches of images that are not in memory, read for the connections that want them."""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from services.gateway.devices.particle.effects import Fetch
from services.gateway.devices.server import DeviceServer
from shared.errors import FlotillaError

log = logging.getLogger(__name__)

STOP_S = 1.0


class Reader(Protocol):
    """A connection that asked for a stretch."""

    def supply(self, fetch: Fetch, piece: bytes | memoryview | None) -> None:
        """Here it is, or it cannot be read."""
        ...


class Loads:
    """Of one listener."""

    def __init__(self, server: DeviceServer) -> None:
        self._server = server
        self._going: set[asyncio.Task[None]] = set()

    def load(self, reader: Reader, fetch: Fetch) -> None:
        """Hand it over when it is read."""
        task = self._server.loop.create_task(self._load(reader, fetch))
        self._going.add(task)
        task.add_done_callback(self._going.discard)

    async def _load(self, reader: Reader, fetch: Fetch) -> None:
        images = self._server.images
        try:
            await images.load(fetch.sha256, fetch.offset)
            piece = images.piece(fetch.sha256, fetch.offset, fetch.length)
        except FlotillaError as error:
            log.error("image %s: %s", fetch.sha256, error)
            self._server.note("unreadable_images")
            piece = None
        reader.supply(fetch, piece)

    async def stop(self) -> None:
        """Give those that go on a moment."""
        if self._going:
            await asyncio.wait(list(self._going), timeout=STOP_S)
