"""Webhooks as their owners and receivers see them: the service, a gateway, and a server that is told (contract 14)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest
from typer.testing import CliRunner

from deploy.hooks_command import app
from services.gateway.bootstrap import GatewayPart
from services.gateway.http.ports import Limits
from services.hooks import bootstrap
from shared.bus.messages import to_wire
from shared.bus.open import open_transport
from shared.context import Context
from shared.events import orgs as o
from shared.events.contracts import CONTRACTS
from shared.ids import digest
from shared.people.open import PeopleKeys
from shared.runtime import Runtime
from shared.settings import Settings
from shared.store.open import open_store
from shared.store.port import ANY, EventStore, Position, Recorded

ADA, BOB, ORG, OTHER = "a" * 24, "1" * 24, "b" * 24, "c" * 24
TOKENS = {ADA: "f" * 40, BOB: "e" * 40}
FAR = datetime(2100, 1, 1, tzinfo=UTC)
PORTS = {"http_port": 0, "mqtt_port": -1, "particle_tcp_port": -1, "particle_udp_port": -1}
PRODUCT = "/v1/products/1000"
WAIT_S = 20.0
UNLIMITED = Limits(calls_burst=1e6, calls_by_address_burst=1e6, calls_by_org_burst=1e6, published_burst=1e6)
"""Some tests ask until something is there."""


@dataclass
class Receiver:
    """Somebody's server: what it is asked, and the status that it answers with."""

    asked: Queue[tuple[dict[str, str], bytes]] = field(default_factory=Queue)
    status: int = 200
    url: str = ""

    def names(self, count: int) -> list[str]:
        """Of the events of the next requests."""
        asked = [self.asked.get(timeout=WAIT_S)[1].decode() for _ in range(count)]
        return [parse_qs(body)["event"][0] for body in asked]


def serving(receiver: Receiver) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            receiver.asked.put(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(receiver.status)
            self.end_headers()
            self.wfile.write(b'{"ok":1}')

        def log_message(self, *_: Any) -> None:
            """To nobody."""

    return ThreadingHTTPServer(("127.0.0.1", 0), Handler)


class Platform:
    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.settings = Settings.load({}, data=folder, drain_s=0.0, hooks_allow="127.0.0.0/8", workers=2, **PORTS)
        self.store: EventStore = open_store(self.settings.store)
        stack.callback(self.store.close)
        keys = PeopleKeys(self.settings.keys, self.store)
        self.contracts = CONTRACTS.with_keys(keys)
        stack.callback(keys.close)
        self._people()
        self.transport = open_transport("local:", name="test")
        self.transport.start()
        stack.callback(self.transport.stop)
        self.service = self.start_service()
        stack.callback(lambda: self.service.stop())
        gateway = GatewayPart(self.settings, self.store, self.transport, limits=UNLIMITED)
        gateway.start()
        stack.callback(gateway.stop)
        self.url = f"http://127.0.0.1:{gateway.http_port}"
        self.client = stack.enter_context(httpx.Client(base_url=self.url, trust_env=False, timeout=20))

    def start_service(self) -> Runtime:
        service = bootstrap.build(self.settings, self.transport, self.store)
        service.start()
        return service

    def _people(self) -> None:
        events: list[tuple[str, Any]] = []
        for account, org, number in ((ADA, ORG, 1000), (BOB, OTHER, 2000)):
            mail = f"{account[:3]}@example.org"
            events += [
                (f"account-{account}", o.AccountCreated(account, mail, "hash", "", "", "")),
                (f"org-{org}", o.OrganizationCreated(org, "Acme", f"acme-{number}", "monthly", account, mail)),
                (f"org-{org}", o.MemberJoined(org, account, mail, "administrator")),
                (
                    f"product-{number}",
                    o.ProductCreated(number, org, "acme", "Lamp", f"lamp-{number}", "", "mqtt", 65535, "Consumer", ""),
                ),
                (
                    f"token-{account}",
                    o.TokenIssued(account, account, "particle", digest(TOKENS[account]), "9" * 64, "ffff", None, FAR),
                ),
            ]
        for stream, event in events:
            self.store.append(stream, ANY, [self.contracts.encode(event, 0, Context.new("system:test", "test"))])

    def ask(self, method: str, path: str, body: Any = None, who: str = ADA) -> httpx.Response:
        return self.client.request(method, path, json=body, headers={"Authorization": f"Bearer {TOKENS[who]}"})

    def tell(self, event: o.AccountForgotten) -> None:
        """Have the services hear of it; here is nobody who would append it."""
        new = self.contracts.encode(event, 0, Context.new("system:test", "test"))
        recorded = Recorded(new.id, new.type, f"account-{ADA}", 1, Position(1), FAR, new.data, new.meta)
        self.transport.publish("orgs", new.type, *to_wire(recorded)).result(WAIT_S)

    def publish(self, name: str, path: str = PRODUCT, who: str = ADA, data: str = "x") -> None:
        assert self.ask("POST", f"{path}/events", {"name": name, "data": data}, who).status_code == 200


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with ExitStack() as stack:
        yield Platform(tmp_path_factory.mktemp("hooks"), stack)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    with serving(made) as server:
        made.url = f"http://127.0.0.1:{server.server_port}/in"
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield made
        server.shutdown()
        thread.join()


@pytest.fixture
def hook(platform: Platform, receiver: Receiver) -> Iterator[dict[str, Any]]:
    made = platform.ask("POST", f"{PRODUCT}/webhooks", {"event": "temp", "url": receiver.url})
    assert made.status_code == 201
    yield made.json()
    platform.ask("DELETE", f"{PRODUCT}/webhooks/{made.json()['id']}")


def test_a_webhook_is_made_listed_changed_and_deleted_as_the_contract_says(platform: Platform, hook: Any) -> None:
    shown = {name: hook[name] for name in ("ok", "event", "name", "integration_type")}
    assert shown == {"ok": True, "event": "temp", "name": None, "integration_type": "Webhook"}
    assert {"id", "url", "created_at", "hookUrl", "secret"} <= hook.keys()
    one = f"{PRODUCT}/integrations/{hook['id']}"
    for path in (f"{PRODUCT}/webhooks", f"{PRODUCT}/integrations"):
        [listed] = platform.ask("GET", path).json()
        assert (listed["id"], "secret" in listed) == (hook["id"], False)
    changed = platform.ask("PUT", one, {"event": "t", "headers": {"X-Key": "hidden"}, "disabled": True})
    assert (changed.status_code, changed.json()["event"], changed.json()["disabled"]) == (200, "t", True)
    assert "hidden" not in changed.text
    assert platform.ask("GET", f"{PRODUCT}/webhooks/{hook['id']}").json()["webhook"]["url"] == hook["url"]
    assert platform.ask("GET", one).json()["integration"]["logs"] == []
    assert platform.ask("DELETE", one).status_code == 204
    missing = platform.ask("GET", one)
    assert (missing.status_code, missing.json()["error"]) == (404, "Webhook not found")


def test_a_webhook_of_one_owner_does_not_exist_for_others(platform: Platform, hook: Any) -> None:
    for path in ("/v1/products/2000", "/v1", f"/v1/orgs/{OTHER}"):
        answer = platform.ask("GET", f"{path}/integrations/{hook['id']}", who=BOB)
        assert (answer.status_code, answer.json()["error"]) == (404, "Webhook not found")
        assert platform.ask("GET", f"{path}/integrations", who=BOB).json() == []
    assert platform.ask("GET", f"{PRODUCT}/integrations/{hook['id']}", who=BOB).status_code == 404


@pytest.mark.parametrize(
    "fields",
    [
        {"event": "e"},
        {"url": "http://h.example/"},
        {"event": "spark/status", "url": "http://h.example/"},
        {"event": "e", "url": "http://h.example/", "json": "{{#a}}"},
        {"event": "e", "url": "http://h.example/", "deviceId": "no"},
        {"event": "e", "url": "http://h.example/", "integration_type": "AzureIotHub"},
    ],
)
def test_what_is_no_webhook_is_refused(platform: Platform, fields: dict[str, str]) -> None:
    assert platform.ask("POST", "/v1/integrations", fields).status_code == 400


def test_what_is_published_arrives_signed_and_is_told_of_and_starts_nothing_again(
    platform: Platform, receiver: Receiver, hook: Any
) -> None:
    loop = platform.ask("POST", f"{PRODUCT}/webhooks", {"event": "hook", "url": receiver.url}).json()
    platform.publish("other")
    platform.publish("temp", "/v1/products/2000", BOB)
    platform.publish("temperature", data="21")
    headers, body = receiver.asked.get(timeout=WAIT_S)
    form = {name: value[0] for name, value in parse_qs(body.decode()).items()}
    assert (form["event"], form["data"], form["coreid"]) == ("temperature", "21", "api")
    key = base64.b64decode(hook["secret"].removeprefix("whsec_"))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    log = logged(platform, 4)
    assert log[:2] == ["hook-response/temperature/0", "hook-sent/temperature"]
    platform.publish("hooked")
    assert receiver.names(1) == ["hooked"]
    platform.ask("DELETE", f"{PRODUCT}/webhooks/{loop['id']}")


def logged(platform: Platform, least: int) -> list[str]:
    """The newest names of the product's log, once what came of the delivery is there."""
    while True:
        names = [one["name"] for one in platform.ask("GET", f"{PRODUCT}/logs?limit=5").json()["events"]]
        if len(names) >= least and names[0].startswith("hook-response"):
            return names


def test_what_comes_while_nobody_delivers_is_delivered_afterwards_and_again_when_somebody_asks(
    platform: Platform, receiver: Receiver, hook: Any
) -> None:
    one = f"{PRODUCT}/integrations/{hook['id']}"
    platform.publish("temp1")
    assert receiver.names(1) == ["temp1"]
    platform.service.stop()
    platform.publish("temp2")
    platform.publish("temp3")
    platform.service = platform.start_service()
    assert receiver.names(2) == ["temp2", "temp3"]
    attempts = delivered(platform, one, 3)
    assert [attempt["event"] for attempt in attempts] == ["temp3", "temp2", "temp1"]
    again = platform.ask("POST", f"{one}/redeliver", {"event": attempts[1]["event_id"]}).json()
    assert (again["attempt"]["outcome"], again["attempt"]["event"]) == ("delivered", "temp2")
    assert receiver.names(1) == ["temp2"]
    assert platform.ask("POST", f"{one}/redeliver", {"from": attempts[1]["recorded_at"]}).status_code == 200
    assert receiver.names(2) == ["temp2", "temp3"]
    for wrong in ({}, {"from": "2999-01-01T00:00:00Z"}, {"from": "yesterday"}, {"from": "now", "event": "x"}):
        assert platform.ask("POST", f"{one}/redeliver", wrong).status_code == 400
    assert platform.ask("POST", f"{one}/redeliver", {"event": "unknown"}).status_code == 404


def delivered(platform: Platform, one: str, count: int) -> list[Any]:
    """The attempts, once so many are kept: that is a moment after the receiver has answered."""
    while True:
        attempts: list[Any] = platform.ask("GET", f"{one}/logs").json()["attempts"]
        if len(attempts) >= count:
            return attempts


def test_who_is_gone_has_the_webhook_disabled_and_enabling_it_goes_on(
    platform: Platform, receiver: Receiver, hook: Any
) -> None:
    one = f"{PRODUCT}/integrations/{hook['id']}"
    receiver.status = 410
    platform.publish("temp1")
    assert receiver.names(1) == ["temp1"]
    while not (shown := platform.ask("GET", one).json()["integration"])["disabled"]:
        """Until the deliverer has said so."""
    assert (shown["disabled_reason"], shown["logs"][0]["outcome"]) == ("gone", "gone")
    receiver.status = 200
    platform.ask("PUT", one, {"disabled": False})
    assert receiver.names(1) == ["temp1"]


def test_a_webhook_can_be_tried(platform: Platform, receiver: Receiver, hook: Any) -> None:
    path = f"{PRODUCT}/integrations/{hook['id']}/test"
    assert platform.ask("POST", path).json() == {"pass": True, "data": '{"ok":1}', "error": None}
    receiver.status = 500
    assert platform.ask("POST", path).json() == {"pass": False, "data": '{"ok":1}', "error": "HTTP status 500"}


def test_a_persons_own_events_go_to_their_own_webhooks_and_an_organizations_to_its(
    platform: Platform, receiver: Receiver
) -> None:
    own = platform.ask("POST", "/v1/webhooks", {"event": "mine", "url": receiver.url}).json()
    team = platform.ask("POST", f"/v1/orgs/{ORG}/integrations", {"event": "ours", "url": receiver.url}).json()
    platform.publish("mine", "/v1/products/1000")
    platform.publish("mine1", "/v1/devices", BOB)
    platform.publish("mine2", "/v1/devices")
    assert receiver.names(1) == ["mine2"]
    platform.publish("ours1", "/v1/products/2000", BOB)
    platform.publish("ours2")
    assert receiver.names(1) == ["ours2"]
    assert platform.ask("DELETE", f"/v1/webhooks/{own['id']}").json() == {"ok": True}
    platform.ask("POST", "/v1/webhooks", {"event": "mine", "url": receiver.url})
    listed = platform.ask("GET", "/v1/webhooks").json()
    assert [one["url"] for one in listed] == [receiver.url]
    platform.tell(o.AccountForgotten(ADA))
    while platform.ask("GET", "/v1/webhooks").json():
        """Until the service has heard of it."""
    assert platform.ask("DELETE", f"/v1/orgs/{ORG}/integrations/{team['id']}").status_code == 204


def test_the_operator_sees_all_webhooks_and_has_them_try_rest_and_go_on(
    platform: Platform, receiver: Receiver, hook: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOTILLA_HOOKS_ALLOW", "127.0.0.1")

    def run(*words: str) -> str:
        done = CliRunner().invoke(app, [*words, "--data", str(platform.settings.data)])
        assert done.exit_code == 0, done.output
        return done.output

    one = f"{PRODUCT}/integrations/{hook['id']}"
    assert [listed["id"] for listed in json.loads(run("list", "--json"))] == [hook["id"]]
    assert "product 1000" in run("list")
    assert "delivered: 200" in run("test", hook["id"][:6])
    assert receiver.names(1) == ["temp"]
    assert [attempt["outcome"] for attempt in json.loads(run("log", hook["id"], "--json"))] == ["tested"]
    run("disable", hook["id"])
    platform.publish("temp1")
    assert json.loads(run("show", hook["id"]))["disabled_reason"] == "asked"
    run("enable", hook["id"])
    assert receiver.names(1) == ["temp1"]
    assert [attempt["event"] for attempt in delivered(platform, one, 2)] == ["temp1", "temp"]
    run("redeliver", hook["id"], "--from", platform.ask("GET", one).json()["integration"]["created_at"])
    assert receiver.names(1) == ["temp1"]
