from __future__ import annotations

from typing import Any

import pytest

from services.gateway.http.calls import POSITION_HEADER
from shared.errors import Refused

USER = {"username": "member@example.org", "email_verified": True, "account_info": {}, "memberships": []}


@pytest.fixture(autouse=True)
def services(api: Any) -> None:
    api.bus.answers["orgs.get_user"] = USER
    api.bus.answers["devices.list_own_devices"] = {"devices": [{"platform_id": 6}, {"platform_id": 10}]}
    for method in (
        "change_profile",
        "change_password",
        "change_email",
        "delete_account",
        "verify_email",
        "ask_verification",
        "ask_password_reset",
        "reset_password",
    ):
        api.bus.answers[f"orgs.{method}"] = {"position": 30}


def test_the_account_tells_how_many_devices_it_has_claimed(api: Any, world: Any) -> None:
    memberships = [{"org": {"id": world.OUR_ORG, "slug": "ours", "name": "Ours"}, "role": {"id": "administrator"}}]
    api.bus.answers["orgs.get_user"] = {**USER, "memberships": memberships}
    shown = api.get("/v1/user").json()
    assert (shown["memberships"], shown["mfa"]) == (memberships, {"enabled": False})
    assert api.bus.last("get_user").arguments == {"account_id": world.MEMBER}
    assert (shown["wifi_device_count"], shown["cellular_device_count"]) == (1, 1)
    assert shown["email_verified"] is True


def test_who_the_caller_is(api: Any, world: Any) -> None:
    assert api.get("/v1/user/identify?tracking=1").json() == {"id": world.MEMBER, "email": "member@example.org"}


@pytest.mark.parametrize(
    ("body", "method", "arguments"),
    [
        ({"account_info": {"first_name": "Jo"}}, "change_profile", {"account_info": {"first_name": "Jo"}}),
        (
            {"password": "another one", "current_password": "old", "invalidate_tokens": True},
            "change_password",
            {"password": "another one", "current_password": "old", "end_tokens": True},
        ),
        (
            {"username": "jo@example.org", "current_password": "old"},
            "change_email",
            {"username": "jo@example.org", "current_password": "old", "end_tokens": False},
        ),
    ],
)
def test_one_thing_of_the_account_is_changed(api: Any, world: Any, body: Any, method: str, arguments: Any) -> None:
    answer = api.put("/v1/user", json=body)
    assert answer.status_code == 200
    assert (answer.json()["ok"], answer.json()["username"]) == (True, "member@example.org")
    assert api.bus.last(method).arguments == {"account_id": world.MEMBER, **arguments}
    assert api.bus.last("get_user").context.after == 30


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"password": "another one", "username": "jo@example.org", "current_password": "old"},
        {"password": "another one"},
        {"username": "jo@example.org"},
    ],
)
def test_nothing_two_things_or_no_proof_change_nothing(api: Any, world: Any, body: Any) -> None:
    assert world.error_of(api.put("/v1/user", json=body))[:2] == (400, "invalid_request")
    assert api.bus.count("change_password") == api.bus.count("change_email") == 0


def test_guessing_the_present_password_is_throttled(api: Any, world: Any) -> None:
    api.bus.answers["orgs.change_password"] = Refused("invalid_password", "The current password is wrong.")
    body = {"password": "another one", "current_password": "guess"}
    answers = [api.put("/v1/user", json=body) for _ in range(25)]
    assert {answer.status_code for answer in answers} == {400, 429}
    assert world.error_of(answers[-1])[:2] == (429, "too_many_requests")


def test_many_addresses_do_not_guess_the_password_behind_a_token(api: Any) -> None:  # ACC-1
    api.bus.answers["orgs.delete_account"] = Refused("invalid_password", "The current password is wrong.")
    api.bus.answers["orgs.oauth_token"] = Refused("invalid_grant", "User credentials are invalid")

    def guess(address: str) -> int:
        answer = api.request("DELETE", "/v1/user", json={"password": "guess"}, client=(address, 1))
        return int(answer.status_code)

    assert [guess(f"192.0.2.{n}") for n in range(110)] == [400] * 100 + [429] * 10
    log_in = {"grant_type": "password", "username": "MEMBER@example.org", "password": "guess", "client_id": "particle"}
    answer = api.post("/oauth/token", token=None, data=log_in, client=("192.0.2.200", 1))
    assert answer.status_code == 429  # the same account


def test_an_account_is_deleted_with_its_password(api: Any, world: Any) -> None:
    answer = api.request("DELETE", "/v1/user", json={"password": "secret 123"})
    assert answer.json()["ok"] is True
    assert api.bus.last("delete_account").arguments == {"account_id": world.MEMBER, "password": "secret 123"}
    assert world.error_of(api.request("DELETE", "/v1/user", json={}))[:2] == (400, "invalid_request")


def test_a_reset_is_asked_for_without_learning_whether_there_is_an_account(api: Any) -> None:  # ACC-1
    known = api.post("/v1/user/password-reset", json={"username": "member@example.org"}, token=None)
    api.bus.answers["orgs.ask_password_reset"] = {"position": None}
    unknown = api.post("/v1/user/password-reset", json={"username": "nobody@example.org"}, token=None)
    assert known.status_code == unknown.status_code == 200
    assert known.content == unknown.content
    assert known.headers == unknown.headers
    assert POSITION_HEADER not in known.headers


def test_mails_that_are_asked_for_are_throttled(api: Any, world: Any) -> None:
    body = {"username": "member@example.org"}
    statuses = [api.post("/v1/user/password-reset", json=body, token=None).status_code for _ in range(25)]
    assert (statuses[0], statuses[-1]) == (200, 429)


def test_mailed_links_are_followed(api: Any) -> None:
    token = "1" * 24 + "." + "a" * 40
    assert api.post("/v1/user/verify", json={"token": token}, token=None).json() == {"ok": True}
    assert api.bus.last("verify_email").arguments == {"token": token}
    body = {"username": "member@example.org", "token": token, "password": "another one"}
    assert api.put("/v1/user/password-reset", json=body, token=None).json() == {"ok": True}
    assert api.bus.last("reset_password").arguments == body
    assert api.post("/v1/user/verification").json() == {"ok": True}
