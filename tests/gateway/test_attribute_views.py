"""Attributes in the gateway's directory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from services.gateway.attribute_views import DESIRED, REMEMBERED_REMOVALS
from services.gateway.directory import Directory
from services.gateway.entries import DesiredEntry
from shared.events import devices as d
from shared.events import gateway as g
from shared.events.contracts import Registry
from shared.store.port import EventStore, Position

DEVICE, OTHER = "e" * 24, "f" * 24
Known = Callable[..., Directory]


@pytest.fixture
def directory(store: EventStore, contracts: Registry, tmp_path: Path) -> Iterator[Directory]:
    made = Directory(tmp_path / "gateway-a", store, contracts)
    yield made
    made.stop()


@pytest.fixture
def known(directory: Directory, happen: Callable[..., Position]) -> Known:
    def after(*events: object) -> Directory:
        happen(*events)
        directory.projector.catch_up()
        return directory

    return after


def reported(values: dict[str, Any], *removed: str) -> g.AttributesReported:
    return g.AttributesReported(DEVICE, 1000, json.dumps(values), list(removed), "a", 1, 1)


def desired(values: dict[str, Any], *removed: str, device_id: str = DEVICE) -> d.AttributesDesired:
    return d.AttributesDesired(device_id, 1000, json.dumps(values), list(removed))


def test_what_devices_reported_is_known_with_its_time(known: Known) -> None:  # MQU-3
    directory = known(reported({"a": 1, "b": {"c": [None]}}), reported({"a": 2, "d": "x"}, "b"))
    found = directory.reported(DEVICE)
    assert {name: value for name, (value, _) in found.items()} == {"a": 2, "d": "x"}
    assert all(at_us > 1_700_000_000_000_000 for _, at_us in found.values())
    assert directory.reported(OTHER) == {}
    assert known(d.DeviceRemoved(DEVICE, 1000)).reported(DEVICE) == {}


def test_changes_of_what_is_desired_are_counted(known: Known) -> None:  # MQX-3
    directory = known(desired({"a": 1, "b": 2}), desired({"a": 3}, "b"), desired({"b": 4, "c": 5}), desired({}, "a"))
    assert directory.desired(DEVICE) == DesiredEntry(4, {"b": (4, 3), "c": (5, 3)}, {"a": 4})
    assert directory.desired_revision(DEVICE) == 4
    assert (directory.desired(OTHER), directory.desired_revision(OTHER)) == (DesiredEntry(), 0)


def test_a_device_that_is_removed_and_comes_back_begins_anew_behind_what_it_was_told(known: Known) -> None:  # DEV-8
    directory = known(desired({"a": 1}), d.DeviceRemoved(DEVICE, 1000), d.DeviceRemoved(OTHER, 1000))
    assert directory.desired(DEVICE) == DesiredEntry(2, {}, {})
    assert directory.desired_revision(OTHER) == 0
    assert known(desired({"b": 1})).desired(DEVICE) == DesiredEntry(3, {"b": (1, 3)}, {})


def test_only_so_many_removals_are_remembered_the_newest(known: Known) -> None:
    names = [f"n{number}" for number in range(REMEMBERED_REMOVALS)]
    directory = known(desired({}, "old"), desired({}, *names))
    assert sorted(directory.desired(DEVICE).removed) == sorted(names)


def test_connections_hear_of_news_in_what_is_desired_and_of_none_in_what_is_reported(
    directory: Directory, happen: Callable[..., Position]
) -> None:  # MQX-3
    async def scenario() -> None:
        heard: asyncio.Queue[frozenset[str]] = asyncio.Queue()
        remove = directory.on_change(lambda devices, products: heard.put_nowait(devices))
        happen(reported({"a": 1}))
        await asyncio.to_thread(directory.projector.catch_up)
        happen(desired({"a": 1}, device_id=OTHER))
        await asyncio.to_thread(directory.projector.catch_up)
        async with asyncio.timeout(10):
            assert await heard.get() == {OTHER}
        remove()

    asyncio.run(scenario())


def test_the_view_is_the_same_after_a_rebuild(known: Known) -> None:
    directory = known(desired({"a": 1}), reported({"b": 1}), desired({"c": 2}, "a"), d.DeviceRemoved(OTHER, 1000))
    before = directory.database.digest(DESIRED)
    directory.projector.rebuild("desired")
    assert directory.database.digest(DESIRED) == before
