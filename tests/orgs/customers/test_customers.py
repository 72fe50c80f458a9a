"""Customers of companies, from the streams alone (CUS-1 to CUS-3, CUS-5, EVT-5)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from services.orgs.customers.claimants import check_claim
from services.orgs.customers.customer_lookup import customer, customer_of
from services.orgs.customers.customers import (
    CUSTOMERS,
    AskReset,
    CreateCustomer,
    Customer,
    DeleteCustomer,
    ResetPassword,
    SetPassword,
    decide,
)
from services.orgs.customers.serving_customers import Place, ServingCustomers
from services.orgs.people.account_commands import ForgetAccount
from services.orgs.people.accounts import ACCOUNTS
from services.orgs.people.accounts import stream_of as stream_of_account
from services.orgs.people.links import RESET_LIFE
from services.orgs.people.mail_links import link_token
from services.orgs.products.numbering import NewProduct
from shared.errors import Misuse, NotFound, Refused
from shared.events.customers import (
    CustomerCreated,
    CustomerDeleted,
    CustomerPasswordChanged,
    CustomerResetAsked,
    CustomerTokensEnded,
)
from shared.events.fields import FORGOTTEN
from shared.people.keys import DESTROYED

JO, KAY, ID, ORG, P = "jo@example.com", "kay@example.com", "c" * 24, "b" * 24, 1000
NOW, NONCE = datetime(2026, 3, 1, tzinfo=UTC), "1" * 24
CREATED = CustomerCreated(ID, ID, ORG, P, JO, "$argon2id$", "simple")
SHADOW = CustomerCreated(ID, ID, ORG, P, JO, "", "two_legged")
GONE = CustomerDeleted(ID, ID, ORG, P)
ASKED = CustomerResetAsked(ID, NONCE, NOW + RESET_LIFE)


def after(*events: Any) -> Customer:
    state = CUSTOMERS.initial
    for event in events:
        state = CUSTOMERS.evolve(state, event)
    return state


def refusal(act: Any, *arguments: Any, **named: Any) -> str:
    with pytest.raises(Refused) as refused:
        act(*arguments, **named)
    return refused.value.code


def serving(world: Any, command: str) -> ServingCustomers:
    return ServingCustomers(world.streams, world.context(command), world.store.now)


def product(world: Any, org_id: str, name: str = "Lamp") -> Place:
    wanted = NewProduct(org_id, name, "Shines", "Photon", "Consumer", "")
    return Place(org_id, world.numbering(f"product {name}").create(wanted, lambda: None))


def test_a_customer_is_created_once_and_deleted_once() -> None:
    create = CreateCustomer(ID, ID, ORG, P, JO, "$argon2id$", "simple")
    assert decide(after(), create) == [CREATED]
    assert decide(after(CREATED), create) == decide(after(CREATED, GONE), create) == []
    assert decide(after(CREATED), DeleteCustomer()) == [GONE]
    assert decide(after(CREATED, GONE), DeleteCustomer()) == []


@pytest.mark.parametrize("state", [after(), after(CREATED, GONE)])
@pytest.mark.parametrize("command", [SetPassword("x"), AskReset(NONCE, NOW), ResetPassword(NONCE, "x", NOW)])
def test_nothing_is_set_for_whoever_is_not_there(state: Customer, command: Any) -> None:
    with pytest.raises(NotFound):
        decide(state, command)


@pytest.mark.parametrize("command", [SetPassword("x"), AskReset(NONCE, NOW), ResetPassword(NONCE, "x", NOW)])
def test_a_customer_without_password_is_given_none(command: Any) -> None:  # CUS-2
    assert refusal(decide, after(SHADOW), command) == "no_password"


def test_a_new_password_ends_the_tokens_made_before_and_the_link() -> None:
    changed = [CustomerPasswordChanged(ID, "new"), CustomerTokensEnded(ID, 1)]
    assert decide(after(CREATED), SetPassword("new")) == changed
    assert decide(after(CREATED, ASKED), ResetPassword(NONCE, "new", NOW)) == changed
    assert refusal(decide, after(CREATED, ASKED, *changed), ResetPassword(NONCE, "x", NOW)) == "invalid_reset_token"
    assert decide(after(CREATED, *changed), SetPassword("x"))[1] == CustomerTokensEnded(ID, 2)


def test_a_link_works_for_an_hour_and_a_newer_one_takes_its_place() -> None:
    assert decide(after(CREATED), AskReset(NONCE, NOW)) == [ASKED]
    assert refusal(decide, after(CREATED, ASKED), ResetPassword(NONCE, "x", NOW + RESET_LIFE)) == "invalid_reset_token"
    assert decide(after(CREATED, ASKED), AskReset("2" * 24, NOW + timedelta(seconds=59))) == []
    (newer,) = decide(after(CREATED, ASKED), AskReset("2" * 24, NOW + timedelta(seconds=60)))
    assert refusal(decide, after(CREATED, ASKED, newer), ResetPassword(NONCE, "x", NOW)) == "invalid_reset_token"


def test_whose_key_is_lost_has_no_password_that_anything_matches() -> None:  # EVT-5
    lost = CustomerCreated(ID, ID, ORG, P, FORGOTTEN, FORGOTTEN, "simple")
    assert after(lost).password_hash == after(CREATED, CustomerPasswordChanged(ID, FORGOTTEN)).password_hash == ""


@pytest.fixture
def place(world: Any) -> Place:
    return product(world, world.organization())


def test_an_address_is_taken_once_a_product_without_regard_to_case(world: Any, place: Place) -> None:
    made, _ = serving(world, "one").create(place, "Jo@Example.com", "", "two_legged")
    assert serving(world, "one").create(place, "Jo@Example.com", "", "two_legged")[0] == made  # the command again
    assert refusal(serving(world, "two").create, place, JO, "", "two_legged") == "customer_exists"
    elsewhere = product(world, place.org_id, "Fan")
    other, _ = serving(world, "three").create(elsewhere, JO, "", "two_legged")
    everywhere, _ = serving(world, "four").create(Place(place.org_id, None), JO, "", "two_legged")
    ids = {made.customer_id, other.customer_id, everywhere.customer_id}
    assert len(ids) == 3
    assert customer_of(world.streams, elsewhere.product_id, place.org_id, JO.upper()).customer_id == other.customer_id


def test_an_address_stands_nowhere_but_sealed_and_is_free_once_the_customer_is_deleted(
    world: Any, place: Place
) -> None:  # EVT-5
    made, _ = serving(world, "one").create(place, JO, "", "two_legged")
    assert not [event for event in world.store.events if JO.encode() in event.data or JO in event.stream]
    serving(world, "end").delete(str(made.customer_id))
    assert world.contracts.keys.find(made.customer_id) is DESTROYED
    assert customer(world.streams, str(made.customer_id)).email == FORGOTTEN
    again, _ = serving(world, "two").create(place, JO, "", "two_legged")
    assert again.customer_id != made.customer_id
    with pytest.raises(NotFound):
        serving(world, "other").find(place, KAY)


def test_a_customers_key_is_kept_until_the_stream_says_that_they_were_deleted(world: Any, place: Place) -> None:
    made, _ = serving(world, "one").create(place, JO, "", "two_legged")
    with pytest.raises(Misuse):
        serving(world, "end").finish(str(made.customer_id))


@pytest.mark.parametrize("appends", [1, 2])
@pytest.mark.parametrize("stored", [False, True])
def test_a_creation_that_is_cut_off_is_finished_by_repeating_it(
    world: Any, died: type[BaseException], place: Place, appends: int, stored: bool
) -> None:
    world.dies_at(appends, after=stored)
    with pytest.raises(died):
        serving(world, "one").create(place, JO, "", "two_legged")
    world.dies_at(None, after=stored)
    made, _ = serving(world, "one").create(place, JO, "", "two_legged")
    assert len(world.of_type("CustomerCreated")) == 1
    assert customer_of(world.streams, place.product_id, place.org_id, JO) == made


def test_an_account_is_linked_once_and_keeps_its_customer_when_its_address_changes(world: Any, place: Place) -> None:
    ada = world.account("ada@example.com")  # CUS-3
    linked, _ = serving(world, "one").link(place, ada, "ada@example.com")
    assert (linked.owner_id, linked.password_hash) == (ada, "")
    assert serving(world, "two").link(place, ada, "new@example.com") == (linked, None)


def test_an_account_does_not_take_the_customer_over_who_has_its_address(world: Any, place: Place) -> None:
    made, _ = serving(world, "one").create(place, JO, "$argon2id$", "simple")
    jo = world.account(JO)
    assert refusal(serving(world, "two").link, place, jo, JO) == "customer_exists"
    serving(world, "end").delete(str(made.customer_id))
    assert serving(world, "three").link(place, jo, JO)[0].owner_id == jo


def test_a_mailed_link_sets_the_password_at_its_own_product_alone(world: Any, place: Place) -> None:
    made, _ = serving(world, "one").create(place, JO, "$argon2id$", "simple")
    customer_id = str(made.customer_id)
    assert serving(world, "nobody").ask_reset(place, KAY) is None
    serving(world, "ask").ask_reset(place, JO)
    (asked,) = world.of_type("CustomerResetAsked")
    token = link_token(world.streams, "customer-reset", customer_id, asked.nonce)
    elsewhere, of_account = product(world, place.org_id, "Fan"), link_token(world.streams, "reset", ID, asked.nonce)
    for where, shown in ((elsewhere, token), (place, token[:-1] + "x"), (place, of_account), (place, "")):
        assert refusal(serving(world, "reset").reset, where, shown, "new") == "invalid_reset_token"
    serving(world, "reset").reset(place, token, "new")
    assert customer(world.streams, customer_id).password_hash == "new"
    assert refusal(serving(world, "replay").reset, place, token, "newer") == "invalid_reset_token"


def test_who_may_claim_is_true_at_once(world: Any, place: Place) -> None:  # CUS-5
    ada = world.account("ada@example.com")
    mine, _ = serving(world, "one").create(place, JO, "", "two_legged")
    linked, _ = serving(world, "link").link(place, ada, "ada@example.com")
    everywhere, _ = serving(world, "all").create(Place(place.org_id, None), JO, "", "two_legged")
    fan, foreign = product(world, place.org_id, "Fan"), product(world, world.organization("x@example.com", "X"), "Y")

    def claims(owner_id: str, customer_id: str | None, where: Place) -> str:
        try:
            check_claim(world.streams, owner_id, customer_id, where.product_id or 0, is_invited=False)
        except Refused as refused:
            return refused.code
        return "yes"

    assert [claims(mine.owner_id, mine.customer_id, where) for where in (place, fan)] == ["yes", "other_product"]
    of_all = [claims(everywhere.owner_id, everywhere.customer_id, where) for where in (place, fan, foreign)]
    assert of_all == ["yes", "yes", "other_product"]
    assert claims(ada, linked.customer_id, place) == claims(ada, None, foreign) == "yes"
    assert claims(ada, mine.customer_id, place) == claims("9" * 24, None, place) == "claimant_gone"
    serving(world, "end").delete(str(mine.customer_id))
    world.streams.handle(ACCOUNTS, stream_of_account(ada), ForgetAccount(), world.context("forget"))
    assert claims(mine.owner_id, mine.customer_id, place) == claims(ada, linked.customer_id, place) == "claimant_gone"
    assert claims(ada, None, place) == "claimant_gone"


class Customers(RuleBasedStateMachine):
    """People come and go at two products and their organization, some of them through their account; commands are
    repeated, and address games are played."""

    world_type: Any = None

    @initialize()
    def begin(self) -> None:
        self.world = self.world_type()
        org_id = self.world.organization()
        self.places = [product(self.world, org_id), product(self.world, org_id, "Fan"), Place(org_id, None)]
        self.accounts = {email: self.world.account(email) for email in (JO, KAY)}
        self.model: dict[tuple[int, str], str] = {}
        self.ended: set[str] = set()
        self.commands = 0

    def serving(self, *, again: bool) -> ServingCustomers:
        self.commands += not again
        return serving(self.world, f"command {self.commands}")

    @rule(
        at=st.integers(0, 2),
        email=st.sampled_from([JO, "JO@EXAMPLE.COM", "ｊｏ@example.com", KAY]),
        again=st.booleans(),
    )
    def create(self, at: int, email: str, again: bool) -> None:
        known = KAY if email == KAY else JO
        serve = self.serving(again=False)
        if (at, known) in self.model:
            assert refusal(serve.create, self.places[at], email, "$argon2id$", "simple") == "customer_exists"
            return
        made, _ = serve.create(self.places[at], email, "$argon2id$", "simple")
        if again:
            assert self.serving(again=True).create(self.places[at], email, "$argon2id$", "simple")[0] == made
        self.model[at, known] = str(made.customer_id)

    @rule(at=st.integers(0, 2), email=st.sampled_from([JO, KAY]))
    def link(self, at: int, email: str) -> None:
        there = self.model.get((at, email))
        link, asked = self.serving(again=False).link, (self.places[at], self.accounts[email], email)
        if there is not None and customer(self.world.streams, there).owner_id == there:
            assert refusal(link, *asked) == "customer_exists"
            return
        linked, _ = link(*asked)
        assert there in (None, linked.customer_id)
        self.model[at, email] = str(linked.customer_id)

    @rule(at=st.integers(0, 2), email=st.sampled_from([JO, KAY]), again=st.booleans())
    def delete(self, at: int, email: str, again: bool) -> None:
        customer_id = self.model.pop((at, email), None)
        if customer_id is None:
            return
        for _ in range(1 + again):
            self.serving(again=False).delete(customer_id)
        self.ended.add(customer_id)

    @rule(at=st.integers(0, 2), email=st.sampled_from([JO, KAY]))
    def change_password(self, at: int, email: str) -> None:
        customer_id = self.model.get((at, email))
        if customer_id is None:
            return
        before = customer(self.world.streams, customer_id)
        if not before.password_hash:
            assert refusal(self.serving(again=False).set_password, self.places[at], email, "x") == "no_password"
            return
        self.serving(again=False).set_password(self.places[at], email, "x")
        assert customer(self.world.streams, customer_id).generation == before.generation + 1

    @rule(seconds=st.integers(0, 120))
    def pass_time(self, seconds: int) -> None:
        self.world.pass_time(seconds)

    @invariant()
    def each_address_is_of_one_customer_and_who_is_gone_is_nowhere(self) -> None:
        for at, place in enumerate(self.places):
            for email in (JO, KAY):
                found = customer_of(self.world.streams, place.product_id, place.org_id, email).customer_id
                assert found == self.model.get((at, email))
        for customer_id in self.ended:
            assert not customer(self.world.streams, customer_id).lives
            assert self.world.contracts.keys.find(customer_id) is DESTROYED


def test_whatever_people_do_an_address_is_of_one_customer_and_who_is_gone_is_nowhere(new_world: Any) -> None:
    Customers.world_type = new_world
    case = Customers.TestCase()
    case.settings = settings(max_examples=12, stateful_step_count=15, deadline=None)
    case.runTest()
