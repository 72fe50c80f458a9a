"""Every route, for every kind of caller, against the table of permissions."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from services.gateway.entries import TokenEntry
from services.gateway.http.calls import Route
from services.gateway.http.routes import ROUTES
from shared.auth.permissions import ONLY_CUSTOMERS, PERMISSIONS, RANKS, Caller, Thing, judge, rule_of
from shared.ids import digest

EXISTING = {"product": "1000", "org": "ours"}
MISSING = {"product": "4711", "org": "nobody"}
OTHERS = {
    "authority": "4" * 24,
    "device": "0123456789abcdef01234567",
    "version": "7",
    "name": "led",
    "import": "9" * 24,
    "rollout": "7" * 24,
    "token": "5" * 24,
    "prefix": "a/b",
    "username": "somebody@example.org",
    "invitation": "6" * 24,
    "client": "lamp-1234",
    "email": "jo@example.org",
    "group": "lab",
    "number": "1",
    "key": "0" * 16,
    "hook": "a1" * 12,
    "owner": "c" * 24,
}
STREAMS = "text/event-stream"
OURS, THEIRS, KEEPER = "a" * 24, "b" * 24, "7" * 24
CALLERS: dict[str, Caller | None] = {
    "anonymous": Caller(),
    "revoked token": None,
    "expired token": None,
    "without organization": Caller("account", "3" * 24),
    "member of another": Caller("account", "2" * 24, THEIRS, "administrator"),
    "readonly": Caller("account", "4" * 24, OURS, "readonly"),
    "support": Caller("account", "5" * 24, OURS, "support"),
    "developer": Caller("account", "6" * 24, OURS, "developer"),
    "administrator": Caller("account", "1" * 24, OURS, "administrator"),
    "owner": Caller("account", "8" * 24, OURS, "owner"),
    "keeper of the device": Caller("account", KEEPER),
    "customer": Caller("customer", "9" * 24, OURS, customer_id="9" * 24, product_id=1000),
    "customer with the device": Caller("customer", KEEPER, OURS, customer_id=KEEPER, product_id=1000),
    "customer of all products": Caller("customer", KEEPER, OURS, customer_id=KEEPER),
    "customer of another": Caller("customer", "9" * 24, OURS, customer_id="9" * 24, product_id=1001),
    "client": Caller("client", None, OURS, product_id=1000, client_id="c-1234"),
    "client of all products": Caller("client", None, OURS, client_id="c-1234"),
    "client of another": Caller("client", None, OURS, product_id=1001, client_id="c-1234"),
    "client for customers": Caller("client", None, OURS, product_id=1000, client_id="c-1234", scope=ONLY_CUSTOMERS),
}


def known(api: Any, world: Any, who: str) -> tuple[Caller | None, str | None]:
    """The caller with a token that the directory knows."""
    caller = CALLERS[who]
    api.directory.devices[OTHERS["device"]] = replace(api.directory.devices[OTHERS["device"]], owner_id=KEEPER)
    if caller is None:
        return None, world.REVOKED_TOKEN if who == "revoked token" else world.EXPIRED_TOKEN
    if caller.kind == "anonymous":
        return caller, None
    token = "77" * 20
    email = "" if caller.kind == "client" else "somebody@example.org"
    client = caller.client_id or "particle"
    entry = TokenEntry(token[:24], caller.account_id, email, client, None, caller.org_id, caller.role, caller.kind)
    entry = replace(entry, customer_id=caller.customer_id, product_id=caller.product_id, scope=caller.scope)
    api.directory.tokens[digest(token)] = entry
    return caller, token


def url(route: Route, owners: dict[str, str]) -> str:
    return re.sub(r"{(\w+)(:path)?}", lambda match: {**OTHERS, **owners}[match[1]], route.path)


def name(route: Route) -> str:
    return f"{route.method} {route.path}"


def ask(api: Any, route: Route, token: str | None, owners: dict[str, str]) -> Any:
    """The services answer nothing here: whoever is let in gets past admission and fails behind it, if at all. Streams
    are asked for with HEAD, which is admitted as GET is."""
    method = "HEAD" if route.media_type == STREAMS else route.method
    return api.request(method, url(route, owners), token=token)


def outcome(answer: Any) -> str:
    """What the door said: ``yes``, ``forbidden``, ``hidden``, ``closed`` or ``no token``."""
    if answer.request.method == "HEAD":
        return {200: "yes", 400: "no token", 401: "no token", 402: "closed", 403: "forbidden", 404: "hidden"}[
            answer.status_code
        ]
    is_json = answer.content and "json" in answer.headers["content-type"]
    trouble = answer.json() if is_json else {}
    if not isinstance(trouble, dict):
        return "yes"
    if answer.status_code == 401 or "access token" in trouble.get("error_description", ""):
        return "no token"
    if trouble.get("error") == "permission_denied":
        return "forbidden"
    if trouble.get("error") == "subscription_inactive":
        assert answer.status_code == 402
        return "closed"
    missing = trouble.get("error_description") in ("Product not found.", "Organization not found.")
    return "hidden" if missing or trouble.get("error") == "Permission Denied" else "yes"


def name_of(who: Any) -> str:
    return who if isinstance(who, str) else ""


@pytest.mark.parametrize("who", CALLERS, ids=name_of)
def test_each_kind_of_caller_gets_what_the_table_says(api: Any, world: Any, who: str) -> None:
    """Every call that the OpenAPI document describes."""
    document = api.get("/openapi.json", token=None).json()
    caller, token = known(api, world, who)
    walked = 0
    for route in ROUTES:
        described = document["paths"][route.path.replace(":path", "")][route.method.lower()]
        assert described["x-permission"] == route.permission
        seen, told = outcome(ask(api, route, token, EXISTING)), expected(route, caller)
        if route.media_type == STREAMS and rule_of(route.permission).keeper and told == "hidden":
            told = "forbidden"  # without a body both are 403 alike
        assert (name(route), seen) == (name(route), told)
        walked += 1
    assert walked == sum(len(item) - ("parameters" in item) for item in document["paths"].values())


def expected(route: Route, caller: Caller | None) -> str:
    """What the table says; None: a token that does not work."""
    rule = rule_of(route.permission)
    if rule.to == "anonymous":
        return "yes"
    if caller is None or caller.kind == "anonymous":
        return "no token"
    is_about = Thing()
    if "{product}" in route.path:
        is_about = Thing(OURS, 1000)
    elif "{org}" in route.path:
        is_about = Thing(OURS)
    elif "{device}" in route.path and rule.keeper:
        is_about = Thing(OURS, 1000, KEEPER)
    return judge(route.permission, caller, is_about)


OPEN_WHILE_INACTIVE = re.compile(
    r"GET /v1/orgs/{org}|(GET|POST|PUT) /v1/orgs/{org}/billing(/.*)?|DELETE /v1/(orgs/{org}|products/{product})/team/.*"
)
"""Of what is under an organization or a product (contract 13.4)."""


KEEPERS = ("keeper of the device", "customer with the device")
IN_OR_OUT = ("readonly", "administrator", "client", *KEEPERS)


@pytest.mark.parametrize("who", IN_OR_OUT)
def test_of_an_inactive_organization_all_is_closed_to_the_team_but_what_the_contract_lists(
    api: Any, world: Any, who: str
) -> None:  # BIL-7
    ours = replace(api.directory.orgs["ours"], inactive=True)
    api.directory.orgs |= {"ours": ours, ours.org_id: ours}
    caller, token = known(api, world, who)
    closed = 0
    for route in ROUTES:
        rule, told = rule_of(route.permission), expected(route, caller)
        if rule.to not in RANKS or told != "yes":
            continue  # the test before has these
        is_listed = OPEN_WHILE_INACTIVE.fullmatch(name(route)) or (rule.keeper and who in KEEPERS)
        told = "yes" if is_listed else "closed"
        assert (name(route), outcome(ask(api, route, token, EXISTING))) == (name(route), told)
        closed += not is_listed
    assert (closed > 0) == (who not in KEEPERS)


OUTSIDERS = ("member of another", "without organization", "customer of another", "client of another")


@pytest.mark.parametrize("who", OUTSIDERS)
def test_whoever_may_not_see_it_gets_to_the_byte_what_does_not_exist_gets(api: Any, world: Any, who: str) -> None:
    caller, token = known(api, world, who)
    missing_device = OTHERS["device"], "f" * 24
    for route in ROUTES:
        rule = rule_of(route.permission)
        if rule.to not in RANKS or expected(route, caller) != "hidden":
            continue
        here = url(route, EXISTING)
        there = here.replace(*missing_device) if rule.keeper else url(route, MISSING)
        answers = [api.request(route.method, path, token=token) for path in (here, there)]
        assert [answer.status_code for answer in answers] == [403 if rule.keeper else 404] * 2
        assert answers[0].content == answers[1].content
        for answer in answers:  # the caller's own, and one less each time
            del answer.headers["ratelimit-remaining"], answer.headers["ratelimit-reset"]
        assert answers[0].headers == answers[1].headers
    assert api.bus.asked == []
    assert api.calls.asked == []


def test_a_smaller_role_is_told_which_one_it_takes(api: Any, world: Any) -> None:
    _, token = known(api, world, "readonly")
    answer = api.put("/v1/products/thermo/firmware/release", json={"version": 7}, token=token)
    assert world.error_of(answer) == (403, "permission_denied", "This takes the role developer in the team.")
    assert api.bus.asked == []


@pytest.mark.parametrize("route", [route for route in ROUTES if rule_of(route.permission).to in RANKS], ids=name)
def test_what_the_team_may_has_an_owner_in_its_path(route: Route) -> None:
    named = set(re.findall(r"{(\w+)", route.path))
    assert named & ({"device"} if rule_of(route.permission).keeper else {"product", "org"})


@pytest.mark.parametrize("body", [b"{", b"x" * 2_000_000])
def test_a_body_is_not_looked_at_before_it_is_clear_who_sends_it(api: Any, world: Any, body: bytes) -> None:
    assert api.put("/v1/products/thermo/firmware/release", content=body, token=None).status_code == 400
    answer = api.put("/v1/products/thermo/firmware/release", content=body, token=world.STRANGER_TOKEN)
    assert world.error_of(answer)[:2] == (404, "Product not found.")


def test_every_permission_is_of_some_route() -> None:
    assert {name for route in ROUTES for name in (route.permission, *route.also)} == set(PERMISSIONS)


@pytest.mark.parametrize("who", CALLERS, ids=name_of)
def test_a_file_is_taken_of_whoever_may_flash_the_device_as_well(api: Any, world: Any, who: str) -> None:
    caller, token = known(api, world, who)
    routes = [route for route in ROUTES if any(also.endswith("devices.flash") for also in route.also)]
    for route in routes:
        also = next(also for also in route.also if also.endswith("devices.flash"))
        answer = api.request(route.method, url(route, EXISTING), token=token, files={"file": ("a.bin", b"module")})
        told, may = expected(route, caller), judge(also, caller or Caller(), Thing(OURS, 1000, KEEPER))
        assert (name(route), outcome(answer)) == (name(route), "forbidden" if told == "yes" != may else told)
    assert len(routes) == 2
