"""What comes in and goes out about what an organization pays (contract 13)."""

from __future__ import annotations

import marshmallow as ma

from services.gateway.http.documents import Meta
from services.gateway.http.fields import NULL, Document, Line, Request, Whole, flag, list_of, of, string, time, whole

SETUP_ID = {"description": "the set-up's, which the provider's card form has finished"}
MAX_SEATS = 1_000_000


class PreviewRequest(Request):
    plan = Line(32, allow_none=True, load_default=None, metadata={"description": "monthly or yearly; as it is"})
    seats = Whole(1, MAX_SEATS, allow_none=True, load_default=None, metadata={"description": "as many as there are"})


class PlanRequest(Request):
    plan = Line(32, required=True, metadata={"description": "monthly or yearly"})


class CardRequest(Request):
    setup_id = Line(255, 1, required=True, metadata=SETUP_ID)


class ReactivateRequest(Request):
    setup_id = Line(255, allow_none=True, load_default=None, metadata=SETUP_ID)


class PageQuery(Request):
    said = Line(16, load_default="", metadata={"description": "what the page before has done"})


class SignIn(Request):
    username = Line(1_024, load_default="")
    password = Line(4_096, load_default="")
    to = Line(16, load_default="", metadata={"description": "card: its page, else that of what is paid"})


class BrowserSetup(Document):
    """What the provider's own script needs."""

    client_secret = string()
    publishable_key = string()
    script_url = string()
    api_url = string(metadata={"description": "what that script calls, without a path"})


class CardSetup(BrowserSetup):
    setup_id = string()


class CardSetupAnswer(Document):
    ok = flag()
    card_setup = of(CardSetup)


class Draft(CardSetupAnswer):
    draft_id = string()
    expires_at = time()


class Authentication(BrowserSetup):
    ok = flag()


class Period(Document):
    starts_at = time()
    ends_at = time()


class Amount(Document):
    kind = string(metadata={"description": "period, unused, remaining, carried or credit"})
    cents = whole()
    description = string()


class InvoiceLine(Amount):
    """With the time and the configuration that it is for."""

    plan = string()
    seats = whole()
    period = of(Period)


class NextPayment(Document):
    due_at = time()
    lines = list_of(of(Amount))
    total_cents = whole()


class Card(Document):
    brand = string()
    last4 = string()
    exp_month = whole()
    exp_year = whole()


class Summary(Document):
    ok = flag()
    state = string(validate=ma.validate.OneOf(("trialing", "active", "past_due", "inactive")))
    reason = string(**NULL, metadata={"description": "of inactive: payment_failed or cancelled"})
    plan = string()
    seats = whole()
    price_cents = whole(metadata={"description": "one seat, one period of the plan"})
    currency = string()
    trial_ends_at = time()
    period = of(Period, **NULL, metadata={"description": "the running one; null while inactive"})
    cancel_at = time(**NULL)
    next_payment = of(NextPayment, **NULL)
    card = of(Card, **NULL)
    attempts_left = whole()
    sandbox = flag(metadata={"description": "no real money"})


class Unreachable(Document):
    user_id = string(metadata={"description": "of a member, whose mail server refuses what we send"})
    since = time()


class Standing(Summary):
    unreachable = list_of(of(Unreachable), metadata={"description": "whom mail about it does not reach"})


class Preview(Summary):
    """The summary as it would be."""

    lines = list_of(of(InvoiceLine), metadata={"description": "what would be made now"})


class Cancelled(Summary):
    ends_at = time()


class Invoice(Document):
    number = whole()
    reason = string(metadata={"description": "trial_end, renewal or reactivation"})
    issued_at = time()
    period = of(Period)
    plan = string()
    seats = whole()
    lines = list_of(of(InvoiceLine))
    total_cents = whole()
    status = string(metadata={"description": "open, paid, settled_without_charge or void"})


class Attempt(Document):
    attempt = whole()
    at = time()
    cents = whole()
    by = string(metadata={"description": "schedule, customer or operator"})
    submitted = flag(metadata={"description": "the provider was asked"})
    result = string(**NULL)
    code = string(**NULL)


class InvoiceWithAttempts(Invoice):
    attempts = list_of(of(Attempt))


class Invoices(Document):
    ok = flag()
    invoices = list_of(of(Invoice))
    meta = of(Meta)


class InvoiceAnswer(Document):
    ok = flag()
    invoice = of(InvoiceWithAttempts)
