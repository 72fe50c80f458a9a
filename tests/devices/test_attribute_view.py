from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from services.devices.attribute_view import ATTRIBUTES, attributes_object, fold
from services.devices.attributes import MAX_ATTRIBUTES
from shared.events.devices import AttributesDesired, DeviceRemoved
from shared.events.gateway import AttributesReported
from shared.projections.view import Row
from shared.store.port import Position, Recorded

ID, P = "53ff6f066667574834212367", 1000
START = datetime(2030, 1, 1, tzinfo=UTC)


def reported(removed: list[str] | None = None, **values: Any) -> AttributesReported:
    return AttributesReported(ID, P, json.dumps(values), removed or [], "a", 1, 1)


def desired(removed: list[str] | None = None, **values: Any) -> AttributesDesired:
    return AttributesDesired(ID, P, json.dumps(values), removed or [])


def after(*events: Any) -> Row | None:
    row: Row | None = None
    for second, event in enumerate(events):
        at = START + timedelta(seconds=second)
        row = fold(row, event, Recorded(UUID(int=0), "x", "s", second, Position(second), at, b"{}", b"{}"))
    assert row is None or set(row) == set(ATTRIBUTES.columns)
    return row


def test_each_key_has_its_last_value_and_the_time_of_it() -> None:  # MQU-3
    row = after(reported(serial="S-17", on=True), desired(rate=5), reported(on=False), reported(["serial"]))
    assert attributes_object(row) == {
        "reported": {"on": False},
        "reported_at": {"on": "2030-01-01T00:00:02.000Z"},
        "desired": {"rate": 5},
        "desired_at": {"rate": "2030-01-01T00:00:01.000Z"},
    }


def test_a_device_without_attributes_has_none() -> None:
    assert attributes_object(None) == {"reported": {}, "reported_at": {}, "desired": {}, "desired_at": {}}


def test_they_go_when_the_device_leaves_its_product() -> None:  # DEV-8
    assert after(reported(a=1), desired(b=2), DeviceRemoved(ID, P)) is None


def test_what_a_device_reports_is_bounded() -> None:
    reports = [reported(**{f"k{number}": number}) for number in range(MAX_ATTRIBUTES)]
    row = after(reported(oldest=1), *reports)
    assert row is not None
    assert len(row["reported"]) == MAX_ATTRIBUTES
    assert "oldest" not in row["reported"]
