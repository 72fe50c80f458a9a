"""The adapter against ``localstripe``, an independent fake of Stripe's API, as a process of its own."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from deploy.rabbitmq import free_ports
from services.billing.provider import (
    CardRefused,
    Declined,
    Hint,
    Open,
    Payment,
    ProviderUnavailable,
    RequiresAction,
    Returned,
    Seen,
    Succeeded,
)
from services.billing.sandbox_provider import SandboxProvider
from services.billing.stripe_provider import SANDBOX, StripeProvider
from shared.errors import Refused

ORG = "b" * 24
SECRET, OLD_SECRET = "whsec_new", "whsec_old"


@pytest.fixture
def provider(sandbox: str) -> StripeProvider:
    return StripeProvider("sk_test_12345", (SECRET, OLD_SECRET), url=sandbox, dialect=SANDBOX)


@pytest.fixture
def customer(provider: StripeProvider) -> str:
    return provider.ensure_customer(ORG)


def set_up(sandbox: str, provider: StripeProvider, customer: str, number: str) -> str:
    """What the card form does in a browser."""
    setup = provider.begin_card_setup(customer, "one")
    form = {
        "key": "pk_test_12345",
        "client_secret": setup.client_secret,
        "payment_method_data[type]": "card",
        "payment_method_data[card][number]": number,
        "payment_method_data[card][exp_month]": "12",
        "payment_method_data[card][exp_year]": "2030",
        "payment_method_data[card][cvc]": "123",
    }
    httpx.post(f"{sandbox}/v1/setup_intents/{setup.setup_id}/confirm", data=form)
    return setup.setup_id


def payment(sandbox: str, provider: StripeProvider, customer: str, number: str = "4242424242424242") -> Payment:
    card = provider.finish_card_setup(customer, set_up(sandbox, provider, customer, number))
    return Payment(ORG, 1, 1, 4_900, customer, card.ref)


def test_a_card_is_kept_for_its_customer(sandbox: str, provider: StripeProvider, customer: str) -> None:
    card = provider.finish_card_setup(customer, set_up(sandbox, provider, customer, "4242424242424242"))
    assert (card.brand, card.last4, card.exp_month, card.exp_year) == ("visa", "4242", 12, 2030)
    for _ in range(2):
        provider.forget_card(card.ref)


def test_a_card_that_belongs_to_nobody_any_more_is_refused(sandbox: str, customer: str) -> None:
    stripe = StripeProvider("sk_test_12345", url=sandbox, dialect=replace(SANDBOX, attaches=True))
    setup_id = set_up(sandbox, stripe, customer, "4242424242424242")
    with pytest.raises(CardRefused) as refused:
        stripe.finish_card_setup(customer, setup_id)
    assert refused.value.code == "card_required"


def test_a_customer_is_forgotten_with_whatever_it_had_also_twice(sandbox: str, provider: StripeProvider) -> None:
    leaving = provider.ensure_customer("d" * 24)
    set_up(sandbox, provider, leaving, "4242424242424242")
    for _ in range(2):
        provider.forget_customer(leaving)
    shown = httpx.get(f"{sandbox}/v1/customers/{leaving}", auth=("sk_test_12345", ""))
    assert shown.status_code == 404 or shown.json().get("deleted")


def test_a_set_up_that_did_not_end_or_is_somebody_elses_is_refused(
    sandbox: str, provider: StripeProvider, customer: str
) -> None:
    other = provider.ensure_customer("c" * 24)
    for setup_id in (
        provider.begin_card_setup(customer, "two").setup_id,
        set_up(sandbox, provider, other, "4242424242424242"),
        set_up(sandbox, provider, customer, "4000000000000002"),
        "seti_unknown",
    ):
        with pytest.raises(CardRefused) as refused:
            provider.finish_card_setup(customer, setup_id)
        assert refused.value.code == "card_required"


def test_a_payment_takes_two_steps(sandbox: str, provider: StripeProvider, customer: str) -> None:
    wanted = payment(sandbox, provider, customer)
    ref = provider.prepare(wanted)
    assert provider.inspect(ref) == Open("not_submitted")
    assert provider.execute(ref, wanted) == Succeeded(4_900)
    assert provider.inspect(ref) == Succeeded(4_900)
    assert provider.execute(ref, wanted) == Succeeded(4_900)  # asked once more: it is looked at
    assert provider.abandon(ref) == Succeeded(4_900)
    provider.refund(ref, 900, "one")


def test_a_card_that_is_refused_is_a_decline(sandbox: str, provider: StripeProvider, customer: str) -> None:
    wanted = payment(sandbox, provider, customer, "4000000000000341")
    ref = provider.prepare(wanted)
    assert provider.execute(ref, wanted) == Declined("card_declined")
    assert provider.inspect(ref) == Declined("card_declined")
    assert provider.abandon(ref) == Open("canceled")


def test_a_bank_that_asks_for_the_member_is_no_decline(sandbox: str, provider: StripeProvider, customer: str) -> None:
    card_ref = _needs_authentication(sandbox, customer)
    wanted = Payment(ORG, 1, 1, 4_900, customer, card_ref)
    ref = provider.prepare(wanted)
    asked = provider.execute(ref, wanted)
    assert isinstance(asked, RequiresAction)
    assert asked.client_secret == provider.client_secret(ref)
    assert asked.client_secret.startswith(ref)
    form = {"key": "pk_test_12345", "client_secret": asked.client_secret, "success": "true"}
    httpx.post(f"{sandbox}/v1/payment_intents/{ref}/_authenticate", data=form).raise_for_status()
    assert provider.inspect(ref) == Succeeded(4_900)


def _needs_authentication(sandbox: str, customer: str) -> str:
    card = {"number": "4000002500003155", "exp_month": "12", "exp_year": "2030", "cvc": "123"}
    form = {"type": "card", **{f"card[{name}]": value for name, value in card.items()}}
    authorization = ("sk_test_12345", "")
    made = httpx.post(f"{sandbox}/v1/payment_methods", data=form, auth=authorization).json()["id"]
    attached = {"customer": customer}
    httpx.post(f"{sandbox}/v1/payment_methods/{made}/attach", data=attached, auth=authorization).raise_for_status()
    return str(made)


def test_what_happened_at_the_provider_is_found_without_a_message(
    sandbox: str, provider: StripeProvider, customer: str
) -> None:  # GW-6
    since = datetime.now(UTC) - timedelta(minutes=5)
    wanted = payment(sandbox, provider, customer)
    ref = provider.prepare(wanted)
    assert provider.org_of(ref) == ORG
    assert ref not in [seen.provider_ref for seen in provider.payments_since(since)]
    provider.execute(ref, wanted)
    assert Seen(ref, ORG, 4_900) in provider.payments_since(since)
    assert provider.payments_since(since + timedelta(days=1)) == []
    refund_ref = provider.refund(ref, 900, "one")
    assert Returned("refund", ref, refund_ref, ORG, 900) in provider.returns_since(since)
    found = provider.card_of(wanted.card_ref)
    assert found is not None
    assert (found[0], found[1].ref, found[1].last4) == (ORG, wanted.card_ref, "4242")
    assert (provider.org_of("pi_unknown"), provider.card_of("pm_unknown")) == (None, None)


def test_a_sandbox_that_was_started_anew_gets_customers_and_cards_again(sandbox: str) -> None:
    provider = SandboxProvider("sk_test_12345", url=sandbox)
    customer = provider.ensure_customer(ORG)
    wanted = replace(payment(sandbox, provider, customer, "4000000000000341"), last4="0341")
    old = provider.prepare(wanted)
    httpx.delete(f"{sandbox}/_config/data").raise_for_status()
    assert (provider.inspect(old), provider.abandon(old)) == (Open("canceled"), Open("canceled"))
    assert provider.execute(old, wanted) == Open("canceled")
    ref = provider.prepare(replace(wanted, attempt=2))
    assert provider.execute(ref, wanted) == Declined("card_declined")
    with pytest.raises(ProviderUnavailable):
        provider.prepare(replace(wanted, customer_ref="cus_other", last4="9999"))
    card = provider.finish_card_setup(customer, set_up(sandbox, provider, customer, "4242424242424242"))
    paid = replace(wanted, attempt=3, card_ref=card.ref, last4="4242")
    assert provider.execute(provider.prepare(paid), paid) == Succeeded(4_900)


def test_what_is_wrong_with_us_is_no_fault_of_the_card(sandbox: str, provider: StripeProvider, customer: str) -> None:
    wanted = payment(sandbox, provider, customer)
    for wrong in (replace(wanted, card_ref="pm_unknown"), replace(wanted, customer_ref="cus_unknown")):
        with pytest.raises(ProviderUnavailable) as problem:
            provider.prepare(wrong)
        assert problem.value.cause == "misconfigured"
    stranger = StripeProvider("nonsense", url=sandbox, dialect=SANDBOX)
    with pytest.raises(ProviderUnavailable) as problem:
        stranger.inspect("pi_1")
    assert problem.value.cause in ("misconfigured", "unreachable")


def test_a_provider_that_cannot_be_reached_is_told_from_one_that_did_not_answer() -> None:
    nobody = StripeProvider("sk_test_12345", url=f"http://127.0.0.1:{free_ports(1)[0]}", dialect=SANDBOX, retries=0)
    wanted = Payment(ORG, 1, 1, 4_900, "cus_1", "pm_1")
    with pytest.raises(ProviderUnavailable) as problem:
        nobody.prepare(wanted)
    assert problem.value.cause == "unreachable"
    assert nobody.execute("pi_1", wanted) == Open("unknown")  # GW-4


def signed(body: bytes, secret: str, at: int) -> str:
    digest = hmac.new(secret.encode(), b"%d.%s" % (at, body), hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


BODY = json.dumps(
    {
        "id": "evt_1",
        "object": "event",
        "type": "payment_intent.succeeded",
        "data": {"object": {"id": "pi_1", "object": "payment_intent"}},
    }
).encode()


@pytest.mark.parametrize("secret", [SECRET, OLD_SECRET])
def test_a_webhook_says_what_to_look_at(secret: str) -> None:
    provider = StripeProvider("sk_test_12345", (SECRET, OLD_SECRET))
    now = int(time.time())
    assert provider.parse_webhook(BODY, signed(BODY, secret, now)) == Hint("evt_1", "payment_intent.succeeded", "pi_1")


@pytest.mark.parametrize(
    "signature",
    [
        signed(BODY, "whsec_other", int(time.time())),
        signed(BODY, SECRET, int(time.time()) - 3_600),
        signed(BODY, SECRET, int(time.time()) + 3_600),
        signed(BODY + b" ", SECRET, int(time.time())),
        "",
        "t=x,v1=y",
        "nonsense",
    ],
    ids=["another secret", "old", "from the future", "another body", "none", "no time", "nonsense"],
)
def test_a_webhook_that_is_not_signed_is_refused(signature: str) -> None:
    provider = StripeProvider("sk_test_12345", (SECRET, OLD_SECRET))
    with pytest.raises(Refused) as refused:
        provider.parse_webhook(BODY, signature)
    assert refused.value.code == "bad_signature"
