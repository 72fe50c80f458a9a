"""Views ``errors`` and ``device_errors``: errors that devices report, counted by product, kind and version in stretches
of ten minutes, of an hour and of a day, and by device and day. Pure.

What counts: a fault for which a device started anew and errors that its application reports (``reset/…``, ``app/…``),
breaking its protocol (``protocol/…``; not who only claimed to be the device), a function that failed or never answered
(``call/…``), and a failed update (``update/…``, under the version that it should have brought; one that the team
cancelled is none).

Each row is a stretch of a product's time. Rows are places in a ring, so that no more of them are kept than a stretch
has ``kept``: who comes to a place later takes it. A row has ``MOST_ITEMS`` pairs of version and kind at most; what is
beyond that is counted as ``OTHER``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from shared.events.gateway import DeviceErred, DeviceMisbehaved, FunctionCalled, UpdateFailed
from shared.projections.view import Key, Row, View
from shared.store.port import Recorded
from shared.times import EPOCH

MOST_ITEMS = 256
MOST_KINDS = 16
"""Of one device and day."""
OTHER = "other/other"
UPDATE = "update/"
IMPOSTORS = frozenset({"refused_login", "wrong_key"})
"""Misbehaviours of whoever claims to be the device."""
FAILED_CALLS = frozenset({"failed", "timeout"})


@dataclass(frozen=True, slots=True)
class Stretch:
    """A length of time, and how many of them are kept."""

    length: timedelta
    kept: int

    def begin(self, at: datetime) -> datetime:
        """The beginning of the stretch that this moment is in."""
        return at - (at - EPOCH) % self.length

    def oldest(self, now: datetime) -> datetime:
        """The beginning of the oldest that is kept."""
        return self.begin(now) - (self.kept - 1) * self.length

    def place(self, at: datetime) -> int:
        """Its place in the ring."""
        return (at - EPOCH) // self.length % self.kept


TEN_MINUTES = Stretch(timedelta(minutes=10), 288)
HOUR = Stretch(timedelta(hours=1), 15 * 24)
DAY = Stretch(timedelta(days=1), 400)
DEVICE_DAY = Stretch(timedelta(days=1), 8)
STRETCHES: Mapping[str, Stretch] = {"ten_minutes": TEN_MINUTES, "hour": HOUR, "day": DAY}
"""By the words of a query."""


@dataclass(frozen=True, slots=True)
class Erred:
    """``count`` errors of one kind on one device; ``version``: None if nobody knows."""

    product_id: int
    kind: str
    version: int | None
    count: int
    text: str


def erred(event: Any) -> Erred | None:
    """The error that the event tells of, if it does."""
    product_id = event.product_id
    if product_id is None:
        return None
    match event:
        case DeviceErred():
            return Erred(product_id, event.kind, event.version, event.count, event.text)
        case DeviceMisbehaved() if event.kind not in IMPOSTORS:
            return Erred(product_id, f"protocol/{event.kind}", event.version, event.count, event.text)
        case FunctionCalled() if event.outcome in FAILED_CALLS:
            return Erred(product_id, f"call/{event.outcome}", event.version, 1, event.function)
        case UpdateFailed() if event.reason != "cancelled":
            return Erred(product_id, f"{UPDATE}{event.reason}", event.version, 1, event.text)
    return None


def counted(counts: Mapping[str, int]) -> Iterator[tuple[int | None, str, int]]:
    """Version, kind and number of each item of a row."""
    for item, number in counts.items():
        version, _, kind = item.partition(" ")
        yield (int(version) if version else None), kind, number


def _item(error: Erred) -> str:
    return f"{'' if error.version is None else error.version} {error.kind}"


def _added(counts: Mapping[str, int], item: str, number: int, most: int, other: str) -> dict[str, int]:
    if item not in counts and len(counts) >= most:
        item = other
    return {**counts, item: counts.get(item, 0) + number}


@dataclass(frozen=True, slots=True)
class Told:
    """An error as a stretch of this word has it."""

    word: str
    error: Erred


def _parts(event: Any) -> Iterable[Told]:
    error = erred(event)
    return () if error is None else [Told(word, error) for word in STRETCHES]


def _keys(told: Told, recorded: Recorded) -> Iterable[Key]:
    return ((told.error.product_id, told.word, STRETCHES[told.word].place(recorded.at)),)


def _fold(row: Row | None, told: Told, recorded: Recorded) -> Row | None:
    error, stretch = told.error, STRETCHES[told.word]
    at = stretch.begin(recorded.at)
    if row is not None and row["at"] > at:  # a clock went back, by as much as is kept
        return row
    counts = row["counts"] if row is not None and row["at"] == at else {}
    return {
        "product_id": error.product_id,
        "stretch": told.word,
        "place": stretch.place(recorded.at),
        "at": at,
        "counts": _added(counts, _item(error), error.count, MOST_ITEMS, f" {OTHER}"),
    }


_EVENTS = (DeviceErred, DeviceMisbehaved, FunctionCalled, UpdateFailed)


def _device_keys(event: Any, recorded: Recorded) -> Iterable[Key]:
    return () if erred(event) is None else ((event.device_id, DEVICE_DAY.place(recorded.at)),)


def _fold_device(row: Row | None, event: Any, recorded: Recorded) -> Row | None:
    error, at = erred(event), DEVICE_DAY.begin(recorded.at)
    assert error is not None
    if row is not None and row["at"] > at:
        return row
    if row is None or row["at"] != at or row["product_id"] != error.product_id:
        row = {"errors": 0, "kinds": {}}
    return {
        "device_id": event.device_id,
        "place": DEVICE_DAY.place(recorded.at),
        "product_id": error.product_id,
        "at": at,
        "errors": row["errors"] + error.count,
        "kinds": _added(row["kinds"], error.kind, error.count, MOST_KINDS, OTHER),
        "last_kind": error.kind,
        "last_text": error.text,
        "last_version": error.version,
        "last_at": recorded.at,
    }


ERRORS = View(
    name="errors",
    version=1,
    key=("product_id", "stretch", "place"),
    columns={"product_id": int, "stretch": str, "place": int, "at": datetime, "counts": dict},
    events=_EVENTS,
    parts=_parts,
    keys=_keys,
    fold=_fold,
    indexes=(("product_id", "stretch", "at"),),
    by_envelope=True,
)
DEVICE_ERRORS = View(
    name="device_errors",
    version=1,
    key=("device_id", "place"),
    columns={
        "device_id": str,
        "place": int,
        "product_id": int,
        "at": datetime,
        "errors": int,
        "kinds": dict,
        "last_kind": str,
        "last_text": str,
        "last_version": int,
        "last_at": datetime,
    },
    events=_EVENTS,
    keys=_device_keys,
    fold=_fold_device,
    indexes=(("product_id", "at", "errors", "device_id"),),
    by_envelope=True,
)
