"""What a fleet does, over HTTP. What services answer, ``tests/devices/test_insight.py`` holds against the schemas."""

from __future__ import annotations

from typing import Any

import pytest

DEVICE = "0123456789abcdef01234567"
OWNER = "a" * 24
PRODUCT = "/v1/products/thermo"
PAGE = {"after": None, "per_page": 25}
DAYS = {"since": None, "until": None}
USED = {"events": 1, "calls": 0, "reads": 0, "sessions": 1, "connected_s": 60}
NEXT = {"per_page": 25, "next": None}
OF_DEVICE = {"device_id": DEVICE}
FIGURES = {
    "days": 30,
    "devices": {"total": 2, "online": 1, "quarantined": 0, "development": 0},
    "customers": {"days": 30, "with_device": 1, "active": 1, "inactive": 0},
    "usage": [],
    "versions": [{"version": 7, "device_count": 2}],
    "errors": {"total": 0, "kinds": [], "versions": [], "course": []},
}
ANSWERS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "/errors": (
        "errors",
        {"step": "hour", "since": None, "until": None, "kind": None, "version": None},
        {
            "since": "2030-01-01T00:00:00.000Z",
            "until": "2030-01-02T00:00:00.000Z",
            "step": "hour",
            "total": 1,
            "kinds": [{"kind": "reset/panic", "errors": 1}],
            "versions": [{"version": None, "errors": 1, "devices": None}],
            "course": [{"at": "2030-01-01T00:00:00.000Z", "errors": 1}],
        },
    ),
    "/errors/devices": ("erring_devices", {"day": None, **PAGE}, {"day": "2030-01-01", "devices": [], "meta": NEXT}),
    "/usage": ("usage", DAYS, {"days": [{"day": "2030-01-01", "devices": 1, **USED}], "total": USED}),
    "/usage/customers": (
        "using_customers",
        {"days": 30, "active": None, **PAGE},
        {"customers": [], "counts": FIGURES["customers"], "meta": NEXT},
    ),
    f"/usage/customers/{OWNER}": (
        "owner_usage",
        {"owner_id": OWNER, **DAYS},
        {"owner_id": OWNER, "devices": 1, "days": [], "total": USED},
    ),
    f"/devices/{DEVICE}/timeline": (
        "timeline",
        {**OF_DEVICE, **PAGE},
        {"id": DEVICE, "events": [], "meta": {**NEXT, "left_out": 0}},
    ),
    f"/devices/{DEVICE}/updates": ("list_updates", OF_DEVICE, {"id": DEVICE, "updates": []}),
    f"/devices/{DEVICE}/sessions": (
        "list_sessions",
        {**OF_DEVICE, **PAGE},
        {"id": DEVICE, "sessions": [], "meta": NEXT},
    ),
    f"/devices/{DEVICE}/usage": (
        "device_usage",
        {**OF_DEVICE, **DAYS},
        {"id": DEVICE, "days": [{"day": "2030-01-01", **USED}], "total": USED},
    ),
}


@pytest.mark.parametrize("path", ANSWERS)
def test_what_a_fleet_does_is_asked_of_the_devices_service(api: Any, path: str) -> None:
    method, arguments, answer = ANSWERS[path]
    api.bus.answers[f"devices.{method}"] = answer
    assert api.get(PRODUCT + path).json() == answer
    assert api.bus.last(method).arguments == {"product_id": 1000, **arguments}


def test_the_five_questions_know_all_customers(api: Any) -> None:
    api.bus.answers["devices.questions"] = FIGURES
    api.bus.answers["orgs.count_customers"] = {"total": 9}
    found = api.get(PRODUCT + "/questions?days=7").json()
    assert found == {**FIGURES, "customers": {"total": 9, **FIGURES["customers"]}}
    assert api.bus.last("questions").arguments == {"product_id": 1000, "days": 7}


@pytest.mark.parametrize(
    "path",
    [
        "/questions?days=91",
        "/errors?step=year",
        "/errors?version=x",
        "/errors/devices?per_page=101",
        "/usage?since=" + "1" * 11,
        "/usage/customers?active=perhaps",
        f"/devices/{DEVICE}/timeline?per_page=0",
    ],
)
def test_what_makes_no_sense_is_refused_before_anybody_is_asked(api: Any, world: Any, path: str) -> None:
    assert world.error_of(api.get(PRODUCT + path))[:2] == (400, "invalid_request")
    assert api.bus.asked == []


def test_what_is_no_id_is_not_found(api: Any, world: Any) -> None:
    assert world.error_of(api.get(PRODUCT + "/usage/customers/ada"))[0] == 404
    assert world.error_of(api.get(PRODUCT + "/devices/lamp/timeline"))[0] == 404
    assert api.bus.asked == []
