"""Files that are named by their SHA-256, and therefore never change: firmware images, import files.

``open_blobs("file:///folder")`` keeps them as ``<folder>/<first two digits>/<digest>``. A blob is there in full or not
at all, also after a crash. Blocking calls, safe from any thread; from asyncio use a thread.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol
from urllib.parse import unquote, urlsplit

from shared.errors import Misuse, NotFound, Refused, Unavailable

DEFAULT_LIMIT_BYTES = 268_435_456
STALE_S = 86_400
"""Unfinished files of crashed processes are removed when they are older than this."""

_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Blob:
    """A stored blob."""

    sha256: str
    size_bytes: int


class BlobWriter(Protocol):
    """A blob that arrives in pieces; it exists once ``finish`` has returned. Raises ``Unavailable`` on a full disk."""

    def write(self, data: bytes) -> None:
        """Raises ``Refused("too_large")`` above the limit; the blob is then given up."""
        ...

    def finish(self) -> Blob: ...

    def abort(self) -> None:
        """Give it up; safe to call at any time, also after ``finish``."""
        ...


class Blobs(Protocol):
    """See the module. Every method raises ``NotFound`` for a digest that is not stored, or is none."""

    def put(self, chunks: Iterable[bytes], limit_bytes: int = DEFAULT_LIMIT_BYTES) -> Blob:
        """Store all chunks as one blob. Raises ``Refused("too_large")``."""
        ...

    def writer(self, limit_bytes: int = DEFAULT_LIMIT_BYTES) -> BlobWriter: ...

    def open(self, sha256: str) -> BinaryIO: ...

    def read(self, sha256: str, offset: int, length: int) -> bytes:
        """At most ``length`` bytes from ``offset`` on; empty behind the end."""
        ...

    def size(self, sha256: str) -> int: ...

    def exists(self, sha256: str) -> bool: ...


def open_blobs(url: str) -> Blobs:
    """The blobs at a URL, ``file:///folder``; raises ``Refused`` for any other kind."""
    parts = urlsplit(url)
    if parts.scheme != "file" or parts.netloc or not parts.path:
        raise Refused("bad_setting", f"blobs are kept at file:///folder, not at {url!r}")
    return FileBlobs(Path(unquote(parts.path)))


class FileBlobs:
    """Blobs in a folder, which is made when it is missing."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._unfinished = folder / "unfinished"
        self._unfinished.mkdir(parents=True, exist_ok=True)
        self._sweep()

    def put(self, chunks: Iterable[bytes], limit_bytes: int = DEFAULT_LIMIT_BYTES) -> Blob:
        """Store all chunks as one blob. Raises ``Refused("too_large")``."""
        writer = self.writer(limit_bytes)
        try:
            for chunk in chunks:
                writer.write(chunk)
            return writer.finish()
        finally:
            writer.abort()

    def writer(self, limit_bytes: int = DEFAULT_LIMIT_BYTES) -> BlobWriter:
        """For a blob that arrives in pieces."""
        return _FileWriter(self._folder, self._unfinished, limit_bytes)

    def open(self, sha256: str) -> BinaryIO:
        """The blob for reading; the caller closes it."""
        try:
            return self._path(sha256).open("rb")
        except FileNotFoundError:
            raise _missing(sha256) from None

    def read(self, sha256: str, offset: int, length: int) -> bytes:
        """At most ``length`` bytes from ``offset`` on; empty behind the end."""
        if offset < 0 or length < 0:
            raise Misuse(f"read of {length} bytes at {offset}")
        with self.open(sha256) as file:
            return os.pread(file.fileno(), length, offset)

    def size(self, sha256: str) -> int:
        """Its size in bytes."""
        try:
            return self._path(sha256).stat().st_size
        except FileNotFoundError:
            raise _missing(sha256) from None

    def exists(self, sha256: str) -> bool:
        """Whether it is stored."""
        return bool(_DIGEST.fullmatch(sha256)) and self._path(sha256).exists()

    def _path(self, sha256: str) -> Path:
        if not _DIGEST.fullmatch(sha256):  # it becomes a path
            raise _missing(sha256)
        return _place(self._folder, sha256)

    def _sweep(self) -> None:
        oldest = time.time() - STALE_S
        for path in self._unfinished.iterdir():
            try:
                if path.stat().st_mtime < oldest:
                    path.unlink()
            except FileNotFoundError:  # another process swept it, or finished it
                continue


def _place(folder: Path, sha256: str) -> Path:
    return folder / sha256[:2] / sha256


def _missing(sha256: str) -> NotFound:
    return NotFound(f"No file {sha256[:64]!r} is stored.")


class _FileWriter:
    def __init__(self, folder: Path, unfinished: Path, limit_bytes: int) -> None:
        self._folder = folder
        self._limit_bytes = limit_bytes
        self._size_bytes = 0
        self._hash = hashlib.sha256()
        with _of_the_disk():
            descriptor, name = tempfile.mkstemp(dir=unfinished)
        self._path = Path(name)
        self._file = os.fdopen(descriptor, "wb")

    def write(self, data: bytes) -> None:
        self._size_bytes += len(data)
        if self._size_bytes > self._limit_bytes:
            self.abort()
            raise Refused("too_large", f"the file is larger than {self._limit_bytes} bytes")
        self._hash.update(data)
        with _of_the_disk():
            self._file.write(data)

    def finish(self) -> Blob:
        digest = self._hash.hexdigest()
        with _of_the_disk():
            self._keep(_place(self._folder, digest))
        return Blob(digest, self._size_bytes)

    def abort(self) -> None:
        with suppress(OSError):  # what is not written yet cannot be, and is not wanted any more
            self._file.close()
        self._path.unlink(missing_ok=True)

    def _keep(self, place: Path) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        place.parent.mkdir(exist_ok=True)
        self._path.replace(place)
        for folder in (place.parent, self._folder):  # the rename, and the folder it went to, must last
            sync_folder(folder)


@contextmanager
def _of_the_disk() -> Iterator[None]:
    """A disk that is full or broken is ``Unavailable``."""
    try:
        yield
    except OSError as error:
        raise Unavailable(f"the file cannot be stored: {error.strerror or error}") from error


def sync_folder(folder: Path) -> None:
    """Have the names in a folder outlast a power failure. Raises ``OSError``."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
