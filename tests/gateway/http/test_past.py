from __future__ import annotations

import json
from typing import Any

import pytest

from services.gateway.http.routes import ROUTES
from shared.errors import NotFound, Refused

BASE = "/v1/products/thermo"
STAMP = {"position": 118, "at": "2026-02-01T00:00:00.000Z"}
BUILDING = {"building": {"events_done": 40, "events_total": 118}}
META = {"page": 1, "per_page": 25, "total": 1, "total_exact": True, "total_pages": 1, "next": None}
FIGURES = {"devices": {"total": 1, "online": 1, "quarantined": 0, "development": 0}, "firmware": []}
CHANGES = {
    "from": {"as_of": STAMP, **FIGURES},
    "to": {"as_of": {"position": 200, "at": None}, **FIGURES},
    "changes": [
        {"id": "0" * 24, "what": ["online"], "before": {"online": False}, "after": {"online": True}},
        {"id": "1" * 24, "what": ["imported"], "before": None, "after": {"name": None}},
    ],
    "meta": {"per_page": 25, "next": "1" * 24},
}


@pytest.fixture
def asked_of(world: Any) -> dict[str, tuple[str, str, Any]]:
    """What each path asks of which service, and a ready answer."""
    return {
        "/devices": (
            "devices",
            "list_devices",
            {"devices": [{**world.DEVICE_OBJECT, "platform_id": None}], "customers": [], "meta": META},
        ),
        f"/devices/{world.DEVICE}": ("devices", "get_device", world.DEVICE_OBJECT),
        "/stats": ("devices", "statistics", FIGURES),
        "/firmware": ("firmware", "list_versions", {"versions": [world.FIRMWARE]}),
        "/firmware/7": ("firmware", "get_version", {**world.FIRMWARE, "sha256": "0" * 64}),
    }


def test_the_past_is_asked_of_the_service_and_told_in_a_header(api: Any, asked_of: Any) -> None:
    for path, (service, method, ready) in asked_of.items():
        api.bus.answers[f"{service}.{method}"] = {**ready, "as_of": STAMP}
        answer = api.get(BASE + path, params={"as_of": "2026-02-01T01:00:00+01:00"})
        assert answer.status_code == 200
        assert json.loads(answer.headers["x-flotilla-as-of"]) == STAMP
        assert api.bus.last(method).arguments["as_of"] == "2026-02-01T01:00:00+01:00"


def test_what_has_no_past_is_null_and_never_empty(api: Any, world: Any, asked_of: Any) -> None:
    service, method, ready = asked_of["/stats"]
    api.bus.answers[f"{service}.{method}"] = {**ready, "as_of": STAMP}
    answer = api.get(BASE + "/stats", params={"as_of": "118"}).json()
    assert (answer["customers"], answer["usage"], answer["errors"]) == (None, None, None)
    assert "as of now only" in answer["missing"]
    for path in ("/errors", "/errors/devices", "/usage", "/usage/customers", "/questions"):
        refused = world.error_of(api.get(BASE + path, params={"as_of": "118"}))
        assert (*refused[:2], refused[2].partition(" counted")[0]) == (400, "invalid_request", "as_of: This is")


def test_without_it_the_present_is_asked_as_ever(api: Any, asked_of: Any) -> None:
    api.bus.answers["orgs.count_customers"] = {"total": 0}
    present = {**FIGURES, "customers": {"with_device": 0, "active": 0}, "usage": [], "errors": []}
    asked_of["/stats"] = ("devices", "statistics", present)
    for path, (service, method, ready) in asked_of.items():
        api.bus.answers[f"{service}.{method}"] = ready
        answer = api.get(BASE + path)
        assert answer.status_code == 200
        assert "x-flotilla-as-of" not in answer.headers
        assert "as_of" not in api.bus.last(method).arguments


def test_a_list_tells_its_moment_in_meta_and_devices_have_their_platform(api: Any, asked_of: Any) -> None:
    api.bus.answers["devices.list_devices"] = {**asked_of["/devices"][2], "as_of": STAMP}
    answer = api.get(BASE + "/devices", params={"as_of": "118"}).json()
    assert answer["meta"] == {**META, "as_of": STAMP}
    assert answer["devices"][0]["platform_id"] == 6


def test_what_is_being_built_is_202_with_its_progress(api: Any, asked_of: Any) -> None:
    for path, (service, method, _) in asked_of.items():
        api.bus.answers[f"{service}.{method}"] = BUILDING
        answer = api.get(BASE + path, params={"as_of": "118"})
        assert (answer.status_code, answer.headers["retry-after"]) == (202, "1")
        assert answer.json() == {"ok": True, **BUILDING}
    api.bus.answers["devices.changes"] = BUILDING
    assert api.get(BASE + "/changes", params={"from": "118"}).status_code == 202


@pytest.mark.parametrize(
    ("error", "status", "word"),
    [
        (Refused("invalid_request", "as_of: position 999 is in the future; the last one is 118."), 400, "future"),
        (Refused("too_many_requests", "4 past moments wait to be built already."), 429, "wait"),
        (NotFound("Device not found for this product"), 404, "Device"),
    ],
)
def test_a_refusal_of_the_service_is_passed_on(api: Any, world: Any, error: Any, status: int, word: str) -> None:
    api.bus.answers["devices.get_device"] = error
    answer = api.get(f"{BASE}/devices/{world.DEVICE}", params={"as_of": "999"})
    assert answer.status_code == status
    assert word in answer.json()["error_description"]


def test_a_moment_that_is_too_long_does_not_reach_the_service(api: Any, world: Any) -> None:
    assert world.error_of(api.get(BASE + "/stats", params={"as_of": "9" * 65}))[:2] == (400, "invalid_request")
    assert api.bus.asked == []


def test_rights_are_those_of_now(api: Any, world: Any, asked_of: Any) -> None:
    for path in (*asked_of, "/changes"):
        answer = api.get(BASE + path, params={"as_of": "1", "from": "1"}, token=world.STRANGER_TOKEN)
        assert world.error_of(answer)[:2] == (404, "Product not found.")
    assert api.bus.asked == []


def test_changes_between_two_moments(api: Any) -> None:
    api.bus.answers["devices.changes"] = CHANGES
    answer = api.get(BASE + "/changes", params={"from": "118", "to": "200", "per_page": "2", "after": "0" * 24})
    assert answer.json() == CHANGES
    assert api.bus.last("changes").arguments == {
        "product_id": 1000,
        "since": "118",
        "until": "200",
        "after": "0" * 24,
        "per_page": 2,
    }
    api.get(BASE + "/changes", params={"from": "118"})
    assert api.bus.last("changes").arguments["until"] is None


@pytest.mark.parametrize("query", [{}, {"from": "1", "per_page": "101"}, {"from": "1", "after": "x" * 25}])
def test_changes_without_bounds_are_refused(api: Any, world: Any, query: Any) -> None:
    assert world.error_of(api.get(BASE + "/changes", params=query))[:2] == (400, "invalid_request")


def test_openapi_tells_what_takes_a_moment_and_that_it_may_be_built(api: Any) -> None:
    paths = api.get("/openapi.json", token=None).json()["paths"]
    named = {route.path for route in ROUTES if route.past}
    assert named == {
        "/v1/products/{product}" + end
        for end in ("/devices", "/devices/{device}", "/stats", "/firmware", "/firmware/{version}", "/changes")
    }
    for path in named:
        operation = paths[path]["get"]
        parameters = {parameter["name"] for parameter in operation["parameters"]}
        assert ({"from", "to"} if path.endswith("/changes") else {"as_of"}) <= parameters
        schema = operation["responses"]["202"]["content"]["application/json"]["schema"]
        assert schema == {"$ref": "#/components/schemas/Building"}


def test_browsers_of_any_origin_may_read_the_moment(api: Any, asked_of: Any) -> None:
    api.bus.answers["devices.statistics"] = {**FIGURES, "as_of": STAMP}
    answer = api.get(BASE + "/stats", params={"as_of": "118"}, headers={"Origin": "https://app.example.org"})
    assert "X-Flotilla-As-Of" in answer.headers["access-control-expose-headers"]
