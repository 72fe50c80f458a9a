"""The client of the command line where organizations are billed: the platform and the payment provider are played."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest

from deploy.api import TEST_CARD, Api, ApiError
from shared.errors import Refused

DECLINED, ASKS_THE_BANK = "4000000000000002", "4000002500003155"
SETUP = {"setup_id": "seti_1", "client_secret": "seti_1_secret", "publishable_key": "pk_test_1", "script_url": "s"}


class Played:
    """``asked``: method, path and body of what the platform was asked; ``confirmed``: forms that the provider got."""

    def __init__(self, provider_url: str) -> None:
        self.billed = True
        self.setup: dict[str, Any] = {**SETUP, "api_url": provider_url}
        self.asked: list[tuple[str, str, Any]] = []
        self.confirmed: list[dict[str, list[str]]] = []
        self.api = Api("", client=httpx.Client(transport=httpx.MockTransport(self._answer), base_url="http://gateway"))

    def _answer(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content) if request.content else None
        method, path = request.method, request.url.path
        self.asked.append((method, path, body))
        if path == "/v1/orgs/drafts":
            return httpx.Response(201, json={"ok": True, "draft_id": "d" * 24, "card_setup": self.setup})
        if path == "/v1/orgs":
            if self.billed and "draft_id" not in body:
                return httpx.Response(400, json={"ok": False, "error": "card_required", "error_description": "no card"})
            return httpx.Response(201, json={"ok": True, "organization": {"slug": body["slug"]}})
        if path.endswith("/card/setup"):
            return httpx.Response(201, json={"ok": True, "card_setup": self.setup})
        if path.endswith("/invoices"):
            page = int(request.url.params["page"])
            return httpx.Response(200, json={"invoices": [{"number": 3 - page}], "meta": {"total_pages": 2}})
        return httpx.Response(200, json={"ok": True, "path": path})

    def confirm(self, path: str, form: dict[str, list[str]]) -> tuple[int, dict[str, Any]]:
        assert path == "/v1/setup_intents/seti_1/confirm"
        self.confirmed.append(form)
        if form.get("payment_method_data[card][number]") == [DECLINED]:
            return 402, {"error": {"code": "card_declined", "message": "Your card was declined."}}
        asks = form.get("payment_method_data[card][number]") == [ASKS_THE_BANK]
        return 200, {"status": "requires_action" if asks else "succeeded"}


@pytest.fixture
def played() -> Iterator[Played]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            form = parse_qs(self.rfile.read(int(self.headers["content-length"])).decode())
            status, answer = made.confirm(self.path, form)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *_: Any) -> None:
            """To nobody."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        made = Played(f"http://127.0.0.1:{server.server_port}")
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield made
        server.shutdown()
        thread.join()


def test_an_organization_that_needs_a_card_is_made_from_a_draft(played: Played) -> None:  # ORG-1
    assert played.api.create_organization("Acme", "acme") == {"slug": "acme"}
    wanted = {"name": "Acme", "slug": "acme"}
    assert played.asked == [
        ("POST", "/v1/orgs", wanted),
        ("POST", "/v1/orgs/drafts", {}),
        ("POST", "/v1/orgs", {**wanted, "draft_id": "d" * 24, "setup_id": "seti_1"}),
    ]
    (form,) = played.confirmed
    assert (form["key"], form["client_secret"]) == (["pk_test_1"], ["seti_1_secret"])
    assert form["payment_method_data[card][number]"] == [TEST_CARD]


def test_an_organization_that_needs_none_is_made_at_once(played: Played) -> None:
    played.billed = False
    assert played.api.create_organization("Acme", "acme") == {"slug": "acme"}
    assert len(played.asked) == 1


def test_a_card_that_is_refused_founds_nothing(played: Played) -> None:
    with pytest.raises(ApiError) as refused:
        played.api.create_organization("Acme", "acme", card=DECLINED)
    assert (refused.value.status, refused.value.code) == (402, "card_declined")
    assert played.asked[-1][1] == "/v1/orgs/drafts"


def test_a_banks_check_is_passed(played: Played) -> None:
    assert played.api.create_organization("Acme", "acme", card=ASKS_THE_BANK) == {"slug": "acme"}
    assert played.confirmed[1] == {"key": ["pk_test_1"], "client_secret": ["seti_1_secret"]}


def test_no_number_is_ever_sent_where_money_is_real(played: Played) -> None:  # BIL-6
    played.setup["publishable_key"] = "pk_live_1"
    for ask in (lambda: played.api.create_organization("Acme", "acme"), lambda: played.api.replace_card("acme")):
        with pytest.raises(Refused) as refused:
            ask()
        assert refused.value.code == "real_money"
    assert played.confirmed == []


def test_what_is_paid_is_asked_for_and_changed(played: Played) -> None:
    api, at = played.api, "/v1/orgs/acme/billing"
    assert api.billing("acme")["path"] == at
    assert [invoice["number"] for invoice in api.invoices("acme")] == [2, 1]
    api.replace_card("acme")
    api.switch_plan("acme", "yearly")
    api.cancel_subscription("acme")
    api.reactivate("acme")
    api.reactivate("acme", TEST_CARD)
    changes = [asked for asked in played.asked if asked[0] != "GET" and not asked[1].endswith("/setup")]
    assert changes == [
        ("PUT", f"{at}/card", {"setup_id": "seti_1"}),
        ("POST", f"{at}/plan", {"plan": "yearly"}),
        ("POST", f"{at}/cancel", None),
        ("POST", f"{at}/reactivate", {}),
        ("POST", f"{at}/reactivate", {"setup_id": "seti_1"}),
    ]
