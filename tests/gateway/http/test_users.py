from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from services.gateway.http.calls import POSITION_HEADER
from services.gateway.http.ports import Limits
from shared.errors import Refused


@pytest.fixture(autouse=True)
def grants(api: Any) -> None:
    api.bus.answers["orgs.create_account"] = {"account_id": "8" * 24, "position": 11}


def test_a_flood_of_log_ins_takes_a_few_workers_of_the_service(api: Any, limits: Any) -> None:
    running, most = 0, 0

    async def slow(arguments: Any) -> Any:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        running -= 1
        return Refused("invalid_grant", "User credentials are invalid")

    api.bus.answers["orgs.oauth_token"] = slow
    log_in = {"grant_type": "password", "password": "guess", "client_id": "particle"}

    async def flood() -> list[int]:
        async def one(number: int) -> int:
            transport = httpx.ASGITransport(api.app, client=(f"192.0.2.{number}", 1))
            async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
                answer = await client.post("/oauth/token", data={**log_in, "username": f"{number}@example.org"})
                return int(answer.status_code)

        return await asyncio.gather(*(one(number) for number in range(40)))

    assert api.runner.run(flood()) == [400] * 40
    assert most == limits.hashing_at_once == 4


@pytest.mark.parametrize("limits", [Limits(hashing_at_once=0, hashing_wait_s=0.01)])
def test_who_waits_too_long_to_log_in_is_told_to_come_again_and_has_not_failed(api: Any, world: Any) -> None:
    log_in = {"grant_type": "password", "username": "jo@example.org", "password": "x", "client_id": "particle"}
    answers = [api.post("/oauth/token", token=None, data=log_in) for _ in range(25)]
    assert {world.error_of(answer)[:2] for answer in answers} == {(503, "unavailable")}


def test_anyone_can_sign_up(api: Any) -> None:
    body = {
        "username": "jo@example.org",
        "password": "secret 123",
        "account_info": {"first_name": "Jo", "unknown": 1},
        "utm": {"source": "x"},
    }
    answer = api.post("/v1/users", token=None, json=body)
    assert answer.json() == {"ok": True}
    assert answer.headers[POSITION_HEADER] == "11"
    asked = api.bus.last("create_account")
    assert asked.arguments == {
        "username": "jo@example.org",
        "password": "secret 123",
        "account_info": {"first_name": "Jo"},
    }
    assert asked.context.actor == "anonymous"
    assert asked.context.source == "gateway:a"


def test_signing_up_works_with_a_nested_form_and_a_useless_bearer(api: Any) -> None:
    form = {"username": "jo@example.org", "password": "secret 123", "account_info[first_name]": "Jö & Co"}
    assert api.post("/v1/users", token="null", data=form).status_code == 200
    assert api.bus.last("create_account").arguments["account_info"] == {"first_name": "Jö & Co"}


@pytest.mark.parametrize("code", ["username_taken", "invalid_username", "invalid_password"])
def test_a_refused_sign_up_repeats_its_text_for_older_clients(api: Any, world: Any, code: str) -> None:
    api.bus.answers["orgs.create_account"] = Refused(code, "No, because.")
    answer = api.post("/v1/users", token=None, json={"username": "jo", "password": "x"})
    assert world.error_of(answer) == (400, code, "No, because.")
    assert answer.json()["errors"] == ["No, because."]


@pytest.mark.parametrize("body", [{}, {"username": "jo"}, {"username": 7, "password": "x"}, {"password": None}])
def test_a_sign_up_without_name_or_password_says_which(api: Any, world: Any, body: Any) -> None:
    status, code, text = world.error_of(api.post("/v1/users", token=None, json=body))
    assert (status, code) == (400, "invalid_request")
    assert "username:" in text or "password:" in text


def test_sign_ups_are_throttled_by_address(api: Any, world: Any) -> None:
    body = {"username": "jo@example.org", "password": "secret 123"}
    answers = [api.post("/v1/users", token=None, json=body) for _ in range(31)]
    assert [answer.status_code for answer in answers] == [200] * 30 + [429]
    assert answers[-1].headers["retry-after"] == "2"
    assert api.post("/v1/users", token=None, json=body, client=("198.51.100.1", 1)).status_code == 200
    api.clock.advance(2)
    assert api.post("/v1/users", token=None, json=body).status_code == 200
