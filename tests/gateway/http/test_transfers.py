"""Asking for a device of somebody else, and the page that its owner answers on (contract 8, CUS-5)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from services.gateway.entries import TokenEntry
from shared.errors import NotFound, Refused
from shared.ids import digest

CUSTOMER, CUSTOMER_TOKEN, ID = "c" * 24, "cc" * 20, "7" * 24
TOKEN = "1" * 24 + "." + "a" * 40


@pytest.fixture(autouse=True)
def services(api: Any, world: Any) -> None:
    api.bus.answers["devices.claim"] = Refused("claimed_elsewhere", "x")
    api.bus.answers["devices.ask_transfer"] = {"transfer_id": ID, "position": 5}
    told = {"device_id": world.DEVICE, "device_name": "<desk>", "asker": "jo@example.org", "proven": False}
    api.bus.answers["orgs.get_transfer"] = {**told, "actor": f"account:{world.LONER}"}
    api.bus.answers["orgs.answer_transfer"] = {"position": 6}


def as_customer(api: Any, world: Any, product_id: int | None) -> None:
    entry = TokenEntry("c" * 24, CUSTOMER, "jo@example.org", "lamp-1234", None, world.OUR_ORG, None, "customer")
    api.directory.tokens[digest(CUSTOMER_TOKEN)] = replace(entry, customer_id=CUSTOMER, product_id=product_id)


def claim(api: Any, device_id: str, token: str, **more: Any) -> Any:
    return api.post("/v1/devices", json={"id": device_id, "request_transfer": True, **more}, token=token)


def test_the_owner_of_a_device_is_asked_for_it_if_the_client_says_so(api: Any, world: Any) -> None:
    answer = claim(api, world.DEVICE.upper(), world.LONER_TOKEN)
    assert (answer.status_code, answer.json()) == (200, {"ok": True, "transfer_id": ID})
    asked = {"account_id": world.LONER, "device_id": world.DEVICE, "product_id": None, "customer_id": None}
    assert api.bus.last("ask_transfer").arguments == {**asked, "activation_code": None}
    refused = api.post("/v1/devices", json={"id": world.DEVICE}, token=world.LONER_TOKEN)
    assert (refused.status_code, refused.json()["error"]) == (403, "That belongs to someone else.")
    assert api.bus.count("ask_transfer") == 1


def test_a_device_that_is_free_is_claimed_and_nobody_asked(api: Any, world: Any) -> None:
    api.bus.answers["devices.claim"] = {"device_id": world.DEVICE, "product_id": 1000, "online": True, "position": 4}
    assert claim(api, world.DEVICE, world.LONER_TOKEN).json()["claimed"] is True
    assert api.bus.count("ask_transfer") == 0


def test_a_customer_asks_as_one(api: Any, world: Any) -> None:
    as_customer(api, world, 1000)
    assert claim(api, world.DEVICE, CUSTOMER_TOKEN, activation_code="AB23").json()["transfer_id"] == ID
    asked = {"account_id": CUSTOMER, "device_id": world.DEVICE, "product_id": 1000, "customer_id": CUSTOMER}
    assert api.bus.last("ask_transfer").arguments == {**asked, "activation_code": "AB23"}


@pytest.mark.parametrize("trouble", [NotFound("x"), Refused("other_product", "x"), Refused("not_claimable", "x")])
def test_what_could_not_be_claimed_does_not_exist_for_whoever_asks(api: Any, world: Any, trouble: Exception) -> None:
    api.bus.answers["devices.ask_transfer"] = trouble
    answer = claim(api, world.DEVICE, world.LONER_TOKEN)
    assert (answer.status_code, answer.json()["errors"]) == (404, ["device does not exist"])


@pytest.mark.parametrize("request_transfer", [True, False])
def test_a_customer_of_all_products_learns_nothing_of_another_companys_device(
    api: Any, world: Any, request_transfer: bool
) -> None:  # CUS-5
    as_customer(api, world, None)
    api.directory.tokens[digest(CUSTOMER_TOKEN)] = replace(
        api.directory.tokens[digest(CUSTOMER_TOKEN)], org_id="0" * 24
    )
    api.bus.answers["devices.ask_transfer"] = Refused("other_product", "x")
    body = {"id": world.DEVICE, "request_transfer": request_transfer}
    answer = api.post("/v1/devices", json=body, token=CUSTOMER_TOKEN)
    assert (answer.status_code, answer.json()["errors"]) == (404, ["device does not exist"])


def test_refusals_say_why(api: Any, world: Any) -> None:
    for code in ("transfer_declined", "too_many_transfers", "invalid_activation_code"):
        api.bus.answers["devices.ask_transfer"] = Refused(code, "For this reason.")
        answer = claim(api, world.DEVICE, world.LONER_TOKEN)
        told = answer.json()
        assert (answer.status_code, told["error"], told["error_description"]) == (400, code, "For this reason.")


def test_nobody_asks_a_thousand_owners(api: Any, world: Any) -> None:
    statuses = [claim(api, world.DEVICE, world.LONER_TOKEN).status_code for _ in range(30)]
    assert (statuses[0], statuses[-1]) == (200, 429)


def test_the_page_shows_who_asks_for_what_and_uses_nothing_up(api: Any, world: Any) -> None:
    shown = api.get("/transfer", token=None, params={"token": TOKEN})
    assert shown.status_code == 200
    for text in ("jo@example.org", world.DEVICE, "&lt;desk&gt;", "Nobody has made sure", TOKEN):
        assert text in shown.text
    assert "flotilla" not in f"{shown.headers}{shown.text}".lower()  # CUS-7
    assert api.bus.count("answer_transfer") == 0
    api.bus.answers["orgs.get_transfer"] = {**api.bus.answers["orgs.get_transfer"], "proven": True}
    assert "Nobody has made sure" not in api.get("/transfer", token=None, params={"token": TOKEN}).text


@pytest.mark.parametrize(
    ("decision", "accept", "text"),
    [("accept", True, "belongs to jo@example.org"), ("decline", False, "stays yours")],
)
def test_the_owner_answers(api: Any, world: Any, decision: str, accept: bool, text: str) -> None:
    answer = api.post("/transfer", token=None, data={"token": TOKEN, "decision": decision})
    assert answer.status_code == 200
    assert text in answer.text
    assert "flotilla" not in f"{answer.headers}{answer.text}".lower()
    asked = api.bus.last("answer_transfer")
    assert asked.arguments == {"token": TOKEN, "accept": accept}
    assert asked.context.actor == f"account:{world.LONER}"
    assert asked.context.about == f"{world.OUR_ORG}/1000"


def test_who_says_neither_is_asked_again(api: Any) -> None:
    for form in ({"token": TOKEN}, {"token": TOKEN, "decision": "perhaps"}):
        answer = api.post("/transfer", token=None, data=form)
        assert answer.status_code == 400
        assert "Say whether you hand it over." in answer.text
    assert api.bus.count("answer_transfer") == 0


def test_a_link_that_is_over_says_so_and_guessing_ends(api: Any) -> None:
    api.bus.answers["orgs.get_transfer"] = Refused("invalid_transfer_token", "The link was used already.")
    for answer in (
        api.get("/transfer", token=None, params={"token": TOKEN}),
        api.post("/transfer", token=None, data={"token": TOKEN, "decision": "accept"}),
    ):
        assert answer.status_code == 400
        assert "The link was used already." in answer.text
    form = {"token": TOKEN, "decision": "accept"}
    answers = [api.post("/transfer", token=None, data=form) for _ in range(40)]
    assert "Too many" in answers[-1].text
    assert api.bus.count("get_transfer") < 42
    assert api.bus.count("answer_transfer") == 0
