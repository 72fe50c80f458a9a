"""The provider that is Stripe: customers, cards, set-ups, payments and refunds, nothing else of it; and the sandbox,
``localstripe``, which lacks some parameters (``Dialect``).

Errors are told by their codes only: since version 16 ``repr`` of the library's errors holds the response body.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

import stripe

from services.billing.provider import (
    CardRefused,
    CardSetup,
    Declined,
    Hint,
    Open,
    Outcome,
    Payment,
    ProviderUnavailable,
    RequiresAction,
    Succeeded,
)
from services.billing.stripe_asking import asking, told
from services.billing.stripe_cards import id_of, to_card
from services.billing.stripe_looking import StripeLooking
from services.billing.subscriptions import AUTHENTICATION
from shared.errors import Refused
from shared.events.billing import Card

log = logging.getLogger(__name__)

CONNECT_S, READ_S = 3.0, 20.0
RETRIES = 2
MAX_REF = 255
"""Characters of a name that is kept."""
OLDEST_S = 300
"""Of a webhook, in the past (as the library checks) and in the future (as we do)."""
FINAL = frozenset(
    {
        "stolen_card",
        "lost_card",
        "pickup_card",
        "restricted_card",
        "security_violation",
        "expired_card",
        "invalid_account",
        "new_account_information_available",
        "do_not_try_again",
        "stop_payment_order",
        "revocation_of_authorization",
        "revocation_of_all_authorizations",
        "transaction_not_allowed",
        "card_not_supported",
        "currency_not_supported",
    }
)
"""Codes of cards that must not be presented again (GW-3)."""

stripe.enable_telemetry = False  # else it writes an id into the home directory, and reports the platform


@dataclass(frozen=True, slots=True)
class Dialect:
    """What the other side understands. ``off_session``: the parameter of a confirmation; ``attaches``: a set-up that
    succeeded leaves the card with its customer; ``types``: the parameter that asks for cards and nothing else;
    ``filters``: lists can be asked for what is new; ``disputes``: there are some."""

    off_session: bool = True
    attaches: bool = True
    types: str = "allowed_payment_method_types"
    filters: bool = True
    disputes: bool = True


STRIPE = Dialect()
SANDBOX = Dialect(off_session=False, attaches=False, types="payment_method_types", filters=False, disputes=False)


class StripeProvider(StripeLooking):
    """Implements ``Provider``. ``url``: where its API is, if it is not Stripe itself; ``retries``: how often the
    library tries a call again; ``timeouts_s``: to connect, and to wait for more of an answer."""

    def __init__(
        self,
        key: str,
        webhook_secrets: tuple[str, ...] = (),
        *,
        url: str | None = None,
        dialect: Dialect = STRIPE,
        clock: Callable[[], float] = time.time,
        retries: int = RETRIES,
        timeouts_s: tuple[float, float] = (CONNECT_S, READ_S),
    ) -> None:
        self._secrets = webhook_secrets
        self._dialect = dialect
        self._clock = clock
        http = stripe.RequestsClient(timeout=timeouts_s)
        where: Any = {} if url is None else {"base_addresses": {"api": url}}
        client = stripe.StripeClient(key, max_network_retries=retries, http_client=http, **where)
        self._api = client.v1

    def ensure_customer(self, org_id: str) -> str:
        """The customer of this organization; the same key gives the same one."""
        with asking("customer"):
            customer = self._api.customers.create(
                {"metadata": {"org_id": org_id}}, {"idempotency_key": f"customer:{org_id}"}
            )
        return str(customer.id)

    def forget_customer(self, customer_ref: str) -> None:
        """Delete it with its cards."""
        with asking("customer"), suppress(stripe.InvalidRequestError):  # there is none of this name
            self._api.customers.delete(customer_ref)

    def begin_card_setup(self, customer_ref: str, key: str) -> CardSetup:
        """A set-up for a browser."""
        wanted: Any = {"customer": customer_ref, "usage": "off_session", self._dialect.types: ["card"]}
        with asking("set-up"):
            setup = self._api.setup_intents.create(wanted, {"idempotency_key": f"setup:{key}"})
        return CardSetup(setup.id, cast(str, setup.client_secret))

    def finish_card_setup(self, customer_ref: str, setup_id: str) -> Card:
        """The card of a set-up that succeeded, and was made for this customer. Raises ``CardRefused``."""
        with asking("set-up"):
            try:
                setup = self._api.setup_intents.retrieve(setup_id)
            except stripe.InvalidRequestError:
                raise CardRefused("card_required") from None
            method_id = id_of(setup.payment_method)
            if setup.status != "succeeded" or id_of(setup.customer) != customer_ref or method_id is None:
                raise CardRefused("card_required")
            if not self._dialect.attaches:
                method = self._api.payment_methods.attach(method_id, {"customer": customer_ref})
            else:
                method = self._api.payment_methods.retrieve(method_id)
            if id_of(method.customer) != customer_ref:  # it was forgotten since, and cannot be charged
                raise CardRefused("card_required")
        return to_card(method)

    def forget_card(self, card_ref: str) -> None:
        """Have it belong to nobody."""
        with asking("card"), suppress(stripe.InvalidRequestError):  # it belongs to nobody
            self._api.payment_methods.detach(card_ref)

    def prepare(self, payment: Payment) -> str:
        """A payment intent that is not confirmed."""
        wanted: Any = {
            "amount": payment.amount_cents,
            "currency": "usd",
            "customer": payment.customer_ref,
            "payment_method": payment.card_ref,
            self._dialect.types: ["card"],
            "metadata": {
                "org_id": payment.org_id,
                "invoice": str(payment.number),
                "attempt": str(payment.attempt),
            },
        }
        with asking("payment"):
            intent = self._api.payment_intents.create(wanted, {"idempotency_key": f"{payment.key}:prepare"})
        return str(intent.id)

    def execute(self, provider_ref: str, payment: Payment) -> Outcome:
        """Confirm it. What is not known afterwards is ``unknown``, never a failure of the card (GW-4)."""
        wanted: Any = {"off_session": True} if self._dialect.off_session else {}
        try:
            intent = self._api.payment_intents.confirm(
                provider_ref, wanted, {"idempotency_key": f"{payment.key}:confirm"}
            )
        except stripe.CardError as refused:
            return _declined(refused.code or "card_declined", refused)
        except stripe.InvalidRequestError:
            outcome = self.inspect(provider_ref)
            if outcome == Open("not_submitted"):
                raise ProviderUnavailable("misconfigured", "a confirmation was refused") from None
            return outcome
        except (stripe.AuthenticationError, stripe.PermissionError, stripe.IdempotencyError) as problem:
            raise ProviderUnavailable("misconfigured", told(problem)) from None
        except stripe.StripeError as problem:
            log.warning("the fate of payment %s is not known: %s", provider_ref, told(problem))
            return Open("unknown")
        return _outcome(intent)

    def inspect(self, provider_ref: str) -> Outcome:
        """What became of it."""
        with asking("payment"):
            return _outcome(self._api.payment_intents.retrieve(provider_ref))

    def client_secret(self, provider_ref: str) -> str:
        """Of the payment intent."""
        with asking("payment"):
            return cast(str, self._api.payment_intents.retrieve(provider_ref).client_secret)

    def abandon(self, provider_ref: str) -> Outcome:
        """Cancel it; what became of it, if it cannot be."""
        with asking("payment"):
            try:
                return _outcome(self._api.payment_intents.cancel(provider_ref))
            except stripe.InvalidRequestError:
                return _outcome(self._api.payment_intents.retrieve(provider_ref))

    def refund(self, provider_ref: str, amount_cents: int, key: str) -> str:
        """Give back this much of it; the name of that."""
        with asking("refund"):
            refunded = self._api.refunds.create(
                {"payment_intent": provider_ref, "amount": amount_cents}, {"idempotency_key": f"refund:{key}"}
            )
        return str(refunded.id)

    def parse_webhook(self, body: bytes, signature: str) -> Hint:
        """Verified with one of the secrets; what it says of the object is not believed. Raises
        ``Refused("bad_signature")``."""
        for secret in self._secrets:
            try:
                event = stripe.Webhook.construct_event(body, signature, secret, OLDEST_S)
            except (stripe.SignatureVerificationError, ValueError):
                continue
            if _signed_at(signature) > self._clock() + OLDEST_S:
                break
            return Hint(event.id[:MAX_REF], event.type[:MAX_REF], str(getattr(event.data.object, "id", ""))[:MAX_REF])
        raise Refused("bad_signature", "the message is not signed with a secret of this installation")


def _signed_at(signature: str) -> int:
    parts = dict(part.split("=", 1) for part in signature.split(",") if "=" in part)
    digits = parts.get("t", "")
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 16 else 0


def _outcome(intent: Any) -> Outcome:
    error = getattr(intent, "last_payment_error", None)
    code = None if error is None else getattr(error, "code", None)
    match intent.status:
        case "succeeded":
            return Succeeded(intent.amount)
        case "processing":
            return Open("pending")
        case "canceled":
            return Open("canceled")
        case "requires_action":
            return RequiresAction(intent.client_secret)
        case "requires_payment_method" if code == AUTHENTICATION:
            return RequiresAction(intent.client_secret)
        case "requires_payment_method":
            return _declined(code or "card_declined", error)
        case _:
            return Open("not_submitted")


def _declined(code: str, error: Any) -> Outcome:
    source = getattr(error, "error", None) or error
    decline_code = str(getattr(source, "decline_code", None) or "")
    advice = str(getattr(source, "advice_code", None) or "")
    final = bool({code, decline_code, advice} & FINAL)
    if code == AUTHENTICATION:
        return RequiresAction("")
    return Declined(code[:64], decline_code[:64], final)
