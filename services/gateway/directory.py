"""The gateway's directory: what it knows of tokens, organizations, products, devices and images without asking.

A database file of this gateway's own, kept by its projector from the event store. Look-ups are single indexed rows of
a local file, cheap enough for the event loop.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

from services.gateway.directory_views import DEVICES, PRODUCTS, VIEWS
from services.gateway.entries import DeviceEntry, ImageEntry, OrgEntry, ProductEntry, TokenEntry
from shared.clock import Clock, system_clock
from shared.errors import Unavailable
from shared.events.contracts import Registry
from shared.projections.database import Database
from shared.projections.history import History
from shared.projections.projector import Projector
from shared.projections.view import Key, View
from shared.store.port import EventStore, Position
from shared.targets import Membership

OnChange = Callable[[frozenset[str], frozenset[int]], None]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WAITERS = 32
"""Calls that wait for a position at the same time; more of them queue."""

_LOCK_WAIT_S = 0.1
"""Readers of a WAL hardly ever wait; if one must, the whole loop does."""
_LONGEST_NUMBER = 18
"""Digits that surely fit the database's integers."""

_ACCESS = """SELECT t.token_id, t.account_id, a.email, t.client, t.expires_at, a.org_id
  FROM tokens t JOIN accounts a ON a.account_id = t.account_id WHERE t.token_digest = ? AND NOT a.forgotten"""
_ACCOUNT_ORG = "SELECT org_id FROM accounts WHERE account_id = ?"
_ORG_BY_ID = "SELECT org_id, slug, name FROM orgs WHERE org_id = ?"
_ORG_BY_SLUG = "SELECT org_id, slug, name FROM orgs WHERE slug = ?"
_PRODUCT = (
    "SELECT product_id, org_id, slug, name, device_type, platform_id, released_version, intelligent FROM products "
)
_PRODUCT_BY_ID = _PRODUCT + "WHERE product_id = ?"
_PRODUCT_BY_SLUG = _PRODUCT + "WHERE slug = ?"
_IMAGE = "SELECT product_id, version, title, size_bytes, sha256 FROM images WHERE product_id = ? AND version = ?"
_DEVICE = """SELECT d.device_id, d.product_id, d.forced, d.quarantined, d.denied, d.development, d.locked_version,
  d.flash_pending, d.reported_product, d.reported_version, d.reported_title, d.reported_text, d.ever_reported,
  p.released_version, d.attempt_version, d.attempts, d.failures, d.recorded_product
  FROM devices d LEFT JOIN products p ON p.product_id = d.product_id WHERE """
_DEVICE_BY_ID = _DEVICE + "d.device_id = ?"
_DEVICE_BY_TOKEN = _DEVICE + "d.token_digest = ?"


class Directory:
    """Look-ups are synchronous and for the loop's thread; each sees what was committed before it, and raises
    ``Unavailable`` if the file cannot be read."""

    def __init__(
        self,
        folder: Path,
        store: EventStore,
        contracts: Registry,
        *,
        clock: Clock = system_clock,
        history: History | None = None,
    ) -> None:
        self.database = Database(f"sqlite:///{folder}", "directory")
        self.database.prepare(VIEWS)
        self.projector = Projector(
            "directory",
            store,
            self.database,
            VIEWS,
            contracts,
            clock=clock,
            on_applied=self._applied,
            history=history,
        )
        self._rows = sqlite3.connect(
            f"file:{quote(str(folder / 'directory.db'))}?mode=ro",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            timeout=_LOCK_WAIT_S,
        )
        self._callbacks: list[tuple[asyncio.AbstractEventLoop, OnChange]] = []
        self._waiters = ThreadPoolExecutor(_WAITERS, thread_name_prefix="directory-wait")

    def start(self) -> None:
        """Begin to follow the store; answers are as old as the file until ``wait_for`` says otherwise."""
        self.projector.start()

    def stop(self) -> None:
        """End everything; blocks until the projector has ended."""
        self._callbacks.clear()
        self.projector.stop()
        self._waiters.shutdown(wait=True, cancel_futures=True)
        self._rows.close()
        self.database.close()

    def on_change(self, callback: OnChange) -> Callable[[], None]:
        """Call it in the running loop with the devices and products whose rows changed, once for each page of events;
        the answer ends that."""
        entry = (asyncio.get_running_loop(), callback)
        self._callbacks.append(entry)

        def remove() -> None:
            if entry in self._callbacks:
                self._callbacks.remove(entry)

        return remove

    async def wait_for(self, position: Position | None, timeout_s: float) -> bool:
        """Whether everything up to this position is in the directory within the time."""
        if position is None or self.projector.wait_for(position, 0.0):
            return True
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._waiters, self.projector.wait_for, position, timeout_s)

    def token(self, token_digest: str) -> TokenEntry | None:
        """Whose token has this digest; expired ones too, those that are revoked, or of somebody forgotten, not."""
        row = self._one(_ACCESS, token_digest)
        if row is None:
            return None
        token_id, account_id, email, client, expires_us, org_id = row
        expires_at = None if expires_us is None else _EPOCH + timedelta(microseconds=expires_us)
        return TokenEntry(token_id, account_id, email, client, expires_at, org_id)

    def account_org(self, account_id: str) -> str | None:
        """The organization that the account belongs to."""
        row = self._one(_ACCOUNT_ORG, account_id)
        return None if row is None else row[0]

    def org(self, ref: str) -> OrgEntry | None:
        """An organization by its id or slug."""
        row = self._one(_ORG_BY_ID, ref) or self._one(_ORG_BY_SLUG, ref)
        return None if row is None else OrgEntry(*row)

    def product(self, ref: str) -> ProductEntry | None:
        """A product by its number or slug; a text of digits is a number."""
        digits = ref.isascii() and ref.isdigit()
        if digits and len(ref) > _LONGEST_NUMBER:
            return None
        row = self._one(_PRODUCT_BY_ID, int(ref)) if digits else self._one(_PRODUCT_BY_SLUG, ref)
        return None if row is None else ProductEntry(*(*row[:7], bool(row[7])))

    def device(self, device_id: str) -> DeviceEntry | None:
        """A device that was ever a member of a product or reported anything."""
        return _device(self._one(_DEVICE_BY_ID, device_id))

    def device_by_token(self, token_digest: str) -> DeviceEntry | None:
        """The device whose present token has this digest."""
        return _device(self._one(_DEVICE_BY_TOKEN, token_digest))

    def image(self, product_id: int, version: int) -> ImageEntry | None:
        """The image of a version that was uploaded."""
        row = self._one(_IMAGE, product_id, version)
        return None if row is None else ImageEntry(*row)

    def _one(self, sql: str, *values: str | int) -> Any:
        try:
            return self._rows.execute(sql, values).fetchone()
        except sqlite3.Error as error:
            raise Unavailable(f"the directory cannot be read: {error}") from error

    def _applied(self, view: View, keys: Sequence[Key]) -> None:
        """In the projector's thread. No keys: the view was rebuilt, to the same rows."""
        if view is DEVICES:
            devices, products = frozenset(str(key[0]) for key in keys), frozenset[int]()
        elif view is PRODUCTS:
            devices, products = frozenset[str](), frozenset(int(key[0]) for key in keys)
        else:
            return
        for loop, callback in list(self._callbacks):
            loop.call_soon_threadsafe(callback, devices, products)


def _device(row: Any) -> DeviceEntry | None:
    if row is None:
        return None
    return DeviceEntry(
        row[0],
        Membership(row[1], bool(row[2]), bool(row[3]), bool(row[4]), bool(row[5]), row[6], bool(row[7])),
        row[8],
        row[9],
        row[10],
        row[11],
        bool(row[12]),
        *row[13:],
    )
