"""What every command says of itself, for the audit: who, under which token, from where, and whose team may see it."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from services.gateway.entries import TokenEntry
from services.gateway.http.auth import MISSING
from services.gateway.http.routes import ROUTES
from shared.auth.permissions import rule_of
from shared.errors import Unavailable
from shared.ids import digest

ORG, ADDRESS = "a" * 24, "192.0.2.1"
CUSTOMER, OWNER = "7" * 24, "9" * 24
TOKEN, TOKEN_ID = "77" * 20, "5" * 24
RELEASE = "/v1/products/thermo/firmware/release"
CLAIMS = "/v1/device_claims"


def known(api: Any, subject: Any, **fields: Any) -> None:
    plain = TokenEntry(TOKEN_ID, None, "", "lamp-1234", None, ORG, None, subject)
    api.directory.tokens[digest(TOKEN)] = replace(plain, product_id=1000, **fields)


def context_of(api: Any) -> Any:
    return api.bus.asked[-1].context


def test_a_members_command_says_who_under_which_token_and_whose_team_may_see_it(api: Any, world: Any) -> None:
    api.keys.create(world.MEMBER)
    api.put(RELEASE, json={"version": 7})
    context = context_of(api)
    assert context.actor == f"account:{world.MEMBER}"
    assert context.token == world.MEMBER_TOKEN[:24]
    assert context.about == f"{world.OUR_ORG}/1000"
    assert ADDRESS not in context.address
    assert api.addresses.opened(context.actor, context.address) == ADDRESS


def test_what_only_looks_says_not_from_where(api: Any, world: Any) -> None:
    api.keys.create(world.MEMBER)
    api.get("/v1/products/thermo/devices")
    assert context_of(api).address is None


@pytest.mark.parametrize("path", ["/v1/orgs/ours", "/v1/orgs/" + "a" * 24])
def test_a_command_on_an_organization_is_about_it(api: Any, world: Any, path: str) -> None:
    api.put(path, json={"name": "New"})
    assert context_of(api).about == world.OUR_ORG


def test_a_command_on_a_device_is_about_its_product_whoever_gives_it(api: Any, world: Any) -> None:
    entry = api.directory.devices[world.DEVICE]
    api.directory.devices[world.DEVICE] = replace(entry, owner_id=world.STRANGER)
    api.put(f"/v1/devices/{world.DEVICE}", json={"name": "lamp"}, token=world.STRANGER_TOKEN)
    context = context_of(api)
    assert (context.actor, context.about) == (f"account:{world.STRANGER}", f"{world.OUR_ORG}/1000")


def test_a_claim_is_about_the_device_that_is_claimed(api: Any, world: Any) -> None:
    api.post("/v1/devices", json={"id": world.DEVICE.upper()}, token=world.LONER_TOKEN)
    assert context_of(api).about == f"{world.OUR_ORG}/1000"
    api.post("/v1/devices", json={"id": "f" * 24}, token=world.LONER_TOKEN)
    assert context_of(api).about is None


def test_an_accounts_own_affairs_are_no_teams(api: Any, world: Any) -> None:
    api.post(CLAIMS, json={})
    assert context_of(api).about is None


def test_a_customer_is_a_customer_of_their_company(api: Any) -> None:
    known(api, "customer", account_id=OWNER, customer_id=CUSTOMER)
    api.keys.create(CUSTOMER)
    api.post(CLAIMS, json={}, token=TOKEN)
    context = context_of(api)
    assert (context.actor, context.token, context.about) == (f"customer:{CUSTOMER}", TOKEN_ID, f"{ORG}/1000")
    assert api.addresses.opened(context.actor, context.address) == ADDRESS


def test_a_companys_program_is_itself_and_its_address_nobodys(api: Any) -> None:
    known(api, "client")
    api.put(RELEASE, json={"version": 7}, token=TOKEN)
    context = context_of(api)
    assert (context.actor, context.token, context.address) == ("client:lamp-1234", TOKEN_ID, ADDRESS)


def test_whoever_shows_a_clients_secret_acts_for_it_and_their_address_is_not_kept(api: Any, world: Any) -> None:
    api.bus.answers["orgs.check_client"] = {
        "id": "lamp-1234",
        "type": "installed",
        "org_id": world.OUR_ORG,
        "product_id": 1000,
    }
    body = {"email": "jo@example.org", "password": "secret", "client_id": "lamp-1234", "client_secret": "s"}
    api.post("/v1/products/thermo/customers", json=body, token=None)
    checked, created = api.bus.asked[-2:]
    assert checked.context.actor == "anonymous"
    assert (created.context.actor, created.context.address) == ("client:lamp-1234", None)
    assert created.context.about == f"{world.OUR_ORG}/1000"
    assert created.context.command_id == checked.context.command_id


def test_a_password_is_no_token(api: Any, world: Any) -> None:
    api.bus.answers["orgs.check_password"] = {"account_id": world.MEMBER, "email": "member@example.org"}
    answer = api.request("DELETE", "/v1/access_tokens/" + "5" * 24, token=None, auth=("member@example.org", "secret"))
    assert MISSING not in answer.text
    assert context_of(api).token is None


def test_keys_that_are_away_hold_no_command_up(api: Any, world: Any) -> None:
    def away(person: str) -> Any:
        raise Unavailable("no key table")

    api.keys.find = away
    api.put(RELEASE, json={"version": 7})
    assert context_of(api).address is None


BODY = {
    "name": "hall",
    "version": 7,
    "description": "text",
    "username": "jo@example.org",
    "email": "jo@example.org",
    "password": "correct horse",
    "type": "installed",
    "role": "support",
    "customers": ["jo@example.org"],
    "ids": ["0123456789abcdef01234567"],
    "id": "0123456789abcdef01234567",
    "arg": "on",
}
PATH = {"org": "ours", "product": "thermo", "version": "7", "import": "9" * 24, "token": "5" * 24, "group": "hall"}
OTHERS = {
    "device": "0123456789abcdef01234567",
    "authority": "4" * 24,
    "client": "lamp-1",
    "name": "led",
    "key": "0" * 16,
    "hook": "7" * 24,
    "rollout": "7" * 24,
}
PEOPLE = {"username": "jo@example.org", "email": "jo@example.org"}


def test_every_command_on_a_thing_of_an_organization_says_whose_it_is(api: Any, world: Any) -> None:
    """All that the API describes: whatever reaches a service or a device has all that the audit shows."""
    api.keys.create(world.MEMBER)
    reached = 0
    for route in ROUTES:
        names = set(re.findall(r"{(\w+)", route.path))
        if (
            route.method == "GET"
            or rule_of(route.permission).to == "anonymous"
            or not names & {"org", "product", "device"}
        ):
            continue
        path = re.sub(r"{(\w+)(:path)?}", lambda match: {**PATH, **OTHERS, **PEOPLE}[match[1]], route.path)
        sent = {"files": {"file": ("a.txt", b"0123456789abcdef01234567")}} if route.body == "upload" else {"json": BODY}
        api.bus.asked.clear()
        api.calls.asked.clear()
        api.request(route.method, path, **(sent if route.body != "none" else {}))
        contexts = [asked.context for asked in api.bus.asked] + [asked[3] for asked in api.calls.asked]
        reached += bool(contexts)
        for context in contexts:
            assert context.actor == f"account:{world.MEMBER}", path
            assert context.token == world.MEMBER_TOKEN[:24], path
            assert (context.about or "").startswith(world.OUR_ORG), path
            assert api.addresses.opened(context.actor, context.address) == ADDRESS, path
    assert reached > 30
