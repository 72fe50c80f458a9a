"""Logging in: the token endpoint and the consent page (contract 2.1 and 2.2)."""

from __future__ import annotations

from typing import Any

import pytest

from shared.errors import Refused, Unavailable

LOGIN = {
    "grant_type": "password",
    "username": "Jo+x@example.org",
    "password": "p\u00e4ss word",
    "client_id": "particle-api",
}
GRANT = {"access_token": "cd" * 20, "refresh_token": "ef" * 20, "expires_in": 7_776_000, "token_id": "7" * 24}
QUERY = {
    "response_type": "code",
    "client_id": "lamp-1234",
    "redirect_uri": "https://lamp.example/back?a=1",
    "state": "x<y",
    "code_challenge": "c" * 43,
    "code_challenge_method": "S256",
}
CONSENT = {"client": "Lamp <b>App</b>", "company": "Acme", "redirect_uri": "https://lamp.example/back?a=1"}


@pytest.fixture(autouse=True)
def grants(api: Any) -> None:
    api.bus.answers["orgs.oauth_token"] = {**GRANT, "position": 12}
    api.bus.answers["orgs.check_authorization"] = CONSENT
    api.bus.answers["orgs.authorize"] = {
        "redirect_uri": "https://lamp.example/back?a=1&code=abc&state=x",
        "position": 9,
    }


def login(api: Any, path: str = "/oauth/token", headers: Any = None, **changes: Any) -> Any:
    form = {name: value for name, value in {**LOGIN, **changes}.items() if value is not None}
    return api.post(path, token=None, data=form, headers=headers)


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
    assert api.bus.last("oauth_token").arguments == {"fields": LOGIN, "basic": None, "expires_in_s": None}


def test_a_new_token_reads_what_made_it(api: Any, world: Any) -> None:
    login(api)
    api.directory.add_token("cd" * 20, world.MEMBER, world.OUR_ORG)
    api.get("/v1/access_tokens/current", token="cd" * 20)
    assert api.directory.waited == [12]


def test_the_clients_basic_credentials_are_passed_on_apart(api: Any) -> None:
    basic = {"Authorization": "Basic cGFydGljbGU6cGFydGljbGU="}
    assert login(api, headers=basic, client_id="nobody").status_code == 200
    asked = api.bus.last("oauth_token").arguments
    assert (asked["basic"], asked["fields"]["client_id"]) == (["particle", "particle"], "nobody")


@pytest.mark.parametrize("header", ["Basic !!!", "Basic /w==", "Basic " + "A" * 9_000])
def test_an_unreadable_basic_client_is_refused(api: Any, world: Any, header: str) -> None:
    assert world.error_of(login(api, headers={"Authorization": header}))[:2] == (400, "invalid_client")


def test_a_useless_bearer_is_ignored_at_login(api: Any) -> None:
    assert login(api, headers={"Authorization": "Bearer null"}).status_code == 200


def test_wrong_credentials_are_invalid_grant(api: Any, world: Any) -> None:
    api.bus.answers["orgs.oauth_token"] = Refused("invalid_grant", "User credentials are invalid")
    assert world.error_of(login(api)) == (400, "invalid_grant", "User credentials are invalid")


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
    assert api.bus.last("oauth_token").arguments["expires_in_s"] == seconds


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
    assert api.bus.last("oauth_token").arguments["fields"] == form


def test_failed_logins_are_throttled_and_good_ones_are_not(api: Any, world: Any) -> None:
    assert [login(api).status_code for _ in range(25)] == [200] * 25
    api.bus.answers["orgs.oauth_token"] = Refused("invalid_grant", "User credentials are invalid")
    assert [login(api).status_code for _ in range(21)] == [400] * 20 + [429]
    asked = api.bus.count("oauth_token")
    assert world.error_of(login(api))[1] == "too_many_requests"
    assert api.bus.count("oauth_token") == asked
    api.clock.advance(5)
    assert login(api).status_code == 400


def test_a_login_that_nobody_could_judge_is_no_failed_one(api: Any) -> None:
    api.bus.answers["orgs.oauth_token"] = Unavailable("no broker")
    assert {login(api).status_code for _ in range(25)} == {503}


def test_the_scope_that_was_asked_for_is_in_the_answer(api: Any) -> None:  # CUS-2
    api.bus.answers["orgs.oauth_token"] = {**GRANT, "scope": "customer=jo@example.org"}
    form = {"grant_type": "client_credentials", "scope": "customer=jo@example.org", "client_id": "lamp-1234"}
    answer = api.post("/oauth/token", token=None, data={**form, "client_secret": "s" * 40})
    assert answer.json()["scope"] == "customer=jo@example.org"
    assert api.bus.last("oauth_token").arguments["fields"] == {**form, "client_secret": "s" * 40}


def test_many_addresses_do_not_guess_one_password(api: Any, world: Any) -> None:
    api.bus.answers["orgs.oauth_token"] = Refused("invalid_grant", "User credentials are invalid")
    statuses = [
        api.post("/oauth/token", token=None, data=LOGIN, client=(f"192.0.2.{n}", 1)).status_code for n in range(110)
    ]
    assert (statuses[0], statuses[-1]) == (400, 429)
    other = {**LOGIN, "username": "other@example.org"}
    assert api.post("/oauth/token", token=None, data=other, client=("192.0.2.200", 1)).status_code == 400


def test_the_consent_page_names_client_and_company_and_cannot_be_framed(api: Any) -> None:  # CUS-3
    answer = api.get("/oauth/authorize", token=None, params=QUERY)
    assert answer.status_code == 200
    assert "Lamp &lt;b&gt;App&lt;/b&gt;" in answer.text
    assert "Acme" in answer.text
    assert 'value="x&lt;y"' in answer.text
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "form-action 'self' https://lamp.example;" in policy
    assert answer.headers["cache-control"] == "no-store"
    assert api.bus.last("check_authorization").arguments == {"fields": QUERY}


def test_a_client_that_is_not_as_it_was_registered_gets_json_and_no_redirect(api: Any, world: Any) -> None:
    for path in ("get", "post"):
        for method in ("orgs.check_authorization", "orgs.authorize"):
            api.bus.answers[method] = Refused("invalid_request", "Redirect URI is not supported by client.")
        options = {"params": QUERY} if path == "get" else {"data": QUERY}
        answer = getattr(api, path)("/oauth/authorize", token=None, **options)
        assert world.error_of(answer)[:2] == (400, "invalid_request")
        assert "location" not in answer.headers


def test_guessing_elsewhere_keeps_nobody_out_where_they_have_logged_in_before(api: Any) -> None:
    log_in = {"grant_type": "password", "username": "jo@example.org", "password": "x", "client_id": "particle"}
    consent = {**QUERY, "username": "jo@example.org", "password": "x", "decision": "deny"}
    home, elsewhere, of_a_guesser = "192.0.2.1", "192.0.2.2", "192.0.2.3"

    def tries(path: str, body: dict[str, str], address: str) -> int:
        return int(api.post(path, token=None, data=body, client=(address, 1)).status_code)

    api.bus.answers["orgs.oauth_token"] = GRANT
    api.bus.answers["orgs.authorize"] = {"redirect_uri": QUERY["redirect_uri"], "position": None}
    assert tries("/oauth/token", log_in, home) == 200
    # Who has said no password has shown nothing.
    assert tries("/oauth/authorize", consent, of_a_guesser) == 302
    assert tries("/oauth/token", {**log_in, "grant_type": "client_credentials"}, of_a_guesser) == 200
    # Nor has who has made a customer of that name, and logs in as that, at a client of their own.
    assert tries("/oauth/token", {**log_in, "client_id": "theirs-1234", "client_secret": "s"}, of_a_guesser) == 200
    api.bus.answers["orgs.oauth_token"] = Refused("invalid_grant", "User credentials are invalid")
    for number in range(100):
        assert tries("/oauth/token", log_in, f"198.51.100.{number}") == 400
    assert [tries("/oauth/token", log_in, address) for address in (elsewhere, of_a_guesser)] == [429, 429]
    assert [tries("/oauth/token", {**log_in, "username": "JO@example.org"}, home) for _ in range(20)] == [400] * 20
    api.bus.answers["orgs.oauth_token"] = GRANT
    assert tries("/oauth/token", log_in, home) == 429  # guessing goes on here no longer than anywhere
    assert tries("/oauth/token", log_in, elsewhere) == 429


@pytest.mark.parametrize(("decision", "allowed"), [("allow", True), ("deny", False), ("", False)])
def test_the_browser_is_sent_back_to_the_client(api: Any, decision: str, allowed: bool) -> None:
    form = {**QUERY, "username": "jo@example.org", "password": "secret 123", "decision": decision}
    answer = api.post("/oauth/authorize", token=None, data=form)
    assert answer.status_code == 302
    assert answer.headers["location"] == "https://lamp.example/back?a=1&code=abc&state=x"
    asked = {"fields": QUERY, "username": "jo@example.org", "password": "secret 123", "allowed": allowed}
    assert api.bus.last("authorize").arguments == asked


def test_a_wrong_password_shows_the_page_again_without_it(api: Any) -> None:
    api.bus.answers["orgs.authorize"] = Refused("invalid_grant", "User credentials are invalid")
    form = {**QUERY, "username": "jo@example.org", "password": "secret 123", "decision": "allow"}
    answer = api.post("/oauth/authorize", token=None, data=form)
    assert answer.status_code == 400
    assert "The email address or the password is wrong." in answer.text
    assert "jo@example.org" in answer.text
    assert "secret 123" not in answer.text


def test_mailed_links_open_pages_that_use_nothing_up(api: Any) -> None:  # ACC-1
    token = "1" * 24 + "." + "a" * 40
    for path, method in (("/verify", "verify_email"), ("/reset", "reset_password")):
        api.bus.answers[f"orgs.{method}"] = {"position": 3}
        shown = api.get(path, token=None, params={"token": token + '"><script>'})
        assert shown.status_code == 200
        assert "<script>" not in shown.text
        assert api.bus.count(method) == 0
        form = {"token": token, "password": "secret 123"}
        assert api.post(path, token=None, data=form).status_code == 200
        assert api.bus.last(method).arguments["token"] == token
        api.bus.answers[f"orgs.{method}"] = Refused("invalid_reset_token", "The link was used already.")
        again = api.post(path, token=None, data=form)
        assert again.status_code == 400
        assert "The link was used already." in again.text
