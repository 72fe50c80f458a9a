from __future__ import annotations

import base64
from typing import Any

import pytest

from services.gateway.entries import TokenEntry
from services.gateway.http.calls import POSITION_HEADER
from services.gateway.http.limits import UNKNOWN_TOKEN_S
from shared.errors import Refused, Unavailable, Unknown
from shared.ids import digest

TOKEN = {"id": "4" * 24, "token": "*" * 36 + "abcd", "expires_at": None, "client": "x", "created_at": None}


def current(api: Any, **options: Any) -> Any:
    return api.get("/v1/access_tokens/current", **options)


def test_without_a_token_the_answer_is_400(api: Any, world: Any) -> None:
    assert world.error_of(current(api, token=None)) == (400, "invalid_request", "The access token was not found")


def test_an_unknown_token_is_401(api: Any, world: Any) -> None:
    answer = current(api, token=world.REVOKED_TOKEN)
    assert world.error_of(answer) == (401, "invalid_token", "The access token provided is invalid.")
    assert answer.headers["www-authenticate"] == "Bearer"


def test_an_expired_token_is_401_with_its_own_words(api: Any, world: Any) -> None:
    answer = current(api, token=world.EXPIRED_TOKEN)
    assert world.error_of(answer) == (401, "invalid_token", "The access token provided has expired.")


def test_a_token_expires_at_its_second(api: Any) -> None:
    api.clock.advance(90 * 86_400 - 1)
    assert current(api).status_code == 200
    api.clock.advance(1)
    assert current(api).status_code == 401


def test_the_current_token_tells_its_client_and_organization_but_never_itself(api: Any, world: Any) -> None:
    answer = current(api)
    assert answer.json() == {
        "expires_at": "2026-05-30T12:00:00.000Z",
        "client": "particle",
        "client_id": "particle",
        "scopes": [],
        "orgs": [{"id": world.OUR_ORG, "slug": "ours"}],
    }
    assert world.MEMBER_TOKEN not in answer.text


def test_a_token_that_never_expires_has_null(api: Any, world: Any) -> None:
    assert current(api, token=world.LONER_TOKEN).json()["expires_at"] is None


def test_the_token_may_stand_in_the_query(api: Any, world: Any) -> None:
    assert current(api, token=None, params={"access_token": world.MEMBER_TOKEN}).status_code == 200


def test_the_header_wins_over_the_query(api: Any, world: Any) -> None:
    answer = current(api, token=world.REVOKED_TOKEN, params={"access_token": world.MEMBER_TOKEN})
    assert answer.status_code == 401


def test_the_token_may_stand_in_a_form_and_is_no_field_of_it(api: Any, world: Any) -> None:
    api.bus.answers["orgs.create_organization"] = {"organization": world.ORGANIZATION, "position": 5}
    form = {"access_token": world.LONER_TOKEN, "name": "Ours"}
    assert api.post("/v1/orgs", token=None, data=form).status_code == 201
    arguments = api.bus.last("create_organization").arguments
    assert arguments == {"account_id": world.LONER, "name": "Ours", "slug": None, "plan": "monthly"}


def test_the_token_may_not_stand_in_json(api: Any, world: Any) -> None:
    answer = api.post("/v1/orgs", token=None, json={"access_token": world.LONER_TOKEN, "name": "Ours"})
    assert world.error_of(answer)[:2] == (400, "invalid_request")


def test_a_token_newer_than_the_directory_is_asked_for(api: Any, world: Any) -> None:
    fresh = "ab" * 20
    api.bus.answers["orgs.find_token"] = {
        "token_id": "5" * 24,
        "account_id": world.MEMBER,
        "client": "CLI2",
        "expires_at": "2026-03-01T12:00:10.000Z",
        "email": "member@example.org",
        "org_id": None,
    }
    api.directory.account_orgs[world.MEMBER] = world.OUR_ORG
    answer = current(api, token=fresh).json()
    assert answer["client"] == "CLI2"
    assert answer["orgs"] == [{"id": world.OUR_ORG, "slug": "ours"}]
    assert api.bus.last("find_token").arguments == {"token": fresh}
    api.clock.advance(10)
    assert current(api, token=fresh).status_code == 401


def test_an_unknown_token_is_not_asked_for_twice_in_a_row(api: Any, world: Any) -> None:
    for _ in range(3):
        assert current(api, token=world.REVOKED_TOKEN).status_code == 401
    assert api.bus.count("find_token") == 1
    api.clock.advance(UNKNOWN_TOKEN_S)
    assert current(api, token=world.REVOKED_TOKEN).status_code == 401
    assert api.bus.count("find_token") == 2


def test_guessing_tokens_is_throttled_by_address(api: Any, world: Any) -> None:
    answers = [current(api, token=f"{number:040x}").status_code for number in range(101)]
    assert answers == [401] * 100 + [429]
    assert world.error_of(current(api, token="9" * 40))[1] == "too_many_requests"
    assert current(api).status_code == 200
    assert current(api, token="8" * 40, client=("198.51.100.7", 1)).status_code == 401
    api.clock.advance(1)
    assert current(api, token="7" * 40).status_code == 401


def test_a_monstrous_token_is_refused_without_asking(api: Any) -> None:
    assert current(api, token="x" * 5_000).status_code == 401
    assert api.bus.asked == []


def test_when_nobody_can_say_whose_token_it_is_the_answer_is_503(api: Any, world: Any) -> None:
    api.bus.answers["orgs.find_token"] = Unavailable("no broker")
    answer = current(api, token=world.REVOKED_TOKEN)
    assert world.error_of(answer)[:2] == (503, "unavailable")
    assert answer.headers["retry-after"] == "2"


def test_one_can_revoke_the_token_in_use(api: Any, world: Any) -> None:
    api.bus.answers["orgs.revoke_token"] = {"position": 9}
    answer = api.delete("/v1/access_tokens/current", content=b"{}")
    assert answer.json() == {"ok": True}
    assert answer.headers[POSITION_HEADER] == "9"
    asked = api.bus.last("revoke_token")
    assert asked.arguments == {"token_id": world.MEMBER_TOKEN[:24], "account_id": world.MEMBER}
    assert asked.context.actor == f"account:{world.MEMBER}"


def test_revoking_is_answered_when_the_directory_knows_of_it_so_that_the_token_is_dead_at_once(
    api: Any, world: Any
) -> None:
    api.bus.answers["orgs.revoke_token"] = {"position": 9}
    api.directory.on_wait = lambda position: api.directory.tokens.pop(digest(world.MEMBER_TOKEN), None)
    api.delete("/v1/access_tokens/current")
    assert api.directory.waited == [9]
    assert current(api).status_code == 401


def test_what_ends_the_access_of_others_is_answered_when_the_directory_knows_of_it(api: Any) -> None:
    api.bus.answers["orgs.delete_client"] = {"position": 7}
    api.bus.answers["orgs.remove_member"] = {"position": 8}
    assert api.delete("/v1/products/1000/clients/lamp-1234").status_code == 204
    assert api.directory.waited == [7]
    assert api.delete("/v1/orgs/ours/team/bob@example.org").status_code == 200
    assert api.directory.waited[-1] == 8


def test_knowing_a_token_is_enough_to_revoke_it(api: Any, world: Any) -> None:
    api.bus.answers["orgs.revoke_token"] = {"position": 9}
    answer = api.delete(f"/v1/access_tokens/{world.MEMBER_TOKEN}", token=None)
    assert answer.json() == {"ok": True}
    assert api.bus.last("revoke_token").arguments["account_id"] == world.MEMBER


def test_a_useless_bearer_does_not_keep_a_token_from_being_revoked(api: Any, world: Any) -> None:
    api.bus.answers["orgs.revoke_token"] = {"position": 9}
    assert api.delete(f"/v1/access_tokens/{world.MEMBER_TOKEN}", token="null").status_code == 200


def test_a_bearer_of_somebody_else_cannot_revoke_a_token(api: Any, world: Any) -> None:
    answer = api.delete(f"/v1/access_tokens/{world.MEMBER_TOKEN}", token=world.STRANGER_TOKEN)
    assert world.error_of(answer)[:2] == (404, "not_found")
    assert api.bus.count("revoke_token") == 0


def test_a_listed_token_is_revoked_by_its_id(api: Any, world: Any) -> None:
    api.bus.answers["orgs.revoke_token"] = {"position": 9}
    assert api.delete(f"/v1/access_tokens/{'5' * 24}").status_code == 200
    assert api.bus.last("revoke_token").arguments == {"token_id": "5" * 24, "account_id": world.MEMBER}


def test_an_id_alone_is_no_authority(api: Any, world: Any) -> None:
    answer = api.delete(f"/v1/access_tokens/{'5' * 24}", token=None)
    assert world.error_of(answer)[:2] == (404, "not_found")


def test_an_unknown_token_cannot_be_revoked(api: Any, world: Any) -> None:
    assert world.error_of(api.delete(f"/v1/access_tokens/{world.REVOKED_TOKEN}", token=None))[:2] == (404, "not_found")


def test_tokens_are_listed_as_an_array(api: Any) -> None:
    listed = {**TOKEN, "created_at": "2026-03-01T12:00:00.000Z"}
    api.bus.answers["orgs.list_tokens"] = {"tokens": [listed]}
    assert api.get("/v1/access_tokens").json() == [listed]


def test_all_tokens_are_revoked_by_one_command(api: Any, world: Any) -> None:
    api.bus.answers["orgs.end_tokens"] = {"position": 9}
    assert api.delete("/v1/access_tokens").json() == {"ok": True}
    assert api.bus.last("end_tokens").arguments == {"account_id": world.MEMBER, "customer_id": None}


def test_a_position_reached_is_told_and_passed_on_with_the_same_token_only(api: Any, world: Any) -> None:
    api.bus.answers["orgs.create_product"] = {"product": world.PRODUCT, "position": 41}
    api.bus.answers["orgs.list_products"] = {"products": [world.PRODUCT]}
    fields = {"name": "Thermo", "description": "x", "platform_id": 6}
    made = api.post("/v1/user/products", json=fields)
    assert made.headers[POSITION_HEADER] == "41"
    assert "position" not in made.json()
    api.get("/v1/products")
    assert api.bus.last("list_products").context.after == 41
    assert api.directory.waited == [41]
    api.get("/v1/products", token=world.STRANGER_TOKEN)
    assert api.bus.last("list_products").context.after is None


@pytest.mark.parametrize(("header", "after"), [("40", 41), ("41", 41), ("77", 77)])
def test_the_later_of_the_remembered_and_the_sent_position_counts(
    api: Any, world: Any, header: str, after: int
) -> None:
    api.bus.answers["orgs.create_product"] = {"product": world.PRODUCT, "position": 41}
    api.bus.answers["orgs.list_products"] = {"products": []}
    api.post("/v1/user/products", json={"name": "Thermo", "description": "x", "platform_id": 6})
    api.get("/v1/products", headers={POSITION_HEADER: header})
    assert api.bus.last("list_products").context.after == after


@pytest.mark.parametrize("header", ["-1", "x", "9" * 19, "1.5", ""])
def test_a_position_that_is_none_is_refused(api: Any, world: Any, header: str) -> None:
    assert world.error_of(api.get("/v1/products", headers={POSITION_HEADER: header}))[:2] == (400, "invalid_request")


def test_a_position_that_is_still_to_come_holds_nobody_up(api: Any, world: Any) -> None:
    answer = api.get("/v1/products", headers={POSITION_HEADER: "101"})
    assert world.error_of(answer)[:2] == (503, "unavailable")
    assert (api.directory.waited, api.bus.asked) == ([], [])


def test_a_position_of_somebody_without_a_token_makes_nobody_wait(api: Any, world: Any) -> None:
    api.get("/v1/products", token=world.REVOKED_TOKEN, headers={POSITION_HEADER: "99"})
    assert api.directory.waited == []


def test_an_organization_that_the_directory_learns_while_it_is_waited_for_counts(api: Any, world: Any) -> None:
    def learn(position: int) -> None:
        entry = TokenEntry("t" * 24, world.LONER, "l@example.org", "particle", None, world.OUR_ORG, "administrator")
        api.directory.tokens[digest(world.LONER_TOKEN)] = entry

    api.directory.on_wait = learn
    api.bus.answers["orgs.get_product"] = {"product": world.PRODUCT}
    path = "/v1/products/1000"
    assert api.get(path, token=world.LONER_TOKEN).status_code == 404
    assert api.get(path, token=world.LONER_TOKEN, headers={POSITION_HEADER: "5"}).status_code == 200


def test_the_same_idempotency_key_is_the_same_command_for_one_account_and_path(api: Any, world: Any) -> None:
    api.bus.answers["orgs.create_product"] = {"product": world.PRODUCT, "position": 41}
    api.bus.answers["orgs.create_organization"] = {"organization": world.ORGANIZATION, "position": 42}
    fields = {"name": "Thermo", "description": "x", "platform_id": 6}

    def command_id(path: str, key: str | None, token: str) -> Any:
        headers = {} if key is None else {"Idempotency-Key": key}
        assert api.post(path, json=fields, headers=headers, token=token).status_code == 201
        return api.bus.asked[-1].context.command_id

    first = command_id("/v1/user/products", "k", world.MEMBER_TOKEN)
    assert command_id("/v1/user/products/", "k", world.MEMBER_TOKEN) == first
    assert command_id("/v1/user/products", "other", world.MEMBER_TOKEN) != first
    assert command_id("/v1/user/products", "k", world.STRANGER_TOKEN) != first
    assert command_id("/v1/orgs", "k", world.MEMBER_TOKEN) != first
    assert command_id("/v1/user/products", None, world.MEMBER_TOKEN) != command_id(
        "/v1/user/products", None, world.MEMBER_TOKEN
    )


@pytest.mark.parametrize("key", ["", "k" * 129])
def test_an_idempotency_key_has_1_to_128_characters(api: Any, world: Any, key: str) -> None:
    api.bus.answers["orgs.create_product"] = {"product": world.PRODUCT}
    fields = {"name": "Thermo", "description": "x", "platform_id": 6}
    answer = api.post("/v1/user/products", json=fields, headers={"Idempotency-Key": key})
    assert world.error_of(answer)[:2] == (400, "invalid_request")


def test_a_command_whose_fate_is_unknown_is_to_be_repeated_with_its_key(api: Any, world: Any) -> None:
    api.bus.answers["orgs.create_product"] = Unknown("no reply")
    answer = api.post("/v1/user/products", json={"name": "T", "description": "x", "platform_id": 6})
    assert answer.status_code == 503
    assert "Idempotency-Key" in world.error_of(answer)[2]


BASIC = {"Authorization": "Basic am9AZXhhbXBsZS5vcmc6aG9yc2U6Mg=="}
"""jo@example.org and horse:2."""


def checked(api: Any, account_id: str) -> None:
    api.bus.answers["orgs.check_password"] = {"account_id": account_id, "email": "jo@example.org"}


def test_tokens_are_listed_for_a_user_name_and_password(api: Any, world: Any) -> None:  # contract 1.3, style U
    checked(api, world.MEMBER)
    api.bus.answers["orgs.list_tokens"] = {"tokens": []}
    assert api.get("/v1/access_tokens", token=None, headers=BASIC).json() == []
    assert api.bus.last("check_password").arguments == {"username": "jo@example.org", "password": "horse:2"}
    assert api.bus.last("list_tokens").arguments == {"account_id": world.MEMBER}


def test_a_listed_token_is_revoked_by_a_user_name_and_password(api: Any, world: Any) -> None:
    checked(api, world.MEMBER)
    api.bus.answers["orgs.revoke_token"] = {"position": 5}
    assert api.delete(f"/v1/access_tokens/{'5' * 24}", token=None, headers=BASIC).status_code == 200
    assert api.bus.last("revoke_token").arguments == {"token_id": "5" * 24, "account_id": world.MEMBER}
    assert api.bus.last("revoke_token").context.actor == f"account:{world.MEMBER}"


def test_a_user_name_and_password_revoke_no_token_of_somebody_else(api: Any, world: Any) -> None:
    checked(api, world.STRANGER)
    answer = api.delete(f"/v1/access_tokens/{world.MEMBER_TOKEN}", token=None, headers=BASIC)
    assert world.error_of(answer)[:2] == (404, "not_found")
    assert api.bus.count("revoke_token") == 0


@pytest.mark.parametrize(
    ("code", "status", "text"), [("bad_password", 401, "Bad password"), ("unknown_user", 400, "Unknown user")]
)
def test_wrong_user_names_and_passwords_are_told_apart_and_throttled(
    code: str, status: int, text: str, api: Any, world: Any
) -> None:
    api.bus.answers["orgs.check_password"] = Refused(code, text)
    answers = [api.get("/v1/access_tokens", token=None, headers=BASIC) for _ in range(21)]
    assert world.error_of(answers[0]) == (status, code, text)
    assert answers[0].json()["errors"] == [text]
    assert [answer.status_code for answer in answers] == [status] * 20 + [429]


def test_many_addresses_do_not_guess_one_password_by_listing_tokens(api: Any) -> None:
    api.bus.answers["orgs.check_password"] = Refused("bad_password", "Bad password")

    def guess(address: str, name: str = "jo@example.org") -> int:
        basic = base64.b64encode(f"{name}:guess".encode()).decode()
        headers = {"Authorization": f"Basic {basic}"}
        answer = api.get("/v1/access_tokens", token=None, headers=headers, client=(address, 1))
        return int(answer.status_code)

    names = ("jo@example.org", "JO@example.org ", "\uff4ao@example.org")  # one account
    statuses = [guess(f"192.0.2.{n}", names[n % 3]) for n in range(110)]
    assert statuses == [401] * 100 + [429] * 10
    assert guess("192.0.2.200", "other@example.org") == 401


def test_nobody_is_locked_out_while_passwords_cannot_be_checked(api: Any) -> None:
    api.bus.answers["orgs.check_password"] = Unavailable("no broker")
    assert {api.get("/v1/access_tokens", token=None, headers=BASIC).status_code for _ in range(25)} == {503}


@pytest.mark.parametrize("value", ["!!!", "/w==", "YTpi" * 3_000])
def test_basic_credentials_that_cannot_be_read_are_a_bad_request(value: str, api: Any, world: Any) -> None:
    answer = api.get("/v1/access_tokens", token=None, headers={"Authorization": f"Basic {value}"})
    assert world.error_of(answer)[:2] == (400, "invalid_request")
    assert api.bus.asked == []


def test_a_password_opens_nothing_but_the_list_of_tokens(api: Any, world: Any) -> None:
    checked(api, world.MEMBER)
    assert world.error_of(api.get("/v1/user", token=None, headers=BASIC))[:2] == (400, "invalid_request")
    assert api.bus.asked == []
