"""What section 1 of the contract says of every call, for every route of the table; and what it leaves out (15)."""

from __future__ import annotations

import logging
import re
from typing import Any
from urllib.parse import urlencode

import marshmallow as ma
import pytest

from services.gateway.http.calls import Route
from services.gateway.http.routes import ROUTES

PARAMS = {
    "product": "thermo",
    "org": "ours",
    "device": "0123456789abcdef01234567",
    "version": "7",
    "client": "lamp-1234",
    "import": "9" * 24,
    "email": "jo@example.org",
    "prefix": "a/b",
}
JSON = "application/json; charset=utf-8"
STRICT = ("/v1/products/{product}/config",)
"""Here an unknown field is a question that there is not (6.1)."""
KNOWN_BY_ITSELF = ("/v1/access_tokens/{token}",)
"""Here the path is the authority (2.3)."""
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def url(route: Route) -> str:
    return re.sub(r"{(\w+)(:path)?}", lambda match: PARAMS.get(match[1], "x"), route.path)


def name(route: Route) -> str:
    return f"{route.method} {route.path}"


def said(answer: Any) -> tuple[int, str]:
    """Status and code; what nobody answers here is an error with a reference of its own."""
    is_json = answer.content and "json" in answer.headers["content-type"]
    document = answer.json() if is_json else {}
    return answer.status_code, document.get("error", "") if isinstance(document, dict) else ""


def plain(route: Route) -> bool:
    return route.media_type == "application/json"


PLAIN = [route for route in ROUTES if plain(route)]
WITH_FIELDS = [route for route in PLAIN if route.body == "fields" and route.request is not None]


def sample(field: Any) -> Any:
    """Something that the field takes, as far as its type says."""
    match field:
        case ma.fields.Nested():
            return {one.data_key or key: sample(one) for key, one in field.schema.fields.items()}
        case ma.fields.List():
            return [sample(field.inner)]
        case ma.fields.Dict():
            return {"key": "text"}
        case ma.fields.Boolean():
            return True
        case ma.fields.Integer():
            return next((one.min for one in field.validators if isinstance(one, ma.validate.Range)), 1)
        case _:
            return "text"


def pairs(prefix: str, value: Any) -> list[tuple[str, str]]:
    """A value as fields of a form (1.4)."""
    if isinstance(value, dict):
        return [pair for key, inner in value.items() for pair in pairs(f"{prefix}[{key}]" if prefix else key, inner)]
    if isinstance(value, list):
        return [pair for inner in value for pair in pairs(f"{prefix}[]", inner)]
    return [(prefix, "true" if value is True else str(value))]


@pytest.mark.parametrize("route", WITH_FIELDS, ids=name)
def test_every_call_takes_json_and_form_alike(api: Any, route: Route) -> None:
    """1.4: every non-upload route accepts JSON and form alike; ``/oauth/token`` needs form only. Unknown fields are
    ignored."""
    assert route.request is not None
    fields = {one.data_key or key: sample(one) for key, one in route.request.fields.items()}
    seen = []
    for body in (
        {"json": fields},
        {"json": {**fields, "unknown": {"x": [1]}}},
        {"content": urlencode(pairs("", fields)), "headers": FORM},
        {"content": urlencode([*pairs("", fields), ("unknown[x]", "1")]), "headers": FORM},
    ):
        api.bus.asked.clear()
        answer = api.request(route.method, url(route), **body)
        asked = [(one.service, one.method, one.arguments) for one in api.bus.asked]
        seen.append((said(answer), asked))
    unknown_too = route.path not in STRICT
    assert all(one == seen[0] for one in (seen if unknown_too else seen[::2]))


@pytest.mark.parametrize("route", [route for route in PLAIN if route.method != "GET"], ids=name)
def test_a_body_that_is_not_needed_may_be_missing_or_empty(api: Any, route: Route) -> None:
    """1.4: requests without a body are fine when no field is required; ``{}`` is common and must not be an error."""
    answers = [said(api.request(route.method, url(route), **body)) for body in ({}, {"json": {}})]
    assert answers[0] == answers[1]
    required = route.request is not None and any(field.required for field in route.request.fields.values())
    if route.method == "DELETE" and not required and route.path not in KNOWN_BY_ITSELF:
        assert answers[0] == (500, "server_error")  # it came as far as the services, which are not here


@pytest.mark.parametrize("route", PLAIN, ids=name)
def test_a_trailing_slash_changes_nothing_and_answers_are_json(api: Any, route: Route) -> None:
    """1.1 and 1.5."""
    without, with_slash = (api.request(route.method, url(route) + end) for end in ("", "/"))
    assert said(without) == said(with_slash)
    for answer in (without, with_slash):
        assert answer.status_code == 204 or answer.headers["content-type"] == JSON
        assert answer.status_code == 204 or answer.content  # an empty 200 breaks the client


@pytest.mark.parametrize("route", [route for route in PLAIN if route.method == "GET"], ids=name)
def test_head_answers_like_get_without_the_body(api: Any, route: Route) -> None:
    """1.5."""
    get, head = (api.request(method, url(route)) for method in ("GET", "HEAD"))
    assert (head.status_code, head.content) == (get.status_code, b"")
    assert head.headers["content-type"] == get.headers["content-type"]


@pytest.mark.parametrize("path", sorted({url(route) for route in ROUTES}))
def test_browsers_may_ask_of_every_path(api: Any, path: str) -> None:
    """16.1: preflights are answered on every route, without a token."""
    asked = api.request("OPTIONS", path, token=None, headers={"Origin": "https://app.example.org"})
    assert (asked.status_code, asked.headers["access-control-allow-origin"]) == (204, "https://app.example.org")
    assert asked.headers["vary"] == "Origin"


@pytest.mark.parametrize("secret", ["Bearer null", "Bearer ", "Basic eDp5", "nonsense"])
def test_a_useless_header_is_ignored_where_none_is_needed(api: Any, secret: str) -> None:
    """1.3: on routes with style C, U or -, a useless bearer header must be ignored."""
    body = {"username": "jo@example.org", "password": "secret 123"}
    answer = api.post("/v1/users", token=None, headers={"Authorization": secret}, json=body)
    assert said(answer)[0] not in (400, 401)


def test_the_header_wins_over_query_and_form(api: Any, world: Any) -> None:
    """1.3: when several are present the header wins; a form's token is stripped before the body is read."""
    query = {"params": {"access_token": world.REVOKED_TOKEN}}
    assert api.get("/v1/access_tokens/current", **query).status_code == 200
    assert api.get("/v1/access_tokens/current", token=None, **query).status_code == 401
    form = {"access_token": world.MEMBER_TOKEN, "name": "x"}
    api.bus.answers["devices.create_group"] = {
        "group": {"name": "x", "description": "", "color": "", "fw_version": None, "device_count": 0}
    }
    assert api.post("/v1/products/thermo/groups", token=None, data=form).status_code == 201
    assert "access_token" not in api.bus.last("create_group").arguments


def test_names_in_paths_are_taken_as_they_are(api: Any) -> None:
    """1.1: the clients put e-mail addresses into paths without escaping ``@`` and ``+``."""
    api.bus.answers["orgs.remove_member"] = {"position": 1}
    for path in ("jo+lamp@example.org", "jo%2Blamp%40example.org"):
        assert api.delete(f"/v1/products/thermo/team/{path}").status_code == 200
        assert api.bus.last("remove_member").arguments["username"] == "jo+lamp@example.org"


def test_what_the_client_says_it_is_is_logged(api: Any, caplog: pytest.LogCaptureFixture) -> None:
    """1.5: User-Agent, X-Particle-Tool and X-Particle-Project are logged, and none is required."""
    told = {"User-Agent": "particle-api-js/12.0.3", "X-Particle-Tool": "cli@3", "X-Particle-Project": "p" * 500}
    with caplog.at_level(logging.DEBUG, logger="services.gateway.http.app"):
        api.get("/v1/products/thermo", headers=told)
        api.get("/v1/products/thermo", headers={"User-Agent": ""})
    first, second = (record.getMessage() for record in caplog.records if record.name == "services.gateway.http.app")
    assert first == "GET /v1/products/{product} from particle-api-js/12.0.3 cli@3 " + "p" * 200
    assert second == "GET /v1/products/{product} from "


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/sims"),
        ("GET", "/v1/products/thermo/sims/1"),
        ("GET", "/v1/products/thermo/config/0123456789abcdef01234567"),
        ("GET", "/v1/products/thermo/locations"),
        ("GET", "/v1/diagnostics/0123456789abcdef01234567"),
        ("GET", "/v1/serial_numbers/P1234"),
        ("GET", "/v1/libraries"),
        ("GET", "/v1/orgs/ours/logic/functions"),
        ("GET", "/v1/orgs/ours/ledgers"),
        ("GET", "/v1/products/thermo/env-vars"),
        ("PUT", "/v1/products/thermo/devices/0123456789abcdef01234567/unprotect"),
        ("PUT", "/v1/devices/0123456789abcdef01234567/unprotect"),
        ("GET", "/v1/user/mfa-enable"),
        ("POST", "/v1/user/mfa-enable"),
        ("PUT", "/v1/user/mfa-disable"),
        ("GET", "/v1/user/service_agreements"),
        ("GET", "/v1/binaries/123"),
    ],
)
def test_what_is_out_of_scope_does_not_exist(api: Any, world: Any, method: str, path: str) -> None:  # 15
    assert world.error_of(api.request(method, path))[:2] == (404, "not_found")


def test_programs_are_no_members_of_a_team_and_nothing_is_compiled(api: Any, world: Any) -> None:  # 15
    program = {"friendly_name": "ci", "scopes": ["devices:list"]}
    assert world.error_of(api.post("/v1/products/thermo/team", json=program))[:2] == (400, "not_supported")
    assert world.error_of(api.post("/v1/products/thermo/team", json={}))[:2] == (400, "invalid_request")
    files = {"file": ("main.ino", b"void setup() {}")}
    assert world.error_of(api.post("/v1/binaries", files=files))[:2] == (400, "not_supported")
