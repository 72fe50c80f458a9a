from __future__ import annotations

from typing import Any

import pytest

from shared.errors import NotFound

DEVICE = "0123456789abcdef01234567"
PATH = f"/v1/products/thermo/devices/{DEVICE}/attributes"


def test_attributes_are_read_with_their_times(api: Any) -> None:
    moment = "2026-03-01T12:00:00.000Z"
    found = {"reported": {"a": [1]}, "reported_at": {"a": moment}, "desired": {"b": None}, "desired_at": {"b": moment}}
    api.bus.answers["devices.get_attributes"] = found
    assert api.get(PATH).json() == found
    assert api.bus.last("get_attributes").arguments == {"product_id": 1000, "device_id": DEVICE}


def test_attributes_are_desired_and_removed_by_name(api: Any) -> None:  # MQX-3
    api.bus.answers["devices.desire_attributes"] = {"position": 7}
    body = {"desired": {"rate": 5, "mode": None}, "removed": ["old"]}
    answer = api.put(PATH, json=body)
    assert (answer.json(), answer.headers["X-Flotilla-Position"]) == ({"ok": True}, "7")
    asked = {"product_id": 1000, "device_id": DEVICE, "values": body["desired"], "removed": ["old"]}
    assert api.bus.last("desire_attributes").arguments == asked


@pytest.mark.parametrize("body", [{}, {"rate": 5}, {"values": {"rate": 5}}, {"desired": {}, "removed": []}])
def test_attributes_that_are_not_where_they_belong_are_not_dropped_without_a_word(
    api: Any, world: Any, body: Any
) -> None:
    status, code, text = world.error_of(api.put(PATH, json=body))
    assert (status, code) == (400, "invalid_request")
    assert "desired takes names and values" in text
    assert api.bus.asked == []


@pytest.mark.parametrize("body", [{"desired": []}, {"desired": "x"}, {"removed": "x"}, {"removed": [""] * 1_025}])
def test_what_are_no_attributes_is_refused(api: Any, world: Any, body: Any) -> None:
    assert world.error_of(api.put(PATH, json=body))[:2] == (400, "invalid_request")
    assert api.bus.asked == []


def test_the_last_misbehaviours_of_a_device_are_read(api: Any) -> None:  # MQTT, section 11
    one = {"kind": "bad_payload", "text": "telemetry: not JSON", "count": 3, "at": "2026-03-01T12:00:00.000Z"}
    api.bus.answers["devices.list_misbehaviours"] = {"misbehaviours": [one]}
    answer = api.get(PATH.replace("attributes", "misbehaviours"))
    assert answer.json() == {"misbehaviours": [one]}
    assert api.bus.last("list_misbehaviours").arguments == {"product_id": 1000, "device_id": DEVICE}


def test_the_attributes_of_no_member_are_not_found(api: Any, world: Any) -> None:
    api.bus.answers["devices.get_attributes"] = NotFound("Device not found for this product")
    assert world.error_of(api.get(PATH))[:2] == (404, "Device not found for this product")
