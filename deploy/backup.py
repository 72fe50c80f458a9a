"""A copy of a platform that runs: event store, blobs, the keys that Particle devices know it by, and how far the relays
are; on demand product logs and the keys of people.

The device keys are always in it: devices hold the public halves, and would refuse a platform that has others.

Views are not in it: they are built anew from the streams, and they hold in clear what is sealed in the events, so that
a forgotten person would live on in them (EVT-5). The order is what makes the copy consistent: first the relays'
positions, then the store, then the blobs, so that no position is behind the store's end and no event names a blob that
is missing. Each SQLite file is copied in one read transaction, beside which everybody goes on writing; its log grows
meanwhile. ``manifest.json`` is written last: a folder without it is no backup.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from urllib.parse import quote

import msgspec
import sqlalchemy as sa

from deploy.running import DataFolder
from shared.blobs import Blobs, key_of, open_blobs, sync_folder
from shared.clock import system_clock
from shared.errors import NotFound, Refused, Unavailable
from shared.projections.database import Database
from shared.projections.tables import checkpoints
from shared.settings import Settings
from shared.store.open import sqlite_path
from shared.store.port import Position

FORMAT = 1
MANIFEST = "manifest.json"
STORE = "events.db"
KEYS = "keys/keys.db"
DEVICE_KEYS = "device-keys"
CHUNK_BYTES = 1 << 20
RELAYING = ("orgs", "billing", "firmware", "devices", "hooks")
"""The services whose databases hold checkpoints of relays."""


class Kept(msgspec.Struct, frozen=True):
    """A file of the backup."""

    path: str
    size_bytes: int
    sha256: str


class Relayed(msgspec.Struct, frozen=True):
    """How far a relay was, in the database of a service or a gateway."""

    database: str
    name: str
    position: int


class Manifest(msgspec.Struct, frozen=True):
    """What a backup holds. ``position``: that of its last event; all that was acknowledged up to there is in it."""

    format: int
    flotilla: str
    made_at: datetime
    position: int | None
    events: int
    with_keys: bool
    with_logs: bool
    relays: list[Relayed]
    files: list[Kept]


def make(settings: Settings, target: Path, *, with_keys: bool, with_logs: bool) -> Manifest:
    """Back up the platform of these settings into a new folder. Raises ``Refused`` for a store that is no SQLite file
    or a folder with something in it, ``Unavailable`` when a file cannot be read or written."""
    store = _store_path(settings)
    if not store.is_file():
        raise Refused("nothing_to_back_up", f"there is no event store {store}; --data names the platform's folder")
    _claim(target)
    with _explained(target):
        relays = list(_relays(settings, with_logs=with_logs))
        position, events = _copy_store(store, target / STORE)
        _copy_blobs(open_blobs(settings.blobs), target / "blobs")
        for key in sorted(Path(settings.device_keys).glob("[!.]*.pem")):
            _copy_file(key, target / DEVICE_KEYS / key.name)
        if with_logs:
            for log in sorted(settings.data.glob("gateway-*/log.db")):
                _copy_database(log, target / log.relative_to(settings.data))
        if with_keys:
            _copy_database(_keys_path(settings), target / KEYS)
        manifest = Manifest(
            format=FORMAT,
            flotilla=version("flotilla"),
            made_at=system_clock(),
            position=position,
            events=events,
            with_keys=with_keys,
            with_logs=with_logs,
            relays=relays,
            files=[_kept(path, target) for path in _files(target)],
        )
        _sync_folders(target)
        _write(target / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest)))
    return manifest


def read_manifest(source: Path) -> Manifest:
    """The manifest of a backup. Raises ``Refused`` if there is none that this release understands."""
    try:
        manifest = msgspec.json.decode((source / MANIFEST).read_bytes(), type=Manifest)
    except FileNotFoundError:
        raise Refused(
            "no_backup", f"{source} has no {MANIFEST}: it is no backup, or one that was not finished"
        ) from None
    except msgspec.DecodeError as error:
        raise Refused("no_backup", f"{source / MANIFEST} cannot be read: {error}") from None
    if manifest.format != FORMAT:
        raise Refused("newer_backup", f"{source} has format {manifest.format}, this release reads {FORMAT}")
    return manifest


def verify(source: Path) -> Manifest:
    """The manifest, once every file has been found to be as it says. Raises ``Refused`` for the first that is not."""
    manifest = read_manifest(source)
    for kept in manifest.files:
        path = source / kept.path
        if not path.resolve().is_relative_to(source.resolve()):
            raise Refused("bad_backup", f"{kept.path!r} of the manifest lies outside {source}")
        if not path.is_file() or _kept(path, source) != kept:
            raise Refused("bad_backup", f"{path} is missing or not what was backed up (its SHA-256 differs)")
    return manifest


def restore(source: Path, target: Path) -> Manifest:
    """Put a backup into a new data folder, every checksum tested before; or anew into one where that did not end.
    Raises ``Refused`` and ``Unavailable``."""
    manifest = verify(source)
    unfinished = DataFolder(target).unfinished
    with _explained(target):
        if unfinished.is_file():
            _empty(target, unfinished)
        else:
            _claim(target)
            unfinished.touch(mode=0o600)
        sync_folder(target)
        for kept in manifest.files:
            _copy_file(source / kept.path, target / kept.path)
        for relayed in manifest.relays:
            _set_relay(target, relayed)
        _sync_folders(target)
        unfinished.unlink()
        sync_folder(target)
    return manifest


def _empty(folder: Path, kept: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path != kept:
            path.unlink()


def _set_relay(data: Path, relayed: Relayed) -> None:
    of_gateway = relayed.database.startswith("gateway-")
    url = f"sqlite:///{data / relayed.database}" if of_gateway else f"sqlite:///{data / 'views'}"
    database = Database(url, "directory" if of_gateway else relayed.database)
    try:
        database.prepare([])
        database.checkpoints().advance(relayed.name, None, Position(relayed.position))
    finally:
        database.close()


def _relays(settings: Settings, *, with_logs: bool) -> Iterator[Relayed]:
    for service in RELAYING:
        if (
            not settings.db.startswith("sqlite:")
            or Path(settings.db.removeprefix("sqlite:///"), f"{service}.db").exists()
        ):
            yield from _relays_in(service, Database(settings.db, service))
    for folder in sorted(settings.data.glob("gateway-*")) if with_logs else ():
        if (folder / "directory.db").exists():
            yield from _relays_in(folder.name, Database(f"sqlite:///{folder}", "directory"))


def _relays_in(name: str, database: Database) -> Iterator[Relayed]:
    try:
        database.prepare([])
        query = sa.select(checkpoints.c.name, checkpoints.c.position).where(checkpoints.c.name.startswith("relay-"))
        with database.connect() as connection:
            for relay, position in connection.execute(query.order_by(checkpoints.c.name)):
                if position is not None:
                    yield Relayed(name, relay, position)
    finally:
        database.close()


def _copy_store(source: Path, target: Path) -> tuple[int | None, int]:
    """Copy the store; the position of the last event in the copy, and how many there are."""
    _copy_database(source, target)
    with closing(sqlite3.connect(f"file:{quote(str(target))}?mode=ro", uri=True)) as copy:
        row = copy.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events'").fetchone()
        [events] = copy.execute("SELECT count(*) FROM events").fetchone()
    return (row[0] if row else None), events


def _copy_database(source: Path, target: Path) -> None:
    """Copy an SQLite file while others write to it, and test the copy."""
    if not source.is_file():
        raise Refused("nothing_to_back_up", f"{source} does not exist")
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    uri = f"file:{quote(str(source))}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True, timeout=30)) as original, closing(sqlite3.connect(target)) as copy:
        original.backup(copy, pages=-1)  # in one step: several would begin anew with every commit in between
        copy.execute("PRAGMA journal_mode = DELETE")
        [verdict] = copy.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise Unavailable(f"the copy of {source} is damaged: {verdict}")
    _sync(target)


def _copy_blobs(source: Blobs, target: Path) -> None:
    """Blobs never change, and one that an event names was there before the event. One that is collected meanwhile is
    named by none, not even in the copy of the store: what it was needed for ended long before (``blob_references``)."""
    target.mkdir(mode=0o700)
    for stored in source.stored():
        path = target / key_of(stored.sha256)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        with suppress(NotFound), source.open(stored.sha256) as original:
            with path.open("xb") as copy:
                shutil.copyfileobj(original, copy, CHUNK_BYTES)
            path.chmod(0o600)
            _sync(path)


def _copy_file(source: Path, target: Path) -> None:
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(0o600)
    _sync(target)


def _kept(path: Path, root: Path) -> Kept:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Kept(path.relative_to(root).as_posix(), path.stat().st_size, digest)


def _files(folder: Path) -> Sequence[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _store_path(settings: Settings) -> Path:
    path = sqlite_path(settings.store)
    if path is None:
        reason = "streams in a cluster are copied with `flotilla events mirror`; this command copies SQLite files"
        raise Refused("no_sqlite_store", reason)
    return path


def _keys_path(settings: Settings) -> Path:
    if not settings.keys.startswith("sqlite:///"):
        raise Refused("no_sqlite_keys", "the keys are not in an SQLite file: back up the schema `keys` with pg_dump")
    return Path(settings.keys.removeprefix("sqlite:///")) / "keys.db"


def _claim(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Refused("not_empty", f"{folder} is not empty; name a folder that does not exist yet")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def _write(path: Path, content: bytes) -> None:
    draft = path.with_name(f".{path.name}")
    draft.write_bytes(content)
    _sync(draft)
    draft.rename(path)
    sync_folder(path.parent)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _sync_folders(root: Path) -> None:
    for folder in [root, *(path for path in root.rglob("*") if path.is_dir())]:
        sync_folder(folder)


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        raise Unavailable(f"{error}; what is in {folder} is not complete and can be deleted") from error
