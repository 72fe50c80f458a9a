from __future__ import annotations

import re
from typing import Any

import pytest

from services.gateway.http.routes import ROUTES
from shared.auth.permissions import rule_of


@pytest.fixture
def document(api: Any) -> Any:
    return api.get("/openapi.json", token=None).json()


def test_every_route_is_described_and_nothing_else(document: Any) -> None:
    described = {
        (method.upper(), path) for path, item in document["paths"].items() for method in item if method != "parameters"
    }
    assert described == {(route.method, route.path.replace(":path", "")) for route in ROUTES}


def test_routes_that_need_a_token_say_so(document: Any) -> None:
    for route in ROUTES:
        operation = document["paths"][route.path.replace(":path", "")][route.method.lower()]
        assert ("security" in operation) == (rule_of(route.permission).to != "anonymous")
        assert operation["x-permission"] == route.permission


def test_every_reference_leads_somewhere(document: Any) -> None:
    def references(value: Any) -> list[str]:
        if isinstance(value, dict):
            own = [value["$ref"]] if "$ref" in value else []
            return own + [found for inner in value.values() for found in references(inner)]
        return [found for inner in value for found in references(inner)] if isinstance(value, list) else []

    schemas = document["components"]["schemas"]
    found = references(document)
    assert found
    assert {reference.rsplit("/", 1)[1] for reference in found} <= set(schemas)
    assert not [name for name in schemas if re.search(r"\d$|Generated", name)]


def test_path_parameters_are_all_declared(document: Any) -> None:
    for path, item in document["paths"].items():
        declared = {parameter["name"] for parameter in item.get("parameters", [])}
        assert declared == set(re.findall(r"{(\w+)}", path))


def test_answers_and_requests_have_their_schemas(document: Any) -> None:
    devices = document["paths"]["/v1/products/{product}/devices"]
    listed = devices["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert listed == {"$ref": "#/components/schemas/Devices"}
    assert "deviceName" in {parameter["name"] for parameter in devices["get"]["parameters"]}
    assert set(devices["post"]["requestBody"]["content"]) == {
        "application/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
    }
    versions = document["paths"]["/v1/products/{product}/firmware"]["get"]["responses"]["200"]
    schema = versions["content"]["application/json"]["schema"]
    assert schema == {"type": "array", "items": {"$ref": "#/components/schemas/Firmware"}}
    states = document["components"]["schemas"]["Import"]["properties"]["state"]["enum"]
    assert states == ["running", "cancelling", "cancelled", "done"]


def test_it_is_openapi_3_of_this_program(document: Any) -> None:
    assert document["openapi"] == "3.0.3"
    assert document["info"]["title"] == "Flotilla"
    assert document["info"]["version"]


def test_streams_say_that_they_go_on_behind_the_last_event(api: Any) -> None:
    paths = api.get("/openapi.json", token=None).json()["paths"]
    for path, item in paths.items():
        names = {parameter.get("name") for parameter in item.get("get", {}).get("parameters", [])}
        answers = item.get("get", {}).get("responses", {}).get("200", {}).get("content", {})
        assert ("Last-Event-ID" in names) == ("text/event-stream" in answers), path
