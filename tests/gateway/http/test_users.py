from __future__ import annotations

from typing import Any

import pytest

from services.gateway.http.calls import POSITION_HEADER
from services.gateway.http.ports import PUBLIC_CLIENTS
from shared.errors import Refused, Unavailable

LOGIN = {"grant_type": "password", "username": "Jo+x@example.org", "password": "päss word", "client_id": "particle-api"}
GRANT = {"access_token": "cd" * 20, "refresh_token": "ef" * 20, "expires_in": 7_776_000, "token_id": "7" * 24}


@pytest.fixture(autouse=True)
def grants(api: Any) -> None:
    api.bus.answers["orgs.issue_token"] = {**GRANT, "position": 12}
    api.bus.answers["orgs.refresh_token"] = {**GRANT, "position": 13}
    api.bus.answers["orgs.create_account"] = {"account_id": "8" * 24, "position": 11}


def login(api: Any, path: str = "/oauth/token", headers: Any = None, **changes: Any) -> Any:
    form = {name: value for name, value in {**LOGIN, **changes}.items() if value is not None}
    return api.post(path, token=None, data=form, headers=headers)


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
    assert answers[-1].headers["retry-after"] == "5"
    assert api.post("/v1/users", token=None, json=body, client=("198.51.100.1", 1)).status_code == 200
    api.clock.advance(2)
    assert api.post("/v1/users", token=None, json=body).status_code == 200


@pytest.mark.parametrize("path", ["/oauth/token", "/v1/oauth/token", "/oauth/token/"])
def test_a_login_answers_with_a_token(api: Any, path: str) -> None:
    answer = login(api, path)
    assert answer.json() == {
        "token_type": "bearer",
        "access_token": "cd" * 20,
        "refresh_token": "ef" * 20,
        "expires_in": 7_776_000,
    }
    assert answer.headers["cache-control"] == "no-store"
    assert api.bus.last("issue_token").arguments == {
        "username": "Jo+x@example.org",
        "password": "päss word",
        "client": "particle-api",
        "expires_in_s": None,
    }


def test_a_new_token_reads_what_made_it(api: Any, world: Any) -> None:
    login(api)
    api.directory.add_token("cd" * 20, world.MEMBER, world.OUR_ORG)
    api.get("/v1/access_tokens/current", token="cd" * 20)
    assert api.directory.waited == [12]


@pytest.mark.parametrize("client", sorted(PUBLIC_CLIENTS))
def test_the_public_clients_log_in_with_any_secret(api: Any, client: str) -> None:
    assert login(api, client_id=client, client_secret="whatever").status_code == 200
    assert api.bus.last("issue_token").arguments["client"] == client


def test_the_client_may_be_basic_and_then_wins(api: Any) -> None:
    basic = {"Authorization": "Basic cGFydGljbGU6cGFydGljbGU="}
    assert login(api, headers=basic, client_id="nobody").status_code == 200
    assert api.bus.last("issue_token").arguments["client"] == "particle"


@pytest.mark.parametrize("header", ["Basic !!!", "Basic /w==", "Basic bm9ib2R5OnB3"])
def test_an_unreadable_or_unknown_basic_client_is_refused(api: Any, world: Any, header: str) -> None:
    assert world.error_of(login(api, headers={"Authorization": header}))[:2] == (400, "invalid_client")


@pytest.mark.parametrize("client", [None, "nobody"])
def test_an_unknown_client_is_refused(api: Any, world: Any, client: str | None) -> None:
    assert world.error_of(login(api, client_id=client))[:2] == (400, "invalid_client")


def test_a_useless_bearer_is_ignored_at_login(api: Any) -> None:
    assert login(api, headers={"Authorization": "Bearer null"}).status_code == 200


def test_wrong_credentials_are_invalid_grant(api: Any, world: Any) -> None:
    api.bus.answers["orgs.issue_token"] = Refused("invalid_grant", "User credentials are invalid")
    assert world.error_of(login(api)) == (400, "invalid_grant", "User credentials are invalid")


@pytest.mark.parametrize("grant", ["client_credentials", "urn:custom:mfa-otp", "magic"])
def test_other_grants_are_unsupported(api: Any, world: Any, grant: str) -> None:
    assert world.error_of(login(api, grant_type=grant))[:2] == (400, "unsupported_grant_type")


@pytest.mark.parametrize("name", ["grant_type", "username", "password"])
def test_a_login_names_the_missing_field(api: Any, world: Any, name: str) -> None:
    status, code, text = world.error_of(login(api, **{name: None}))
    assert (status, code) == (400, "invalid_request")
    assert text.startswith(f"{name}: ")


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ({"expires_in": "0"}, 0),
        ({"expires_in": "3600"}, 3_600),
        ({"expires_at": "2026-03-01T13:00:00Z"}, 3_600),
        ({"expires_at": "2026-03-01T13:00:00"}, 3_600),
        ({"expires_in": "60", "expires_at": "2026-03-01T13:00:00Z"}, 60),
    ],
)
def test_the_life_of_a_token_can_be_asked_for(api: Any, fields: Any, seconds: int) -> None:
    assert login(api, **fields).status_code == 200
    assert api.bus.last("issue_token").arguments["expires_in_s"] == seconds


@pytest.mark.parametrize(
    "fields",
    [
        {"expires_in": "-1"},
        {"expires_in": "soon"},
        {"expires_in": "9" * 30},
        {"expires_at": "tomorrow"},
        {"expires_at": "2026-03-01T12:00:00Z"},
        {"expires_at": "2126-03-01T12:00:00Z"},
    ],
)
def test_an_impossible_life_is_refused(api: Any, world: Any, fields: Any) -> None:
    status, code, text = world.error_of(login(api, **fields))
    assert (status, code) == (400, "invalid_request")
    assert text.startswith("expires_")


def test_a_refresh_token_is_traded(api: Any) -> None:
    form = {"grant_type": "refresh_token", "refresh_token": "ef" * 20, "client_id": "particle"}
    assert api.post("/oauth/token", token=None, data=form).status_code == 200
    assert api.bus.last("refresh_token").arguments == {"refresh_token": "ef" * 20, "client": "particle"}


def test_failed_logins_are_throttled_and_good_ones_are_not(api: Any, world: Any) -> None:
    assert [login(api).status_code for _ in range(25)] == [200] * 25
    api.bus.answers["orgs.issue_token"] = Refused("invalid_grant", "User credentials are invalid")
    assert [login(api).status_code for _ in range(21)] == [400] * 20 + [429]
    asked = api.bus.count("issue_token")
    assert world.error_of(login(api))[1] == "too_many_requests"
    assert api.bus.count("issue_token") == asked
    api.clock.advance(5)
    assert login(api).status_code == 400


def test_a_login_that_nobody_could_judge_is_no_failed_one(api: Any) -> None:
    api.bus.answers["orgs.issue_token"] = Unavailable("no broker")
    assert {login(api).status_code for _ in range(25)} == {503}


def test_the_account_is_shown(api: Any, world: Any) -> None:
    memberships = [{"org": {"id": world.OUR_ORG, "slug": "ours", "name": "Ours"}, "role": {"id": "administrator"}}]
    api.bus.answers["orgs.get_user"] = {
        "username": "jo@example.org",
        "account_info": {"first_name": "Jo"},
        "memberships": memberships,
    }
    user = api.get("/v1/user").json()
    assert user["memberships"] == memberships
    assert user["mfa"] == {"enabled": False}
    assert user["wifi_device_count"] == user["cellular_device_count"] == 0
    assert api.bus.last("get_user").arguments == {"account_id": world.MEMBER}
