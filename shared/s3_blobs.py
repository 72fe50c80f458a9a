"""Blobs in a bucket of S3 or of a store that speaks its protocol: ``s3://bucket/prefix?endpoint=https://host&region=…``.

Through obstore, the Python face of Apache Arrow's object_store. It signs, streams in parts and repeats by itself, has
types, and needs no event loop. Credentials are those that it finds in the environment (``AWS_ACCESS_KEY_ID``,
``AWS_SECRET_ACCESS_KEY``, ``AWS_SESSION_TOKEN``, a web identity, the role of the machine), never in the URL. It is the
optional extra ``s3``.

Keys are as paths in a folder: ``<prefix>/<first two digits>/<digest>``. A blob's digest is known when all of it has
arrived, so it is spooled, the first ``SPOOLED_BYTES`` in memory, and stored under its name: S3 shows an object when it
is there in full.

S3 has no lock. So that nobody removes what somebody else stores at that moment, whoever removes says so first with an
object ``condemned/<digest>``; and whoever stores looks for one afterwards:

* Remover: put the mark; look how old the blob is; delete it; delete the mark.
* Writer: put the blob; while the mark is there, wait; look whether the blob is there; if not, begin again.

A writer that puts before the remover looks makes the blob young. One that puts behind that sees the mark, or, if it is
gone by then, the deletion, which came before. That holds because S3 is strongly consistent. A mark that a crash left is
older than ``MARK_S`` and counts no more; the remover gives up by then.
"""

from __future__ import annotations

import io
import re
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import parse_qsl, unquote, urlsplit

import obstore
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import S3Store

from shared.blobs import (
    DEFAULT_LIMIT_BYTES,
    Blob,
    BlobWriter,
    Measured,
    Stored,
    check_stretch,
    is_digest,
    key_of,
    write_all,
)
from shared.errors import NotFound, Refused, Unavailable

if TYPE_CHECKING:
    from obstore.store import S3Config

SPOOLED_BYTES = 1 << 20
PART_BYTES = 8 << 20
PARTS_AT_ONCE = 4
BLOCK_BYTES = 1 << 20
"""What ``open`` reads at once."""
CONNECT_S, REQUEST_S = 5, 30
RETRIES, RETRY_S = 3, 15
"""A request is repeated so often, and not behind so many seconds."""
MARK_S = 600
"""Longer than removing one blob can take with all repetitions."""
MARK_PAUSE_S, MARK_WAIT_S = 0.2, 30
"""A writer looks so often, and not longer."""

_OPTIONS = frozenset({"endpoint", "region"})
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,62}")
_STATUS = re.compile(r"status code: (\d{3} [A-Za-z ]+)")
_CODE = re.compile(r"<Code>([A-Za-z]{1,64})</Code>")


def open_s3(url: str) -> S3Blobs:
    """The blobs at this URL, once the bucket has answered. Raises ``Refused("bad_setting")`` for a URL that says no
    such thing, and when the bucket is not there or not ours; ``Unavailable`` when nothing answers."""
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query))
    unknown = sorted(options.keys() - _OPTIONS)
    if not _BUCKET.fullmatch(parts.netloc) or unknown or parts.fragment:
        wrong = f"not with {', '.join(unknown)}" if unknown else "and nothing else; credentials are in AWS_… variables"
        raise Refused("bad_setting", f"blobs in S3 are at s3://bucket/prefix?endpoint=…&region=…, {wrong}")
    endpoint = options.get("endpoint")
    if endpoint is not None and urlsplit(endpoint).scheme not in ("http", "https"):
        raise Refused("bad_setting", "the endpoint of blobs in S3 is an http:// or https:// URL")
    config: S3Config = {}
    if endpoint:
        config["endpoint"] = endpoint
    if "region" in options:
        config["region"] = options["region"]
    store = S3Store(
        parts.netloc,
        prefix=unquote(parts.path).strip("/") or None,
        client_options={
            "allow_http": (endpoint or "").startswith("http:"),
            "connect_timeout": timedelta(seconds=CONNECT_S),
            "timeout": timedelta(seconds=REQUEST_S),
        },
        retry_config={"max_retries": RETRIES, "retry_timeout": timedelta(seconds=RETRY_S)},
        config=config,
    )
    _must_be_ours(store, parts.netloc)
    return S3Blobs(store)


def _must_be_ours(store: S3Store, bucket: str) -> None:
    try:
        next(iter(obstore.list(store, chunk_size=1)), None)
    except BaseError as error:
        said = _said(error)
        if isinstance(error, PermissionDeniedError | UnauthenticatedError) or re.search(r"\b(403|404|401|301)\b", said):
            reason = f"the bucket {bucket!r} cannot be used: {said}; look at its name, its region and the credentials"
            raise Refused("bad_setting", reason) from None
        raise Unavailable(f"the bucket {bucket!r} does not answer: {said}") from None


class S3Blobs:
    """Blobs in a bucket."""

    def __init__(self, store: S3Store) -> None:
        self._store = store

    def put(self, chunks: Iterable[bytes], limit_bytes: int = DEFAULT_LIMIT_BYTES) -> Blob:
        """Store all chunks as one blob. Raises ``Refused("too_large")``."""
        return write_all(self.writer(limit_bytes), chunks)

    def writer(self, limit_bytes: int = DEFAULT_LIMIT_BYTES) -> BlobWriter:
        """For a blob that arrives in pieces."""
        return _S3Writer(self._store, limit_bytes)

    def open(self, sha256: str) -> BinaryIO:
        """The blob for reading; the caller closes it."""
        return io.BufferedReader(_Raw(self, sha256, self.size(sha256)), BLOCK_BYTES)

    def read(self, sha256: str, offset: int, length: int) -> bytes:
        """At most ``length`` bytes from ``offset`` on; empty behind the end."""
        check_stretch(offset, length)
        if length == 0:
            self.size(sha256)  # it must be there all the same
            return b""
        try:
            with _answering(sha256):
                return bytes(obstore.get_range(self._store, key_of(sha256), start=offset, length=length))
        except Unavailable:
            if offset >= self.size(sha256):  # S3 has no empty stretches
                return b""
            raise

    def size(self, sha256: str) -> int:
        """Its size in bytes."""
        with _answering(sha256):
            return obstore.head(self._store, key_of(sha256))["size"]

    def exists(self, sha256: str) -> bool:
        """Whether it is stored."""
        return is_digest(sha256) and _is_there(self._store, key_of(sha256))

    def stored(self) -> Iterator[Stored]:
        """All of them, in the order of their digests."""
        with _answering("*"):
            for page in obstore.list(self._store, chunk_size=1_000):
                for found in page:
                    folder, _, name = found["path"].rpartition("/")
                    if is_digest(name) and folder == name[:2]:
                        yield Stored(name, found["size"], found["last_modified"])

    def remove(self, sha256: str, before: datetime) -> bool:
        """Remove a blob unless it was stored at or after ``before``; whether it is gone. See the module."""
        began = time.monotonic()
        key, mark = key_of(sha256), _mark(sha256)
        with _answering(sha256):
            obstore.put(self._store, mark, b"")
            try:
                if obstore.head(self._store, key)["last_modified"] >= before:
                    return False
                if time.monotonic() - began > MARK_S / 2:
                    raise Unavailable("the bucket answers too slowly to remove anything safely")
                obstore.delete(self._store, key)
            except FileNotFoundError:
                return True
            finally:
                obstore.delete(self._store, mark)
        return True


class _S3Writer:
    def __init__(self, store: S3Store, limit_bytes: int) -> None:
        self._store = store
        self._measured = Measured(limit_bytes)
        self._file = tempfile.SpooledTemporaryFile(max_size=SPOOLED_BYTES)  # noqa: SIM115 - closed by abort

    def write(self, data: bytes) -> None:
        try:
            self._measured.take(data)
            self._file.write(data)
        except Refused:
            self.abort()
            raise
        except OSError as error:
            raise Unavailable(f"the file cannot be spooled: {error.strerror or error}") from error

    def finish(self) -> Blob:
        blob = self._measured.blob
        with _answering(blob.sha256):
            while not self._is_kept(blob.sha256):
                continue
        self.abort()
        return blob

    def abort(self) -> None:
        with suppress(OSError):  # what is not written yet is not wanted any more
            self._file.close()

    def _is_kept(self, digest: str) -> bool:
        self._file.seek(0)
        obstore.put(
            self._store,
            key_of(digest),
            self._file,
            chunk_size=PART_BYTES,
            max_concurrency=PARTS_AT_ONCE,
        )
        patience = time.monotonic() + MARK_WAIT_S
        while _is_marked(self._store, digest):
            if time.monotonic() > patience:
                raise Unavailable("the same file is being removed; store it again in a few minutes")
            time.sleep(MARK_PAUSE_S)
        return _is_there(self._store, key_of(digest))


class _Raw(io.RawIOBase):
    """A blob as a file, read by stretches."""

    def __init__(self, blobs: S3Blobs, sha256: str, size_bytes: int) -> None:
        self._blobs = blobs
        self._sha256 = sha256
        self._size_bytes = size_bytes
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size_bytes}[whence]
        self._at = max(0, start + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readall(self) -> bytes:
        pieces = iter(lambda: self.read(BLOCK_BYTES) or b"", b"")  # the inherited one asks for 8 KiB at a time
        return b"".join(pieces)

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # always called with one
        wanted = min(len(buffer), self._size_bytes - self._at)
        if wanted <= 0:
            return 0
        data = self._blobs.read(self._sha256, self._at, wanted)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def _mark(sha256: str) -> str:
    return f"condemned/{sha256}"


def _is_there(store: S3Store, key: str) -> bool:
    try:
        with _answering(key):
            obstore.head(store, key)
    except NotFound:
        return False
    return True


def _is_marked(store: S3Store, digest: str) -> bool:
    """Whether somebody is removing it; by the store's own clock."""
    try:
        marked_at = obstore.head(store, _mark(digest))["last_modified"]
        stored_at = obstore.head(store, key_of(digest))["last_modified"]
    except FileNotFoundError:  # no mark; or it has been removed, and will be stored anew
        return False
    return stored_at - marked_at < timedelta(seconds=MARK_S)


@contextmanager
def _answering(sha256: str) -> Iterator[None]:
    """An object that is not there is ``NotFound``, everything else that goes wrong ``Unavailable``."""
    try:
        yield
    except FileNotFoundError:
        raise NotFound(f"No file {sha256[:64]!r} is stored.") from None
    except (BaseError, OSError) as error:
        raise Unavailable(f"the bucket cannot be used: {_said(error)}") from None


def _said(error: Exception) -> str:
    """The store's answer without its body, which may hold more than is for a log."""
    text = str(error)
    status, code = _STATUS.search(text), _CODE.search(text)
    told = [found[1].strip() for found in (status, code) if found]
    return ", ".join(told) or text.splitlines()[0][:200]
