from __future__ import annotations

from typing import Any

import pytest

from services.devices.fleet import FLEET, NOTHING, fold
from services.devices.past_difference import COLUMNS, COMPARED, difference
from shared.events.devices import DeviceImported

A = "a" * 24


def row(**changes: Any) -> Any:
    recorded: Any = None
    imported = fold(None, DeviceImported(A, 1000, False), recorded)
    assert imported is not None
    return {**imported, **changes}


@pytest.mark.parametrize(
    ("change", "name", "before", "after"),
    [
        ({"online": True}, "online", False, True),
        ({"shown_version": 7}, "firmware_version", None, 7),
        ({"locked_version": 3}, "desired_firmware_version", None, 3),
        ({"groups": ["lab"]}, "groups", [], ["lab"]),
        ({"quarantined": True}, "quarantined", False, True),
        ({"denied": True}, "denied", False, True),
        ({"development": True}, "development", False, True),
        ({"name": "kettle"}, "name", None, "kettle"),
        (
            {"update_version": 7, "update_state": "failed"},
            "firmware_update",
            None,
            {"version": 7, "state": "failed"},
        ),
    ],
)
def test_each_thing_that_differs_is_told_with_both_values(change: Any, name: str, before: Any, after: Any) -> None:
    one, other = row(), row(**change)
    assert difference(A, one, other) == {"id": A, "what": [name], "before": {name: before}, "after": {name: after}}
    assert difference(A, other, one) == {"id": A, "what": [name], "before": {name: after}, "after": {name: before}}


def test_what_nobody_decides_or_looks_for_is_no_difference() -> None:
    assert difference(A, row(), row()) is None
    assert difference(A, row(), row(last_address="10.0.0.7", update_percent=40, session=7)) is None
    assert difference(A, row(shown_version=NOTHING), row(shown_version=NOTHING)) is None


def test_a_device_that_came_or_went_is_shown_whole() -> None:
    came, went = difference(A, None, row(name="kettle")), difference(A, row(name="kettle"), None)
    assert came is not None
    assert went is not None
    assert (came["what"], came["before"], came["after"]["name"]) == (["imported"], None, "kettle")
    assert (went["what"], went["before"], went["after"]) == (["removed"], came["after"], None)
    assert set(came["after"]) == set(COMPARED)


def test_the_columns_that_are_read_are_those_that_are_compared() -> None:
    assert set(COLUMNS) <= set(FLEET.columns)
    for name in set(FLEET.columns) - set(COLUMNS):
        assert difference(A, row(), row(**{name: object()})) is None
