"""A company's customer from signing up to being deleted, on the whole platform in this process: HTTP and a device that
speaks MQTT (CUS-1, CUS-5, CUS-6, PRD-4)."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import paho.mqtt.client as paho
import pytest

from deploy.composition import embedded
from services.gateway.bootstrap import GatewayPart
from shared.settings import Settings
from tests.billing.paying import Paying

LAMP, SPARE, PASSWORD, JO = "a" * 24, "b" * 24, "correct horse", "jo@example.com"
PATIENCE_S = 15.0


@dataclass
class Company:
    """A product in private beta with two devices, and the company's program for browsers."""

    api: httpx.Client
    gateway: GatewayPart
    team: str
    product: int
    client: dict[str, Any]

    def call(self, method: str, path: str, token: str | None, **options: Any) -> httpx.Response:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return self.api.request(method, path, headers=headers, **options)

    def device_token(self, device_id: str) -> str:
        path = f"/v1/products/{self.product}/devices/{device_id}/token"
        return str(self.call("POST", path, self.team).json()["token"])

    def sign_up(self, email: str) -> str:
        form = {"email": email, "password": PASSWORD, "client_id": self.client["id"], "response_type": "token"}
        answer = self.api.post(f"/v1/products/{self.product}/customers", data=form)
        assert answer.status_code == 302, answer.text
        return parse_qs(urlsplit(answer.headers["location"]).fragment)["access_token"][0]

    @contextmanager
    def connected(self, device_token: str) -> Iterator[paho.Client]:
        """A device as long as it is connected."""
        joined = threading.Event()
        mqtt = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        mqtt.username_pw_set(device_token)
        mqtt.on_connect = lambda *_: joined.set()
        mqtt.connect("127.0.0.1", self.gateway.port("mqtt"))
        mqtt.loop_start()
        assert joined.wait(PATIENCE_S)
        yield mqtt
        mqtt.disconnect()
        mqtt.loop_stop()

    def show(self, device_token: str, claim_code: str) -> None:
        """The device connects and shows the code, until the gateway has taken it."""
        with self.connected(device_token) as mqtt:
            taken = threading.Event()
            mqtt.on_publish = lambda *_: taken.set()
            mqtt.publish("v1/devices/me/claim", f'{{"secretKey": "{claim_code}"}}', qos=1)
            assert taken.wait(PATIENCE_S)

    @contextmanager
    def events(self, path: str, token: str) -> Iterator[Queue[str]]:
        """The names of events of a stream that is open, but for those of the platform."""
        heard: Queue[str] = Queue()
        with self.api.stream("GET", path, headers={"Authorization": f"Bearer {token}"}) as stream:
            assert stream.status_code == 200
            lines = stream.iter_lines()
            assert next(lines) == ":ok"

            def listen() -> None:
                with suppress(httpx.HTTPError, httpx.StreamError):  # it is closed under our hands
                    for line in lines:
                        if line.startswith("event: ") and not line.startswith("event: spark/"):
                            heard.put(line)

            threading.Thread(target=listen, daemon=True).start()
            yield heard


@contextmanager
def receiver() -> Iterator[tuple[str, Queue[bytes]]]:
    """Somebody's server that is told by webhooks: its address, and what it is told."""
    told: Queue[bytes] = Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.put(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """To nobody."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/in", told
        server.shutdown()
        thread.join()


@pytest.fixture
def company(tmp_path: Path) -> Iterator[Company]:
    ports = {"http_port": 0, "mqtt_port": 0, "particle_tcp_port": 0, "particle_udp_port": 0}
    settings = Settings.load({}, data=tmp_path, payments="off:", workers=2, hooks_allow="127.0.0.0/8", **ports)
    runtime, gateway = embedded(settings)
    runtime.start()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{gateway.http_port}", timeout=PATIENCE_S) as api:
            yield founded(api, gateway)
    finally:
        runtime.stop()


def founded(api: httpx.Client, gateway: GatewayPart) -> Company:
    api.post("/v1/users", json={"username": "ada@example.com", "password": PASSWORD})
    login = {"grant_type": "password", "username": "ada@example.com", "password": PASSWORD}
    grant = api.post("/oauth/token", data={**login, "client_id": "particle", "client_secret": "particle"}).json()
    acme = Company(api, gateway, grant["access_token"], 0, {})
    org = acme.call("POST", "/v1/orgs", acme.team, json={"name": "Acme"}).json()["organization"]
    lamp = {"name": "Lamp", "description": "Shines", "device_type": "mqtt"}
    made = acme.call("POST", f"/v1/orgs/{org['slug']}/products", acme.team, json=lamp).json()
    acme.product = made["product"]["id"]
    path = f"/v1/products/{acme.product}"
    acme.call("PUT", f"{path}/config", acme.team, json={"customers": {"private_beta": True}}).raise_for_status()
    app = {"name": "Lamp app", "type": "web", "redirect_uri": "https://lamp.example/"}
    acme.client = acme.call("POST", f"{path}/clients", acme.team, json=app).json()["client"]
    for device_id in (LAMP, SPARE):
        acme.call("POST", f"{path}/devices", acme.team, json={"id": device_id}).raise_for_status()
    return acme


def test_from_signing_up_to_a_device_that_is_ones_own_and_to_the_end(company: Company) -> None:
    path = f"/v1/products/{company.product}"
    invited = company.call("POST", f"{path}/activation_codes", company.team, json={"customers": [JO.upper()]}).json()
    code = invited["activation_codes"][0]["code"]
    customer = company.sign_up(JO)
    refused = company.call("POST", f"{path}/device_claims", customer, json={})
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_activation_code")
    claim = company.call("POST", f"{path}/device_claims", customer, json={"activation_code": code}).json()["claim_code"]
    spare = company.call("POST", f"{path}/device_claims", customer, json={"activation_code": code}).json()["claim_code"]

    company.show(company.device_token(LAMP), claim)
    (mine,) = until(lambda: company.call("GET", "/v1/devices", customer).json())
    assert (mine["id"], mine["owner"]) == (LAMP, JO)
    assert company.call("PUT", f"/v1/devices/{LAMP}", customer, json={"name": "desk"}).json()["name"] == "desk"
    assert company.call("GET", f"/v1/devices/{SPARE}", customer).status_code == 403

    until(lambda: is_used(company, path))
    company.show(company.device_token(SPARE), spare)  # in vain: the activation code is used up
    company.sign_up("kay@example.com")
    page = until(lambda: whole_page(company, path))
    shown = {one["username"]: (one["devices"], one.get("activation_code")) for one in page["customers"]}
    assert shown == {JO: ([LAMP], code), "kay@example.com": ([], None)}
    assert [device["id"] for device in page["devices"]] == [LAMP]
    seen = company.call("GET", f"{path}/devices/{LAMP}", company.team).json()
    assert (seen["owner"], "user_id" in seen) == (JO, False)
    listed = company.call("GET", f"{path}/devices", company.team).json()["customers"]
    assert [(one["username"], one["activation_code"]) for one in listed] == [(JO, code)]

    assert company.call("DELETE", f"{path}/customers/{JO}", company.team).json() == {"ok": True}
    assert company.call("GET", "/v1/devices", customer).status_code == 401
    until(lambda: company.call("GET", f"{path}/devices/{LAMP}", company.team).json()["owner"] is None)
    assert company.call("GET", f"{path}/devices/{SPARE}", company.team).json()["owner"] is None


def test_a_device_goes_to_another_customer_by_its_owners_word(company: Company, tmp_path: Path) -> None:  # CUS-5, CUS-7
    path, kay = f"/v1/products/{company.product}", "kay@example.com"
    company.call("PUT", f"{path}/config", company.team, json={"customers": {"private_beta": False}}).raise_for_status()
    tokens = {email: company.sign_up(email) for email in (JO, kay)}
    claim = company.call("POST", f"{path}/device_claims", tokens[JO], json={}).json()["claim_code"]
    company.show(company.device_token(LAMP), claim)
    until(lambda: company.call("GET", "/v1/devices", tokens[JO]).json())
    assert company.call("POST", "/v1/devices", tokens[kay], json={"id": LAMP}).status_code == 403
    wish = {"id": LAMP, "request_transfer": True}
    asked = [company.call("POST", "/v1/devices", tokens[kay], json=wish).json() for _ in range(2)]
    assert asked[0] == asked[1] == {"ok": True, "transfer_id": asked[0]["transfer_id"]}
    link = until(lambda: link_mailed(tmp_path, JO))
    assert kay in company.api.get(link).text
    shown = company.api.post("/transfer", data={"token": link.partition("token=")[2], "decision": "accept"})
    assert f"belongs to {kay}" in shown.text
    (moved,) = until(lambda: company.call("GET", "/v1/devices", tokens[kay]).json())
    assert (moved["id"], moved["owner"]) == (LAMP, kay)
    assert company.call("GET", "/v1/devices", tokens[JO]).json() == []
    assert company.call("GET", f"/v1/devices/{LAMP}", tokens[JO]).status_code == 403
    assert company.call("GET", f"{path}/devices/{LAMP}", company.team).json()["owner"] == kay
    why = company.call("GET", f"{path}/devices/{LAMP}/why", company.team).json()
    (owner,) = [aspect for aspect in why["aspects"] if aspect["aspect"] == "owner"]
    assert [one["type"] for one in owner["chain"]][-3:] == ["TransferAccepted", "DeviceUnclaimed", "DeviceClaimed"]
    audit = until(lambda: audited(company))
    assert [(one["name"], one["things"]) for one in audit] == [(kay, [f"device {LAMP}"]), (JO, [f"device {LAMP}"])]


def test_devices_customers_and_webhooks_go_on_while_the_team_is_out(company: Company, tmp_path: Path) -> None:  # BIL-7
    path = f"/v1/products/{company.product}"
    company.call("PUT", f"{path}/config", company.team, json={"customers": {"private_beta": False}}).raise_for_status()
    customer = company.sign_up(JO)
    claim = company.call("POST", f"{path}/device_claims", customer, json={}).json()["claim_code"]
    device = company.device_token(LAMP)
    company.show(device, claim)
    until(lambda: company.call("GET", "/v1/devices", customer).json())
    org_id = company.call("GET", "/v1/orgs/acme", company.team).json()["organization"]["id"]

    def is_out(path: str) -> bool:
        answer = company.call("GET", path, company.team)
        return answer.status_code == 402 and answer.json()["error"] == "subscription_inactive"

    with (
        receiver() as (url, told),
        Paying(Settings.load({}, data=tmp_path), org_id) as paying,
        company.connected(device) as lamp,
        company.events("/v1/devices/events", customer) as heard,
    ):
        hook = {"event": "warm", "url": url}
        company.call("POST", f"{path}/webhooks", company.team, json=hook).raise_for_status()
        paying.stop()
        until(lambda: is_out(path))
        assert all(is_out(one) for one in (f"{path}/events", f"{path}/devices", "/v1/orgs/acme/products"))
        assert company.call("GET", "/v1/orgs/acme", company.team).status_code == 200
        lamp.publish("v1/devices/me/telemetry", '{"event": "warm", "data": "21"}', qos=1)
        assert heard.get(timeout=PATIENCE_S) == "event: warm"
        assert b"21" in told.get(timeout=PATIENCE_S)
        assert company.call("PUT", f"/v1/devices/{LAMP}", customer, json={"name": "desk"}).json()["name"] == "desk"
        assert company.call("GET", "/v1/devices", company.team).json() == []
        with company.connected(device):  # also whoever connects anew
            paying.go_on()
            until(lambda: not is_out(path))


def link_mailed(data: Path, email: str) -> str | None:
    """The link by which this person hands a device over."""
    letters = [message_from_bytes(path.read_bytes(), policy=policy.default) for path in data.glob("mail/*.eml")]
    texts = [one.get_body(("plain",)).get_content() for one in letters if one["To"] == email]
    found = [re.search(r"/transfer\?token=[0-9a-f.]{65}", text) for text in texts]
    return next((one[0] for one in found if one), None)


def audited(company: Company) -> Any:
    rows = company.call("GET", "/v1/orgs/acme/audit", company.team).json()["audit"]
    asked = [row for row in rows if row["what"] and row["what"][0].startswith("Transfer")]
    return asked[::-1] if len(asked) == 2 else None


def is_used(company: Company, path: str) -> bool:
    codes = company.call("GET", f"{path}/activation_codes", company.team).json()["activation_codes"]
    return bool(codes[0]["used"])


def whole_page(company: Company, path: str) -> Any:
    page = company.call("GET", f"{path}/customers", company.team).json()
    return page if len(page["customers"]) == 2 and page["devices"] else None


def until(ask: Any) -> Any:
    """The first answer that says anything."""
    pause = threading.Event()
    for _ in range(300):
        answer = ask()
        if answer:
            return answer
        pause.wait(0.05)
    raise AssertionError("it did not come")
