"""Ends sessions that their gateway can no longer end: it died, was started anew, or was given up (DEV-7); and attempts
at updates whose fate nobody else will tell (FW-7).

Judged from the views ``fleet`` and ``gateways``, and only when they have seen all that the store has. What is written
follows from the session alone, so that two sweeps, or two processes that sweep, do no harm.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

import sqlalchemy as sa

from services.devices.attempts import ATTEMPTS, GIVEN_UP_AFTER, unfinished
from services.devices.fleet import FLEET, SESSIONS_SCOPE
from services.devices.gateways import GATEWAYS, is_over, missed_lease
from shared.clock import Clock
from shared.context import Context
from shared.errors import Conflict, Unavailable
from shared.events.contracts import Registry
from shared.events.gateway import DeviceDisconnected, GatewayLost, GatewayStopped, UpdateInterrupted
from shared.ids import derived_uuid
from shared.projections.database import Database
from shared.projections.view import Row
from shared.store.port import NO_STREAM, EventStore, Expected, New, Position, Recorded, StreamNotFound

log = logging.getLogger(__name__)

PAGE = 500
"""Sessions that are ended by one append."""
COLUMNS = (
    "device_id",
    "product_id",
    "gateway",
    "epoch",
    "session",
    "connected_at",
    "update_version",
    "update_attempt",
    "update_state",
    "update_percent",
    "update_cause",
)
UNDER_WAY = ("started", "downloading", "downloaded", "verified")
"""States of an attempt that ends with the connection."""
LOST_UPDATES = "connection-updates-lost"
"""The stream of attempts that no gateway ends."""
PATIENCE_S = 2.0
"""How long a sweep waits for the views before it leaves the matter to the next one."""
MAX_GAP = timedelta(seconds=10)
"""Between two sweeps. After a longer one this process, or the machine, slept, and gateways get a whole lease again."""


class Progress(Protocol):
    """What is asked of the projector: whether its views come to a position within a time."""

    def wait_for(self, position: Position, timeout_s: float) -> bool: ...


class Presence:
    """Sweeps; safe from any thread."""

    def __init__(
        self, store: EventStore, contracts: Registry, database: Database, progress: Progress, clock: Clock
    ) -> None:
        self._store = store
        self._contracts = contracts
        self._database = database
        self._progress = progress
        self._clock = clock
        self._sweeping = threading.Lock()
        self._watching_since: datetime | None = None
        self._watched_at: datetime | None = None

    def sweep(self) -> int:
        """Give up gateways that missed their lease and end the sessions of epochs that are over; how many were
        ended. Does nothing while another thread sweeps, or the views are behind. Raises ``Unavailable``."""
        if not self._sweeping.acquire(blocking=False):
            return 0
        try:
            return self._sweep()
        except Conflict as conflict:  # somebody else was faster; the next sweep sees what is left
            log.info("sweep ends early: %s", conflict)
            return 0
        except Unavailable:
            self._watching_since = None  # gateways could not beat either
            raise
        finally:
            self._sweeping.release()

    def _sweep(self) -> int:
        if not self._has_seen_all():
            return 0
        if self._give_up_silent() and not self._has_seen_all():
            return 0
        ended = sum(self._end_sessions(gateway, epoch) for gateway, epoch in self._over())
        self._end_attempts()
        return ended

    def _has_seen_all(self) -> bool:
        head = self._store.head()
        return head is not None and self._progress.wait_for(head, PATIENCE_S)

    def _watched_for(self, now: datetime) -> timedelta:
        gap = now - self._watched_at if self._watched_at else None
        if self._watching_since is None or gap is None or not timedelta(0) <= gap <= MAX_GAP:
            self._watching_since = now
        self._watched_at = now
        return now - self._watching_since

    def _give_up_silent(self) -> int:
        now = self._clock()
        watched_for = self._watched_for(now)
        gateways = self._database.table(GATEWAYS)
        with self._database.connect() as connection:
            query = sa.select(gateways).where(gateways.c.over.is_(False))
            rows: list[Row] = [dict(row) for row in connection.execute(query).mappings()]
        return sum(
            self._give_up(row, now)
            for row in rows
            if missed_lease(row, now) and watched_for >= timedelta(seconds=row["lease_s"])
        )

    def _give_up(self, gateway: Row, now: datetime) -> bool:
        name, epoch = gateway["gateway"], gateway["epoch"]
        stream = f"gateway-{name}"
        beat, last = self._last(f"beat-{name}.{epoch}"), self._last(stream)
        if last is None:
            return False
        event = self._contracts.decode(last)
        heard_at = last.at if beat is None else max(beat.at, last.at)
        if (
            event.epoch != epoch
            or isinstance(event, GatewayLost | GatewayStopped)
            or heard_at > gateway["last_beat_at"]
        ):
            return False
        silent_s = (now - heard_at).total_seconds()
        self._store.append(stream, last.version, [self._new(GatewayLost(name, epoch), "gateway-lost", name, epoch)])
        log.error("gateway %s (epoch %d) is given up: not heard of for %.1f s", name, epoch, silent_s)
        return True

    def _over(self) -> list[tuple[str, int]]:
        counts, gateways = self._database.counts(FLEET), self._database.table(GATEWAYS)
        with self._database.connect() as connection:
            items = connection.execute(sa.select(counts.c.item).where(counts.c.scope == SESSIONS_SCOPE)).scalars().all()
            rows: list[Row] = [dict(row) for row in connection.execute(sa.select(gateways)).mappings()]
        known = {row["gateway"]: row for row in rows}
        sessions = [(name, int(epoch)) for epoch, name in (item.split(" ", 1) for item in items)]
        return [(name, epoch) for name, epoch in sessions if name in known and is_over(known[name], epoch)]

    def _end_sessions(self, gateway: str, epoch: int) -> int:
        stream = f"connection-{gateway}.{epoch}-lost"
        expected, ended = self._version(stream), 0
        for rows in self._pages(gateway, epoch):
            expected = self._store.append(stream, expected, [new for row in rows for new in self._endings(row)]).version
            ended += len(rows)
        log.warning("%d sessions of gateway %s (epoch %d) were ended for it", ended, gateway, epoch)
        return ended

    def _end_attempts(self) -> None:
        """Of which nothing is heard any more, a page at a time."""
        attempts, fleet = self._database.table(ATTEMPTS), self._database.table(FLEET)
        query = (
            sa.select(attempts, fleet.c.update_failures)
            .join_from(attempts, fleet, attempts.c.device_id == fleet.c.device_id)
            .where(attempts.c.told_at < self._clock() - GIVEN_UP_AFTER)
            .order_by(attempts.c.told_at)
            .limit(PAGE)
        )
        with self._database.connect() as connection:
            rows: list[Row] = [dict(row) for row in connection.execute(query).mappings()]
        if rows:
            self._store.append(LOST_UPDATES, self._version(LOST_UPDATES), [self._unfinished(row) for row in rows])

    def _unfinished(self, row: Row) -> New:
        which = (row["device_id"], row["version"], row["attempt"], row["told_at"].isoformat())
        return self._new(unfinished(row, row["update_failures"]), "update-unfinished", *which)

    def _version(self, stream: str) -> int | Expected:
        last = self._last(stream)
        return NO_STREAM if last is None else last.version

    def _last(self, stream: str) -> Recorded | None:
        try:
            recorded = self._store.read(stream, -1, limit=1, backwards=True)
        except StreamNotFound:
            return None
        return recorded[0] if recorded else None

    def _pages(self, gateway: str, epoch: int) -> Iterator[Sequence[Row]]:
        fleet = self._database.table(FLEET)
        its_own = (fleet.c.gateway == gateway, fleet.c.epoch == epoch, fleet.c.online.is_(True))
        columns = [fleet.c[name] for name in COLUMNS]
        last = ""
        while True:
            query = sa.select(*columns).where(*its_own, fleet.c.device_id > last).order_by(fleet.c.device_id)
            with self._database.connect() as connection:
                rows: list[Row] = [dict(row) for row in connection.execute(query.limit(PAGE)).mappings()]
            if not rows:
                return
            yield rows
            last = rows[-1]["device_id"]

    def _endings(self, row: Row) -> list[New]:
        """Of a session, and of the attempt at an update that was under way in it; one that was being applied goes on
        at the gateway that the device comes back to (FW-7)."""
        ended = [self._ending(row)]
        if row["update_state"] in UNDER_WAY and row["product_id"] is not None:
            event = UpdateInterrupted(
                row["device_id"],
                row["product_id"],
                row["update_version"],
                row["update_attempt"],
                row["update_percent"] or 0,
                row["update_cause"],
            )
            which = (row["gateway"], row["epoch"], row["device_id"], row["update_version"], row["update_attempt"])
            ended.append(self._new(event, "update-lost", *which))
        return ended

    def _ending(self, row: Row) -> New:
        duration_s = max(0, int((self._clock() - row["connected_at"]).total_seconds()))
        event = DeviceDisconnected(
            device_id=row["device_id"],
            product_id=row["product_id"],
            gateway=row["gateway"],
            epoch=row["epoch"],
            session=row["session"],
            reason="gateway_lost",
            duration_s=duration_s,
            bytes_in=0,
            bytes_out=0,
            messages_in=0,
            messages_out=0,
        )
        return self._new(event, "session-lost", row["gateway"], row["epoch"], row["session"], row["device_id"])

    def _new(self, event: object, *parts: Any) -> New:
        command = derived_uuid(*map(str, parts))
        return self._contracts.encode(event, 0, Context.new("system:devices", "devices", command))
