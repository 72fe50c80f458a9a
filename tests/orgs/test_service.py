"""The service as it is hosted: real store, real views, local bus, and a stand-in for ``billing``."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import pytest
from nameko.rpc import rpc

from services.orgs.bootstrap import build
from services.orgs.people.creation import Creation
from shared.bus.calls import blocking_client
from shared.bus.host import ServiceHost
from shared.bus.open import open_transport
from shared.clock import system_clock
from shared.context import Context
from shared.errors import NotFound, Refused
from shared.events.contracts import CONTRACTS, Registry
from shared.people.addresses import Addresses
from shared.people.open import PeopleKeys
from shared.runtime import Runtime
from shared.settings import Settings
from shared.store.open import open_store
from shared.store.port import EventStore, Only, Position
from shared.streams import Streams
from tests.certificates import authority

PASSWORD = "correct horse"


class Billing:
    """Says what it is told to say."""

    name = "billing"
    known: ClassVar[dict[str, dict[str, Any]]] = {}

    @rpc
    def subscription(self, org_id: str) -> dict[str, Any]:
        if org_id not in self.known:
            raise NotFound("Subscription not found.")
        return self.known[org_id]

    @rpc(expected_exceptions=Refused)
    def finish_draft(self, draft_id: str | None, account_id: str, setup_id: str | None) -> dict[str, Any]:
        if setup_id == "refused":
            raise Refused("card_required", "The card set-up is not finished.")
        return {"org_id": draft_id}


def password_grant(username: str, client: str) -> dict[str, Any]:
    return {"grant_type": "password", "username": username, "password": PASSWORD, "client_id": client}


def refresh_grant(refresh_token: Any) -> dict[str, Any]:
    return {"grant_type": "refresh_token", "refresh_token": refresh_token, "client_id": "particle"}


@dataclass
class Clock:
    """The machine's clock, moved forward."""

    ahead: timedelta = timedelta()

    def __call__(self) -> datetime:
        return system_clock() + self.ahead


@dataclass
class Platform:
    """The running service; ``seen`` is the position that the caller has seen, as the gateway remembers it."""

    store: EventStore
    transport: Any
    clock: Clock
    contracts: Registry
    seen: Position | None = None
    names: Iterator[int] = field(default_factory=lambda: iter(range(1_000_000)))

    def ask(self, method: str, context: Context | None = None, **arguments: Any) -> dict[str, Any]:
        made = context or Context.new("anonymous", "test", uuid4())
        headers = made.headers() | ({} if self.seen is None else {"after": str(self.seen)})
        answer = getattr(blocking_client(self.transport, headers, 10.0).orgs, method)(**arguments)
        position = answer.get("position")
        if position is not None:
            self.seen = max(position, self.seen or 0)
        return answer

    def refusal(self, method: str, **arguments: Any) -> str:
        with pytest.raises(Refused) as refused:
            self.ask(method, **arguments)
        return refused.value.code

    def address(self) -> str:
        return f"user{next(self.names)}@example.com"

    def account(self, email: str | None = None, **info: str) -> str:
        given = {"username": email or self.address(), "password": PASSWORD, "account_info": info}
        return self.ask("create_account", **given)["account_id"]

    def organization(self, name: str | None = None) -> dict[str, Any]:
        account_id = self.account()
        chosen = name or f"Org number {next(self.names)}"
        return self.ask("create_organization", account_id=account_id, name=chosen, slug=None, plan="monthly")[
            "organization"
        ]

    def product(self, org_id: str, name: str, **details: Any) -> dict[str, Any]:
        wanted = {"platform_id": 6, "device_type": None, "type": None, "hardware_version": None} | details
        return self.ask("create_product", org_id=org_id, name=name, description="Shines", **wanted)["product"]


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory, lasting_views_url: str) -> Iterator[Platform]:
    settings = Settings.load({}, data=tmp_path_factory.mktemp("orgs"), db=lasting_views_url)
    store, transport, clock = open_store(settings.store), open_transport("local:", name="test"), Clock()
    billing = ServiceHost(Billing, transport, workers=2)
    runtime = Runtime("test", [transport, billing, build(settings, transport, store, clock=clock)])
    runtime.start()
    keys = PeopleKeys(settings.keys, store)
    yield Platform(store, transport, clock, CONTRACTS.with_keys(keys))
    keys.close()
    runtime.stop()
    store.close()


def test_whoever_signs_up_can_log_in_at_once_and_is_who_they_said(platform: Platform) -> None:  # ACC-1, ACC-2
    email = platform.address()
    account_id = platform.account(email, first_name="Ada", company_name="Engines")
    given = platform.ask("oauth_token", fields=password_grant(email.upper(), "particle"), expires_in_s=None)
    assert given["expires_in"] == 7_776_000
    found = platform.ask("find_token", token=given["access_token"])
    assert (found["account_id"], found["email"], found["org_id"]) == (account_id, email, None)
    assert platform.ask("get_user", account_id=account_id) == {
        "username": email,
        "email_verified": False,
        "account_info": {"first_name": "Ada", "company_name": "Engines"},
        "memberships": [],
    }


def test_a_repeated_sign_up_is_answered_as_it_was(platform: Platform) -> None:
    context = Context.new("anonymous", "test", uuid4())
    given = {"username": platform.address(), "password": PASSWORD, "account_info": None}
    assert platform.ask("create_account", context, **given) == platform.ask("create_account", context, **given)


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"username": "nobody"}, "invalid_username"),
        ({"username": "a b@example.com"}, "invalid_username"),
        ({"username": f"{'x' * 250}@example.com"}, "invalid_username"),
        ({"username": None}, "invalid_username"),
        ({"username": "bob@example.com\u200b"}, "invalid_username"),
        ({"username": "\u202ebob@example.com"}, "invalid_username"),
        ({"password": "short"}, "invalid_password"),
        ({"password": "x" * 1_025}, "invalid_password"),
        ({"password": None}, "invalid_password"),
        ({"account_info": {"first_name": "x" * 129}}, "invalid_request"),
        ({"account_info": {"first_name": 1}}, "invalid_request"),
        ({"account_info": []}, "invalid_request"),
    ],
)
def test_sign_ups_are_refused(platform: Platform, changed: dict[str, Any], code: str) -> None:
    given = {"username": platform.address(), "password": PASSWORD, "account_info": None}
    assert platform.refusal("create_account", **given | changed) == code


def test_a_taken_address_is_refused_with_its_reason_for_older_clients_too(platform: Platform) -> None:
    email = platform.address()
    platform.account(email)
    with pytest.raises(Refused) as refused:
        platform.account(email.upper())
    assert refused.value.code == "username_taken"
    assert refused.value.detail == f'{{"errors": ["{refused.value.reason}"]}}'


def test_tokens_are_listed_masked_until_they_are_revoked_or_expire(platform: Platform) -> None:  # ACC-2
    email = platform.address()
    account_id = platform.account(email)

    def log_in(client: str, expires_in_s: int) -> dict[str, Any]:
        return platform.ask("oauth_token", fields=password_grant(email, client), expires_in_s=expires_in_s)

    short, kept, gone = log_in("particle", 60), log_in("CLI2", 0), log_in("user", 60)
    listed = platform.ask("list_tokens", account_id=account_id)["tokens"]
    assert [token["client"] for token in listed] == ["user", "CLI2", "particle"]
    assert listed[1]["token"] == "*" * 36 + kept["access_token"][-4:]
    assert listed[1]["expires_at"] is None
    assert listed[2]["id"] == short["token_id"]
    platform.ask("revoke_token", token_id=gone["token_id"], account_id=account_id)
    with pytest.raises(NotFound):
        platform.ask("find_token", token=gone["access_token"])
    platform.clock.ahead = timedelta(hours=1)
    assert [token["client"] for token in platform.ask("list_tokens", account_id=account_id)["tokens"]] == ["CLI2"]
    platform.clock.ahead = timedelta()


def test_a_refresh_token_gives_a_new_pair_once(platform: Platform) -> None:  # ACC-2
    email = platform.address()
    account_id = platform.account(email)
    old = platform.ask("oauth_token", fields=password_grant(email, "particle"), expires_in_s=60)
    new = platform.ask("oauth_token", fields=refresh_grant(old["refresh_token"]))
    assert platform.ask("find_token", token=new["access_token"])["account_id"] == account_id
    assert platform.refusal("oauth_token", fields=refresh_grant(old["refresh_token"])) == "invalid_grant"


@pytest.mark.parametrize("token", ["", "0" * 40, "x" * 10_000, "\ud800", None, 1])
def test_what_is_no_token_is_refused_or_not_found(platform: Platform, token: Any) -> None:
    expected = "invalid_grant" if isinstance(token, str) else "invalid_request"
    assert platform.refusal("oauth_token", fields=refresh_grant(token)) == expected
    with pytest.raises(NotFound):
        platform.ask("find_token", token=token)


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"password": "wrong horse"}, "invalid_grant"),
        ({"username": "nobody@example.com"}, "invalid_grant"),
        ({"username": None, "password": None}, "invalid_request"),
        ({"client_id": ""}, "invalid_client"),
        ({"client_id": "x" * 165}, "invalid_client"),
        ({"client_id": "nobody-1234"}, "invalid_client"),
        ({"client_id": "p\u00e4rticle"}, "invalid_request"),
        ({"expires_in_s": -1}, "invalid_request"),
        ({"expires_in_s": 10**12}, "invalid_request"),
        ({"expires_in_s": "soon"}, "invalid_request"),
    ],
)
def test_log_ins_are_refused(platform: Platform, changed: dict[str, Any], code: str) -> None:
    email = platform.address()
    platform.account(email)
    given = {"username": email, "password": PASSWORD, "client_id": "particle", "expires_in_s": None} | changed
    life_s = given.pop("expires_in_s")
    fields = {"grant_type": "password", **given}
    assert platform.refusal("oauth_token", fields=fields, expires_in_s=life_s) == code


def test_an_organization_is_as_the_contract_says_and_starts_with_a_trial(platform: Platform) -> None:  # ORG-1, ORG-2
    email = platform.address()
    account_id = platform.account(email)
    made = platform.ask("create_organization", account_id=account_id, name="Acme Lamps", slug=None, plan="yearly")
    org = made["organization"]
    assert {key: org[key] for key in ("name", "slug", "owner", "subscription")} == {
        "name": "Acme Lamps",
        "slug": "acme-lamps",
        "owner": {"username": email},
        "subscription": {"state": "trialing", "reason": None, "plan": "yearly"},
    }
    assert platform.ask("get_organization", org_id=org["id"]) == {"organization": org}
    assert platform.ask("get_user", account_id=account_id)["memberships"] == [
        {
            "org": {"id": org["id"], "slug": "acme-lamps", "name": "Acme Lamps"},
            "role": {"id": "administrator", "name": "Administrator"},
        }
    ]


def test_an_organization_shows_what_billing_says_of_its_subscription(platform: Platform) -> None:
    org = platform.organization()
    Billing.known[org["id"]] = {"state": "inactive", "reason": "cancelled", "plan": "yearly", "trial_ends_at": "-"}
    shown = platform.ask("get_organization", org_id=org["id"])["organization"]["subscription"]
    assert shown == {"state": "inactive", "reason": "cancelled", "plan": "yearly"}


def test_a_repeated_founding_is_answered_as_it_was(platform: Platform) -> None:
    context = Context.new("anonymous", "test", uuid4())
    given = {"account_id": platform.account(), "name": "Again and again", "slug": None, "plan": "monthly"}
    first = platform.ask("create_organization", context, **given)
    assert platform.ask("create_organization", context, **given) == first


def test_a_draft_becomes_the_organization_once(platform: Platform) -> None:  # ORG-1
    context, draft_id = Context.new("anonymous", "test", uuid4()), uuid4().hex[:24]
    given = {"account_id": platform.account(), "slug": None, "plan": "monthly", "draft_id": draft_id}
    assert platform.refusal("create_organization", name="Card", setup_id="refused", **given) == "card_required"
    made = platform.ask("create_organization", context, name="Card", setup_id="seti_1", **given)
    assert made["organization"]["id"] == draft_id
    assert platform.ask("create_organization", context, name="Card", setup_id="seti_1", **given) == made
    assert platform.refusal("create_organization", name="Two", setup_id=None, **given) == "already_in_organization"


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"name": " "}, "invalid_request"),
        ({"name": "x" * 129}, "invalid_request"),
        ({"name": "a\x00b"}, "invalid_request"),
        ({"name": "\ud800"}, "invalid_request"),
        ({"slug": "Not A Slug"}, "invalid_request"),
        ({"slug": "x" * 65}, "invalid_request"),
        ({"slug": "0123456789abcdef01234567"}, "invalid_request"),
        ({"slug": 7}, "invalid_request"),
        ({"slug": "taken-before"}, "slug_taken"),
        ({"plan": "weekly"}, "unknown_plan"),
    ],
)
def test_foundings_are_refused(platform: Platform, changed: dict[str, Any], code: str) -> None:
    given = {"account_id": platform.account(), "name": "Fine", "slug": "fine", "plan": "monthly"}
    if code == "slug_taken":
        first = {"account_id": platform.account(), "name": "First", "slug": "taken-before", "plan": "monthly"}
        platform.ask("create_organization", **first)
    assert platform.refusal("create_organization", **given | changed) == code


def test_a_second_organization_is_refused(platform: Platform) -> None:  # ACC-4
    account_id = platform.account()
    given = {"account_id": account_id, "slug": None, "plan": "monthly"}
    platform.ask("create_organization", name="One is enough", **given)
    assert platform.refusal("create_organization", name="Two are not", **given) == "already_in_organization"


def test_what_was_founded_is_created_though_the_founding_process_died(platform: Platform) -> None:
    account_id = platform.account()

    class Dies(Creation):
        def finish(self, founded: Any) -> None:
            raise InterruptedError

    streams = Streams(platform.store, platform.contracts)
    created = platform.store.subscribe(platform.store.head(), Only(types=frozenset({"OrganizationCreated"})))
    dying = Dies(streams, Context.new("anonymous", "test", uuid4()), platform.clock())
    with pytest.raises(InterruptedError):
        dying.organization(account_id, "Orphan", None, "monthly")
    event = next(platform.contracts.decode(found) for found in created if hasattr(found, "data"))
    created.stop()
    assert (event.name, event.owner_id) == ("Orphan", account_id)


def test_a_product_has_every_field_of_the_contract(platform: Platform) -> None:  # PRD-1
    org = platform.organization()
    made = platform.product(org["id"], "Smart Lamp", platform_id=8, type="Industrial", hardware_version="v2")
    assert platform.ask("get_product", product_id=made["id"]) == {"product": made}
    assert 1_000 <= made.pop("id") <= 65_534
    assert len(made.pop("config_id")) == 24
    assert made.pop("created_at").endswith("Z")
    assert made == {
        "platform_id": 8,
        "device_type": "P1",
        "name": "Smart Lamp",
        "slug": "smart-lamp",
        "description": "Shines",
        "type": "Industrial",
        "hardware_version": "v2",
        "organization": org["id"],
        "org": org["slug"],
        "requires_activation_codes": False,
        "latest_firmware_version": None,
        "groups": [],
        "settings": {"quarantine": True, "known_application": {"opt_in": False}, "location": {}},
        "device_protection": None,
        "subscription_id": None,
        "mb_limit": None,
    }


def test_addresses_are_told_of_the_team_of_the_product_and_of_nobody_else(platform: Platform) -> None:
    email, name = platform.address(), f"Org number {next(platform.names)}"
    member, stranger = platform.account(email), platform.account()
    wanted = {"account_id": member, "name": name, "slug": None, "plan": "monthly"}
    org = platform.ask("create_organization", **wanted)["organization"]
    ours, theirs = platform.product(org["id"], "Ours"), platform.product(platform.organization()["id"], "Theirs")
    asked = {"owner_ids": [member, stranger, "f" * 24]}
    known = {member: {"username": email, "customer_id": None, "activation_code": None}}
    assert platform.ask("device_owners", product_id=ours["id"], **asked) == {"owners": known}
    assert platform.ask("device_owners", product_id=theirs["id"], **asked) == {"owners": {}}
    with pytest.raises(NotFound):
        platform.ask("device_owners", product_id=999, **asked)
    assert platform.refusal("device_owners", product_id=ours["id"], owner_ids=["f" * 24] * 1_001) == "invalid_request"
    for product, owner_ids in ((ours, [member]), (theirs, [])):
        found = platform.ask("owners_named", product_id=product["id"], username=email.upper())
        assert found == {"owner_ids": owner_ids}


def test_a_reset_of_a_customer_does_not_tell_which_products_there_are(platform: Platform) -> None:
    product_id = platform.product(platform.organization()["id"], "In secret")["id"]
    for number in (product_id, 0):
        for password, code in (("long enough", "invalid_reset_token"), ("short", "invalid_request")):
            link = {"token": f"{'1' * 24}.{'a' * 40}", "password": password}
            assert platform.refusal("reset_customer_password", product_id=number, **link) == code


def test_whoever_ends_an_accounts_tokens_ends_its_log_ins_at_companies_too(platform: Platform) -> None:  # ACC-2, CUS-3
    email, org = platform.address(), platform.organization()
    account_id, product = platform.account(email), platform.product(org["id"], "Let in")
    owner = {"org_id": org["id"], "product_id": product["id"]}
    redirect = "https://lamp.example/back"
    wanted = {"name": "Lamp", "type": "web", "redirect_uri": redirect, "scope": None}
    client = platform.ask("create_client", owner=owner, **wanted)["client"]
    own = {"client_id": client["id"], "redirect_uri": redirect}
    challenge = base64.urlsafe_b64encode(hashlib.sha256(b"v" * 43).digest()).decode().rstrip("=")
    fields = {**own, "response_type": "code", "code_challenge": challenge, "code_challenge_method": "S256"}
    sent = platform.ask("authorize", fields=fields, username=email, password=PASSWORD, allowed=True)["redirect_uri"]
    (code,) = parse_qs(urlsplit(sent).query)["code"]
    trade = {**own, "grant_type": "authorization_code", "code": code, "code_verifier": "v" * 43}
    grant = platform.ask("oauth_token", fields={**trade, "client_secret": client["secret"]}, expires_in_s=None)
    assert platform.ask("find_token", token=grant["access_token"])["account_id"] == account_id

    ended = platform.store.subscribe(platform.store.head(), Only(types=frozenset({"CustomerTokensEnded"})))
    platform.ask("end_tokens", account_id=account_id)
    event = next(platform.contracts.decode(found) for found in ended if hasattr(found, "data"))
    ended.stop()
    assert event.generation == 1
    with pytest.raises(NotFound):
        platform.ask("find_token", token=grant["access_token"])


def test_a_customer_is_found_by_name_and_by_nobody_elses_team(platform: Platform) -> None:  # CUS-6
    email, org = platform.address(), platform.organization()
    product, other = platform.product(org["id"], "One"), platform.product(org["id"], "Two")
    grant = platform.ask("create_customer", product_id=product["id"], email=email, password="correct horse")
    customer_id = platform.ask("find_token", token=grant["access_token"])["customer_id"]
    assert platform.ask("owners_named", product_id=product["id"], username=email) == {"owner_ids": [customer_id]}
    for asked in ({"product_id": other["id"], "username": email}, {"product_id": product["id"], "username": "@" * 999}):
        assert platform.ask("owners_named", **asked) == {"owner_ids": []}


def test_customers_are_counted_of_the_product_itself_and_of_all_products(platform: Platform) -> None:
    org, email = platform.organization(), platform.address()
    product, other = platform.product(org["id"], "One"), platform.product(org["id"], "Two")
    for place in ({"product_id": product["id"]}, {"org_id": org["id"]}):
        platform.ask("create_customer", email=platform.address(), password="correct horse", **place)
    platform.ask("create_customer", product_id=product["id"], email=email, password="correct horse")
    assert platform.ask("count_customers", product_id=product["id"]) == {"total": 3}
    assert platform.ask("count_customers", product_id=other["id"]) == {"total": 1}
    platform.ask("delete_customer", product_id=product["id"], email=email)
    assert platform.ask("count_customers", product_id=product["id"]) == {"total": 2}
    with pytest.raises(NotFound):
        platform.ask("count_customers", product_id=9)


def test_the_products_of_an_organization_are_listed_by_number_and_no_others(platform: Platform) -> None:
    org, other = platform.organization(), platform.organization()
    made = [platform.product(org["id"], name) for name in ("B", "A")]
    platform.product(other["id"], "A")
    assert made[0]["id"] < made[1]["id"]
    assert platform.ask("list_products", org_id=org["id"]) == {"products": made}


def test_a_repeated_product_is_answered_as_it_was(platform: Platform) -> None:
    org_id = platform.organization()["id"]
    context = Context.new("anonymous", "test", uuid4())
    given = {"org_id": org_id, "name": "Again", "description": "Shines", "device_type": "mqtt"}
    first = platform.ask("create_product", context, **given)
    assert platform.ask("create_product", context, **given) == first
    assert first["product"]["platform_id"] == 65_535


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"name": ""}, "invalid_request"),
        ({"name": None}, "invalid_request"),
        ({"description": " \n"}, "invalid_request"),
        ({"description": "x" * 4_001}, "invalid_request"),
        ({"platform_id": None}, "invalid_request"),
        ({"platform_id": True}, "invalid_request"),
        ({"platform_id": "6"}, "invalid_request"),
        ({"platform_id": 7}, "unsupported_platform"),
        ({"device_type": "Argon"}, "unsupported_platform"),
        ({"device_type": 6}, "invalid_request"),
        ({"type": "Toy"}, "invalid_request"),
        ({"hardware_version": "x" * 65}, "invalid_request"),
        ({"name": "taken"}, "name_taken"),
    ],
)
def test_products_are_refused(platform: Platform, changed: dict[str, Any], code: str) -> None:
    org_id = platform.organization()["id"]
    platform.product(org_id, "Taken")
    given = {"org_id": org_id, "name": "Lamp", "description": "Shines\non\tand on", "platform_id": 6}
    assert platform.refusal("create_product", **given | changed) == code


def test_products_created_at_the_same_time_all_have_numbers_and_slugs_of_their_own(platform: Platform) -> None:
    orgs = [platform.organization()["id"] for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda org_id: platform.product(org_id, "Crowd"), orgs))
    assert len({product["id"] for product in made}) == 8
    assert {product["slug"] for product in made} == {"crowd", *(f"crowd-{number}" for number in range(2, 9))}


def test_how_devices_get_in_is_read_as_it_was_configured(platform: Platform) -> None:
    number = platform.product(platform.organization()["id"], "Lamp")["id"]
    first = {
        "trust_first_key": False,
        "tls_only": False,
        "provisioning": "off",
        "provisioning_key": None,
        "claim_without_secret": False,
        "firmware_name": str(number),
        "version_width": 0,
    }
    assert platform.ask("get_device_access", product_id=number) == {"device_access": first}
    name = f"lamp of {platform.address()}"
    changes = {"trust_first_key": True, "provisioning": "create", "firmware_name": name}
    answer = platform.ask("configure_device_access", product_id=number, changes=changes)
    assert answer["device_access"] == first | changes
    key = platform.ask("issue_provisioning_key", product_id=number)["key"]
    now = first | changes | {"provisioning_key": key}
    assert platform.ask("get_device_access", product_id=number) == {"device_access": now}
    assert (
        platform.refusal("configure_device_access", product_id=number, changes={"tls_only": "x"}) == "invalid_request"
    )


def test_device_authorities_are_listed_until_they_are_removed(platform: Platform) -> None:  # MQC-6
    org_id = platform.organization()["id"]
    texts = [authority("First"), authority("Second")]
    added = [
        platform.ask("add_device_authority", org_id=org_id, certificate=text, names_devices=True)["authority"]
        for text in texts
    ]
    assert [one["subject"] for one in added] == ["CN=First", "CN=Second"]
    assert [one["certificate"] for one in added] == texts
    assert platform.ask("list_device_authorities", org_id=org_id) == {"authorities": added}
    assert platform.refusal("add_device_authority", org_id=org_id, certificate="x") == "invalid_certificate"
    platform.ask("remove_device_authority", org_id=org_id, authority_id=added[0]["id"])
    assert platform.ask("list_device_authorities", org_id=org_id) == {"authorities": added[1:]}


def test_what_somebody_commands_is_in_their_organizations_audit(platform: Platform) -> None:
    email = platform.address()
    account_id = platform.account(email)
    org_id = platform.ask("create_organization", account_id=account_id, name="Audited", slug=None, plan="monthly")[
        "organization"
    ]["id"]
    actor, token_id = f"account:{account_id}", "c" * 24
    made = replace(Context.new(actor, "test"), token=token_id, about=org_id)
    address = Addresses(platform.contracts.keys).sealed(actor, "192.0.2.1")
    platform.ask("rename_organization", replace(made, address=address), org_id=org_id, name="Renamed")
    (found,) = platform.ask("list_audit", org_id=org_id, actor=email, kind="OrganizationRenamed")["audit"]
    assert found["id"] == made.correlation_id
    assert (found["name"], found["token"], found["address"]) == (email, token_id, "192.0.2.1")
    assert platform.refusal("list_audit", org_id=org_id, kind="nothing") == "invalid_request"


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("get_user", {"account_id": "f" * 24}),
        ("get_organization", {"org_id": "f" * 24}),
        ("get_product", {"product_id": 999}),
        ("get_device_access", {"product_id": 999}),
        ("configure_device_access", {"product_id": 999, "changes": {}}),
        ("issue_provisioning_key", {"product_id": 999}),
        ("add_device_authority", {"org_id": "f" * 24, "certificate": authority()}),
        ("add_device_authority", {"org_id": "nothing", "certificate": ""}),
        ("remove_device_authority", {"org_id": "f" * 24, "authority_id": "f" * 24}),
        ("remove_device_authority", {"org_id": "f" * 24, "authority_id": "nothing"}),
        ("create_product", {"org_id": "f" * 24, "name": "A", "description": "B", "platform_id": 6}),
        ("create_product", {"org_id": "x" * 10_000, "name": "A", "description": "B", "platform_id": 6}),
        ("create_organization", {"account_id": "f" * 24, "name": "A", "slug": None, "plan": None}),
        ("revoke_token", {"token_id": "f" * 24, "account_id": "f" * 24}),
        ("revoke_token", {"token_id": "nothing", "account_id": "f" * 24}),
    ],
)
def test_what_does_not_exist_is_not_found(platform: Platform, method: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(NotFound):
        platform.ask(method, **arguments)
