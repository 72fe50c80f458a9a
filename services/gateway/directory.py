"""The gateway's directory: what it knows of tokens, organizations, products, devices and images without asking.

A database file of this gateway's own, kept by its projector from the event store. Look-ups are single indexed rows of
a local file, cheap enough for the event loop.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from services.gateway.attribute_views import DESIRED
from services.gateway.directory_views import AUTHORITIES, DEVICES, IMPORTS, PRODUCTS, VIEWS
from services.gateway.entries import (
    NOTHING_TRIED,
    AuthorityEntry,
    DesiredEntry,
    DeviceEntry,
    FlashEntry,
    ImageEntry,
    OrgEntry,
    ProductEntry,
    TokenEntry,
)
from services.gateway.import_progress import Progress
from shared.clock import Clock, system_clock
from shared.errors import Unavailable
from shared.events.contracts import Registry
from shared.events.orgs import Role
from shared.imports import import_object
from shared.projections.database import Database
from shared.projections.history import History
from shared.projections.projector import Projector
from shared.projections.view import Key, View
from shared.releases import releases_of
from shared.rollouts import Releases, released_to
from shared.store.port import EventStore, Position
from shared.targets import Membership

OnChange = Callable[[frozenset[str], frozenset[int]], None]
OnImport = Callable[[str], None]

T = TypeVar("T")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WAITERS = 32
"""Calls that wait for a position at the same time; more of them queue."""

_LOCK_WAIT_S = 0.1
"""Readers of a WAL hardly ever wait; if one must, the whole loop does."""
_PRODUCTS_KEPT = 256
"""Products whose releases are kept decoded."""
_LONGEST_NUMBER = 18
"""Digits that surely fit the database's integers."""

_ACCESS = """SELECT t.token_id, t.account_id, COALESCE(c.email, a.email, ''), t.client, t.expires_at,
  COALESCE(t.org_id, a.org_id), a.role, t.subject, t.customer_id, t.product_id, t.scope
  FROM tokens t LEFT JOIN accounts a ON a.account_id = t.account_id
  LEFT JOIN customers c ON c.customer_id = t.customer_id
  LEFT JOIN clients p ON p.client_id = t.client
  LEFT JOIN products q ON q.product_id = t.product_id
  WHERE t.token_digest = ? AND NOT COALESCE(p.deleted, FALSE) AND NOT COALESCE(a.forgotten, FALSE)
  AND (t.product_id IS NULL OR q.product_id IS NOT NULL)
  AND CASE t.subject WHEN 'account' THEN t.generation >= a.generation
  WHEN 'customer' THEN t.generation >= c.generation AND NOT c.deleted ELSE p.client_id IS NOT NULL END"""
"""A token with whatever ends it: its account, customer, client or product."""
_MEMBERSHIP = "SELECT org_id, role FROM accounts WHERE account_id = ? AND NOT forgotten"
_ORG_BY_ID = "SELECT org_id, slug, name, inactive FROM orgs WHERE org_id = ?"
_ORG_BY_SLUG = "SELECT org_id, slug, name, inactive FROM orgs WHERE slug = ?"
_PRODUCT = """SELECT product_id, org_id, slug, name, device_type, platform_id, released_version, intelligent,
  trust_first_key, tls_only, provisioning, provisioning_key, provisioning_secret_digest, claim_without_secret,
  firmware_name, version_width, programs_at_setup FROM products """
_PRODUCT_BY_ID = _PRODUCT + "WHERE product_id = ?"
_PRODUCT_BY_SLUG = _PRODUCT + "WHERE slug = ?"
_PRODUCT_BY_FIRMWARE_NAME = _PRODUCT + "WHERE firmware_name = ?"
_PRODUCT_BY_PROVISIONING_KEY = _PRODUCT + "WHERE provisioning_key = ?"
_AUTHORITIES = """SELECT authority_id, org_id, certificate, fingerprint, names_devices
  FROM authorities ORDER BY authority_id"""
_IMAGE = """SELECT product_id, version, title, size_bytes, sha256, signature, signature_key
  FROM images WHERE product_id = ? AND version = ?"""
_DEVICE = """SELECT d.device_id, d.product_id, d.forced, d.quarantined, d.denied, d.development, d.locked_version,
  d.flash_pending, d.reported_product, d.reported_version, d.reported_title, d.reported_text, d.ever_reported,
  p.released_version, d.attempt_version, d.attempts, d.failures, d.recorded_product, d.owner_id, d.key_algorithm,
  d.public_key, d.certificate, d.name, d.attempt_applying, d.ever_updated,
  d.groups, p.group_releases, p.rollouts, d.flash, d.turn, d.turns_ended, d.attempt_cause, d.tried,
  d.updates_enabled, d.updates_forced
  FROM devices d LEFT JOIN products p ON p.product_id = d.product_id WHERE """
_DEVICE_BY_ID = _DEVICE + "d.device_id = ?"
_DEVICE_BY_TOKEN = _DEVICE + "d.token_digest = ?"
_DEVICES_BY_KEY = _DEVICE + "d.key_digest = ? LIMIT 2"
_DEVICES_BY_CERTIFICATE = _DEVICE + "d.certificate = ? LIMIT 2"
_DEVICES_OF_ORG_BY_CERTIFICATE = _DEVICE + "d.certificate = ? AND p.org_id = ? LIMIT 2"

_PRODUCTS_OF_ORG = "SELECT product_id FROM products WHERE org_id = ? ORDER BY product_id"
_PRODUCTS_OF_OWNER = "SELECT DISTINCT product_id FROM claims WHERE owner_id = ? ORDER BY product_id"
_CLAIM = "SELECT owner_id, since FROM claims WHERE device_id = ?"
_GATEWAYS = "SELECT gateway FROM gateways ORDER BY gateway"
_REPORTED = "SELECT reported FROM reported WHERE device_id = ?"
_DESIRED = "SELECT revision, desired, removed FROM desired WHERE device_id = ?"
_IMPORT_COLUMNS = tuple(IMPORTS.columns)
_IMPORT = f"SELECT {', '.join(_IMPORT_COLUMNS)} FROM imports WHERE import_id = ? AND product_id = ?"  # noqa: S608 - constants
_DESIRED_REVISION = "SELECT revision FROM desired WHERE device_id = ?"


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
        self._store = store
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
        self.authorities_revision = 0
        """Rises whenever ``authorities`` may have another answer."""
        self._callbacks: list[tuple[asyncio.AbstractEventLoop, OnChange]] = []
        self._import_callbacks: list[tuple[asyncio.AbstractEventLoop, OnImport]] = []
        self._waiters = ThreadPoolExecutor(_WAITERS, thread_name_prefix="directory-wait")

    def start(self) -> None:
        """Begin to follow the store; answers are as old as the file until ``wait_for`` says otherwise."""
        self.projector.start()

    def stop(self) -> None:
        """End everything; blocks until the projector has ended."""
        self._callbacks.clear()
        self._import_callbacks.clear()
        self.projector.stop()
        self._waiters.shutdown(wait=True, cancel_futures=True)
        self._rows.close()
        self.database.close()

    def on_change(self, callback: OnChange) -> Callable[[], None]:
        """Call it in the running loop with the devices and products whose rows changed, once for each page of events;
        the answer ends that."""
        return _added(self._callbacks, (asyncio.get_running_loop(), callback))

    def on_import(self, callback: OnImport) -> Callable[[], None]:
        """The same with the id of each import that moved."""
        return _added(self._import_callbacks, (asyncio.get_running_loop(), callback))

    async def wait_for(self, position: Position | None, timeout_s: float) -> bool:
        """Whether everything up to this position is in the directory within the time."""
        if position is None or self.projector.wait_for(position, 0.0):
            return True
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._waiters, self.projector.wait_for, position, timeout_s)

    async def exists(self, position: Position) -> bool:
        """Whether the store has come this far, wherever the directory is. Raises ``Unavailable``."""
        if self.projector.wait_for(position, 0.0):
            return True
        return position <= (await asyncio.to_thread(self._store.head) or 0)

    def token(self, token_digest: str) -> TokenEntry | None:
        """Whose token has this digest; expired ones too, those that are revoked, or of somebody forgotten, not."""
        row = self._one(_ACCESS, token_digest)
        if row is None:
            return None
        token_id, account_id, email, client, expires_us, *others = row
        expires_at = None if expires_us is None else _EPOCH + timedelta(microseconds=expires_us)
        return TokenEntry(token_id, account_id, email, client, expires_at, *others)

    def membership(self, account_id: str) -> tuple[str, Role] | None:
        """The organization that the account is a member of, and as what."""
        row = self._one(_MEMBERSHIP, account_id)
        return None if row is None or row[0] is None else (row[0], row[1])

    def org(self, ref: str) -> OrgEntry | None:
        """An organization by its id or slug."""
        row = self._one(_ORG_BY_ID, ref) or self._one(_ORG_BY_SLUG, ref)
        if row is None:
            return None
        org_id, slug, name, inactive = row
        return OrgEntry(org_id, slug, name, bool(inactive))

    def product(self, ref: str) -> ProductEntry | None:
        """A product by its number or slug; a text of digits is a number."""
        digits = ref.isascii() and ref.isdigit()
        if digits and len(ref) > _LONGEST_NUMBER:
            return None
        return _product(self._one(_PRODUCT_BY_ID, int(ref)) if digits else self._one(_PRODUCT_BY_SLUG, ref))

    def product_by_firmware_name(self, name: str) -> ProductEntry | None:
        """The product whose firmware reports this title, letter for letter (MQF-1)."""
        return _product(self._one(_PRODUCT_BY_FIRMWARE_NAME, name))

    def product_by_provisioning_key(self, key: str) -> ProductEntry | None:
        """The product whose present provisioning key this is, whether or not it provisions anything."""
        return _product(self._one(_PRODUCT_BY_PROVISIONING_KEY, key))

    def authorities(self) -> list[AuthorityEntry]:
        """All that sign device certificates, of every organization; ``authorities_revision`` says when to ask again."""
        return [AuthorityEntry(*(*row[:4], bool(row[4]))) for row in self._all(_AUTHORITIES)]

    def device(self, device_id: str) -> DeviceEntry | None:
        """A device that was ever a member of a product or reported anything."""
        return _device(self._one(_DEVICE_BY_ID, device_id))

    def device_by_token(self, token_digest: str) -> DeviceEntry | None:
        """The device whose present token has this digest."""
        return _device(self._one(_DEVICE_BY_TOKEN, token_digest))

    def device_by_key(self, key_digest: str) -> DeviceEntry | None:
        """The device whose public key on record has this digest (of its DER); None if two have: a key that is not its
        device's alone says nothing."""
        return self._only_device(_DEVICES_BY_KEY, key_digest)

    def device_by_certificate(self, fingerprint: str, org_id: str | None = None) -> DeviceEntry | None:
        """The device, of this organization or of any, that this client certificate belongs to (MQC-6); None if two have
        it on record."""
        if org_id is not None:
            return self._only_device(_DEVICES_OF_ORG_BY_CERTIFICATE, fingerprint, org_id)
        return self._only_device(_DEVICES_BY_CERTIFICATE, fingerprint)

    def _only_device(self, sql: str, *values: str) -> DeviceEntry | None:
        found = list(self._all(sql, *values))
        return _device(found[0]) if len(found) == 1 else None

    def image(self, product_id: int, version: int) -> ImageEntry | None:
        """The image of a version that was uploaded."""
        row = self._one(_IMAGE, product_id, version)
        return None if row is None else ImageEntry(*row)

    def reported(self, device_id: str) -> dict[str, tuple[Any, int]]:
        """The attributes that a device reported: name to value and since when, in microseconds since 1970."""
        row = self._one(_REPORTED, device_id)
        return {} if row is None else _pairs(row[0])

    def desired(self, device_id: str) -> DesiredEntry:
        """The attributes that the platform desires of a device."""
        row = self._one(_DESIRED, device_id)
        return DesiredEntry() if row is None else DesiredEntry(row[0], _pairs(row[1]), json.loads(row[2]))

    def desired_revision(self, device_id: str) -> int:
        """How often those have changed."""
        row = self._one(_DESIRED_REVISION, device_id)
        return 0 if row is None else int(row[0])

    def products_of(self, org_id: str) -> list[int]:
        """The products of an organization."""
        return [row[0] for row in self._all(_PRODUCTS_OF_ORG, org_id)]

    def products_of_owner(self, owner_id: str) -> list[int]:
        """The products of devices that this account or customer has claimed."""
        return [row[0] for row in self._all(_PRODUCTS_OF_OWNER, owner_id)]

    def owned_since(self, device_id: str, owner_id: str) -> datetime | None:
        """Since when the device belongs to whom it does; None if that is somebody else."""
        row = self._one(_CLAIM, device_id)
        return None if row is None or row[0] != owner_id else _EPOCH + timedelta(microseconds=row[1])

    def import_job(self, product_id: int, import_id: str) -> Progress | None:
        """How far an import is."""
        row = self._one(_IMPORT, import_id, product_id)
        if row is None:
            return None
        named = dict(zip(_IMPORT_COLUMNS, row, strict=True))
        times = {name: _EPOCH + timedelta(microseconds=named[name]) for name in ("started_at", "updated_at")}
        return Progress(import_object({**named, **times}))

    def gateways(self) -> list[str]:
        """The names of all gateways that ever were."""
        return [row[0] for row in self._all(_GATEWAYS)]

    def _one(self, sql: str, *values: str | int) -> Any:
        return next(iter(self._all(sql, *values)), None)

    def _all(self, sql: str, *values: str | int) -> list[Any]:
        try:
            return self._rows.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise Unavailable(f"the directory cannot be read: {error}") from error

    def _applied(self, view: View, keys: Sequence[Key]) -> None:
        """In the projector's thread. No keys: the view was rebuilt, to the same rows."""
        if view in (DEVICES, DESIRED):
            devices, products = frozenset(str(key[0]) for key in keys), frozenset[int]()
        elif view is PRODUCTS:
            devices, products = frozenset[str](), frozenset(int(key[0]) for key in keys)
        elif view is AUTHORITIES:
            self.authorities_revision += 1
            return
        elif view is IMPORTS:
            for loop, on_import in list(self._import_callbacks):
                for key in keys:
                    loop.call_soon_threadsafe(on_import, str(key[0]))
            return
        else:
            return
        for loop, callback in list(self._callbacks):
            loop.call_soon_threadsafe(callback, devices, products)


def _added(callbacks: list[T], entry: T) -> Callable[[], None]:
    callbacks.append(entry)

    def remove() -> None:
        if entry in callbacks:
            callbacks.remove(entry)

    return remove


def _pairs(text: str) -> dict[str, tuple[Any, int]]:
    return {name: (value, number) for name, (value, number) in json.loads(text).items()}


def _product(row: Any) -> ProductEntry | None:
    if row is None:
        return None
    return ProductEntry(*(*row[:7], *map(bool, row[7:10]), *row[10:13], bool(row[13]), *row[14:16], bool(row[16])))


@lru_cache(maxsize=_PRODUCTS_KEPT)
def _releases(default: int | None, group_releases: str, rollouts: str) -> Releases:
    """What is released in a product, by its row; decoded once for all of its devices."""
    row = {"group_releases": json.loads(group_releases), "rollouts": json.loads(rollouts)}
    return releases_of({**row, "released_version": default})


def _device(row: Any) -> DeviceEntry | None:
    if row is None:
        return None
    groups = () if row[25] == "[]" else tuple(json.loads(row[25]))
    released, releases = row[13], None
    if row[26] is not None and (row[26], row[27]) != ("{}", "[]"):
        of_product = _releases(row[13], row[26], row[27])
        released = released_to(groups, replace(of_product, rollouts=()), None, None) if groups else row[13]
        releases = of_product if of_product.rollouts else None
    return DeviceEntry(
        row[0],
        Membership(row[1], bool(row[2]), bool(row[3]), bool(row[4]), bool(row[5]), row[6], bool(row[7])),
        row[8],
        row[9],
        row[10],
        row[11],
        bool(row[12]),
        released,
        *(
            *row[14:20],
            None if row[20] is None else base64.b64decode(row[20]),
            row[21],
            row[22],
            bool(row[23]),
            bool(row[24]),
            None if row[28] is None else FlashEntry(**json.loads(row[28])),
            groups,
            releases,
            *row[29:32],
            NOTHING_TRIED if row[32] == "[]" else dict(json.loads(row[32])),
            bool(row[33]),
            bool(row[34]),
        ),
    )
