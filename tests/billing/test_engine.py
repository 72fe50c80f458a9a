"""The engine as it is hosted: worker, charger and calls in a running service, money with the sandbox."""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from services.billing.bootstrap import build
from services.billing.payments import OFF, is_live, open_payments
from services.billing.sandbox_provider import SandboxProvider
from services.billing.subscriptions import Policy, StartSubscription, stream_of, subscriptions
from shared.bus.calls import blocking_client
from shared.bus.open import open_transport
from shared.context import Context
from shared.errors import Refused
from shared.events import billing as b
from shared.events.contracts import CONTRACTS
from shared.runtime import Runtime
from shared.settings import Settings
from shared.store.open import open_store
from shared.streams import Streams
from tests.billing.test_stripe_provider import SECRET, set_up
from tests.billing.timelines import member

ORG = "d" * 24


def test_a_running_service_charges_what_comes_due_by_a_move_of_the_clock(sandbox: str, tmp_path: Path) -> None:
    settings = Settings.load({}, data=tmp_path, payments=f"sandbox:{sandbox}", stripe_webhook_secrets=SECRET)
    store = open_store(settings.store)
    transport = open_transport("local:", name="test")
    running = Runtime("test", [transport, build(settings, transport, store)])
    provider = SandboxProvider("sk_test_12345", url=sandbox)
    customer = provider.ensure_customer(ORG)
    card = provider.finish_card_setup(customer, set_up(sandbox, provider, customer, "4242424242424242"))
    now = datetime.now(UTC)
    streams, context = Streams(store, CONTRACTS), Context.new("account:" + "a" * 24, "test")
    start = StartSubscription(ORG, "monthly", member(1), customer, card, now)
    running.start()
    try:
        streams.handle(subscriptions(Policy()), stream_of(ORG), start, context)
        billing = blocking_client(transport, {}, 20.0).billing
        to = (now + timedelta(days=62)).isoformat()
        assert {"finished": True, "waiting": 0}.items() <= billing.advance(to=to).items()
        for wrong in (now.isoformat(), "tomorrow", "2026-01-01T00:00:00"):
            with pytest.raises(Refused):
                billing.advance(to=wrong)
        with pytest.raises(Refused, match="bad_signature"):
            billing.receive_hook(body=b64encode(b"{}").decode(), signature="t=1,v1=nonsense")
    finally:
        running.stop()
    paid = [
        event for one in store.read(stream_of(ORG)) if isinstance(event := CONTRACTS.decode(one), b.PaymentSucceeded)
    ]
    store.close()
    assert [event.amount_cents for event in paid] == [4_900, 4_900]
    succeeded = [seen.provider_ref for seen in provider.payments_since(now - timedelta(days=1)) if seen.org_id == ORG]
    assert sorted(succeeded) == sorted(event.provider_ref for event in paid)


def settings_of(payments: str, **given: str) -> Settings:
    return Settings.load({}, payments=payments, **given)


def test_payments_are_what_the_url_says() -> None:
    sandbox = open_payments(settings_of("sandbox:http://127.0.0.1:9/"))
    assert sandbox.is_sandbox
    assert not sandbox.is_live
    assert sandbox.browser.api_url == "http://127.0.0.1:9"
    assert sandbox.browser.script_url == "http://127.0.0.1:9/js.stripe.com/v3/"
    stripe = open_payments(settings_of("stripe:", stripe_key="rk_live_1", stripe_publishable_key="pk_live_1"))
    assert (stripe.is_sandbox, stripe.is_live, stripe.browser.publishable_key) == (False, True, "pk_live_1")
    assert not is_live(settings_of("stripe:", stripe_key="sk_test_1"))
    assert open_payments(settings_of("off:")) == OFF


@pytest.mark.parametrize(
    ("payments", "given", "says"),
    [
        ("sandbox:", {}, "flotilla run"),
        ("sandbox:nowhere", {}, "must be"),
        ("paypal:", {}, "must be"),
        ("stripe:", {"stripe_key": "sk_test_1"}, "FLOTILLA_STRIPE_PUBLISHABLE_KEY"),
    ],
)
def test_payments_that_cannot_be_made_are_refused_at_the_start(payments: str, given: dict[str, str], says: str) -> None:
    with pytest.raises(Refused, match=says):
        open_payments(settings_of(payments, **given))
