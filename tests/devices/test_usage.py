from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from services.devices.usage import (
    ALL,
    DAYS,
    NEVER,
    OWNERS,
    USAGE,
    owned_by,
    owners_scope,
    used_scope,
)
from shared.events.devices import DeviceClaimed, DeviceRemoved, DeviceUnclaimed
from shared.events.gateway import DeviceUsage, UsageCounted
from shared.projections.folding import After, fold
from shared.projections.view import Key, Row, View
from shared.store.port import Position, Recorded

P, A, B, C = 1000, "a" * 24, "b" * 24, "c" * 24
ADA, BOB = "d" * 24, "e" * 24
DAY = datetime(2030, 1, 1, tzinfo=UTC)


def counted(*usages: DeviceUsage, day: int = 0, product_id: int = P) -> UsageCounted:
    return UsageCounted(product_id, DAY + timedelta(days=day), list(usages), "a", 1)


def rows(view: View, events: Iterable[Any]) -> dict[Key, Row]:
    """What the projector makes of these events."""
    many = list(events)
    envelope = Recorded(UUID(int=1), "", "s", 0, Position(1), DAY, b"", b"")
    parts, recorded = view.divided(many, [envelope] * len(many))
    after: After = {}
    fold(view, zip(parts, recorded, view.touched(parts, recorded), strict=True), {}, after)
    return {key: row for key, row in after.items() if row is not None}


def of(who: str, events: Iterable[Any]) -> list[Row]:
    return [row for row in rows(USAGE, events).values() if row["who"] == who]


def test_usage_adds_up_by_device_owner_and_product() -> None:
    told = [
        counted(
            DeviceUsage(A, ADA, 3, 1, 0, 1, 60), DeviceUsage(B, ADA, 1, 0, 2, 0, 0), DeviceUsage(C, None, 5, 0, 0, 0, 0)
        ),
        counted(DeviceUsage(A, ADA, 2, 0, 0, 0, 5)),
        counted(DeviceUsage(A, BOB, 7, 0, 0, 0, 0), day=1),
    ]
    found = {(row["who"], row["at"].day): row for row in rows(USAGE, told).values()}
    events = {who: row["events"] for who, row in found.items()}
    assert events == {
        (A, 1): 5,
        (B, 1): 1,
        (C, 1): 5,
        (A, 2): 7,
        (owned_by(ADA), 1): 6,
        (owned_by(BOB), 2): 7,
        (ALL, 1): 11,
        (ALL, 2): 7,
    }
    ada = found[owned_by(ADA), 1]
    assert (ada["calls"], ada["reads"], ada["connected_s"]) == (1, 2, 65)
    counted_days = [counter for row in found.values() for counter in USAGE.tally(row)]
    assert sorted(counted_days) == [(used_scope(P), "2030-01-01")] * 3 + [(used_scope(P), "2030-01-02")]


def test_days_are_kept_for_so_long_and_an_older_one_is_not_told_later() -> None:
    days = [counted(DeviceUsage(A, None, day, 0, 0, 0, 0), day=day) for day in range(1, 200)]
    found = of(A, [*days, counted(DeviceUsage(A, None, 1, 0, 0, 0, 0))])
    assert sorted(row["events"] for row in found) == list(range(200 - DAYS.kept, 200))


def test_a_device_that_moved_to_another_product_begins_anew() -> None:
    here, there = DeviceUsage(A, None, 9, 0, 0, 0, 0), DeviceUsage(A, None, 1, 0, 0, 0, 0)
    found = of(A, [counted(here), counted(there, product_id=1001)])
    assert [(row["product_id"], row["events"]) for row in found] == [(P, 9), (1001, 1)]


def test_owners_are_those_who_have_a_device_with_the_day_of_their_last_use() -> None:
    had = [DeviceClaimed(A, P, ADA), DeviceClaimed(B, P, ADA), DeviceClaimed(C, P, BOB)]
    used = [counted(DeviceUsage(A, ADA, 1, 0, 0, 0, 0), day=2), counted(DeviceUsage(A, ADA, 1, 0, 0, 0, 0), day=1)]
    found = rows(OWNERS, [*had, *used])
    assert (found[P, ADA]["devices"], found[P, ADA]["last_used"]) == (2, DAY + timedelta(days=2))
    assert (found[P, BOB]["devices"], found[P, BOB]["last_used"]) == (1, NEVER)
    assert list(OWNERS.tally(found[P, BOB])) == [(owners_scope(P), "1970-01-01")]
    left = rows(OWNERS, [*had, *used, DeviceRemoved(A, P, ADA), DeviceUnclaimed(C, P, BOB), DeviceRemoved(C, P)])
    assert {key: row["devices"] for key, row in left.items()} == {(P, ADA): 1}


def test_being_connected_is_no_use_and_use_makes_nobody_an_owner() -> None:
    idle = counted(DeviceUsage(A, ADA, 0, 0, 0, 0, 600))
    stranger = counted(DeviceUsage(B, BOB, 1, 0, 0, 0, 0))
    [row] = rows(OWNERS, [DeviceClaimed(A, P, ADA), idle, stranger]).values()
    assert (row["owner_id"], row["last_used"]) == (ADA, NEVER)


USAGES = st.builds(DeviceUsage, st.sampled_from([A, B, C]), st.sampled_from([ADA, BOB, None]), *[st.integers(0, 9)] * 5)


@given(st.lists(USAGES, max_size=20), st.data())
def test_however_usage_is_cut_into_facts_the_sums_are_the_same(usages: list[DeviceUsage], data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(usages)), max_size=5)))
    pieces = [counted(*usages[begin:end]) for begin, end in zip([0, *cuts], [*cuts, len(usages)], strict=True)]
    whole = rows(USAGE, [counted(*usages)])
    assert rows(USAGE, pieces) == whole
