"""A backup that is made under write load can be restored: nothing that it promises is missing."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from uuid import UUID

import msgspec
import pytest

from deploy import backup
from deploy.backup import MANIFEST, STORE, Manifest
from deploy.running import DataFolder
from deploy.views import projectors
from services.gateway.devices.particle.server_keys import load_or_make
from shared.blobs import open_blobs
from shared.context import Context
from shared.errors import Refused, Unavailable
from shared.events.contracts import CONTRACTS
from shared.events.devices import DeviceDescribed, DeviceImported
from shared.projections.database import Database
from shared.settings import Settings
from shared.store.open import open_store
from shared.store.port import NO_STREAM, EventStore, Position

BEFORE = 300


def import_device(store: EventStore, number: int) -> tuple[Position, UUID]:
    """Two events in a stream of their own; where and what the last of them is, once it is acknowledged."""
    device_id = f"{number:024x}"
    context, stream = Context.new("account:ada", "test"), f"device-{number:024x}"
    events = [DeviceImported(device_id, 1000, False), DeviceDescribed(device_id, 1000, f"kettle {number}", "")]
    new = [CONTRACTS.encode(event, index, context, stream=stream) for index, event in enumerate(events)]
    return store.append(stream, NO_STREAM, new).position, new[-1].id


class Load:
    """A thread that imports devices until it is stopped; ``acknowledged`` grows."""

    def __init__(self, store: EventStore) -> None:
        self.acknowledged = [import_device(store, number) for number in range(BEFORE)]
        self._store = store
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        number = BEFORE
        while not self._stopping.is_set():
            self.acknowledged.append(import_device(self._store, number))
            number += 1

    @contextmanager
    def running(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._stopping.set()
            self._thread.join()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.load({}, data=tmp_path / "data")


@pytest.fixture
def store(settings: Settings) -> Iterator[EventStore]:
    opened = open_store(settings.store)
    yield opened
    opened.close()


@pytest.fixture
def made(settings: Settings, store: EventStore, tmp_path: Path) -> Manifest:
    """A small backup, in ``tmp_path / "backup"``."""
    for number in range(3):
        import_device(store, number)
    open_blobs(settings.blobs).put([b"image"])
    return backup.make(settings, tmp_path / "backup", with_keys=False, with_logs=False)


def events_in(data: Path) -> dict[Position, UUID]:
    store = open_store(Settings.load({}, data=data).store)
    try:
        return {event.position: event.id for event in store.read_all(limit=1_000_000).events}
    finally:
        store.close()


def test_a_backup_under_write_load_holds_all_that_was_acknowledged_up_to_its_position(
    settings: Settings, store: EventStore, tmp_path: Path
) -> None:
    load = Load(store)
    with load.running():
        for number in range(5):
            before = load.acknowledged[-1][0]
            manifest = backup.make(settings, tmp_path / f"backup-{number}", with_keys=False, with_logs=False)
            assert manifest.position is not None
            assert manifest.position >= before
    assert len(load.acknowledged) > BEFORE
    backup.restore(tmp_path / "backup-4", tmp_path / "new")
    restored = events_in(tmp_path / "new")
    assert max(restored) == manifest.position
    assert len(restored) == manifest.events
    promised = {position: event for position, event in load.acknowledged if position <= manifest.position}
    assert len(promised) >= BEFORE
    assert promised.items() <= restored.items()


def test_views_over_a_restored_store_are_those_of_a_rebuild(
    settings: Settings, store: EventStore, tmp_path: Path
) -> None:
    load = Load(store)
    with load.running():
        backup.make(settings, tmp_path / "backup", with_keys=False, with_logs=False)
    manifest = backup.restore(tmp_path / "backup", tmp_path / "new")
    restored = Settings.load({}, data=tmp_path / "new")
    with projectors(restored) as found:
        projector = found["devices"]
        projector.catch_up()
        followed = digests(restored)
        projector.rebuild("fleet")
        assert digests(restored) == followed
        assert [view.position for view in projector.status()] == [manifest.position] * len(projector.status())


def digests(settings: Settings) -> str:
    from services.devices.fleet import FLEET

    with closing(Database(settings.db, "devices")) as database:
        database.prepare([FLEET])
        return database.digest(FLEET)


def test_a_restored_store_goes_on_where_the_backup_ended(made: Manifest, tmp_path: Path) -> None:
    backup.restore(tmp_path / "backup", tmp_path / "new")
    store = open_store(Settings.load({}, data=tmp_path / "new").store)
    position, _ = import_device(store, 77)
    store.close()
    assert made.position is not None
    assert position > made.position


def test_relays_go_on_where_they_were_and_never_ahead_of_the_store(
    settings: Settings, store: EventStore, tmp_path: Path
) -> None:
    position, _ = import_device(store, 1)
    with closing(Database(settings.db, "devices")) as database:
        database.prepare([])
        assert database.checkpoints().advance("relay-devices", None, position)
    import_device(store, 2)
    manifest = backup.make(settings, tmp_path / "backup", with_keys=False, with_logs=False)
    backup.restore(tmp_path / "backup", tmp_path / "new")
    restored = Settings.load({}, data=tmp_path / "new")
    with closing(Database(restored.db, "devices")) as database:
        database.prepare([])
        assert database.checkpoints().load("relay-devices") == position
    assert manifest.position is not None
    assert all(relay.position <= manifest.position for relay in manifest.relays)


def test_blobs_come_back_and_views_are_left_out(settings: Settings, made: Manifest, tmp_path: Path) -> None:
    with closing(Database(settings.db, "orgs")) as database:
        database.prepare([])
    backup.restore(tmp_path / "backup", tmp_path / "new")
    [blob] = (tmp_path / "new" / "blobs").glob("*/*")
    assert open_blobs(Settings.load({}, data=tmp_path / "new").blobs).read(blob.name, 0, 100) == b"image"
    assert {Path(kept.path).parts[0] for kept in made.files} == {STORE, "blobs"}  # EVT-5: what is in clear stays out


def test_the_copy_is_one_file_of_the_owner_alone(made: Manifest, tmp_path: Path) -> None:
    copy = tmp_path / "backup" / STORE
    assert copy.stat().st_mode & 0o077 == 0
    with closing(sqlite3.connect(copy)) as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("delete",)
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_what_devices_published_is_copied_on_demand(settings: Settings, store: EventStore, tmp_path: Path) -> None:
    import_device(store, 1)
    log = open_store(settings.log)
    import_device(log, 2)
    log.close()
    backup.make(settings, tmp_path / "without", with_keys=False, with_logs=False)
    backup.make(settings, tmp_path / "with", with_keys=False, with_logs=True)
    assert not (tmp_path / "without" / "gateway-a").exists()
    backup.restore(tmp_path / "with", tmp_path / "new")
    assert (tmp_path / "new" / "gateway-a" / "log.db").exists()


def test_a_restored_platform_is_known_to_its_devices(settings: Settings, store: EventStore, tmp_path: Path) -> None:
    before = load_or_make(Path(settings.device_keys))
    backup.make(settings, tmp_path / "with-devices", with_keys=False, with_logs=False)
    restored = Settings.load({}, data=tmp_path / "restored")
    backup.restore(tmp_path / "with-devices", restored.data)
    after = load_or_make(Path(restored.device_keys))
    assert after.rsa.private_numbers() == before.rsa.private_numbers()
    assert after.ec.private_numbers() == before.ec.private_numbers()
    assert all(path.stat().st_mode & 0o077 == 0 for path in Path(restored.device_keys).iterdir())


def test_keys_of_people_are_in_it_only_when_asked_for(settings: Settings, store: EventStore, tmp_path: Path) -> None:
    import_device(store, 1)
    keys = Path(settings.keys.removeprefix("sqlite:///")) / "keys.db"
    keys.parent.mkdir(parents=True)
    with closing(sqlite3.connect(keys)) as database:
        database.execute("CREATE TABLE keys(person TEXT)")
    backup.make(settings, tmp_path / "without", with_keys=False, with_logs=False)
    assert not list((tmp_path / "without").rglob("keys*"))  # EVT-5
    backup.make(settings, tmp_path / "with", with_keys=True, with_logs=False)
    backup.restore(tmp_path / "with", tmp_path / "new")
    restored = Path(Settings.load({}, data=tmp_path / "new").keys.removeprefix("sqlite:///")) / "keys.db"
    assert restored.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("what", ["changed", "missing", "outside"])
def test_a_backup_that_is_not_as_it_was_made_is_not_restored(made: Manifest, tmp_path: Path, what: str) -> None:
    folder = tmp_path / "backup"
    if what == "changed":
        with (folder / STORE).open("r+b") as file:
            file.seek(5_000)
            file.write(b"\xff")
    elif what == "missing":
        (folder / STORE).unlink()
    else:
        outside = msgspec.structs.replace(made.files[0], path="../elsewhere")
        document = msgspec.structs.replace(made, files=[outside])
        (folder / MANIFEST).write_bytes(msgspec.json.encode(document))
    with pytest.raises(Refused) as refusal:
        backup.restore(folder, tmp_path / "new")
    assert refusal.value.code == "bad_backup"
    assert not (tmp_path / "new").exists()


def test_a_backup_that_was_not_finished_is_none(made: Manifest, tmp_path: Path) -> None:
    (tmp_path / "backup" / MANIFEST).unlink()
    with pytest.raises(Refused, match="not finished"):
        backup.verify(tmp_path / "backup")


def test_a_format_of_later_is_refused(made: Manifest, tmp_path: Path) -> None:
    later = msgspec.structs.replace(made, format=made.format + 1)
    (tmp_path / "backup" / MANIFEST).write_bytes(msgspec.json.encode(later))
    with pytest.raises(Refused) as refusal:
        backup.verify(tmp_path / "backup")
    assert refusal.value.code == "newer_backup"


def test_nothing_is_written_over(settings: Settings, made: Manifest, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="not empty"):
        backup.make(settings, tmp_path / "backup", with_keys=False, with_logs=False)
    with pytest.raises(Refused, match="not empty"):
        backup.restore(tmp_path / "backup", settings.data)


def test_a_restore_that_did_not_end_is_no_platform_and_is_repeated(
    made: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        """Nothing handles it, as nothing handles `kill -9`."""

    def killed(root: Path) -> None:
        raise Killed

    new = tmp_path / "new"
    with monkeypatch.context() as patched:
        patched.setattr(backup, "_sync_folders", killed)
        with pytest.raises(Killed):
            backup.restore(tmp_path / "backup", new)
    (new / STORE).write_bytes(b"half of it")
    with pytest.raises(Refused, match="did not end"), DataFolder(new).claimed():
        pytest.fail("it would run on a part")
    assert (new / STORE).read_bytes() == b"half of it"
    assert backup.restore(tmp_path / "backup", new) == made
    assert (new / STORE).read_bytes() == (tmp_path / "backup" / STORE).read_bytes()
    with DataFolder(new).claimed():
        assert not DataFolder(new).unfinished.exists()


def test_a_folder_without_a_store_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="no event store"):
        backup.make(Settings.load({}, data=tmp_path / "none"), tmp_path / "backup", with_keys=False, with_logs=False)
    assert list(tmp_path.iterdir()) == []


def test_a_cluster_is_not_copied_by_files(tmp_path: Path) -> None:
    settings = Settings.load({}, data=tmp_path, store="esdb://localhost:2113?Tls=false")
    with pytest.raises(Refused, match="events mirror"):
        backup.make(settings, tmp_path / "backup", with_keys=False, with_logs=False)


def test_a_disk_without_room_leaves_no_manifest(
    settings: Settings, store: EventStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import_device(store, 1)

    def no_room(path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(backup, "_sync", no_room)
    with pytest.raises(Unavailable, match="can be deleted"):
        backup.make(settings, tmp_path / "backup", with_keys=False, with_logs=False)
    with pytest.raises(Refused, match="no backup"):
        backup.verify(tmp_path / "backup")
