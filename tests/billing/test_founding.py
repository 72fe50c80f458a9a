"""Both services on one bus, with the sandbox over HTTP: from the draft of an organization to its new beginning."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from services.billing.bootstrap import build as build_billing
from services.orgs.bootstrap import build as build_orgs
from shared.bus.calls import blocking_client
from shared.bus.open import open_transport
from shared.context import Context
from shared.errors import Refused
from shared.runtime import Runtime
from shared.settings import Settings
from shared.store.open import open_store
from shared.store.port import EventStore, Position

GOOD, CANNOT_BE_SAVED, CANNOT_BE_CHARGED = "4242424242424242", "4000000000000002", "4000000000000341"


@dataclass
class Platform:
    """``seen``: the position that the caller has seen, as the gateway remembers it."""

    transport: Any
    store: EventStore
    seen: Position | None = None

    def ask(self, service: str, method: str, **arguments: Any) -> dict[str, Any]:
        headers = Context.new("anonymous", "test", uuid4()).headers()
        headers |= {} if self.seen is None else {"after": str(self.seen)}
        called = getattr(getattr(blocking_client(self.transport, headers, 30.0), service), method)
        answer: dict[str, Any] = called(**arguments)
        self.seen = max(self.seen or Position(0), answer.get("position") or Position(0))
        return answer

    def refusal(self, service: str, method: str, **arguments: Any) -> str:
        with pytest.raises(Refused) as refused:
            self.ask(service, method, **arguments)
        return refused.value.code

    def account(self, email: str) -> str:
        given = {"username": email, "password": "correct horse", "account_info": {}}
        return str(self.ask("orgs", "create_account", **given)["account_id"])


@pytest.fixture
def platform(tmp_path: Path, sandbox: str) -> Iterator[Platform]:
    settings = Settings.load({}, data=tmp_path, payments=f"sandbox:{sandbox}")
    store, transport = open_store(settings.store), open_transport("local:", name="test")
    services = [build(settings, transport, store) for build in (build_billing, build_orgs)]
    running = Runtime("test", [transport, *services])
    running.start()
    yield Platform(transport, store)
    running.stop()
    store.close()


def confirm(setup: dict[str, Any], number: str) -> int:
    """What a client without a browser does (contract 13.2); the status."""
    card = {"number": number, "exp_month": "12", "exp_year": "2099", "cvc": "123"}
    form = {"key": setup["publishable_key"], "client_secret": setup["client_secret"]}
    form |= {"payment_method_data[type]": "card", **{f"payment_method_data[card][{name}]": card[name] for name in card}}
    return httpx.post(f"{setup['api_url']}/v1/setup_intents/{setup['setup_id']}/confirm", data=form).status_code


def test_an_organization_from_its_draft_to_its_new_beginning(platform: Platform) -> None:  # ORG-1, BIL-1, BIL-4, BIL-5
    ada = platform.account("ada@example.com")
    wanted: dict[str, Any] = {"account_id": ada, "name": "Acme", "slug": "acme", "plan": "monthly"}
    assert platform.refusal("orgs", "create_organization", **wanted) == "card_required"
    draft = platform.ask("billing", "begin_draft", account_id=ada)
    setup = draft["card_setup"]
    wanted |= {"draft_id": draft["draft_id"], "setup_id": setup["setup_id"]}
    assert confirm(setup, CANNOT_BE_SAVED) == 402
    assert platform.refusal("orgs", "create_organization", **wanted) == "card_required"
    assert confirm(setup, GOOD) == 200
    org = platform.ask("orgs", "create_organization", **wanted)["organization"]
    assert org["id"] == draft["draft_id"]
    assert platform.refusal("orgs", "create_organization", **wanted) == "already_in_organization"
    assert platform.refusal("billing", "begin_draft", account_id=ada) == "already_in_organization"
    summary = platform.ask("billing", "summary", org_id=org["id"])["summary"]
    assert (summary["state"], summary["seats"], summary["card"]["last4"]) == ("trialing", 1, "4242")
    assert summary["sandbox"]

    cancelled = platform.ask("billing", "cancel", org_id=org["id"])
    moved = platform.ask("billing", "advance", to=cancelled["ends_at"])
    assert moved["finished"]
    assert platform.ask("orgs", "get_organization", org_id=org["id"])["organization"]["subscription"] == {
        "state": "inactive",
        "reason": "cancelled",
        "plan": "monthly",
    }
    for number, refusal in ((CANNOT_BE_CHARGED, "card_declined"), (GOOD, None)):
        setup = platform.ask("billing", "begin_card_setup", org_id=org["id"])["card_setup"]
        assert confirm(setup, number) == 200
        back = {"org_id": org["id"], "setup_id": setup["setup_id"]}
        if refusal is not None:
            assert platform.refusal("billing", "reactivate", **back) == refusal
    answer = platform.ask("billing", "reactivate", **back)
    assert (answer["known"], answer["summary"]["state"]) == (True, "active")
    page = platform.ask("billing", "invoices", org_id=org["id"])
    assert [(one["status"], one["total_cents"]) for one in page["invoices"]] == [("paid", 4_900), ("void", 4_900)]
