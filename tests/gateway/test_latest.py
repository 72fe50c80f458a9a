"""The latest values of devices over restarts of the gateway (MQU-1)."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from services.gateway.devices.latest import moment_us
from services.gateway.latest import LatestValues
from services.gateway.log import log_stream
from shared.context import Context
from shared.errors import Unavailable
from shared.events.contracts import CONTRACTS
from shared.events.gateway import DevicePublished
from shared.store.port import ANY, EventStore

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
NOON_US = moment_us(None, NOON)
DEVICE, OTHER = "a" * 24, "b" * 24
Publish = Callable[..., None]


@pytest.fixture
def publish(store: EventStore) -> Publish:
    def put(data: str, device_id: str = DEVICE, name: str = "telemetry", ago_s: float | None = None) -> None:
        device_at = None if ago_s is None else NOON - timedelta(seconds=ago_s)
        event = DevicePublished(device_id, 1000, name, data, "text", 60, False, NOON, device_at, None)
        store.append(log_stream(1000), ANY, [CONTRACTS.encode(event, 0, Context.new("system:t", "t"))])

    return put


def test_the_latest_values_are_known_after_a_restart(store: EventStore, tmp_path: Path, publish: Publish) -> None:
    publish('{"a":1,"b":{"c":2},"current_fw_version":"7"}')
    publish('{"a":2}', ago_s=10)
    publish('{"a":3}', device_id=OTHER)
    for _ in range(2):
        latest = LatestValues(tmp_path, store)
        latest.catch_up()
        assert latest.value(DEVICE, "a") == (1, NOON_US)
        assert latest.value(DEVICE, "b") == ({"c": 2}, NOON_US)
        assert latest.value(OTHER, "a") == (3, NOON_US)
        assert latest.value(DEVICE, "current_fw_version") is None
        assert latest.value("c" * 24, "a") is None
        latest.stop()
        store.truncate(log_stream(1000), 3)  # the log forgets, the values stay


@pytest.mark.parametrize(("data", "name"), [("no JSON", "telemetry"), ("[1]", "telemetry"), ('{"a":2}', "brewed")])
def test_what_is_no_telemetry_changes_nothing(
    data: str, name: str, store: EventStore, tmp_path: Path, publish: Publish
) -> None:
    publish('{"a":1}')
    publish(data, name=name)
    publish('{"b":1}')
    latest = LatestValues(tmp_path, store)
    latest.catch_up()
    assert (latest.value(DEVICE, "a"), latest.value(DEVICE, "b")) == ((1, NOON_US), (1, NOON_US))
    latest.stop()


def test_it_follows_the_log_and_ends(store: EventStore, tmp_path: Path, publish: Publish) -> None:
    latest = LatestValues(tmp_path, store, pause_s=0.01)
    latest.start()
    publish('{"a":1}')
    limit = time.monotonic() + 10
    while latest.value(DEVICE, "a") is None:
        assert time.monotonic() < limit
    latest.stop()
    latest.stop()
    with pytest.raises(Unavailable):
        latest.value(DEVICE, "a")
