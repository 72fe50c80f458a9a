"""``GET /v1/products/{product}/devices/{device}/why`` (EVT-3)."""

from __future__ import annotations

from typing import Any

import pytest

from services.gateway.http.documents import Why
from shared.errors import NotFound

PATH = "/v1/products/thermo/devices/0123456789ABCDEF01234567/why"
LINK = {
    "at": "2026-03-01T12:00:00.000Z",
    "type": "DeviceImported",
    "stream": "device-0123456789abcdef01234567",
    "version": 0,
    "position": 12,
    "event_id": "e",
    "actor": "ada@example.com",
    "command_id": "c",
    "correlation_id": "k",
    "cause": None,
    "source": "gateway:a",
    "text": "imported into product 1000 by ada@example.com (DEV-1)",
}
RULE = {
    "rule": "released",
    "released_version": 8,
    "target_version": 8,
    "target_cause": "release",
    "rollout": None,
    "delivery": "offline",
    "runs_released": False,
    "gets_released": True,
    "text": "It is offline and gets version 8 at its next connection (FW-4).",
}
VALUE = {"state": "member", "product_id": 1000, "forced": False, "development": False}
ANSWER = {
    "id": "0123456789abcdef01234567",
    "product_id": 1000,
    "rule": RULE,
    "aspects": [
        {"aspect": "membership", "value": VALUE, "text": "It is a member of product 1000.", "chain": [LINK]},
        {"aspect": "owner", "value": None, "text": "Nobody.", "chain": []},
    ],
    "cut": False,
}


def test_a_member_of_the_team_is_told_why(api: Any) -> None:
    api.bus.answers["devices.why"] = ANSWER
    answer = api.get(PATH)
    assert (answer.status_code, answer.json()) == (200, ANSWER)
    asked = api.bus.last("why")
    assert (asked.service, asked.arguments) == ("devices", {"product_id": 1000, "device_id": ANSWER["id"]})


@pytest.mark.parametrize("left_out", [("rule",), ("aspects", 0, "chain"), ("aspects", 0, "chain", 0, "actor")])
def test_the_document_has_no_part_that_may_be_left_out(left_out: tuple[Any, ...]) -> None:
    assert Why().validate(ANSWER) == {}
    assert Why().validate(without(ANSWER, left_out)) != {}


def without(value: Any, path: tuple[Any, ...]) -> Any:
    """A copy that lacks what is at the end of the path."""
    first, *rest = path
    if isinstance(value, list):
        return [without(inner, tuple(rest)) if index == first else inner for index, inner in enumerate(value)]
    if not rest:
        return {name: inner for name, inner in value.items() if name != first}
    return {**value, first: without(value[first], tuple(rest))}


def test_a_device_that_was_never_a_member_is_not_found(api: Any, world: Any) -> None:
    api.bus.answers["devices.why"] = NotFound("Device not found for this product")
    not_here = "Device not found for this product"
    assert world.error_of(api.get(PATH)) == (404, not_here, not_here)
    assert world.error_of(api.get("/v1/products/thermo/devices/nonsense/why")) == (404, not_here, not_here)


def test_another_organization_learns_nothing(api: Any, world: Any) -> None:
    for token in (world.STRANGER_TOKEN, world.LONER_TOKEN):
        assert world.error_of(api.get(PATH, token=token))[:2] == (404, "Product not found.")
    assert api.bus.asked == []


def test_it_is_described(api: Any) -> None:
    described = api.get("/openapi.json", token=None).json()
    operation = described["paths"]["/v1/products/{product}/devices/{device}/why"]["get"]
    assert operation["x-permission"] == "devices.read"
    schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
    assert schema == {"$ref": "#/components/schemas/Why"}
    aspects = described["components"]["schemas"]["WhyAspect"]["properties"]["aspect"]["enum"]
    assert aspects == ["membership", "owner", "lock", "presence", "version", "update", "target"]
