"""A device's metrics (protocol section 5.3, flag 4): a binary table of numbers. Pure."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from services.gateway.devices.particle.violations import BAD_DESCRIBE, BadMessage

NAMES = {
    1: "last_reset_reason",
    2: "free_memory",
    3: "battery_charge",
    4: "system_loops",
    5: "application_loops",
    6: "uptime_s",
    7: "battery_state",
    8: "network_status",
    9: "network_error",
    10: "cloud_status",
    12: "network_disconnects",
    13: "cloud_error",
    14: "cloud_disconnects",
    17: "network_flags",
    18: "country",
    19: "rssi",
    20: "rate_limited_events",
    21: "retransmitted_messages",
    22: "unacknowledged_messages",
    23: "transmitted_messages",
    24: "power_source",
    25: "total_ram",
    26: "used_ram",
    27: "network_attempts",
    28: "network_disconnect_reason",
    29: "cloud_attempts",
    30: "cloud_disconnect_reason",
    31: "coap_round_trip_ms",
    33: "signal_strength",
    34: "signal_quality",
    35: "signal_quality_value",
    36: "access_technology",
    37: "signal_strength_value",
    40: "cell_country",
    41: "cell_network",
    42: "cell_area",
    43: "cell_identity",
}
SIGNED = frozenset((9, 13, 19, 33, 34, 35, 37))
"""What can be below zero."""
FIRST_OF_APPLICATION = 32_768
MAX_ENTRIES = 256

_KIND = 4
_HEAD = struct.Struct("<BHHH")
_ENTRY = struct.Struct("<HI")
_ID_BYTES, _VALUE_BYTES = 2, 4
_ERROR = 0x8000


@dataclass(frozen=True, slots=True)
class Metrics:
    """Values by id, and the error codes of what could not be measured."""

    values: Mapping[int, int]
    errors: Mapping[int, int]


def read_metrics(payload: bytes | None) -> Metrics:
    """The table. An id with bit 15 is one of the application, unless its value is below zero: then it is an error."""
    data = payload or b""
    if len(data) < _HEAD.size:
        raise BadMessage(f"metrics of {len(data)} bytes", BAD_DESCRIBE)
    if _HEAD.unpack_from(data) != (0, _KIND, _ID_BYTES, _VALUE_BYTES):
        raise BadMessage("metrics of another form", BAD_DESCRIBE)
    count, rest = divmod(len(data) - _HEAD.size, _ENTRY.size)
    if rest or count > MAX_ENTRIES:
        raise BadMessage(f"metrics of {len(data)} bytes", BAD_DESCRIBE)
    values: dict[int, int] = {}
    errors: dict[int, int] = {}
    for number, value in _ENTRY.iter_unpack(data[_HEAD.size :]):
        signed = value - 2**32 if value >= 2**31 else value
        if number & _ERROR and signed < 0:
            errors[number & ~_ERROR] = signed
        else:
            values[number] = signed if number in SIGNED or number & _ERROR else value
    return Metrics(values, errors)


def metrics_payload(metrics: Metrics) -> bytes:
    """The table of these metrics, values first."""
    rows = [*metrics.values.items(), *((number | _ERROR, code) for number, code in metrics.errors.items())]
    table = b"".join(_ENTRY.pack(number, value & 0xFFFFFFFF) for number, value in rows)
    return _HEAD.pack(0, _KIND, _ID_BYTES, _VALUE_BYTES) + table
