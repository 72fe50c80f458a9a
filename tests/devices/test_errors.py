from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from services.devices.errors import (
    DAY,
    DEVICE_ERRORS,
    ERRORS,
    HOUR,
    MOST_ITEMS,
    MOST_KINDS,
    OTHER,
    counted,
    erred,
)
from shared.events.gateway import DeviceErred, DeviceMisbehaved, FunctionCalled, UpdateFailed
from shared.projections.view import Key, Row, View
from shared.store.port import Position, Recorded

A, P = "a" * 24, 1000
NOON = datetime(2030, 1, 1, 12, 20, tzinfo=UTC)


def panic(version: int | None = 7, count: int = 1, kind: str = "reset/panic") -> DeviceErred:
    return DeviceErred(A, P, kind, "panic", count, version, "a", 1, 1)


def rows(view: View, *happened: tuple[datetime, Any]) -> dict[Key, Row]:
    found: dict[Key, Row] = {}
    for at, event in happened:
        parts, recorded = view.divided(
            [event], [Recorded(UUID(int=1), type(event).__name__, "s", 0, Position(1), at, b"", b"")]
        )
        for part, envelope in zip(parts, recorded, strict=True):
            for key in view.keys(part, envelope):
                row = view.fold(found.get(key), part, envelope)
                assert row is not None
                assert tuple(row[name] for name in view.key) == key
                assert list(row) == list(view.columns)
                found[key] = row
    return found


def stretches(word: str, *happened: tuple[datetime, Any]) -> dict[Key, Row]:
    return {key: row for key, row in rows(ERRORS, *happened).items() if row["stretch"] == word}


def items(found: dict[Key, Row]) -> list[Sequence[tuple[int | None, str, int]]]:
    return [sorted(counted(row["counts"]), key=str) for row in found.values()]


def test_what_counts_as_an_error_and_under_which_version() -> None:
    assert erred(panic()) is not None
    misbehaved = erred(DeviceMisbehaved(A, P, "bad_payload", "", 3, 7))
    assert misbehaved is not None
    assert (misbehaved.kind, misbehaved.version, misbehaved.count) == ("protocol/bad_payload", 7, 3)
    failed = erred(UpdateFailed(A, P, 8, 1, "stalled", "", 1))
    assert failed is not None
    assert (failed.kind, failed.version) == ("update/stalled", 8)
    called = erred(FunctionCalled(A, P, "unlock", "timeout", 9, "", 7))
    assert called is not None
    assert (called.kind, called.version, called.text) == ("call/timeout", 7, "unlock")


def test_what_somebody_else_did_is_no_error_of_the_device() -> None:
    assert erred(DeviceMisbehaved(A, P, "refused_login", "", 1)) is None
    assert erred(DeviceMisbehaved(A, P, "wrong_key", "", 1)) is None
    assert erred(DeviceMisbehaved(A, None, "bad_payload", "", 1)) is None
    assert erred(UpdateFailed(A, P, 8, 1, "cancelled", "", 1)) is None
    assert erred(FunctionCalled(A, P, "unlock", "answered", 9, "")) is None
    assert erred(FunctionCalled(A, P, "unlock", "offline", 9, "")) is None


def test_errors_are_counted_by_version_and_kind_in_their_stretch_of_time() -> None:
    found = stretches(
        "hour",
        (NOON, panic()),
        (NOON, panic(count=4)),
        (NOON, panic(version=None, kind="app/overheated")),
        (NOON + timedelta(minutes=40), panic()),
    )
    assert items(found) == [[(7, "reset/panic", 5), (None, "app/overheated", 1)], [(7, "reset/panic", 1)]]
    assert [row["at"].hour for row in found.values()] == [12, 13]


def test_a_place_is_taken_by_a_later_stretch_and_never_by_an_earlier_one() -> None:
    later = NOON + HOUR.kept * HOUR.length
    [row] = stretches("hour", (NOON, panic(count=4)), (later, panic()), (NOON, panic(count=9))).values()
    assert row["at"] == later.replace(minute=0)
    assert list(counted(row["counts"])) == [(7, "reset/panic", 1)]
    by_day = stretches("day", *((NOON + number * DAY.length, panic()) for number in range(2 * DAY.kept)))
    assert len(by_day) == DAY.kept


def test_a_row_stays_small_whatever_devices_call_their_errors() -> None:
    told = [(NOON, panic(kind=f"app/{number}")) for number in range(MOST_ITEMS + 50)]
    [row] = stretches("day", *told, (NOON, panic(kind="app/0"))).values()
    found = {kind: number for _, kind, number in counted(row["counts"])}
    assert (len(found), found[OTHER], found["app/0"]) == (MOST_ITEMS + 1, 50, 2)
    [mine] = rows(DEVICE_ERRORS, *told).values()
    assert (mine["errors"], len(mine["kinds"])) == (MOST_ITEMS + 50, MOST_KINDS + 1)


def test_a_device_has_its_errors_of_each_day_in_the_product_that_it_is_in() -> None:
    moved = DeviceErred(A, 2000, "reset/watchdog", "watchdog", 1, 3, "a", 1, 1)
    tomorrow = NOON + timedelta(days=1)
    first, second = rows(
        DEVICE_ERRORS, (NOON, panic()), (NOON, panic()), (tomorrow, panic()), (tomorrow, moved)
    ).values()
    assert (first["errors"], first["kinds"], first["product_id"]) == (2, {"reset/panic": 2}, P)
    assert (second["errors"], second["kinds"], second["product_id"]) == (1, {"reset/watchdog": 1}, 2000)
    assert (second["last_text"], second["last_version"], second["last_at"]) == ("watchdog", 3, tomorrow)
