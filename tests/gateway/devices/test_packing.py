"""Lists and objects that are kept as their text."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.gateway.devices.attributes import MOST_BYTES, Dated, Reported
from services.gateway.devices.latest import MOST_KEYS, VALUE_BYTES
from services.gateway.devices.packing import for_json, packed, unpacked
from tests.fuzz.sizes import size_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=100)
@given(JSON)
def test_what_is_unpacked_is_what_was_packed(value: Any) -> None:
    again = unpacked(packed(value))
    assert (type(again), again) == (type(value), value)
    assert json.dumps(again, sort_keys=True) == json.dumps(value, sort_keys=True)
    assert msgspec.json.decode(msgspec.json.encode([for_json(packed(value))])) == [value]


@pytest.mark.parametrize("piece", ["[]", "{}", '{"":0}', '[""]', '{"a":{}}'])
def test_what_a_device_reported_takes_no_more_memory_than_its_text(piece: str) -> None:
    text = "[" + ",".join([piece] * ((MOST_BYTES - 20) // (len(piece) + 1))) + "]"
    reported = Reported({})
    assert reported.report({"a": json.loads(text)}, NOW, 0.0) is not None
    assert size_of(reported) < MOST_BYTES + 4_096
    assert size_of(Reported({"a": Dated(json.loads(text), 1)})) < MOST_BYTES + 4_096
    assert reported["a"] == json.loads(text)
    assert reported.report({"a": json.loads(text)}, NOW, 1.0) is None


def test_latest_values_take_no_more_memory_than_their_text(desk: Any) -> None:
    value = [{"": 0}] * (VALUE_BYTES // 8)
    desk.connect()
    for first in range(0, MOST_KEYS, 32):
        desk.up("v2/t", json.dumps({f"k{first + n}": value for n in range(32)}, separators=(",", ":")).encode())
    assert desk.value("k0")["value"] == value
    assert size_of(desk.session._latest) < MOST_KEYS * (VALUE_BYTES + 300)
