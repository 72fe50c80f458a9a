from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from services.gateway.entries import TokenEntry
from shared.errors import NotFound, Refused
from shared.ids import digest

PATH = "/v1/products/thermo/customers"
CUSTOMER, CUSTOMER_TOKEN = "c" * 24, "cc" * 20
GRANT = {"access_token": "cd" * 20, "refresh_token": "ef" * 20, "expires_in": 7_776_000, "token_id": "7" * 24}
CLIENT = {"id": "lamp-1234", "name": "Lamp", "type": "web", "redirect_uri": "https://lamp.example/"}
FORM = {
    "email": "jo+x@example.org",
    "password": "secret 123",
    "grant_type": "client_credentials",
    "client_id": "lamp-1234",
    "client_secret": "s" * 40,
}


@pytest.fixture(autouse=True)
def services(api: Any, world: Any) -> None:
    api.bus.answers["orgs.create_customer"] = {**GRANT, "position": 8}
    api.bus.answers["orgs.check_client"] = {**CLIENT, "org_id": world.OUR_ORG, "product_id": 1000}
    for method in ("set_customer_password", "delete_customer", "ask_customer_reset", "reset_customer_password"):
        api.bus.answers[f"orgs.{method}"] = {"position": 9}
    api.bus.answers["devices.issue_claim_code"] = {"claim_code": "c" * 64, "device_ids": [], "position": 3}
    entry = TokenEntry("c" * 24, CUSTOMER, "jo@example.org", "lamp-1234", None, world.OUR_ORG, None, "customer")
    api.directory.tokens[digest(CUSTOMER_TOKEN)] = replace(entry, customer_id=CUSTOMER, product_id=1000)


def test_an_app_creates_a_customer_with_its_clients_secret(api: Any) -> None:  # CUS-1
    answer = api.post(PATH, token=None, data=FORM)
    assert (answer.status_code, answer.json()["access_token"]) == (201, "cd" * 20)
    assert api.bus.last("check_client").arguments == {"client_id": "lamp-1234", "client_secret": "s" * 40}
    made = {"email": "jo+x@example.org", "password": "secret 123", "client_id": "lamp-1234", "product_id": 1000}
    assert api.bus.last("create_customer").arguments == made


def test_a_server_creates_a_customer_without_password(api: Any) -> None:  # CUS-2
    form = {"email": "jo@example.org", "no_password": "true"}
    basic = {"Authorization": "Basic bGFtcC0xMjM0OnNlY3JldA=="}
    assert api.post(PATH, token=None, data=form, headers=basic).status_code == 201
    assert api.bus.last("check_client").arguments == {"client_id": "lamp-1234", "client_secret": "secret"}
    assert api.bus.last("create_customer").arguments["password"] is None


def test_a_browser_is_redirected_with_the_token_behind_the_hash(api: Any) -> None:  # CUS-1
    form = {"email": "jo@example.org", "password": "secret 123", "client_id": "lamp-1234", "response_type": "token"}
    answer = api.post(PATH, token=None, data=form)
    assert answer.status_code == 302
    expected = f"https://lamp.example/#access_token={'cd' * 20}&token_type=bearer&expires_in=7776000"
    assert answer.headers["location"] == expected
    assert answer.content == b""
    assert api.bus.last("check_client").arguments["client_secret"] is None


@pytest.mark.parametrize("changes", [{"no_password": "true"}, {"client_id": None}])
def test_a_browser_makes_no_customers_without_password_nor_without_client(api: Any, changes: Any) -> None:
    form = {"email": "jo@example.org", "password": "secret 123", "client_id": "lamp-1234", "response_type": "token"}
    sent = {name: value for name, value in (form | changes).items() if value is not None}
    assert api.post(PATH, token=None, data=sent).status_code == 400
    assert api.bus.count("create_customer") == 0


@pytest.mark.parametrize(
    "client",
    [
        {"org_id": "a" * 24, "product_id": 1001},
        {"org_id": "b" * 24},
        {"account_id": "1" * 24},
    ],
)
def test_a_client_creates_no_customers_of_anothers_product(api: Any, world: Any, client: Any) -> None:
    api.bus.answers["orgs.check_client"] = {**CLIENT, **client}
    assert world.error_of(api.post(PATH, token=None, data=FORM))[:2] == (400, "invalid_client")
    assert api.bus.count("create_customer") == 0


def test_a_client_of_all_products_creates_customers_of_each(api: Any, world: Any) -> None:
    api.bus.answers["orgs.check_client"] = {**CLIENT, "org_id": world.OUR_ORG}
    assert api.post(PATH, token=None, data=FORM).status_code == 201
    assert api.post("/v1/orgs/ours/customers", token=None, data=FORM).status_code == 201
    assert api.bus.last("create_customer").arguments["org_id"] == world.OUR_ORG


def test_the_team_creates_customers_and_others_do_not_learn_of_the_product(api: Any, world: Any) -> None:
    body = {"email": "jo@example.org", "password": "secret 123"}
    assert api.post(PATH, json=body).status_code == 201
    assert api.bus.last("create_customer").arguments["client_id"] == "team"
    assert world.error_of(api.post(PATH, json=body, token=world.STRANGER_TOKEN))[:2] == (404, "Product not found.")
    assert world.error_of(api.post(PATH, json=body, token=CUSTOMER_TOKEN))[:2] == (403, "permission_denied")
    assert world.error_of(api.post(PATH, json=body, token=None))[:2] == (400, "invalid_client")


def test_guessing_a_clients_secret_is_throttled(api: Any, world: Any) -> None:
    api.bus.answers["orgs.check_client"] = Refused("invalid_client", "The client is not known here.")
    statuses = [api.post(PATH, token=None, data=FORM).status_code for _ in range(25)]
    assert (statuses[0], statuses[-1]) == (400, 429)


def test_customers_are_listed_a_page_at_a_time(api: Any) -> None:  # CUS-6
    meta = {"page": 2, "per_page": 10, "total": 0, "total_pages": 1}
    page = {"customers": [{"id": CUSTOMER, "username": "jo@example.org", "devices": [], "last_used_at": None}]}
    api.bus.answers["orgs.list_customers"] = {**page, "devices": [], "meta": meta}
    assert api.get(f"{PATH}?page=2&perPage=10").json()["customers"][0]["devices"] == []
    assert api.bus.last("list_customers").arguments == {"product_id": 1000, "page": 2, "per_page": 10}


def test_the_team_changes_and_deletes_customers_by_address(api: Any) -> None:
    assert api.put(f"{PATH}/jo+x@example.org", json={"password": "another one"}).status_code == 200
    asked = {"product_id": 1000, "email": "jo+x@example.org", "password": "another one"}
    assert api.bus.last("set_customer_password").arguments == asked
    assert api.delete(f"{PATH}/jo+x@example.org").json() == {"ok": True}
    assert api.bus.last("delete_customer").arguments == {"product_id": 1000, "email": "jo+x@example.org"}


def test_a_customer_sets_a_new_password_by_link_and_nobody_learns_who_is_one(api: Any) -> None:
    known = api.post(f"{PATH}/password-reset", json={"email": "jo@example.org"}, token=None)
    api.bus.answers["orgs.ask_customer_reset"] = {"position": None}
    unknown = api.post(f"{PATH}/password-reset", json={"email": "nobody@example.org"}, token=None)
    assert known.content == unknown.content
    assert known.headers == unknown.headers
    body = {"token": "1" * 24 + "." + "a" * 40, "password": "another one"}
    assert api.put(f"{PATH}/password-reset", json=body, token=None).json() == {"ok": True}
    assert api.bus.last("reset_customer_password").arguments == {"product_id": 1000, **body}


@pytest.mark.parametrize("at", ["/v1/products/thermo", "/v1/orgs/ours"])
def test_nobody_learns_from_the_calls_that_are_open_to_all_whether_there_is_a_product_or_organization(
    api: Any, world: Any, at: str
) -> None:
    def seen(method: str, path: str, body: dict[str, Any]) -> tuple[int, bytes, Any]:
        answer = api.request(method, path, token=None, json=body)
        return answer.status_code, answer.content, answer.headers

    link = {"token": "1" * 24 + "." + "a" * 40, "password": "another one"}
    other_client = {**CLIENT, "org_id": world.OTHER_ORG, "product_id": 7}
    no_client = {"email": "jo@example.org", "password": "secret 123"}
    api.bus.answers["orgs.reset_customer_password"] = Refused("invalid_reset_token", "over")
    tries = [("POST", "/customers", FORM), ("POST", "/customers", no_client)]
    if "products" in at:
        tries += [("POST", "/customers/password-reset", {"email": "jo@example.org"})]
        tries += [("PUT", "/customers/password-reset", link)]
    for known in (other_client, Refused("invalid_client", "unknown")):
        api.bus.answers["orgs.check_client"] = known
        for method, path, body in tries:
            nothing = at.rpartition("/")[0] + "/nothing"
            assert seen(method, at + path, body) == seen(method, nothing + path, body)
    assert api.bus.count("create_customer") == 0


def test_a_customers_claim_code_is_of_the_product(api: Any, world: Any) -> None:  # CUS-5
    asked = {"account_id": CUSTOMER, "customer_id": CUSTOMER, "product_id": 1000, "code": None}
    for path in ("/v1/device_claims", "/v1/products/thermo/device_claims", "/v1/orgs/ours/products/1000/device_claims"):
        answer = api.post(path, json={"activation_code": "AB23"}, token=CUSTOMER_TOKEN)
        assert answer.json()["claim_code"] == "c" * 64
        assert api.bus.last("issue_claim_code").arguments == {**asked, "activation_code": "AB23"}
    for token in (world.MEMBER_TOKEN, world.STRANGER_TOKEN):
        assert api.post("/v1/products/thermo/device_claims", json={}, token=token).status_code in (403, 404)


def test_a_customer_sees_no_products_and_none_of_the_teams_things(api: Any, world: Any) -> None:  # ORG-6
    assert api.get("/v1/products", token=CUSTOMER_TOKEN).json() == {"products": []}
    for path in ("/v1/products/thermo", "/v1/products/thermo/devices", "/v1/orgs", "/v1/orgs/ours/team"):
        assert world.error_of(api.get(path, token=CUSTOMER_TOKEN))[:2] == (403, "permission_denied")


@pytest.mark.parametrize("org_wide", [False, True])
def test_a_customer_sees_devices_of_the_company_alone(api: Any, world: Any, org_wide: bool) -> None:  # CUS-5
    entry = api.directory.tokens[digest(CUSTOMER_TOKEN)]
    linked = replace(entry, account_id=world.LONER, product_id=None if org_wide else 1000)
    api.directory.tokens[digest(CUSTOMER_TOKEN)] = linked
    mine = {**world.DEVICE_OBJECT, "owner": world.LONER, "user_id": world.LONER}
    elsewhere = {**mine, "id": "9" * 24, "product_id": 2000}
    api.bus.answers["devices.list_own_devices"] = {"devices": [mine, elsewhere]}
    (shown,) = api.get("/v1/devices", token=CUSTOMER_TOKEN).json()
    assert (shown["id"], shown["owner"], shown["customer_id"]) == (world.DEVICE, "jo@example.org", CUSTOMER)
    assert "user_id" not in shown
    assert len(api.get("/v1/devices", token=world.LONER_TOKEN).json()) == 2
    told = {"claim_code": "c" * 64, "device_ids": [world.DEVICE, "9" * 24], "position": 3}
    api.bus.answers["devices.issue_claim_code"] = told
    issued = api.post("/v1/device_claims", json={}, token=CUSTOMER_TOKEN).json()
    assert issued["device_ids"] == [world.DEVICE]


def test_no_answer_to_a_customer_has_our_name_in_it(api: Any, world: Any) -> None:  # CUS-7
    taken = Refused("customer_exists", "There is a customer with this e-mail address.")
    token = {"token": "1" * 24 + "." + "a" * 40, "password": "another one"}
    api.bus.answers["orgs.oauth_token"] = {**GRANT, "position": 8}
    api.bus.answers["devices.list_own_devices"] = {"devices": [world.DEVICE_OBJECT]}
    api.bus.answers["devices.claim"] = NotFound("x")
    server = {"email": "jo@example.org", "no_password": "true", "client_id": "lamp-1234", "client_secret": "s" * 40}
    browser = {**FORM, "response_type": "token"}
    login = {"grant_type": "password", "username": "jo@example.org", "password": "secret 123", **server}
    answers = [
        *(api.post(PATH, token=None, data=form) for form in (FORM, server, browser, {"email": "jo"})),
        api.post("/oauth/token", token=None, data=login),
        api.post(f"{PATH}/password-reset", json={"email": "jo@example.org"}, token=None),
        api.put(f"{PATH}/password-reset", json=token, token=None),
        api.get("/v1/devices", token=CUSTOMER_TOKEN),
        api.post("/v1/device_claims", json={}, token=CUSTOMER_TOKEN),
        api.post("/v1/devices", json={"id": world.DEVICE}, token=CUSTOMER_TOKEN),
        api.get("/v1/products/thermo", token=CUSTOMER_TOKEN),
        api.get("/v1/devices", token=world.REVOKED_TOKEN),
        api.get("/reset?product=1000&token=" + token["token"], token=None),
    ]
    api.bus.answers["orgs.create_customer"] = taken
    answers.append(api.post(PATH, token=None, data=FORM))
    assert {answer.status_code for answer in answers} == {200, 201, 302, 400, 401, 403, 404}
    for answer in answers:
        said = f"{answer.headers}{answer.text}".lower()
        assert "flotilla" not in said


def test_a_company_that_makes_many_customers_is_not_held_up(api: Any) -> None:  # CUS-2
    form = {"email": "jo@example.org", "no_password": "true", "client_id": "lamp-1234", "client_secret": "s" * 40}
    assert {api.post(PATH, token=None, data=form).status_code for _ in range(50)} == {201}
    statuses = [api.post(PATH, token=None, data=FORM).status_code for _ in range(50)]
    assert (statuses[0], statuses[-1]) == (201, 429)


def test_a_device_is_claimed_by_its_id(api: Any, world: Any) -> None:
    claimed = {"device_id": world.DEVICE, "product_id": 1000, "online": True, "position": 4}
    api.bus.answers["devices.claim"] = claimed
    body = {"id": world.DEVICE.upper(), "request_transfer": False}
    answer = api.post("/v1/devices", json=body, token=world.LONER_TOKEN).json()
    assert answer == {
        "ok": True,
        "id": world.DEVICE,
        "deviceID": world.DEVICE,
        "user_id": world.LONER,
        "connected": True,
        "claimed": True,
    }
    assert api.bus.last("claim").arguments["device_id"] == world.DEVICE


@pytest.mark.parametrize(
    ("trouble", "status", "text"),
    [
        (Refused("claimed_elsewhere", "x"), 403, "belongs to someone else"),
        (Refused("device_offline", "Device isn't online"), 404, "Device isn't online"),
        (NotFound("x"), 404, "device does not exist"),
        (Refused("not_claimable", "x"), 404, "device does not exist"),
        (Refused("other_product", "x"), 404, "device does not exist"),
    ],
)
def test_why_a_device_is_not_claimed_is_said_where_clients_look(
    api: Any, world: Any, trouble: Exception, status: int, text: str
) -> None:  # contract 8
    api.bus.answers["devices.claim"] = trouble
    answer = api.post("/v1/devices", json={"id": world.DEVICE})
    assert answer.status_code == status
    assert text in answer.json()["error_description"]
    assert text in answer.json()["errors"][0]


def test_activation_codes_are_made_and_listed(api: Any) -> None:  # PRD-4
    codes = [{"email": "jo@example.org", "code": "AB23", "used": False}]
    api.bus.answers["orgs.invite_to_beta"] = {"activation_codes": codes, "problems": [], "position": 5}
    answer = api.post("/v1/products/thermo/activation_codes", json={"customers": ["jo@example.org"]})
    assert (answer.status_code, answer.json()["activation_codes"]) == (201, codes)
    meta = {"page": 1, "per_page": 25, "total": 1, "total_pages": 1}
    api.bus.answers["orgs.list_activation_codes"] = {"activation_codes": codes, "meta": meta}
    assert api.get("/v1/products/thermo/activation_codes").json()["activation_codes"] == codes


INVITE = "/v1/products/thermo/activation_codes"


def test_a_file_of_addresses_is_invited_line_by_line(api: Any) -> None:  # PRD-4, contract 11.3
    api.bus.answers["orgs.invite_to_beta"] = {"activation_codes": [], "problems": [], "position": 5}
    lines = "\ufeffjo@example.org\r\n\r\n  Al@Example.org \nno address".encode()
    assert api.post(INVITE, files={"file": ("people.txt", lines)}).status_code == 201
    asked = api.bus.last("invite_to_beta")
    # A problem names the line of the file.
    assert asked.arguments["emails"] == ["jo@example.org", "", "  Al@Example.org ", "no address"]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ({"files": {"file": ("people.txt", b" \n\n")}}, 400),
        ({"files": {"file": ("people.txt", b"")}}, 400),
        ({"files": {"file": ("people.txt", b"a@example.org\n" * 10_001)}}, 413),
        ({"files": {"file": ("people.txt", b"a" * 4_194_305)}}, 413),
        ({"json": {}}, 400),
        ({"json": {"customers": []}}, 400),
        ({"json": {"customers": "jo@example.org"}}, 400),
    ],
)
def test_nobody_is_invited_by_what_names_nobody_or_too_many(api: Any, sent: Any, status: int) -> None:  # PRD-4
    assert api.post(INVITE, **sent).status_code == status
    assert api.bus.count("invite_to_beta") == 0
