"""Every route, for every kind of caller, against the table of permissions."""

from __future__ import annotations

import re
from typing import Any

import pytest

from services.gateway.http.calls import Route
from services.gateway.http.routes import ROUTES
from shared.auth.permissions import PERMISSIONS, role_for

EXISTING = {"product": "1000", "org": "ours"}
MISSING = {"product": "4711", "org": "nobody"}
OTHERS = {"device": "0123456789abcdef01234567", "version": "7", "import": "9" * 24, "token": "5" * 24, "prefix": "a/b"}
STREAMS = "text/event-stream"


def url(route: Route, owners: dict[str, str]) -> str:
    return re.sub(r"{(\w+)(:path)?}", lambda match: {**OTHERS, **owners}[match[1]], route.path)


def name(route: Route) -> str:
    return f"{route.method} {route.path}"


def ask(api: Any, route: Route, token: str | None, owners: dict[str, str]) -> Any:
    """The services answer nothing here: whoever is let in gets past admission and fails behind it, if at all. Streams
    are asked for with HEAD, which is admitted as GET is."""
    method = "HEAD" if route.media_type == STREAMS else route.method
    return api.request(method, url(route, owners), token=token)


def let_in(api: Any, route: Route, answer: Any) -> bool:
    if answer.request.method == "HEAD":
        return bool(answer.status_code == 200)
    refused_at_the_door = ("Product not found.", "Organization not found.")
    trouble = answer.json()
    if isinstance(trouble, dict) and trouble.get("error_description") in refused_at_the_door:
        return False
    return answer.status_code != 401 and "access token" not in answer.text


@pytest.mark.parametrize("route", ROUTES, ids=name)
def test_each_kind_of_caller_gets_what_the_table_says(api: Any, world: Any, route: Route) -> None:
    callers = {
        "anonymous": None,
        "user without organization": world.LONER_TOKEN,
        "member of another": world.STRANGER_TOKEN,
        "member": world.MEMBER_TOKEN,
        "revoked": world.REVOKED_TOKEN,
        "expired": world.EXPIRED_TOKEN,
    }
    seen = {kind: let_in(api, route, ask(api, route, token, EXISTING)) for kind, token in callers.items()}
    least = role_for(route.permission)
    everybody, users = least == "anonymous", least != "member"
    assert seen == {
        "anonymous": everybody,
        "user without organization": users,
        "member of another": users,
        "member": True,
        "revoked": everybody,
        "expired": everybody,
    }


MEMBERS_ONLY = [route for route in ROUTES if role_for(route.permission) == "member"]


@pytest.mark.parametrize("route", MEMBERS_ONLY, ids=name)
def test_whoever_may_not_sees_to_the_byte_what_does_not_exist(api: Any, world: Any, route: Route) -> None:
    for token in (world.STRANGER_TOKEN, world.LONER_TOKEN):
        answers = [api.request(route.method, url(route, owners), token=token) for owners in (EXISTING, MISSING)]
        assert [answer.status_code for answer in answers] == [404, 404]
        assert answers[0].content == answers[1].content
        assert answers[0].headers == answers[1].headers
    assert api.bus.asked == []


@pytest.mark.parametrize("route", MEMBERS_ONLY, ids=name)
def test_what_members_only_may_has_an_owner_in_its_path(route: Route) -> None:
    assert {"product", "org"} & set(re.findall(r"{(\w+)", route.path))


@pytest.mark.parametrize("body", [b"{", b"x" * 2_000_000])
def test_a_body_is_not_looked_at_before_it_is_clear_who_sends_it(api: Any, world: Any, body: bytes) -> None:
    assert api.put("/v1/products/thermo/firmware/release", content=body, token=None).status_code == 400
    answer = api.put("/v1/products/thermo/firmware/release", content=body, token=world.STRANGER_TOKEN)
    assert world.error_of(answer)[:2] == (404, "Product not found.")


def test_every_permission_is_of_some_route() -> None:
    assert {route.permission for route in ROUTES} == set(PERMISSIONS)
