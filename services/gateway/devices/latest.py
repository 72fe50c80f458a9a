"""The latest value of each key that a device publishes as telemetry (MQU-1). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from services.gateway.devices.packing import Packed

MOST_KEYS = 128
"""Keys of one device; beyond that the oldest values are forgotten."""
VALUE_BYTES = 1_024
"""A longer value, as JSON, is not kept, nor is the one before it."""
AHEAD = timedelta(days=1)
RESERVED = frozenset(
    {"current_fw_title", "current_fw_version", "product_id", "fw_state", "fw_error", "fw_updates_enabled"}
)
"""Keys by which a device says what it runs (MQF-1, MQF-8), and whether it may be updated now: they stand among
telemetry and are no values of it."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_NUMBERS = (int, float, bool)
_SURELY_SHORT = (VALUE_BYTES - 2) // 6
"""Characters of a text that is short however they are written in JSON."""


def moment_us(device_at: datetime | None, published_at: datetime) -> int:
    """When a value was true: by the device's own clock, unless that is more than a day ahead of ours."""
    believed = device_at is not None and device_at - published_at <= AHEAD
    return ((device_at if believed and device_at else published_at) - _EPOCH) // _MICROSECOND


def take_over(known: dict[str, tuple[Any, int]], values: Mapping[str, Any], at_us: int) -> None:
    """Make the latest values those after these were published, in place; the newer time wins. ``known`` is key to
    value and time, in microseconds since 1970; values may be packed."""
    for key, value in values.items():
        before = known.get(key)
        if before is not None and before[1] > at_us:
            continue
        if _short(value):
            known[key] = (value, at_us)
        elif before is not None:
            del known[key]
    if len(known) > MOST_KEYS:
        for key in sorted(known, key=lambda key: (-known[key][1], key))[MOST_KEYS:]:
            del known[key]


def _short(value: Any) -> bool:
    if isinstance(value, _NUMBERS) or (isinstance(value, str) and len(value) <= _SURELY_SHORT):
        return True
    return len(value if isinstance(value, Packed) else msgspec.json.encode(value)) <= VALUE_BYTES
