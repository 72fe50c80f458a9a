"""What an organization pays, over HTTP (contract 13); the service is played."""

from __future__ import annotations

import base64
import json
import logging
from typing import Any

import httpx
import pytest

from services.gateway.http.billing import CHARGE_S, MAX_HOOK_BYTES
from shared.errors import NotFound, Refused

CARD = "4242424242424242"
BILLING = "/v1/orgs/ours/billing"
AT, LATER = "2026-03-01T12:00:00.000Z", "2026-03-31T12:00:00.000Z"
PERIOD = {"starts_at": AT, "ends_at": LATER}
SUMMARY = {
    "state": "trialing",
    "reason": None,
    "plan": "monthly",
    "seats": 2,
    "price_cents": 4_900,
    "currency": "usd",
    "trial_ends_at": LATER,
    "period": PERIOD,
    "cancel_at": None,
    "next_payment": {
        "due_at": LATER,
        "lines": [{"kind": "period", "cents": 9_800, "description": "2 seats, monthly"}],
        "total_cents": 9_800,
    },
    "card": {"brand": "visa", "last4": "4242", "exp_month": 12, "exp_year": 2030},
    "attempts_left": 3,
    "sandbox": True,
}
LINE = {"kind": "period", "cents": 4_900, "description": "1 seat", "plan": "monthly", "seats": 1, "period": PERIOD}
INVOICE = {
    "number": 1,
    "reason": "trial_end",
    "issued_at": AT,
    "period": PERIOD,
    "plan": "monthly",
    "seats": 1,
    "lines": [LINE],
    "total_cents": 4_900,
    "status": "open",
}
ATTEMPT = {"attempt": 1, "at": AT, "cents": 4_900, "by": "schedule", "submitted": True, "result": None, "code": None}
BROWSER = {
    "client_secret": "seti_1_secret_2",
    "publishable_key": "pk_test_1",
    "script_url": "http://127.0.0.1:8420/js.stripe.com/v3/",
    "api_url": "http://127.0.0.1:8420",
}
SETUP = {"setup_id": "seti_1", **BROWSER}
META = {"page": 1, "per_page": 25, "total": 1, "total_pages": 1}
UNREACHABLE = [{"user_id": "c" * 24, "since": AT}]
CALLS: list[tuple[str, str, Any, str, dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    ("GET", "", None, "summary", {}, {"summary": SUMMARY}, {**SUMMARY, "unreachable": UNREACHABLE}),
    (
        "GET",
        "/invoices?per_page=25",
        None,
        "invoices",
        {"page": 1, "per_page": 25},
        {"invoices": [INVOICE], "meta": META},
        {"invoices": [INVOICE], "meta": META},
    ),
    (
        "GET",
        "/invoices/1",
        None,
        "invoice",
        {"number": 1},
        {"invoice": {**INVOICE, "attempts": [ATTEMPT]}},
        {"invoice": {**INVOICE, "attempts": [ATTEMPT]}},
    ),
    ("POST", "/card/setup", {}, "begin_card_setup", {}, {"card_setup": SETUP}, {"card_setup": SETUP}),
    (
        "PUT",
        "/card",
        {"setup_id": "seti_1"},
        "finish_card_setup",
        {"setup_id": "seti_1"},
        {"summary": SUMMARY},
        SUMMARY,
    ),
    (
        "POST",
        "/preview",
        {"seats": "3"},
        "preview",
        {"plan": None, "seats": 3},
        {"summary": {**SUMMARY, "lines": [LINE]}},
        {**SUMMARY, "lines": [LINE]},
    ),
    ("POST", "/plan", {"plan": "yearly"}, "switch_plan", {"plan": "yearly"}, {"summary": SUMMARY}, SUMMARY),
    ("POST", "/cancel", None, "cancel", {}, {"summary": SUMMARY, "ends_at": AT}, {**SUMMARY, "ends_at": AT}),
    ("POST", "/authenticate", None, "begin_authentication", {}, BROWSER, BROWSER),
]


@pytest.mark.parametrize(("method", "path", "body", "asks", "with_", "told", "answers"), CALLS)
def test_each_call_asks_billing_and_answers_as_the_contract_says(
    api: Any, method: str, path: str, body: Any, asks: str, with_: Any, told: Any, answers: Any
) -> None:
    api.bus.answers["billing.unreachable"] = {"unreachable": UNREACHABLE}
    api.bus.answers[f"billing.{asks}"] = {**told, "position": 7} if method != "GET" else told
    answer = api.request(method, BILLING + path, json=body)
    assert answer.json() == {"ok": True, **answers}
    assert api.bus.last(asks).arguments == {"org_id": "a" * 24, **with_}
    assert api.bus.last(asks).timeout_s == CHARGE_S
    assert answer.headers.get("X-Flotilla-Position") == (None if method == "GET" else "7")


@pytest.mark.parametrize(("known", "status"), [(True, 200), (False, 202)])
def test_a_re_activation_says_whether_it_is_known_to_be_paid(api: Any, known: bool, status: int) -> None:
    api.bus.answers["billing.reactivate"] = {"summary": SUMMARY, "known": known, "position": 9}
    answer = api.post(f"{BILLING}/reactivate", json={"setup_id": "seti_1"})
    assert (answer.status_code, answer.json()) == (status, {"ok": True, **SUMMARY})
    assert api.bus.last("reactivate").arguments == {"org_id": "a" * 24, "setup_id": "seti_1"}
    assert api.directory.waited == [9]  # whoever is told that it is open again finds it open


@pytest.mark.parametrize(
    ("code", "status"),
    [("card_declined", 402), ("not_cancelled", 400), ("charge_in_progress", 400), ("provider_unavailable", 503)],
)
def test_what_billing_refuses_is_told_with_its_status(api: Any, world: Any, code: str, status: int) -> None:
    api.bus.answers["billing.reactivate"] = Refused(code, "The bank says no.")
    assert world.error_of(api.post(f"{BILLING}/reactivate")) == (status, code, "The bank says no.")


@pytest.mark.parametrize("number", ["0", "x", "1e3", "4" * 30, "-1"])
def test_what_is_no_invoices_number_is_not_found_without_asking(api: Any, number: str) -> None:
    assert api.get(f"{BILLING}/invoices/{number}").status_code == 404
    api.bus.answers["billing.invoice"] = NotFound("Invoice not found.")
    assert api.get(f"{BILLING}/invoices/7").json()["error_description"] == "Invoice not found."
    assert api.bus.count("invoice") == 1


def test_a_draft_comes_first_and_becomes_the_organization(api: Any, world: Any) -> None:  # ORG-1
    api.bus.answers["billing.begin_draft"] = {
        "draft_id": "d" * 24,
        "card_setup": SETUP,
        "expires_at": AT,
        "position": 3,
    }
    draft = api.post("/v1/orgs/drafts", json={}, token=world.LONER_TOKEN)
    assert (draft.status_code, draft.json()) == (
        201,
        {"ok": True, "draft_id": "d" * 24, "card_setup": SETUP, "expires_at": AT},
    )
    assert draft.headers["cache-control"] == "no-store"
    assert api.bus.last("begin_draft").arguments == {"account_id": world.LONER}
    assert api.bus.last("begin_draft").timeout_s == CHARGE_S
    api.bus.answers["orgs.create_organization"] = {"organization": world.ORGANIZATION, "position": 4}
    body = {"name": "Ours", "draft_id": "d" * 24, "setup_id": "seti_1"}
    assert api.post("/v1/orgs", json=body, token=world.LONER_TOKEN).status_code == 201
    assert api.bus.last("create_organization").timeout_s > CHARGE_S  # which that waits for billing
    asked = api.bus.last("create_organization").arguments
    assert (asked["draft_id"], asked["setup_id"]) == ("d" * 24, "seti_1")


def test_an_organization_may_be_called_drafts(api: Any, world: Any) -> None:
    api.directory.orgs["drafts"] = api.directory.orgs["ours"]
    api.bus.answers["orgs.get_organization"] = {"organization": world.ORGANIZATION}
    assert api.get("/v1/orgs/drafts").status_code == 200


def escaped(text: str) -> str:
    return "".join(f"\\u{ord(letter):04x}" for letter in text)


HOLD_ONE: list[dict[str, Any]] = [
    {"json": {"setup_id": CARD}},
    {"json": {"setup_id": "seti_1", "card": {"number": int(CARD)}}},
    {"json": {"draft_id": CARD, "name": "Ours", "plan": "monthly", "setup_id": "s"}},
    {"json": [CARD]},
    {"data": {"card[number]": "4242 4242 4242 4242"}},
    {"data": {"card[number]": "4242-4242-4242-4242", "exp": "12"}},
    {"content": f'{{"note": "{escaped(CARD)}"}}'},
    {"content": f'{{"a": "{CARD}", "a": ""}}'},
    {"content": f"{{broken {CARD}"},
]
CARDLESS = [
    ("POST", "/v1/orgs"),
    ("POST", "/v1/orgs/drafts"),
    ("PUT", f"{BILLING}/card"),
    *(
        ("POST", f"{BILLING}/{word}")
        for word in ("card/setup", "preview", "plan", "cancel", "reactivate", "authenticate")
    ),
]


@pytest.mark.parametrize("sent", HOLD_ONE, ids=str)
def test_a_card_number_is_refused_goes_to_nobody_and_into_no_log(
    api: Any, world: Any, sent: Any, caplog: pytest.LogCaptureFixture
) -> None:  # BIL-6
    caplog.set_level(logging.DEBUG)
    for method, path in CARDLESS:
        answer = api.request(method, path, **sent)
        assert world.error_of(answer)[:2] == (400, "card_number_refused")
        assert "4242" not in answer.text
    assert api.bus.asked == []
    written = " ".join(record.getMessage() for record in caplog.records if record.name.startswith("services."))
    assert "4242" not in written.replace("%20", "").replace(" ", "")


def test_a_drafts_id_is_no_card_number_whatever_it_looks_like(api: Any, world: Any) -> None:
    api.bus.answers["orgs.create_organization"] = {"organization": world.ORGANIZATION, "position": 4}
    body = {"name": "Ours", "draft_id": f"abcd{CARD}abcd", "setup_id": "seti_1"}
    assert api.post("/v1/orgs", json=body, token=world.LONER_TOKEN).status_code == 201
    assert api.post("/v1/orgs", json={**body, "name": CARD}, token=world.LONER_TOKEN).status_code == 400


def test_a_body_that_is_too_long_for_what_is_asked_is_not_searched(api: Any) -> None:
    assert api.put(f"{BILLING}/card", json={"setup_id": "1 " * 20_000}).status_code == 413


def hook(api: Any, body: bytes = b'{"id": "evt_1"}', signature: str | None = "t=1,v1=ab") -> httpx.Response:
    headers = {} if signature is None else {"Stripe-Signature": signature}
    answer: httpx.Response = api.post("/v1/hooks/stripe", token=None, content=body, headers=headers)
    return answer


def test_a_providers_message_goes_on_to_the_byte_with_its_signature(api: Any) -> None:  # GW-5
    api.bus.answers["billing.receive_hook"] = {}
    body = b'{"id": "evt_1", "account": "' + CARD.encode() + b'"}\n\x00'
    assert (hook(api, body).status_code, hook(api, body).json()) == (200, {"ok": True})
    asked = api.bus.last("receive_hook").arguments
    assert (base64.b64decode(asked["body"]), asked["signature"]) == (body, "t=1,v1=ab")


@pytest.mark.parametrize("signature", [None, "", "v1=ab", "t=1", "t=1,v1=" + "a" * 3_000])
def test_a_message_without_a_signature_is_refused_and_nobody_is_asked(api: Any, world: Any, signature: Any) -> None:
    assert world.error_of(hook(api, signature=signature))[:2] == (400, "bad_signature")
    assert api.bus.asked == []


def test_what_billing_says_of_a_message_is_answered(api: Any, world: Any) -> None:
    api.bus.answers["billing.receive_hook"] = Refused("bad_signature", "no")
    assert world.error_of(hook(api))[:2] == (400, "bad_signature")
    assert hook(api, b"x" * (MAX_HOOK_BYTES + 1)).status_code == 413
    assert api.bus.count("receive_hook") == 1


def test_payments_that_are_off_are_said_to_be(api: Any, world: Any) -> None:
    api.bus.answers["billing.begin_draft"] = Refused("payments_off", "Nobody is billed in this installation.")
    assert world.error_of(api.post("/v1/orgs/drafts", token=world.LONER_TOKEN))[:2] == (400, "payments_off")


def test_the_description_names_both_answers_of_a_re_activation(api: Any) -> None:
    described = json.loads(api.get("/openapi.json", token=None).content)["paths"]["/v1/orgs/{org}/billing/reactivate"]
    assert {"200", "202"} <= described["post"]["responses"].keys()
