"""Sessions of UDP devices in a file, so that they outlive the gateway's process (protocol section 8.5).

A row is what an attacker needs to read all that its device says: it is sealed with AES-256-GCM, each time under a key
of its own that is derived (HKDF) from the server's EC key, so that no nonce is ever used twice; the device ID is
authenticated with it. Another server key makes all rows unreadable. In the clear are the device ID, the connection ID,
which is on every datagram anyway, a keyed digest of the address, and the time.

What holds after the process was killed, or the power lost (WAL, ``synchronous=FULL``):

* No send number is used twice. A restored session skips ``SEND_JUMP`` numbers and sends nothing before it is stored
  again; a session that goes on sends no more than those beyond what is known to be on disk (``UdpConnection``).
* What was received within the last second or so (``UdpLimits.save_s``) can be replayed, once, by somebody who recorded
  it, for the window on disk is that old. Only the device's next new record overtakes it. Marking numbers as received
  ahead of time would shut out the device, which says little, and has no way to know. After a graceful stop the window
  is exact.

Look-ups are for the loop's thread and take microseconds; writing is done in a thread, many rows at once.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from services.gateway.devices.particle.dtls.cookies import Address
from services.gateway.devices.particle.dtls.session import StoredSession
from services.gateway.devices.particle.session_seal import Seal
from services.gateway.devices.particle.udp_limits import StoreLimits
from shared.clock import Clock, system_clock
from shared.errors import Unavailable

log = logging.getLogger(__name__)

FILE_MODE = 0o600
COMPLAIN_S = 60.0
_TABLE = """
CREATE TABLE IF NOT EXISTS sessions (
    device_id BLOB PRIMARY KEY, connection_id BLOB, address BLOB, saved_us INTEGER NOT NULL, sealed BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_connection_id ON sessions (connection_id) WHERE connection_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS by_address ON sessions (address, saved_us);
CREATE INDEX IF NOT EXISTS by_age ON sessions (saved_us);
"""
_PUT = "INSERT OR REPLACE INTO sessions VALUES (?, ?, ?, ?, ?)"
_DELETE = "DELETE FROM sessions WHERE device_id = ?"
_OLDEST = "DELETE FROM sessions WHERE device_id IN (SELECT device_id FROM sessions ORDER BY saved_us LIMIT ?)"
_BY_DEVICE = "SELECT device_id, sealed, saved_us FROM sessions WHERE device_id = ?"
_BY_CONNECTION = "SELECT device_id, sealed, saved_us FROM sessions WHERE connection_id = ?"
_BY_ADDRESS = "SELECT device_id, sealed, saved_us FROM sessions WHERE address = ? ORDER BY saved_us DESC LIMIT 1"

Change = tuple[StoredSession | None, int]
"""A session to store, or none to forget what is stored of the device; and when that was said."""


class SessionStore:
    """One session a device, the newest. Constructing it and ``close`` block; the rest is for the running loop. Raises
    ``Unavailable`` if the file cannot be used."""

    def __init__(
        self,
        path: Path,
        key: EllipticCurvePrivateKey,
        *,
        clock: Clock = system_clock,
        limits: StoreLimits | None = None,
    ) -> None:
        self.limits = limits or StoreLimits()
        self.saved = 0
        self._clock = clock
        self._seal = Seal(key)
        self._waiting: dict[bytes, Change] = {}
        self._writing: dict[bytes, Change] = {}
        self._futures: dict[bytes, list[asyncio.Future[None]]] = {}
        self._by_connection: dict[bytes, bytes] = {}
        self._by_address: dict[bytes, bytes] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="particle-sessions")
        self._timer: asyncio.TimerHandle | None = None
        self._write: asyncio.Future[None] | None = None
        self._complain_at = 0.0
        self._rows_since_prune = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, FILE_MODE))
            self._writer = _open(path)
            self._writer.executescript(_TABLE)
            self._prune()
            self._reader = _open(path)
        except (OSError, sqlite3.Error) as error:
            text = f"{path} cannot be used: {error}; without the file, devices on UDP begin new sessions"
            raise Unavailable(text) from error

    # -- what the endpoint asks -----------------------------------------------------------------------------------

    def of_device(self, device_id: bytes) -> StoredSession | None:
        """The session of a device."""
        change = self._pending(device_id)
        return change[0] if change is not None else self._read(_BY_DEVICE, device_id)

    def of_connection(self, connection_id: bytes) -> StoredSession | None:
        """The session with a connection id."""
        found = self._hinted(self._by_connection.get(connection_id)) or self._read(_BY_CONNECTION, connection_id)
        return found if found is not None and found.connection_id == connection_id else None

    def at_address(self, address: Address) -> StoredSession | None:
        """The last session at an address."""
        digest = self._seal.address(address)
        found = self._hinted(self._by_address.get(digest)) or self._read(_BY_ADDRESS, digest)
        return found if found is not None and found.address == address else None

    def _pending(self, device_id: bytes) -> Change | None:
        change = self._waiting.get(device_id)
        return change if change is not None else self._writing.get(device_id)

    def _hinted(self, device_id: bytes | None) -> StoredSession | None:
        change = None if device_id is None else self._pending(device_id)
        return None if change is None else change[0]

    def _read(self, sql: str, value: bytes) -> StoredSession | None:
        """From the file, unless something newer of the device is pending."""
        try:
            row = self._reader.execute(sql, (value,)).fetchone()
        except sqlite3.Error as error:
            self._complain(f"the stored sessions of Particle devices cannot be read: {error}")
            return None
        if row is None:
            return None
        device_id, sealed, saved_us = row
        change = self._pending(device_id)
        if change is not None:
            return change[0]
        return None if saved_us < self._oldest_us() else self._seal.open(sealed, device_id)

    def _oldest_us(self) -> int:
        return _microseconds(self._clock()) - int(self.limits.age_s * 1e6)

    # -- changes --------------------------------------------------------------------------------------------------

    def save(self, stored: StoredSession) -> asyncio.Future[None]:
        """Store it in place of the device's older one; done when it, or a newer one, is on disk."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._change(stored.device_id, stored)
        self._hint(stored)
        self._futures.setdefault(stored.device_id, []).append(done)
        return done

    def forget(self, device_id: bytes) -> None:
        """The device's session is over for good."""
        self._change(device_id, None)

    def outdated(self, device_id: bytes, connected_at: datetime) -> None:
        """The device connected to another gateway: what is stored from before is of no use any more."""
        saved_us = self._saved_us(device_id)
        if saved_us is not None and saved_us < _microseconds(connected_at):
            self.forget(device_id)

    def _saved_us(self, device_id: bytes) -> int | None:
        change = self._pending(device_id)
        if change is not None:
            return None if change[0] is None else change[1]
        try:
            row = self._reader.execute("SELECT saved_us FROM sessions WHERE device_id = ?", (device_id,)).fetchone()
        except sqlite3.Error as error:
            self._complain(f"the stored sessions of Particle devices cannot be read: {error}")
            return None
        return None if row is None else int(row[0])

    def _change(self, device_id: bytes, stored: StoredSession | None) -> None:
        self._waiting[device_id] = stored, _microseconds(self._clock())
        self._soon(self.limits.collect_s)

    def _hint(self, stored: StoredSession) -> None:
        if stored.connection_id:
            self._by_connection[stored.connection_id] = stored.device_id
        if stored.address is not None:
            self._by_address[self._seal.address(stored.address)] = stored.device_id

    def _soon(self, seconds: float) -> None:
        if self._timer is None and self._write is None:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._begin)

    def _begin(self) -> None:
        """Write what waits, in the thread."""
        self._timer = None
        self._writing, self._waiting = self._waiting, {}
        futures, self._futures = self._futures, {}
        batch = list(self._writing.items())
        self._write = asyncio.get_running_loop().run_in_executor(self._thread, self._put, batch)
        self._write.add_done_callback(lambda write: self._written(write, futures))

    def _written(self, write: asyncio.Future[None], futures: dict[bytes, list[asyncio.Future[None]]]) -> None:
        self._write = None
        error = None if write.cancelled() else write.exception()
        if error is not None:
            self._complain(f"sessions of Particle devices cannot be stored, and end with this process: {error}")
            self._waiting = {**self._writing, **self._waiting}
            for device_id, older in futures.items():
                self._futures[device_id] = older + self._futures.get(device_id, [])
        else:
            self.saved += len(self._writing)
            for future in (one for ones in futures.values() for one in ones):
                if not future.done():
                    future.set_result(None)
        self._writing = {}
        self._by_connection.clear()
        self._by_address.clear()
        for stored, _ in self._waiting.values():
            if stored is not None:
                self._hint(stored)
        if self._waiting:
            self._soon(self.limits.collect_s if error is None else self.limits.again_s)

    def _complain(self, text: str) -> None:
        now = asyncio.get_running_loop().time()
        if now >= self._complain_at:
            self._complain_at = now + COMPLAIN_S
            log.error(text)

    # -- end ------------------------------------------------------------------------------------------------------

    async def flush(self) -> None:
        """Returns when what was said so far is on disk. Raises ``Unavailable`` if it cannot be written."""
        while self._waiting or self._write is not None:
            if self._write is None:
                if self._timer is not None:
                    self._timer.cancel()
                self._begin()
            assert self._write is not None
            write = self._write
            await asyncio.wait([write])
            if write.cancelled() or write.exception() is not None:
                raise Unavailable(f"sessions of Particle devices cannot be stored: {write.exception()}")

    async def stop(self) -> None:
        """Write what waits, and close. Raises as ``flush``; closed it is in any case."""
        try:
            await self.flush()
        finally:
            if self._timer is not None:
                self._timer.cancel()
            for future in (one for ones in self._futures.values() for one in ones):
                future.cancel()
            self._futures.clear()
            await asyncio.to_thread(self.close)

    def close(self) -> None:
        """Close the file."""
        self._thread.shutdown(wait=True)
        self._reader.close()
        self._writer.close()

    def status(self) -> dict[str, Any]:
        """Numbers for operators."""
        return {"saved": self.saved, "unsaved": len(self._waiting) + len(self._writing)}

    # -- in the thread --------------------------------------------------------------------------------------------

    def _put(self, batch: Iterable[tuple[bytes, Change]]) -> None:
        changes = list(batch)
        gone = [(device_id,) for device_id, (stored, _) in changes if stored is None]
        rows = [self._row(stored, saved_us) for _, (stored, saved_us) in changes if stored is not None]
        with self._writer:
            self._writer.executemany(_DELETE, gone)
            self._writer.executemany(_PUT, rows)
        self._rows_since_prune += len(rows)
        if self._rows_since_prune >= self.limits.prune_rows:
            self._prune()

    def _row(self, stored: StoredSession, saved_us: int) -> tuple[bytes, bytes | None, bytes | None, int, bytes]:
        address = None if stored.address is None else self._seal.address(stored.address)
        return stored.device_id, stored.connection_id or None, address, saved_us, self._seal.seal(stored)

    def _prune(self) -> None:
        self._rows_since_prune = 0
        with self._writer:
            self._writer.execute("DELETE FROM sessions WHERE saved_us < ?", (self._oldest_us(),))
            count: int = self._writer.execute("SELECT count(*) FROM sessions").fetchone()[0]
            if count > self.limits.sessions:
                self._writer.execute(_OLDEST, (count - self.limits.sessions,))


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=10.0, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def _microseconds(at: datetime) -> int:
    return int(at.timestamp() * 1e6)
