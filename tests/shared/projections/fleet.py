"""A small fleet's view and events, what its rows must be, and a database that fails when it is told to."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from shared.context import Context
from shared.errors import Unavailable
from shared.events.contracts import CONTRACTS
from shared.events.devices import DeviceDescribed, DeviceGrouped, DeviceImported, DeviceRemoved
from shared.events.gateway import DeviceConnected, DeviceDisconnected
from shared.projections.database import Database
from shared.projections.projector import Projector
from shared.projections.view import Counter, Index, Key, Row, Set, View
from shared.store.port import ANY, EventStore, Position, Recorded

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
POISON = "poison"
"""A device with this name cannot be folded, as long as ``Fleet.healed`` is not set."""


def device(number: int) -> str:
    return f"{number:024x}"


def imported(number: int, product: int = 1000) -> DeviceImported:
    return DeviceImported(device(number), product, False)


def named(number: int, name: str, product: int = 1000) -> DeviceDescribed:
    return DeviceDescribed(device(number), product, name, "")


def connected(number: int, session: int = 1) -> DeviceConnected:
    address = "10.0.0.7:1883"
    return DeviceConnected(device(number), 1000, "a", 1, session, NOW, "mqtt/3.1.1", address, True, "c")


def disconnected(number: int, session: int = 1) -> DeviceDisconnected:
    return DeviceDisconnected(device(number), 1000, "a", 1, session, "keepalive", 1, 2, 3, 4, 5)


def removed(number: int, product: int = 1000) -> DeviceRemoved:
    return DeviceRemoved(device(number), product)


def grouped(number: int, *groups: str) -> DeviceGrouped:
    return DeviceGrouped(device(number), 1000, list(groups))


@dataclass
class Fleet:
    """Makes views whose poison can be healed."""

    healed: bool = False

    def fold(self, row: Row | None, event: Any, recorded: Recorded) -> Row | None:
        match event:
            case DeviceImported():
                return {
                    "product_id": event.product_id,
                    "device_id": event.device_id,
                    "name": None,
                    "online": False,
                    "seen_at": None,
                    "score": 0.5,
                    "groups": [],
                    "extra": {},
                }
            case _ if row is None:
                return None
            case DeviceRemoved():
                return None
            case DeviceDescribed():
                if event.name == POISON and not self.healed:
                    raise ValueError("cannot fold this name")
                return row if row["name"] == event.name else {**row, "name": event.name}
            case DeviceGrouped():
                return {**row, "groups": event.groups, "extra": {"z": 1, "a": [len(event.groups)]}}
            case DeviceConnected():
                return {**row, "online": True, "seen_at": event.connected_at}
            case _:
                return {**row, "online": False, "score": row["score"] * 1.5}

    def view(self, **changes: Any) -> View:
        parts: dict[str, Any] = {
            "name": "fleet",
            "version": 1,
            "key": ("product_id", "device_id"),
            "columns": {
                "product_id": int,
                "device_id": str,
                "name": str,
                "online": bool,
                "seen_at": datetime,
                "score": float,
                "groups": list,
                "extra": dict,
            },
            "events": (
                DeviceImported,
                DeviceRemoved,
                DeviceDescribed,
                DeviceGrouped,
                DeviceConnected,
                DeviceDisconnected,
            ),
            "keys": lambda event: ((event.product_id, event.device_id),),
            "fold": self.fold,
            "counted": ("product_id", "online", "groups"),
            "tally": _tally,
            "indexes": (("name",), ("product_id", "online"), Index(("product_id", "seen_at"), only="online")),
            "sets": _sets,
        }
        return View(**(parts | changes))


def _tally(row: Row) -> Iterator[Counter]:
    yield f"product-{row['product_id']}", "online" if row["online"] else "offline"
    for group in row["groups"]:
        yield f"product-{row['product_id']}/group", group


def _sets(row: Row) -> list[Set]:
    return [(f"product-{row['product_id']}/group", group) for group in row["groups"]]


FLEET = Fleet().view()
Make = Callable[..., Projector]
"""Makes a projector, of ``FLEET`` unless other views are given."""


def expected(view: View, history: Sequence[Recorded]) -> tuple[dict[Key, Row], dict[Counter, int]]:
    """Rows and counters as the view's functions say, one event after the other in memory; poison is left out."""
    rows: dict[Key, Row] = {}
    for recorded in history:
        if recorded.type not in view.event_types:
            continue
        event = CONTRACTS.decode(recorded)
        for key in view.keys(event):
            try:
                row = view.fold(rows.get(key), event, recorded)
            except ValueError:
                continue
            rows.pop(key, None)
            if row is not None:
                rows[key] = row
    counts: dict[Counter, int] = {}
    for row in rows.values():
        for counter in view.tally(row):
            counts[counter] = counts.get(counter, 0) + 1
    return rows, counts


def content(database: Database, view: View, *, damaged: bool = False) -> tuple[dict[Key, Row], dict[Counter, int]]:
    """Rows and counters as they are stored; members of sets are those that the rows say, unless the
    view was ``damaged`` by hand."""
    with database.connect() as connection:
        rows = [dict(row) for row in connection.execute(sa.select(database.table(view))).mappings()]
        counts = connection.execute(sa.select(database.counts(view))).all()
        if view.sets is not None and not damaged:
            members = connection.execute(sa.select(database.members(view))).all()
            key = [name for name in view.columns if name in view.key]
            assert {tuple(one) for one in members} == {
                (*one, *(row[name] for name in key)) for row in rows for one in view.sets(row)
            }
    return {tuple(row[name] for name in view.key): row for row in rows}, {(row[0], row[1]): row[2] for row in counts}


class Flaky(Database):
    """A database whose next transactions fail, as ``plan`` says: before or after their commit."""

    def __init__(self, url: str, service: str) -> None:
        super().__init__(url, service)
        self.plan: list[str] = []

    def writing(self) -> AbstractContextManager[sa.Connection]:
        return self._failing(self.plan.pop(0) if self.plan else "")

    @contextmanager
    def _failing(self, how: str) -> Iterator[sa.Connection]:
        with super().writing() as connection:
            yield connection
            if how == "before":
                raise Unavailable("crashed before the commit")
        if how == "after":
            raise Unavailable("crashed after the commit")


class Log:
    """Appends events to the store."""

    def __init__(self, store: EventStore) -> None:
        self.store = store

    def add(self, *events: object, stream: str = "device-1") -> Position:
        context = Context.new("system:test", "test")
        new = [CONTRACTS.encode(event, index, context) for index, event in enumerate(events)]
        return self.store.append(stream, ANY, new).position

    def all(self) -> list[Recorded]:
        return self.store.read_all(None, 100_000).events


def wait_until(condition: Callable[[], bool], timeout_s: float = 20) -> bool:
    """Wait for something that a thread does and gives no sign of; whether it came."""
    pause, deadline = threading.Event(), time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        pause.wait(0.01)
    return True
