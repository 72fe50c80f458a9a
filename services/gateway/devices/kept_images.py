"""Firmware images on the gateway's own disk, from a store that is elsewhere: fetched whole, once, and only kept when
they are what their digest says. So no device is sent what was changed on the way or in the store."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from shared.blobs import Blobs, FileBlobs
from shared.errors import NotFound, Unavailable

PIECE_BYTES = 1 << 20
KEPT_BYTES = 1 << 30
"""What the gateway keeps at most; what was fetched longest ago goes first."""


class KeptImages:
    """In threads of the gateway; what devices are sent is read from here (``ports.Blobs``)."""

    def __init__(self, source: Blobs, kept: FileBlobs, most_bytes: int = KEPT_BYTES) -> None:
        self._source = source
        self._kept = kept
        self._most_bytes = most_bytes
        self._fetching: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    def read(self, sha256: str, offset: int, length: int) -> bytes:
        """At most ``length`` bytes from ``offset`` on. Raises ``NotFound``, and ``Unavailable`` also for an image that
        is not what its digest says."""
        with suppress(NotFound):
            return self._kept.read(sha256, offset, length)
        self._fetch(sha256)
        return self._kept.read(sha256, offset, length)

    def _fetch(self, sha256: str) -> None:
        with self._lock:
            one = self._fetching.setdefault(sha256, threading.Lock())
        try:
            with one:
                if not self._kept.exists(sha256):  # else somebody fetched it meanwhile
                    self._keep(sha256)
        finally:
            with self._lock:
                self._fetching.pop(sha256, None)

    def _keep(self, sha256: str) -> None:
        blob = self._kept.put(self._pieces(sha256))
        if blob.sha256 != sha256:
            self._kept.remove(blob.sha256, _soon())
            raise Unavailable(f"the image {sha256} is damaged: what is stored under its name is {blob.sha256}")
        with self._lock:
            self._make_room(sha256)

    def _pieces(self, sha256: str) -> Iterator[bytes]:
        with self._source.open(sha256) as file:
            while piece := file.read(PIECE_BYTES):
                yield piece

    def _make_room(self, newest: str) -> None:
        kept = sorted(self._kept.stored(), key=lambda one: one.stored_at)
        held_bytes = sum(one.size_bytes for one in kept)
        for one in kept:
            if held_bytes <= self._most_bytes:
                return
            if one.sha256 != newest:
                self._kept.remove(one.sha256, _soon())
                held_bytes -= one.size_bytes


def _soon() -> datetime:
    """Whenever it was kept, it was before."""
    return datetime.now(UTC) + timedelta(days=1)
