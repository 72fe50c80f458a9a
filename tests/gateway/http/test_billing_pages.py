"""The pages of what an organization pays: who gets in, what they may load, and what becomes of their forms."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import httpx
import pytest

from services.gateway.http.billing_words import consent, money, shown
from shared.errors import Refused

PAGES = "/orgs/ours/billing"
COOKIE = "ab" * 20
AT, LATER = "2026-03-01T12:00:00.000Z", "2026-03-31T12:00:00.000Z"
SUMMARY: dict[str, Any] = {
    "state": "trialing",
    "reason": None,
    "plan": "monthly",
    "seats": 2,
    "price_cents": 4_900,
    "currency": "usd",
    "trial_ends_at": LATER,
    "period": {"starts_at": AT, "ends_at": LATER},
    "cancel_at": None,
    "next_payment": {
        "due_at": LATER,
        "lines": [{"kind": "period", "cents": 9_800, "description": "2 seats <b>"}],
        "total_cents": 9_800,
    },
    "card": None,
    "attempts_left": 3,
    "sandbox": True,
}
BROWSER = {
    "client_secret": "seti_1_secret_2",
    "publishable_key": "pk_test_1",
    "script_url": "https://js.stripe.com/v3/",
    "api_url": "https://api.stripe.com",
}
SANDBOX = {**BROWSER, "script_url": "http://127.0.0.1:8420/js.stripe.com/v3/", "api_url": "http://127.0.0.1:8420"}
LOCKED = {**SUMMARY, "state": "inactive", "reason": "payment_failed", "next_payment": None, "period": None}


@pytest.fixture
def pages(api: Any, world: Any) -> Any:
    """Somebody of the team has logged in, and billing answers."""
    api.directory.add_token(COOKIE, world.MEMBER, world.OUR_ORG)
    api.bus.answers |= {
        "billing.summary": {"summary": SUMMARY},
        "billing.unreachable": {"unreachable": []},
        "billing.begin_card_setup": {"card_setup": {"setup_id": "seti_1", **BROWSER}, "position": 5},
        "billing.finish_card_setup": {"summary": SUMMARY, "position": 6},
    }
    return api


def ask(api: Any, path: str, method: str = "GET", cookie: str = COOKIE, **data: str) -> httpx.Response:
    headers = {"Cookie": f"flotilla_billing={cookie}"} if cookie else {}
    options = {"data": data} if data else {}
    answer: httpx.Response = api.request(method, PAGES + path, token=None, headers=headers, **options)
    return answer


def policy(answer: httpx.Response) -> dict[str, str]:
    parts = (part.strip().partition(" ") for part in answer.headers["content-security-policy"].split(";"))
    return {name: value for name, _, value in parts}


def test_nobody_sees_anything_before_they_log_in(pages: Any) -> None:
    for cookie in ("", "cd" * 20):
        for path in ("", "/card"):
            answer = ask(pages, path, cookie=cookie)
            assert (answer.status_code, "Log in" in answer.text, "seti_" in answer.text) == (200, True, False)
            assert "script-src" not in policy(answer)
        assert "Log in" in ask(pages, "/card", "POST", cookie, setup_id="seti_1").text
    assert not {"begin_card_setup", "summary", "finish_card_setup"} & {asked.method for asked in pages.bus.asked}


def test_the_page_says_whom_mail_does_not_reach_and_since_when(pages: Any) -> None:
    assert "does not reach" not in ask(pages, "").text
    told = [{"user_id": "c" * 24, "since": AT}, {"user_id": "d" * 24, "since": LATER}]  # the second has just left
    team = [{"_id": "c" * 24, "username": "bob<b>@example.com"}]
    pages.bus.answers |= {"billing.unreachable": {"unreachable": told}, "orgs.list_team": {"team": team, "invites": []}}
    text = ask(pages, "").text
    assert "Since 1 March 2026 mail about the subscription does not reach bob&lt;b&gt;@example.com" in text
    assert text.count("does not reach") == 1


def test_who_logs_in_gets_a_cookie_for_these_pages_alone_which_no_script_reads(pages: Any) -> None:
    pages.bus.answers["orgs.oauth_token"] = {"access_token": COOKIE, "expires_in": 900, "refresh_token": "r"}
    answer = ask(pages, "/sign-in", "POST", "", username="a@example.org", password="right", to="card")
    assert (answer.status_code, answer.headers["location"]) == (302, f"{PAGES}/card")
    cookie = answer.headers["set-cookie"].lower()
    assert all(part in cookie for part in ("httponly", "samesite=strict", f"path={PAGES}", "max-age=900"))
    assert pages.bus.last("oauth_token").arguments["expires_in_s"] == 900


def test_a_wrong_password_is_told_and_counted(pages: Any) -> None:
    pages.bus.answers["orgs.oauth_token"] = Refused("invalid_grant", "User credentials are invalid")
    told = ask(pages, "/sign-in", "POST", "", username='a"<b>@example.org', password="wrong")
    assert (told.status_code, "The email address or the password is wrong." in told.text) == (400, True)
    assert "<b>" not in told.text
    for _ in range(30):
        told = ask(pages, "/sign-in", "POST", "", username="a@example.org", password="wrong")
    assert "too many" in told.text.lower()


@pytest.mark.parametrize("role", ["readonly", "developer", None])
def test_who_may_not_change_what_is_paid_is_told_so(pages: Any, world: Any, role: str | None) -> None:
    pages.directory.roles[world.MEMBER] = role
    pages.directory.add_token(COOKIE, world.MEMBER, world.OUR_ORG if role else world.OTHER_ORG)
    answer = ask(pages, "/card")
    assert answer.status_code == (403 if role else 404)
    assert ("role administrator" in answer.text) == (role is not None)
    assert pages.bus.count("begin_card_setup") == 0


@pytest.mark.parametrize(
    ("told", "scripts", "frames", "calls"),
    [
        (
            BROWSER,
            "https://js.stripe.com",
            "https://js.stripe.com https://*.js.stripe.com https://hooks.stripe.com",
            "https://api.stripe.com",
        ),
        (SANDBOX, "http://127.0.0.1:8420", "http://127.0.0.1:8420", "http://127.0.0.1:8420"),
    ],
)
def test_the_page_may_load_the_providers_script_and_frames_and_nothing_else(
    pages: Any, told: Any, scripts: str, frames: str, calls: str
) -> None:  # BIL-6
    pages.bus.answers["billing.begin_card_setup"] = {"card_setup": {"setup_id": "seti_1", **told}}
    answer = ask(pages, "/card")
    rules = policy(answer)
    assert (rules["default-src"], rules["frame-src"], rules["connect-src"]) == ("'none'", frames, calls)
    assert re.fullmatch(rf"'sha256-[A-Za-z0-9+/=]{{44}}' {re.escape(scripts)}", rules["script-src"])
    assert (rules["form-action"], rules["frame-ancestors"], rules["base-uri"]) == ("'self'", "'none'", "'none'")
    assert f'src="{told["script_url"]}"' in answer.text
    assert re.findall(r'<input[^>]* name="(\w+)"', answer.text) == ["setup_id"]  # no field of ours takes a card
    assert "98.00 USD on 31 March 2026" in answer.text  # what is charged, and when
    assert "cancel at any time" in answer.text
    assert answer.headers["cache-control"] == "no-store"


def test_a_finished_set_up_is_kept_and_the_page_says_so(pages: Any) -> None:
    answer = ask(pages, "/card", "POST", setup_id="seti_1")
    assert (answer.status_code, answer.headers["location"]) == (302, f"{PAGES}?said=card")
    assert pages.bus.last("finish_card_setup").arguments == {"org_id": "a" * 24, "setup_id": "seti_1"}
    assert pages.bus.last("finish_card_setup").context.actor == "account:" + "1" * 24
    seen = ask(pages, "?said=card").text
    assert "The card is saved." in seen
    assert "2 seats &lt;b&gt;" in seen


def test_what_is_refused_is_told_beside_a_fresh_form(pages: Any) -> None:
    pages.bus.answers["billing.finish_card_setup"] = Refused("card_required", "The set-up is not finished.")
    answer = ask(pages, "/card", "POST", setup_id="seti_1")
    assert (answer.status_code, "The set-up is not finished." in answer.text) == (400, True)
    assert pages.bus.count("begin_card_setup") == 1
    assert ask(pages, "/card", "POST", setup_id="4242 4242 4242 4242").status_code == 400
    assert pages.bus.count("finish_card_setup") == 1


@pytest.mark.parametrize(("known", "said"), [(True, "paid"), (False, "waiting")])
def test_a_card_for_a_subscription_that_is_inactive_begins_it_anew(pages: Any, known: bool, said: str) -> None:  # BIL-5
    ours = replace(pages.directory.orgs["ours"], inactive=True)
    pages.directory.orgs |= {"ours": ours, ours.org_id: ours}
    pages.bus.answers["billing.summary"] = {"summary": LOCKED}
    form = ask(pages, "/card").text
    assert "Pay and re-activate" in form
    assert "charged at once" in form
    pages.bus.answers["billing.reactivate"] = {"summary": SUMMARY, "known": known, "position": 8}
    answer = ask(pages, "/card", "POST", setup_id="seti_1")
    assert answer.headers["location"] == f"{PAGES}?said={said}"
    pages.bus.answers["billing.reactivate"] = Refused("card_declined", "The bank says no.")
    declined = ask(pages, "/card", "POST", setup_id="seti_1")
    assert (declined.status_code, "The bank says no." in declined.text) == (402, True)


def test_a_bank_is_asked_with_the_providers_script(pages: Any) -> None:
    past_due = {**SUMMARY, "state": "past_due", "attempts_left": 2}
    pages.bus.answers |= {"billing.summary": {"summary": past_due}, "billing.begin_authentication": BROWSER}
    assert "/billing/confirm" in ask(pages, "").text
    assert "/billing/confirm" in ask(pages, "/card").text
    answer = ask(pages, "/confirm", "POST")
    assert 'data-kind="payment"' in answer.text
    assert policy(answer)["connect-src"] == "https://api.stripe.com"
    assert ask(pages, "/confirmed", "POST").headers["location"] == f"{PAGES}?said=waiting"
    pages.bus.answers["billing.begin_authentication"] = Refused("nothing_to_authenticate", "Nothing waits for you.")
    assert "Nothing waits for you." in ask(pages, "/confirm", "POST").text


def test_a_subscription_is_cancelled_and_kept(pages: Any) -> None:  # BIL-4, BIL-5
    pages.bus.answers |= {
        "billing.cancel": {"summary": SUMMARY, "ends_at": LATER},
        "billing.reactivate": {"summary": SUMMARY, "known": True},
    }
    assert "/billing/cancel" in ask(pages, "").text
    assert ask(pages, "/cancel", "POST").headers["location"] == f"{PAGES}?said=ended"
    pages.bus.answers["billing.summary"] = {"summary": {**SUMMARY, "cancel_at": LATER}}
    seen = ask(pages, "?said=ended").text
    assert ("ends on 31 March 2026" in seen, "/billing/cancel" in seen) == (True, False)
    assert ask(pages, "/reactivate", "POST").headers["location"] == f"{PAGES}?said=kept"


def test_who_logs_out_is_out(pages: Any) -> None:
    pages.bus.answers["orgs.revoke_token"] = {}
    answer = ask(pages, "/sign-out", "POST")
    assert 'flotilla_billing=""' in answer.headers["set-cookie"]
    assert pages.bus.last("revoke_token").arguments["token_id"] == COOKIE[:24]


@pytest.mark.parametrize(("cents", "text"), [(0, "0.00 USD"), (-5, "-0.05 USD"), (123_456_789, "1,234,567.89 USD")])
def test_money_in_words(cents: int, text: str) -> None:
    assert money(cents) == text


@pytest.mark.parametrize(
    ("changes", "state", "says"),
    [
        ({}, "trial goes on until 31 March 2026: 2 members", "on 31 March 2026, and then every month"),
        ({"state": "active"}, "paid until 31 March 2026", "98.00 USD"),
        ({"state": "past_due", "attempts_left": 1}, "locked after 1 more", "98.00 USD again at once"),
        ({"cancel_at": LATER, "next_payment": None}, "ends on 31 March 2026", "Nothing is charged"),
        (
            {**LOCKED, "plan": "yearly", "price_cents": 58_800},
            "the last payment failed",
            "for the year ahead: 2 members, yearly, 1,176.00 USD",
        ),
        ({**LOCKED, "reason": "cancelled"}, "it was cancelled", "at once"),
    ],
)
def test_a_subscription_in_words(changes: Any, state: str, says: str) -> None:
    summary = {**SUMMARY, **changes}
    assert state in shown(summary)["state"]
    assert says in consent(summary)
