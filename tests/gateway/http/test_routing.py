from __future__ import annotations

import re
from typing import Any

import pytest

from services.gateway.http.app import encoded_path
from services.gateway.http.routes import ROUTES


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/nothing", "/v1/products/1000/nothing", "/v1/sims", "/oauth"])
def test_an_unknown_path_is_404_in_json(api: Any, world: Any, path: str) -> None:
    assert world.error_of(api.get(path))[:2] == (404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("DELETE", "/v1/products/thermo/stats", {"GET", "HEAD"}),
        ("GET", "/v1/users", {"POST"}),
        ("PATCH", "/v1/orgs", {"GET", "HEAD", "POST"}),
    ],
)
def test_a_method_that_a_path_does_not_know_is_405_in_json(
    api: Any, world: Any, method: str, path: str, allow: set[str]
) -> None:
    answer = api.request(method, path)
    assert world.error_of(answer)[:2] == (405, "method_not_allowed")
    assert set(answer.headers["allow"].split(", ")) == allow


def test_a_trailing_slash_changes_nothing(api: Any) -> None:
    assert api.get("/v1/access_tokens/current/").json() == api.get("/v1/access_tokens/current").json()


def test_literal_segments_win_over_parameters(api: Any, world: Any) -> None:
    api.bus.answers["firmware.release_version"] = {**world.FIRMWARE}
    assert api.put("/v1/products/thermo/firmware/release", json={"version": 7}).status_code == 200


@pytest.mark.parametrize(
    ("raw", "encoded"),
    [
        ("/v1/pr%6Fducts/a", "/v1/products/a"),
        ("/v1/a+b@c", "/v1/a%2Bb%40c"),
        ("/v1/a%2Fb", "/v1/a%2Fb"),
        ("/v1/a%2fb/", "/v1/a%2Fb"),
        ("/v1/%C3%BC", "/v1/%C3%BC"),
        ("/", "/"),
        ("//", "/"),
    ],
)
def test_segments_are_decoded_after_routing(raw: str, encoded: str) -> None:
    assert encoded_path({"raw_path": raw.encode(), "path": ""}) == encoded


def test_a_server_that_gives_no_raw_path_is_served_too() -> None:
    assert encoded_path({"path": "/v1/ü/x/"}) == "/v1/%C3%BC/x"


def test_a_plus_in_a_segment_is_a_plus(api: Any, world: Any) -> None:
    seen: list[str] = []
    inner = api.directory.product
    api.directory.product = lambda ref: seen.append(ref) or inner(ref)
    api.get("/v1/products/a+b%20c%2Fd")
    assert seen == ["a+b c/d"]


def test_an_encoded_slash_does_not_reach_another_route(api: Any, world: Any) -> None:
    assert world.error_of(api.get("/v1/products/thermo%2Fstats"))[:2] == (404, "Product not found.")


def test_head_answers_like_get(api: Any) -> None:
    get, head = api.get("/v1/access_tokens/current"), api.request("HEAD", "/v1/access_tokens/current")
    assert (head.status_code, head.content) == (200, b"")
    same = {name: value for name, value in get.headers.items() if name != "ratelimit-remaining"}
    assert {name: value for name, value in head.headers.items() if name != "ratelimit-remaining"} == same


def test_browsers_of_any_origin_may_ask(api: Any) -> None:
    origin = {"Origin": "https://app.example.org"}
    asked = api.request("OPTIONS", "/v1/products/1000/devices", token=None, headers=origin)
    assert asked.status_code == 204
    assert asked.headers["access-control-allow-origin"] == "https://app.example.org"
    assert asked.headers["access-control-allow-methods"] == "GET, POST, PUT, DELETE"
    for header in ("Authorization", "Content-Type", "X-Particle-Tool", "X-Flotilla-Position"):
        assert header in asked.headers["access-control-allow-headers"]
    for token, status in ((None, 400), ("x", 401)):
        answer = api.get("/v1/products", token=token, headers=origin)
        assert answer.status_code == status
        assert answer.headers["access-control-allow-origin"] == "https://app.example.org"
        exposed = answer.headers["access-control-expose-headers"].split(", ")
        assert {"X-Flotilla-Position", "X-Flotilla-As-Of", "RateLimit-Remaining", "Retry-After"} <= set(exposed)
    assert "access-control-allow-origin" not in api.get("/v1/products/4711").headers


def test_health_tells_the_parts_and_is_503_when_one_does_not_work(api: Any) -> None:
    assert api.get("/health", token=None).json() == {"ok": True, "parts": {"directory": {"lag": 0}}}
    api.status = {"ok": False, "parts": {"bus": "away"}}
    answer = api.runner.run(api._request("GET", "/health", {}, {}))
    assert (answer.status_code, answer.json()["ok"]) == (503, False)


def test_no_route_is_hidden_behind_an_earlier_one() -> None:
    for index, route in enumerate(ROUTES):
        example = re.sub(r"{\w+(:path)?}", "x-1", route.path)
        earlier = [
            other.path
            for other in ROUTES[:index]
            if other.method == route.method
            and re.fullmatch(re.sub(r"{\w+(:path)?}", lambda m: ".+" if m[1] else "[^/]+", other.path), example)
        ]
        assert earlier == []
