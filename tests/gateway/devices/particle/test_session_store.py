"""Sessions on disk: found again, sealed, bounded, and written many at once."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import uvloop

from services.gateway.devices.particle import keys
from services.gateway.devices.particle.dtls.session import StoredSession
from services.gateway.devices.particle.session_store import SessionStore
from services.gateway.devices.particle.udp_limits import StoreLimits
from shared.errors import Unavailable

KEY = keys.new_ec()
DEVICE = bytes.fromhex("0123456789abcdef01234567")
OTHER = bytes.fromhex("f" * 24)
SESSION = StoredSession(
    master_secret=b"master secret of 48 bytes" * 2,
    client_random=b"c" * 32,
    server_random=b"s" * 32,
    connection_id=b"12345678",
    public_key=b"k" * 91,
    device_id=DEVICE,
    address=("192.0.2.1", 5_000),
    epoch=1,
    send_sequence=7,
    received_highest=9,
    received_bits=3,
    extra=b"extra",
)


def later(**changes: Any) -> StoredSession:
    return msgspec.structs.replace(SESSION, **changes)


@dataclass
class Moments:
    """A clock that stands until it is told."""

    at: datetime = field(default_factory=lambda: datetime(2026, 1, 1, tzinfo=UTC))

    def __call__(self) -> datetime:
        return self.at

    def pass_(self, **time: float) -> None:
        self.at += timedelta(**time)


@pytest.fixture
def clock() -> Moments:
    return Moments()


@pytest.fixture
def opened(tmp_path: Path, clock: Moments) -> Callable[..., SessionStore]:
    def open_store(key: Any = KEY, **limits: Any) -> SessionStore:
        return SessionStore(tmp_path / "gateway" / "sessions.db", key, clock=clock, limits=StoreLimits(**limits))

    return open_store


def run(body: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await body()

    uvloop.run(bounded())


def found(store: SessionStore) -> list[StoredSession | None]:
    return [
        store.of_device(DEVICE),
        store.of_connection(SESSION.connection_id),
        store.at_address(("192.0.2.1", 5_000)),
    ]


def test_a_session_is_found_at_once_and_after_a_restart_by_device_connection_and_address(opened: Any) -> None:
    async def body() -> None:
        store = opened()
        saved = store.save(SESSION)
        assert found(store) == [SESSION] * 3
        await saved
        assert found(store) == [SESSION] * 3
        await store.stop()
        again = opened()
        assert found(again) == [SESSION] * 3
        assert again.of_device(OTHER) is None
        assert again.of_connection(b"87654321") is None
        assert again.at_address(("192.0.2.1", 5_001)) is None
        await again.stop()

    run(body)


@pytest.mark.parametrize("written", [False, True])
def test_only_the_newest_session_of_a_device_is_found(opened: Any, written: bool) -> None:
    newest = later(connection_id=b"newer id", address=("192.0.2.2", 6_000), send_sequence=1)

    async def body() -> None:
        store = opened()
        await store.save(SESSION)
        saved = store.save(newest)
        if written:
            await saved
        assert found(store) == [newest, None, None]
        assert store.of_connection(b"newer id") == newest
        assert store.at_address(("192.0.2.2", 6_000)) == newest
        await store.stop()

    run(body)


def test_of_two_sessions_at_an_address_the_newer_is_found(opened: Any, clock: Moments) -> None:
    async def body() -> None:
        store = opened()
        await store.save(later(device_id=OTHER, connection_id=b""))
        clock.pass_(seconds=1)
        await store.save(later(connection_id=b""))
        await store.save(later(device_id=b"x" * 12, connection_id=b"", address=None))
        assert store.at_address(("192.0.2.1", 5_000)).device_id == DEVICE
        assert store.of_connection(b"") is None
        await store.stop()

    run(body)


@pytest.mark.parametrize("written", [False, True])
def test_a_forgotten_session_is_not_found(opened: Any, written: bool) -> None:
    async def body() -> None:
        store = opened()
        await store.save(SESSION)
        store.forget(DEVICE)
        if written:
            await store.flush()
        assert found(store) == [None] * 3
        await store.stop()

    run(body)


def test_nothing_of_it_can_be_read_without_the_servers_key(opened: Any, tmp_path: Path) -> None:
    async def body() -> None:
        store = opened()
        await store.save(SESSION)
        await store.stop()
        files = list((tmp_path / "gateway").iterdir())
        data = b"".join(path.read_bytes() for path in files)
        assert all(path.stat().st_mode & 0o077 == 0 for path in files)
        for secret in (SESSION.master_secret[:16], SESSION.client_random[:16], b"192.0.2.1", b"extra"):
            assert secret not in data
        stranger = opened(keys.new_ec())
        assert found(stranger) == [None] * 3
        await stranger.stop()

    run(body)


def test_a_row_is_good_for_its_own_device_only(opened: Any, tmp_path: Path) -> None:
    async def body() -> None:
        store = opened()
        await store.save(SESSION)
        await store.stop()
        with sqlite3.connect(tmp_path / "gateway" / "sessions.db") as rows:
            rows.execute("UPDATE sessions SET device_id = ?", (OTHER,))
        rows.close()
        again = opened()
        assert again.of_device(OTHER) is None
        await again.stop()

    run(body)


def test_the_same_session_is_never_sealed_the_same(opened: Any, tmp_path: Path) -> None:
    async def body() -> None:
        store, sealed = opened(), set[bytes]()
        for _ in range(3):
            await store.save(SESSION)
            with sqlite3.connect(tmp_path / "gateway" / "sessions.db") as rows:
                sealed.add(rows.execute("SELECT sealed FROM sessions").fetchone()[0])
            rows.close()
        assert len(sealed) == 3
        await store.stop()

    run(body)


def test_a_session_that_was_silent_for_thirty_days_is_not_found_and_deleted_at_the_next_start(
    opened: Any, clock: Moments, tmp_path: Path
) -> None:
    async def body() -> None:
        store = opened()
        await store.save(SESSION)
        clock.pass_(days=30, seconds=-1)
        assert found(store) == [SESSION] * 3
        clock.pass_(seconds=2)
        assert found(store) == [None] * 3
        await store.stop()
        await opened().stop()
        with sqlite3.connect(tmp_path / "gateway" / "sessions.db") as rows:
            assert rows.execute("SELECT count(*) FROM sessions").fetchone() == (0,)
        rows.close()

    run(body)


def test_of_too_many_sessions_those_that_were_silent_longest_are_forgotten(opened: Any, clock: Moments) -> None:
    async def body() -> None:
        store = opened(sessions=3, prune_rows=1)
        for number in range(5):
            await store.save(later(device_id=bytes(11) + bytes([number])))
            clock.pass_(seconds=1)
        known = [number for number in range(5) if store.of_device(bytes(11) + bytes([number])) is not None]
        assert known == [2, 3, 4]
        await store.stop()

    run(body)


def test_many_changes_are_written_at_once_and_all_told(opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[int] = []
    put = SessionStore._put

    def counted(store: SessionStore, batch: Any) -> None:
        batches.append(len(list(batch)))
        put(store, batch)

    monkeypatch.setattr(SessionStore, "_put", counted)

    async def body() -> None:
        store = opened()
        saved = [store.save(later(device_id=bytes(10) + number.to_bytes(2, "big"))) for number in range(300)]
        saved += [store.save(later(send_sequence=number)) for number in range(300)]
        await asyncio.gather(*saved)
        assert batches == [301]
        assert store.of_device(DEVICE).send_sequence == 299
        assert store.status() == {"saved": 301, "unsaved": 0}
        await store.stop()

    run(body)


def test_what_could_not_be_written_is_tried_again(
    opened: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    put, fails = SessionStore._put, [True, True]

    def failing(store: SessionStore, batch: Any) -> None:
        if fails:
            fails.pop()
            raise sqlite3.OperationalError("disk full")
        put(store, batch)

    monkeypatch.setattr(SessionStore, "_put", failing)

    async def body() -> None:
        store = opened(again_s=0.01)
        saved = store.save(SESSION)
        await saved
        assert found(store) == [SESSION] * 3
        await store.stop()
        assert found(opened()) == [SESSION] * 3
        assert len(caplog.records) == 1

    run(body)


def test_a_stop_that_cannot_write_says_so_and_closes(opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(store: SessionStore, batch: Any) -> None:
        raise sqlite3.OperationalError("disk full")

    monkeypatch.setattr(SessionStore, "_put", failing)

    async def body() -> None:
        store = opened()
        saved = store.save(SESSION)
        with pytest.raises(Unavailable, match="disk full"):
            await store.stop()
        assert saved.cancelled()
        with pytest.raises(sqlite3.ProgrammingError):
            store._reader.execute("SELECT 1")

    run(body)


@pytest.mark.parametrize("written", [False, True])
def test_what_is_older_than_a_connection_elsewhere_is_forgotten(opened: Any, clock: Moments, written: bool) -> None:
    async def body() -> None:
        store = opened()
        saved = store.save(SESSION)
        if written:
            await saved
        store.outdated(DEVICE, clock())
        store.outdated(OTHER, clock() + timedelta(seconds=1))
        assert found(store) == [SESSION] * 3
        store.outdated(DEVICE, clock() + timedelta(seconds=1))
        store.outdated(DEVICE, clock() + timedelta(seconds=1))
        assert found(store) == [None] * 3
        await store.stop()

    run(body)


def test_a_file_that_is_no_store_is_told(opened: Any, tmp_path: Path) -> None:
    (tmp_path / "gateway").mkdir()
    (tmp_path / "gateway" / "sessions.db").write_bytes(b"something else" * 1_000)
    with pytest.raises(Unavailable, match="cannot be used"):
        opened()


def test_a_store_that_cannot_be_read_knows_no_sessions(opened: Any) -> None:
    async def body() -> None:
        store = opened()
        await store.save(SESSION)
        store._reader.execute("DROP TABLE sessions")
        assert found(store) == [None] * 3
        store.outdated(DEVICE, datetime(2030, 1, 1, tzinfo=UTC))
        await store.stop()

    run(body)
