"""What goes out of one connection, in order: packets, and images that are read piece by piece as the device takes them.

While an image is on its way, packets wait behind it; the connection then reads nothing, so that few do.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from services.gateway.devices.images import Images
from services.gateway.devices.mqtt.effects import Serve
from shared.errors import FlotillaError

log = logging.getLogger(__name__)

PIECE_BYTES = 65_536


class Shared(Protocol):
    """What all connections share of this."""

    @property
    def images(self) -> Images: ...

    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...

    def spawn(self, work: Coroutine[Any, Any, None]) -> None: ...

    def unreadable_image(self) -> None: ...


class _Stream:
    __slots__ = ("held", "reserved_bytes", "sent_bytes", "serve", "wait_s")

    def __init__(self, serve: Serve, wait_s: Callable[[int], float] | None) -> None:
        self.serve = serve
        self.wait_s = wait_s
        self.sent_bytes = 0
        self.reserved_bytes = 0
        self.held = False

    def reserve(self, size_bytes: int) -> float:
        """How long the next bytes have to wait; once they have waited, no more."""
        if self.wait_s is None or self.reserved_bytes > self.sent_bytes:
            return 0.0
        self.reserved_bytes = self.sent_bytes + size_bytes
        return self.wait_s(size_bytes)


class Outflow:
    """``idle`` is called when nothing waits behind an image any more."""

    __slots__ = ("_idle", "_over", "_queue", "_shared", "_stuck", "_transport", "bytes_out", "paused")

    def __init__(self, transport: asyncio.Transport, shared: Shared, idle: Callable[[], None]) -> None:
        self._transport = transport
        self._shared = shared
        self._idle = idle
        self._queue: deque[bytes | _Stream] | None = None
        self._stuck: tuple[int, float] = (0, 0.0)
        self._over = False
        self.paused = False
        self.bytes_out = 0

    @property
    def busy(self) -> bool:
        """Whether an image is on its way."""
        return self._queue is not None

    def send(self, data: bytes | bytearray) -> None:
        """Packets, behind whatever waits."""
        if not data or self._over:
            return
        if self._queue is None:
            self._write(bytes(data))
        else:
            self._queue.append(bytes(data))

    def serve(self, serve: Serve, wait_s: Callable[[int], float] | None = None) -> None:
        """A packet that ends in a stretch of an image; ``wait_s`` reserves bytes of it, and says how long they wait."""
        if self._over:
            return
        if self._queue is None:
            self._queue = deque()
        self._queue.append(_Stream(serve, wait_s))
        if len(self._queue) == 1:
            self._pump()

    def close(self, packet: bytes) -> None:
        """Send a last packet, unless that would be in the middle of another one, and close."""
        if self._over:
            return
        if packet and self._queue is None:
            self._write(packet)
        self.forget()
        self._transport.close()

    def forget(self) -> None:
        """Nothing goes out any more."""
        self._over = True
        self._queue = None

    def pause(self, now: float) -> None:
        """The device does not read as fast as it is written to."""
        self.paused = True
        self._stuck = (self._transport.get_write_buffer_size(), now)

    def resume(self) -> None:
        """The device has read."""
        self.paused = False
        if self._queue is not None:
            self._pump()

    def stuck_s(self, now: float) -> float:
        """For how long the device has not read anything, while it is paused."""
        if not self.paused:
            return 0.0
        left_bytes = self._transport.get_write_buffer_size()
        if left_bytes != self._stuck[0]:
            self._stuck = (left_bytes, now)
        return now - self._stuck[1]

    def _write(self, data: bytes) -> None:
        self.bytes_out += len(data)
        self._transport.write(data)

    def _pump(self) -> None:
        queue = self._queue
        while queue and not self.paused and not self._over:
            first = queue[0]
            if isinstance(first, bytes):
                self._write(first)
            elif not self._stream(first):
                return
            queue.popleft()
        if not queue and self._queue is not None:
            self._queue = None
            self._idle()

    def _let_go(self, stream: _Stream) -> None:
        stream.held = False
        self._pump()

    def _stream(self, stream: _Stream) -> bool:
        """Write on; whether all of it is written."""
        if stream.held:
            return False
        serve = stream.serve
        while stream.sent_bytes < serve.length:
            if self.paused:
                return False
            offset = serve.offset + stream.sent_bytes
            left = min(serve.length - stream.sent_bytes, PIECE_BYTES)
            piece = self._shared.images.piece(serve.sha256, offset, left)
            if not piece:
                self._shared.spawn(self._load(stream, offset))
                return False
            wait_s = stream.reserve(len(piece))
            if wait_s > 0:
                stream.held = True
                self._shared.loop.call_later(wait_s, self._let_go, stream)
                return False
            data = bytes(piece) if stream.sent_bytes else serve.head + piece
            stream.sent_bytes += len(piece)
            self._write(data)
        return True

    async def _load(self, stream: _Stream, offset: int) -> None:
        sha256 = stream.serve.sha256
        try:
            await self._shared.images.load(sha256, offset)
            if self._shared.images.piece(sha256, offset, 1):
                self._pump()
                return
            text = "the image is shorter than it should be"
        except FlotillaError as error:
            text = str(error)
        log.error("image %s: %s", sha256, text)
        self._shared.unreadable_image()
        if self._queue is None:
            return
        if stream.sent_bytes:  # the packet was begun and cannot be completed
            self.forget()
            self._transport.abort()
            return
        self._queue[0] = stream.serve.instead
        self._pump()
