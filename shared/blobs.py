"""Files that are named by their SHA-256, and therefore never change: firmware images, import files.

``open_blobs("file:///folder")`` keeps them as ``<folder>/<first two digits>/<digest>``; ``s3://bucket/prefix`` is in
``shared.s3_blobs``. A blob is there in full or not at all, also after a crash. Blocking calls, safe from any thread;
from asyncio use a thread.

What no event names is collected (``flotilla blobs collect``) once it was stored long ago. Therefore whoever names a
blob in an event has stored it just before, also when it was there already: that makes it young again.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
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


@dataclass(frozen=True, slots=True)
class Stored:
    """A blob as it is listed; ``stored_at`` is when it was stored last, by the clock of where it is kept."""

    sha256: str
    size_bytes: int
    stored_at: datetime


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

    def stored(self) -> Iterator[Stored]:
        """All of them, in the order of their digests."""
        ...

    def remove(self, sha256: str, before: datetime) -> bool:
        """Remove a blob unless it was stored at or after ``before``, by whomever, even this moment; whether it is
        gone."""
        ...


def open_blobs(url: str) -> Blobs:
    """The blobs at a URL, ``file:///folder`` or ``s3://bucket/prefix``; raises ``Refused("bad_setting")`` for any other
    kind, and for a bucket that is not there or not ours to use, ``missing_extra`` without its library."""
    parts = urlsplit(url)
    if parts.scheme == "s3":
        return _open_bucket(url)
    return FileBlobs(blob_folder(url))


def _open_bucket(url: str) -> Blobs:
    try:
        from shared.s3_blobs import open_s3
    except ModuleNotFoundError as missing:
        if missing.name != "obstore":
            raise
        reason = "blobs in S3 need the optional extra `s3`: pip install 'flotilla[s3]'"
        raise Refused("missing_extra", reason) from None
    return open_s3(url)


def blob_folder(url: str) -> Path:
    """The folder of ``file:///folder``. Raises ``Refused("bad_setting")``."""
    parts = urlsplit(url)
    if parts.scheme != "file" or parts.netloc or not parts.path:
        reason = f"blobs are kept at file:///folder or s3://bucket/prefix, not at {parts.scheme or url}:…"
        raise Refused("bad_setting", reason)
    return Path(unquote(parts.path))


class FileBlobs:
    """Blobs in a folder, which is made when it is missing."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._unfinished = folder / "unfinished"
        self._unfinished.mkdir(parents=True, exist_ok=True)
        self._sweep()

    def put(self, chunks: Iterable[bytes], limit_bytes: int = DEFAULT_LIMIT_BYTES) -> Blob:
        """Store all chunks as one blob. Raises ``Refused("too_large")``."""
        return write_all(self.writer(limit_bytes), chunks)

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
        check_stretch(offset, length)
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
        return is_digest(sha256) and self._path(sha256).exists()

    def stored(self) -> Iterator[Stored]:
        """All of them, in the order of their digests."""
        for path in sorted(self._folder.glob("[0-9a-f][0-9a-f]/*")):
            if not is_digest(path.name):
                continue
            with suppress(FileNotFoundError):  # it was removed meanwhile
                stat = path.stat()
                yield Stored(path.name, stat.st_size, datetime.fromtimestamp(stat.st_mtime, UTC))

    def remove(self, sha256: str, before: datetime) -> bool:
        """Remove a blob unless it was stored at or after ``before``; whether it is gone."""
        path = self._path(sha256)
        with _of_the_disk(), _locked(self._folder, fcntl.LOCK_EX):
            try:
                if path.stat().st_mtime >= before.timestamp():
                    return False
                path.unlink()
            except FileNotFoundError:
                return True
            sync_folder(path.parent)
        return True

    def _path(self, sha256: str) -> Path:
        return self._folder / key_of(sha256)

    def _sweep(self) -> None:
        oldest = time.time() - STALE_S
        for path in self._unfinished.iterdir():
            try:
                if path.stat().st_mtime < oldest:
                    path.unlink()
            except FileNotFoundError:  # another process swept it, or finished it
                continue


def write_all(writer: BlobWriter, chunks: Iterable[bytes]) -> Blob:
    """What ``put`` does with a writer."""
    try:
        for chunk in chunks:
            writer.write(chunk)
        return writer.finish()
    finally:
        writer.abort()


def is_digest(text: str) -> bool:
    """Whether it can be the name of a blob."""
    return bool(_DIGEST.fullmatch(text))


def key_of(sha256: str) -> str:
    """Where a blob is, in a folder or in a bucket. Raises ``NotFound`` for what is no digest: nothing else becomes a
    path."""
    if not is_digest(sha256):
        raise _missing(sha256)
    return f"{sha256[:2]}/{sha256}"


def check_stretch(offset: int, length: int) -> None:
    """Raises ``Misuse`` for what no blob has."""
    if offset < 0 or length < 0:
        raise Misuse(f"read of {length} bytes at {offset}")


def _missing(sha256: str) -> NotFound:
    return NotFound(f"No file {sha256[:64]!r} is stored.")


@contextmanager
def _locked(folder: Path, how: int) -> Iterator[None]:
    """Writers share this lock while they put a blob in place; whoever removes one has it alone."""
    with (folder / "lock").open("ab") as lock:
        fcntl.flock(lock, how)
        yield


class Measured:
    """Size and digest of what is written, up to a limit."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._size_bytes = 0
        self._hash = hashlib.sha256()

    def take(self, data: bytes) -> None:
        """Raises ``Refused("too_large")``."""
        self._size_bytes += len(data)
        if self._size_bytes > self._limit_bytes:
            raise Refused("too_large", f"the file is larger than {self._limit_bytes} bytes")
        self._hash.update(data)

    @property
    def blob(self) -> Blob:
        """What it is so far."""
        return Blob(self._hash.hexdigest(), self._size_bytes)


class _FileWriter:
    def __init__(self, folder: Path, unfinished: Path, limit_bytes: int) -> None:
        self._folder = folder
        self._measured = Measured(limit_bytes)
        with _of_the_disk():
            descriptor, name = tempfile.mkstemp(dir=unfinished)
        self._path = Path(name)
        self._file = os.fdopen(descriptor, "wb")

    def write(self, data: bytes) -> None:
        try:
            self._measured.take(data)
        except Refused:
            self.abort()
            raise
        with _of_the_disk():
            self._file.write(data)

    def finish(self) -> Blob:
        blob = self._measured.blob
        with _of_the_disk():
            self._keep(self._folder / key_of(blob.sha256))
        return blob

    def abort(self) -> None:
        with suppress(OSError):  # what is not written yet cannot be, and is not wanted any more
            self._file.close()
        self._path.unlink(missing_ok=True)

    def _keep(self, place: Path) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        place.parent.mkdir(exist_ok=True)
        with _locked(self._folder, fcntl.LOCK_SH):
            os.utime(self._path)  # a long upload is not older than what looks for old ones
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
