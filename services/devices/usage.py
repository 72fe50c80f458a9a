"""How devices are used, by day: views ``usage``, of devices, of owners and of products, and ``owners``, who own devices
of a product and when they used them last. Pure.

Gateways count what devices do and tell it in ``UsageCounted``, which names the owner of each device at that time; a day
is one of UTC. Rows of days are places in a ring, as those of errors are. A device is used on a day on which it
published, was asked, or connected.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from services.devices.errors import Stretch
from shared.events.devices import DeviceClaimed, DeviceRemoved, DeviceUnclaimed
from shared.events.gateway import DeviceUsage, UsageCounted
from shared.projections.view import Counter, Key, Row, View
from shared.store.port import Recorded
from shared.times import EPOCH

DAYS = Stretch(timedelta(days=1), 64)
PRODUCT_DAYS = Stretch(timedelta(days=1), 400)
NEVER = EPOCH
"""When an owner used a device last who never did; not None, so that it can be sorted by."""
COUNTS = ("events", "calls", "reads", "sessions", "connected_s")


@dataclass(frozen=True, slots=True)
class Used:
    """What one device, all devices of an owner, or those of a product did on a day, as one fact tells it; ``who`` as
    the view ``usage`` has it."""

    product_id: int
    who: str
    at: datetime
    events: int
    calls: int
    reads: int
    sessions: int
    connected_s: int

    @property
    def is_use(self) -> bool:
        """Whether it is more than that a device stayed connected."""
        return bool(self.events or self.calls or self.reads or self.sessions)


ALL = ""
"""``who`` for all devices of a product; one device is its ID."""


def owned_by(owner_id: str) -> str:
    """``who`` for all devices of an owner in a product."""
    return f"owner {owner_id}"


def _used(event: UsageCounted, who: str, usages: Iterable[DeviceUsage]) -> Used:
    sums = [0] * len(COUNTS)
    for usage in usages:
        for index, name in enumerate(COUNTS):
            sums[index] += getattr(usage, name)
    return Used(event.product_id, who, DAYS.begin(event.day), *sums)


def _of_owners(event: UsageCounted) -> Iterator[tuple[str, list[DeviceUsage]]]:
    owned: dict[str, list[DeviceUsage]] = {}
    for usage in event.devices:
        if usage.owner_id is not None:
            owned.setdefault(usage.owner_id, []).append(usage)
    return iter(owned.items())


def _parts(event: UsageCounted) -> Iterator[Used]:
    yield _used(event, ALL, event.devices)
    for owner_id, usages in _of_owners(event):
        yield _used(event, owned_by(owner_id), usages)
    for usage in event.devices:
        yield _used(event, usage.device_id, [usage])


def _days(who: str) -> Stretch:
    return PRODUCT_DAYS if who == ALL else DAYS


def _keys(used: Used) -> Iterable[Key]:
    return ((used.product_id, used.who, _days(used.who).place(used.at)),)


def _fold(row: Row | None, used: Used, _: Recorded) -> Row | None:
    if row is not None and row["at"] > used.at:  # of a day before the one that has its place
        return row
    before = row if row is not None and row["at"] == used.at else dict.fromkeys(COUNTS, 0)
    return {
        "product_id": used.product_id,
        "who": used.who,
        "place": _days(used.who).place(used.at),
        "is_device": used.who != ALL and not used.who.startswith(owned_by("")),
        "at": used.at,
        **{name: before[name] + getattr(used, name) for name in COUNTS},
    }


def used_scope(product_id: int) -> str:
    """The scope of a product's days: how many devices were told of on each."""
    return f"product-{product_id}/used"


def _tally(row: Row) -> Iterable[Counter]:
    if row["is_device"]:
        yield used_scope(row["product_id"]), row["at"].date().isoformat()


_NUMBERS: dict[str, type] = dict.fromkeys(COUNTS, int)

USAGE = View(
    name="usage",
    version=1,
    key=("product_id", "who", "place"),
    columns={"product_id": int, "who": str, "place": int, "is_device": bool, "at": datetime, **_NUMBERS},
    events=(UsageCounted,),
    parts=_parts,
    keys=_keys,
    fold=_fold,
    counted=("product_id", "is_device", "at"),
    tally=_tally,
)


def _parts_of_owners(event: Any) -> Iterator[Any]:
    if isinstance(event, UsageCounted):
        all_used = (_used(event, owner_id, usages) for owner_id, usages in _of_owners(event))
        return (used for used in all_used if used.is_use)
    return iter((event,))


def _keys_of_owners(part: Any) -> Iterable[Key]:
    owner_id = part.who if isinstance(part, Used) else part.owner_id
    return () if owner_id is None else ((part.product_id, owner_id),)


def _fold_owners(row: Row | None, part: Any, _: Recorded) -> Row | None:
    match part:
        case Used():
            is_news = row is not None and part.at > row["last_used"]
            return {**row, "last_used": part.at} if row is not None and is_news else row
        case DeviceClaimed():
            before = row or {"product_id": part.product_id, "owner_id": part.owner_id, "devices": 0, "last_used": NEVER}
            return {**before, "devices": before["devices"] + 1}
    if row is None or row["devices"] <= 1:
        return None
    return {**row, "devices": row["devices"] - 1}


def owners_scope(product_id: int) -> str:
    """The scope of those who have a device of the product, by the day on which they used one last; ``1970-01-01``:
    never."""
    return f"product-{product_id}/owners"


def _tally_owners(row: Row) -> Iterable[Counter]:
    yield owners_scope(row["product_id"]), row["last_used"].date().isoformat()


OWNERS = View(
    name="owners",
    version=1,
    key=("product_id", "owner_id"),
    columns={"product_id": int, "owner_id": str, "devices": int, "last_used": datetime},
    events=(DeviceClaimed, DeviceUnclaimed, DeviceRemoved, UsageCounted),
    parts=_parts_of_owners,
    keys=_keys_of_owners,
    fold=_fold_owners,
    counted=("product_id", "last_used"),
    tally=_tally_owners,
    indexes=(("product_id", "last_used", "owner_id"),),
)
