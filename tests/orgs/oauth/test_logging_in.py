"""Logging in over OAuth 2.0, from the streams alone (contract 2, CUS-1 to CUS-4)."""

from __future__ import annotations

import base64
import hashlib
import logging
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.orgs.customers.serving_customers import Place, ServingCustomers
from services.orgs.oauth.clients import Owner
from services.orgs.oauth.registering import Registering
from services.orgs.people.own_account import OwnAccount
from services.orgs.people.passwords import hashed
from services.orgs.products.numbering import NewProduct
from services.orgs.products.product_changes import ProductChanges
from shared.errors import NotFound, Refused

ADA, BOB, PASSWORD = "ada@example.com", "bob@example.com", "correct horse"
VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).decode().rstrip("=")
REDIRECT = "https://lamp.example/back?a=1"


@pytest.fixture(scope="module")
def kept() -> str:
    return hashed(PASSWORD)


@dataclass
class Company:
    """A product with a client, in a world of its own."""

    world: Any
    org_id: str
    product_id: int
    client: dict[str, Any]
    count: int = 0

    @property
    def place(self) -> Place:
        return Place(self.org_id, self.product_id)

    def _command(self) -> str:
        self.count += 1
        return f"command {self.count}"

    def token(self, **fields: str) -> dict[str, Any]:
        own = {"client_id": self.client["id"], "client_secret": self.client["secret"]}
        return self.world.logging_in(self._command()).token(own | fields, None, None)

    def serving(self) -> ServingCustomers:
        return ServingCustomers(self.world.streams, self.world.context(self._command()), self.world.store.now)

    def registering(self) -> Registering:
        return Registering(self.world.streams, self.world.context(self._command()), self.world.store.now)

    def register(self, owner: Owner, **changes: Any) -> dict[str, Any]:
        given = {"name": "Lamp", "kind": "web", "redirect_uri": REDIRECT, "scope": None} | changes
        return self.registering().create(owner, **given)["client"]

    def asked(self, **changes: str) -> dict[str, str]:
        return {
            "response_type": "code",
            "client_id": self.client["id"],
            "redirect_uri": REDIRECT,
            "state": "xyz",
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
        } | changes

    def authorize(self, username: str = ADA, password: str = PASSWORD, *, allowed: bool = True, **changes: str) -> Any:
        logging_in = self.world.logging_in(self._command())
        answer = logging_in.authorize(self.asked(**changes), username, password, allowed=allowed)
        return {name: values[0] for name, values in parse_qs(urlsplit(answer["redirect_uri"]).query).items()}

    def trade(self, code: str, **changes: str) -> dict[str, Any]:
        fields = {"code": code, "redirect_uri": REDIRECT, "code_verifier": VERIFIER} | changes
        return self.token(grant_type="authorization_code", **fields)

    def find(self, token: dict[str, Any]) -> dict[str, Any]:
        return self.world.grants(self._command()).find(token["access_token"])


def company(world: Any, kept: str) -> Company:
    world.account(ADA, kept)
    org_id = world.organization("founder@example.com")
    wanted = NewProduct(org_id, "Lamp", "Shines", "Photon", "Consumer", "")
    product_id = world.numbering("product").create(wanted, lambda: None)
    made = Company(world, org_id, product_id, {})
    made.client = made.register(Owner(org_id=org_id, product_id=product_id))
    return made


@pytest.fixture
def acme(world: Any, kept: str) -> Company:
    return company(world, kept)


def refusal(act: Any) -> str:
    with pytest.raises(Refused) as refused:
        act()
    return refused.value.code


def test_a_client_acts_for_its_product(acme: Company) -> None:
    found = acme.find(acme.token(grant_type="client_credentials"))
    assert (found["subject"], found["product_id"], found["org_id"]) == ("client", acme.product_id, acme.org_id)
    assert (found["account_id"], found["client"]) == (None, acme.client["id"])


def test_a_clients_secret_stands_nowhere(acme: Company) -> None:
    secret = acme.client["secret"].encode()
    assert len(secret) == 40
    assert not [event for event in acme.world.store.events if secret in event.data]


def test_no_secret_stands_in_the_log_whatever_its_level(acme: Company, kept: str, caplog: Any) -> None:
    caplog.set_level(logging.DEBUG)
    acme.world.account(ADA, kept)
    one = acme.world.log_in("first", ADA, PASSWORD, "particle", 60)
    two = acme.world.refresh("second", one["token_id"], one["refresh_token"], "particle")
    three = acme.token(grant_type="client_credentials")
    said = [PASSWORD, ADA, acme.client["secret"]]
    said += [made[name] for made in (one, two, three) for name in ("access_token", "refresh_token")]
    logging.getLogger("tests").debug("the log is looked at")
    assert "looked at" in caplog.text
    assert [secret for secret in said if secret in caplog.text] == []


@pytest.mark.parametrize("secret", ["", "0" * 40, "\u00e9" * 40])
def test_a_wrong_secret_is_refused_for_every_grant(acme: Company, secret: str) -> None:
    for grant in ("client_credentials", "password", "refresh_token", "authorization_code"):
        asked = {"grant_type": grant, "client_secret": secret, "username": ADA, "password": PASSWORD, "code": "x"}
        assert refusal(lambda asked=asked: acme.token(**asked)) == "invalid_client"


def test_an_unknown_grant_is_not_supported(acme: Company) -> None:
    for grant in ("urn:custom:mfa-otp", "implicit", ""):
        assert refusal(lambda grant=grant: acme.token(grant_type=grant)) == "unsupported_grant_type"


def test_built_in_clients_take_passwords_and_nothing_else(world: Any, kept: str) -> None:
    world.account(ADA, kept)
    fields = {"client_id": "particle", "client_secret": "x", "grant_type": "client_credentials"}
    assert refusal(lambda: world.logging_in("a").token(fields, None, None)) == "unauthorized_client"
    assert world.log_in("b", ADA, PASSWORD, "particle", 60)["expires_in"] == 60


def test_basic_credentials_stand_before_those_of_the_form(acme: Company) -> None:
    basic = (acme.client["id"], acme.client["secret"])
    fields = {"grant_type": "client_credentials", "client_id": "nobody"}
    assert acme.world.logging_in("basic").token(fields, basic, None)["access_token"]


def test_a_server_asks_for_a_token_of_a_shadow_customer_who_has_no_password(acme: Company) -> None:  # CUS-2
    acme.serving().create(acme.place, BOB, "", "two_legged")
    token = acme.token(grant_type="client_credentials", scope=f"customer={BOB.upper()}")
    assert token["scope"] == f"customer={BOB.upper()}"
    found = acme.find(token)
    assert (found["subject"], found["email"], found["product_id"]) == ("customer", BOB, acme.product_id)
    assert found["account_id"] == found["customer_id"]
    for password in ("", PASSWORD):
        asked = {"grant_type": "password", "username": BOB, "password": password}
        assert refusal(lambda asked=asked: acme.token(**asked)) == "invalid_grant"
    assert not [event for event in acme.world.store.events if b"customer=" in event.data]


def test_a_customer_logs_in_at_the_companys_client_and_nowhere_else(acme: Company, kept: str) -> None:  # CUS-1
    acme.serving().create(acme.place, BOB, kept, "simple")
    found = acme.find(acme.token(grant_type="password", username=BOB, password=PASSWORD))
    assert (found["subject"], found["email"]) == ("customer", BOB)
    assert refusal(lambda: acme.world.log_in("elsewhere", BOB, PASSWORD, "particle", 60)) == "invalid_grant"
    assert refusal(lambda: acme.token(grant_type="password", username=ADA, password=PASSWORD)) == "invalid_grant"


@pytest.mark.parametrize("scope", ["customer=nobody@example.com", "customer=", "everything", "customers:create"])
def test_a_scope_that_the_client_may_not_ask_for_is_refused(acme: Company, scope: str) -> None:
    assert refusal(lambda: acme.token(grant_type="client_credentials", scope=scope)) == "invalid_scope"


def test_a_client_that_may_only_create_customers_gets_no_token(acme: Company) -> None:
    for scope in ("customers:create", ["create_customer"]):
        acme.client = acme.register(Owner(org_id=acme.org_id, product_id=acme.product_id), scope=scope)
        assert refusal(lambda: acme.token(grant_type="client_credentials")) == "invalid_scope"


def test_a_personal_client_acts_as_its_owner(acme: Company) -> None:
    ada = next(event.account_id for event in acme.world.of_type("AccountCreated") if event.email == ADA)
    acme.client = acme.register(Owner(account_id=ada), kind="installed", redirect_uri=None)
    found = acme.find(acme.token(grant_type="client_credentials"))
    assert (found["subject"], found["account_id"]) == ("account", ada)


def test_a_deleted_client_and_its_tokens_are_over_at_once(acme: Company) -> None:  # CUS-4
    token = acme.token(grant_type="client_credentials")
    owner = Owner(org_id=acme.org_id, product_id=acme.product_id)
    with pytest.raises(NotFound):
        acme.registering().delete(Owner(org_id=acme.org_id), acme.client["id"])
    acme.registering().delete(owner, acme.client["id"])
    with pytest.raises(NotFound):
        acme.find(token)
    assert refusal(lambda: acme.token(grant_type="client_credentials")) == "invalid_client"
    with pytest.raises(NotFound):
        acme.registering().change(owner, acme.client["id"], "Other", None)


def test_a_deleted_customers_token_is_over_at_once(acme: Company) -> None:
    customer, _ = acme.serving().create(acme.place, BOB, "", "two_legged")
    token = acme.token(grant_type="client_credentials", scope=f"customer={BOB}")
    acme.serving().delete(customer.customer_id)
    with pytest.raises(NotFound):
        acme.find(token)
    assert refusal(lambda: acme.token(grant_type="client_credentials", scope=f"customer={BOB}")) == "invalid_scope"


def test_a_removed_product_takes_its_clients_and_all_their_tokens_along(acme: Company) -> None:
    acme.serving().create(acme.place, BOB, "", "two_legged")
    of_company = acme.register(Owner(org_id=acme.org_id))
    mine = [acme.token(grant_type="client_credentials", scope=scope) for scope in ("", f"customer={BOB}")]
    changes = ProductChanges(acme.world.streams, acme.world.context("remove"), acme.world.store.now)
    changes.remove(acme.product_id, 0)
    for token in mine:
        with pytest.raises(NotFound):
            acme.find(token)
    assert refusal(lambda: acme.token(grant_type="client_credentials")) == "invalid_client"
    acme.client = of_company
    assert acme.find(acme.token(grant_type="client_credentials"))["subject"] == "client"


def test_somebody_logs_in_with_us_and_is_a_customer_from_then_on(acme: Company) -> None:  # CUS-3
    given = acme.authorize()
    assert given["state"] == "xyz"
    found = acme.find(acme.trade(given["code"]))
    ada = next(event.account_id for event in acme.world.of_type("AccountCreated") if event.email == ADA)
    assert (found["subject"], found["account_id"], found["email"]) == ("customer", ada, ADA)
    assert found["product_id"] == acme.product_id
    assert acme.find(acme.trade(acme.authorize()["code"]))["customer_id"] == found["customer_id"]


def test_a_code_that_is_shown_again_ends_what_its_token_was_traded_for_too(acme: Company) -> None:
    code = acme.authorize()["code"]
    token = acme.trade(code)
    fields = {"grant_type": "refresh_token", "refresh_token": token["refresh_token"]}
    own = {"client_id": acme.client["id"], "client_secret": acme.client["secret"]}
    new = acme.world.logging_in("refresh", token["token_id"]).token(own | fields, None, None)
    assert acme.find(new)
    assert refusal(lambda: acme.trade(code)) == "invalid_grant"
    with pytest.raises(NotFound):
        acme.find(new)


def test_a_refresh_token_of_a_customer_gives_a_customers_token(acme: Company) -> None:
    token = acme.trade(acme.authorize()["code"])
    fields = {"grant_type": "refresh_token", "refresh_token": token["refresh_token"]}
    own = {"client_id": acme.client["id"], "client_secret": acme.client["secret"]}
    new = acme.world.logging_in("refresh", token["token_id"]).token(own | fields, None, None)
    assert acme.find(new)["subject"] == "customer"
    with pytest.raises(NotFound):
        acme.find(token)


def test_whoever_does_not_allow_it_is_sent_back_with_that(acme: Company) -> None:
    assert acme.authorize(allowed=False) == {"a": "1", "error": "access_denied", "state": "xyz"}


@pytest.mark.parametrize(("username", "password"), [(ADA, "guess"), (BOB, PASSWORD), ("", ""), ("x" * 400, PASSWORD)])
def test_a_wrong_password_gives_no_code(acme: Company, username: str, password: str) -> None:
    assert refusal(lambda: acme.authorize(username, password)) == "invalid_grant"


@pytest.mark.parametrize(
    "changes",
    [
        {"redirect_uri": "https://lamp.example/back"},
        {"redirect_uri": "https://evil.example/back?a=1"},
        {"redirect_uri": "https://lamp.example/b\u00e4ck"},
        {"client_id": "nobody-1234"},
        {"client_id": "particle"},
        {"response_type": "token"},
        {"response_type": "c\u00f6de"},
        {"code_challenge_method": "plain"},
        {"code_challenge_method": ""},
        {"code_challenge": ""},
        {"code_challenge": "short"},
    ],
)
def test_what_is_not_as_it_was_registered_or_has_no_proof_key_is_refused(acme: Company, changes: Any) -> None:
    assert refusal(lambda: acme.authorize(**changes)) in (
        "invalid_request",
        "invalid_client",
        "unauthorized_client",
        "unsupported_response_type",
    )
    assert not acme.world.of_type("AuthorizationGranted")


@pytest.mark.parametrize(
    "changes",
    [
        {"code_verifier": "w" * 43},
        {"code_verifier": ""},
        {"redirect_uri": "https://lamp.example/back"},
        {"code": "0" * 48},
    ],
)
def test_a_code_is_traded_only_with_all_that_belongs_to_it(acme: Company, changes: Any) -> None:
    code = acme.authorize()["code"]
    assert refusal(lambda: acme.trade(**({"code": code} | changes))) in ("invalid_grant", "invalid_request")
    assert acme.trade(code)["access_token"]


def test_a_code_is_for_its_client_alone_and_for_ten_minutes(acme: Company) -> None:
    code, mine = acme.authorize()["code"], acme.client
    acme.client = acme.register(Owner(org_id=acme.org_id, product_id=acme.product_id))
    assert refusal(lambda: acme.trade(code)) == "invalid_grant"
    acme.client = mine
    acme.world.pass_time(timedelta(minutes=10).total_seconds())
    assert refusal(lambda: acme.trade(code)) == "invalid_grant"


def test_a_code_ends_with_the_tokens_of_whoever_gave_it(acme: Company) -> None:  # ACC-2
    code = acme.authorize()["code"]
    acme.world.pass_time(1)
    (ada,) = {event.account_id for event in acme.world.of_type("AuthorizationGranted")}
    OwnAccount(acme.world.streams, acme.world.context("log out everywhere"), acme.world.store.now).end_tokens(ada)
    assert refusal(lambda: acme.trade(code)) == "invalid_grant"
    acme.world.pass_time(1)
    assert acme.trade(acme.authorize()["code"])["access_token"]


def test_a_code_that_is_shown_once_more_ends_the_token_it_gave(acme: Company) -> None:  # RFC 6749 4.1.2
    code = acme.authorize()["code"]
    token = acme.trade(code)
    for _ in range(2):
        assert refusal(lambda: acme.trade(code)) == "invalid_grant"
    with pytest.raises(NotFound):
        acme.find(token)


def test_of_two_who_trade_a_code_at_once_one_gets_a_token(acme: Company) -> None:
    code, tokens = acme.authorize()["code"], []
    acme.world.others_go_first_at(1, lambda: tokens.append(acme.trade(code)))
    assert refusal(lambda: tokens.append(acme.trade(code))) == "invalid_grant"
    assert len(tokens) == 1
    assert acme.find(tokens[0])["subject"] == "customer"
    issued, revoked = (acme.world.of_type(event) for event in ("TokenIssued", "TokenRevoked"))
    assert {one.token_id for one in issued} - {one.token_id for one in revoked} == {tokens[0]["token_id"]}


@pytest.mark.parametrize(
    ("uri", "is_good"),
    [
        ("https://lamp.example/", True),
        ("http://localhost:8000/cb", True),
        ("http://[::1]:8000/cb", True),
        ("com.example.lamp:/cb", True),
        ("http://lamp.example/", False),
        ("javascript:alert(1)", False),
        ("data:text/html,x", False),
        ("https://lamp.example/#x", False),
        ("https://user:pw@lamp.example/", False),
        ("https://", False),
        ("https://l\u00e4mp.example/", False),
        ("//lamp.example/", False),
        ("https://lamp.example:99999/", False),
        ("https://lamp.example/ x", False),
        ("", False),
        (7, False),
    ],
)
def test_browsers_are_sent_back_to_safe_places_only(acme: Company, uri: Any, is_good: bool) -> None:
    owner = Owner(org_id=acme.org_id)
    if is_good:
        assert acme.register(owner, redirect_uri=uri)["redirect_uri"] == uri
    else:
        assert refusal(lambda: acme.register(owner, redirect_uri=uri)) == "invalid_request"


texts = st.text(max_size=60) | st.sampled_from(
    [ADA, PASSWORD, REDIRECT, CHALLENGE, VERIFIER, "code", "S256", "particle"]
)
NAMES = (
    "grant_type",
    "response_type",
    "client_id",
    "client_secret",
    "username",
    "password",
    "refresh_token",
    "scope",
    "code",
    "redirect_uri",
    "code_verifier",
    "code_challenge",
    "code_challenge_method",
    "state",
)


@given(fields=st.dictionaries(st.sampled_from(NAMES), texts), basic=st.none() | st.tuples(texts, texts))
def test_whatever_is_sent_gets_a_token_or_a_refusal_with_a_code(new_world: Any, fields: Any, basic: Any) -> None:
    world = new_world()
    world.account(ADA)
    for act in (
        lambda: world.logging_in("token").token(fields, basic, None),
        lambda: world.logging_in("consent").consent(fields),
        lambda: world.logging_in("authorize").authorize(fields, ADA, PASSWORD, allowed=False),
    ):
        assert outcome(act)


def outcome(act: Any) -> str:
    """The refusal's code, which has a reason; anything else that is raised is a bug."""
    try:
        act()
    except Refused as refused:
        return refused.code if refused.reason else ""
    return "granted"
